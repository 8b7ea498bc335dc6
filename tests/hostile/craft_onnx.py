"""Builds ONNX and NumPy files byte by byte, valid ones and ones that no writer would make."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence

FLOAT, UINT8, INT8, INT64, STRING, FLOAT16, UINT4 = 1, 2, 3, 7, 8, 10, 21


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def run(field: int, content: bytes | str) -> bytes:
    """A field of text, bytes or another message."""
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def tensor(
    name: str = "w",
    shape: Sequence[int] = (2,),
    kind: int = FLOAT,
    raw: bytes | None = None,
    extra: bytes = b"",
    external: dict[str, str] | None = None,
) -> bytes:
    out = b"".join(number(1, extent) for extent in shape) + number(2, kind) + run(8, name)
    out += b"" if raw is None else run(9, raw)
    for key, value in (external or {}).items():
        out += run(13, run(1, key) + run(2, value))
    return out + (number(14, 1) if external else b"") + extra


def node(
    operator: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), attributes: Sequence[bytes] = ()
) -> bytes:
    out = b"".join(run(1, name) for name in inputs) + b"".join(run(2, name) for name in outputs)
    return out + run(4, operator) + b"".join(run(5, attribute) for attribute in attributes)


def constant(name: str, value: bytes) -> bytes:
    return node("Constant", (), (name,), [run(1, "value") + run(5, value)])


def branch(key: str, graph: bytes) -> bytes:
    return run(1, key) + run(6, graph)


def whole(key: str, value: int) -> bytes:
    return run(1, key) + number(3, value)


def graph(tensors: Sequence[bytes] = (), nodes: Sequence[bytes] = (), extra: bytes = b"") -> bytes:
    return b"".join(run(1, part) for part in nodes) + run(2, "g") + b"".join(run(5, part) for part in tensors) + extra


def model(content: bytes, extra: bytes = b"") -> bytes:
    return number(1, 8) + run(8, run(1, "") + number(2, 17)) + run(7, content) + extra


def onnx(tensors: Sequence[bytes] = (), nodes: Sequence[bytes] = (), extra: bytes = b"") -> bytes:
    return model(graph(tensors, nodes, extra))


def nested(depth: int) -> bytes:
    inner = graph()
    for _ in range(depth):
        inner = graph(nodes=[node("If", ["c"], ["o"], [branch("then_branch", inner)])])
    return model(inner)


# ------------------------------------------------------------------------------------------------------ numpy


def npy(
    header: str | bytes = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
    data: bytes = b"\0" * 8,
    version: int = 1,
    length: int | None = None,
) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    announced = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", announced) + text + data


def npz(arrays: dict[str, bytes], *, packed: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return out.getvalue()
