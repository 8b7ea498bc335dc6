"""Builds PyTorch checkpoints byte by byte: the opcodes of a pickle, a ZIP archive, the old plain form."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM_CALL = b"cposix\nsystem\n"
EVIL = b"\x80\x02" + SYSTEM_CALL + b"X\x04\0\0\0true\x85R."


# ------------------------------------------------------------------------------------------------------ pickles


def put(value: Any) -> bytes:
    """The opcodes that make a plain value; bytes are opcodes already."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, tuple):
        return b"(" + b"".join(map(put, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(put, value)) + b"e"
    return b"}(" + b"".join(put(key) + put(member) for key, member in value.items()) + b"u"


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + put(value) + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *args: Any) -> bytes:
    return named(module, name) + put(args) + b"R"


def stored(key: str = "0", count: int = 4, kind: str = "FloatStorage", *window: Any) -> bytes:
    return put(("storage", named("torch", kind), key, "cpu", count, *window)) + b"Q"


def tensor(
    shape: tuple[Any, ...] = (4,),
    strides: tuple[Any, ...] = (1,),
    offset: Any = 0,
    storage: bytes | None = None,
) -> bytes:
    storage = stored() if storage is None else storage
    hooks = called("collections", "OrderedDict")
    return called("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, hooks)


# ----------------------------------------------------------------------------------------------------- archives


def archive(entries: dict[str, bytes], packed: tuple[str, ...] = (), outside: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            entry.external_attr = outside
            made.writestr(entry, content)
    return out.getvalue()


def checkpoint(
    value: Any, storages: dict[str, bytes] | None = None, packed: tuple[str, ...] = (), **more: bytes
) -> bytes:
    """A ZIP checkpoint of a value, or of ready opcodes; one storage of 16 bytes where none is given."""
    entries = {"m/data.pkl": pickled(value), "m/version": b"3\n"}
    for key, content in ({"0": b"\0" * 16} if storages is None else storages).items():
        entries[f"m/data/{key}"] = content
    return archive({**entries, **{f"m/{name}": content for name, content in more.items()}}, packed)


def changed(content: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    """The file with `value` put `at` bytes behind the last place of `mark`."""
    place = content.rindex(mark) + at
    return content[:place] + value + content[place + len(value) :]


def crc(content: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(content))


def legacy(
    value: Any, storages: dict[str, tuple[int, bytes]], keys: Any = None, protocol: int = 1001, little: bool = True
) -> bytes:
    """The form before torch 1.6: a storage is its count and its bytes."""
    system = {"protocol_version": protocol, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = (MAGIC, protocol, system, value, list(storages) if keys is None else keys)
    data = b"".join(struct.pack("<Q", count) + content for count, content in storages.values())
    return b"".join(map(pickled, heads)) + data
