"""Builds files of CTranslate2 byte by byte, valid ones and ones that no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT32, INT8, INT16, INT32, FLOAT16, BFLOAT16 = range(6)
WIDTHS = (4, 1, 2, 4, 2, 2)


def text(value: str | bytes) -> bytes:
    raw = (value.encode() if isinstance(value, str) else value) + b"\0"
    return struct.pack("<H", len(raw)) + raw


def variable(
    name: str | bytes,
    shape: Sequence[int] = (),
    kind: int = FLOAT32,
    data: bytes | None = None,
    said: int | None = None,
) -> bytes:
    """A variable of zeros, or of `data`; `said` overrides the number of its bytes."""
    size = WIDTHS[kind] if kind < len(WIDTHS) else 1
    for extent in shape:
        size *= extent
    raw = b"\0" * size if data is None else data
    head = text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return head + struct.pack("<BI", kind, len(raw) if said is None else said) + raw


def old(name: str, shape: Sequence[int], width: int, data: bytes) -> bytes:
    """A variable as before version 4: bytes a value, and the number of values."""
    head = text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return head + struct.pack("<BI", width, len(data) // width if width else 0) + data


def model(
    variables: Sequence[bytes] = (),
    aliases: Mapping[str, str] | None = None,
    *,
    version: int = 6,
    layout: str | bytes = "TransformerDecoderSpec",
    count: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """A file; `count` overrides the number of variables."""
    named = text(layout) + struct.pack("<I", 8) if version >= 2 else b""
    body = struct.pack("<I", len(variables) if count is None else count) + b"".join(variables)
    pairs = aliases or {}
    tail = (
        struct.pack("<I", len(pairs)) + b"".join(text(a) + text(b) for a, b in pairs.items()) if version >= 3 else b""
    )
    return struct.pack("<I", version) + named + body + tail + extra


def small() -> bytes:
    """A quantized embedding that the head shares, a norm, a flag."""
    return model(
        [
            variable("decoder/embeddings/weight", (4, 2), INT8),
            variable("decoder/embeddings/weight_scale", (4,), data=struct.pack("<4f", 1, 2, 4, 8)),
            variable("decoder/layer_norm/gamma", (2,), FLOAT16),
            variable("decoder/num_heads", (), INT16),
        ],
        {"decoder/projection/weight": "decoder/embeddings/weight"},
    )
