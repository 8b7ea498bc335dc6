"""Builds model files byte by byte, valid ones and ones that no writer would make.

Only the standard library, so that nothing under test helps to make what it is tested with.
"""

from __future__ import annotations

import json
import struct
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LETTERS = "BbHhIif?..QqdZ"
FLOATS = 0
"""ggml's F32."""


# ------------------------------------------------------------------------------------------------ safetensors


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of a header, as an object or as raw text, and data; `length` overrides what the first bytes say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def index(weight_map: dict[str, Any], **metadata: Any) -> bytes:
    return json.dumps({"metadata": metadata, "weight_map": weight_map}).encode()


# ------------------------------------------------------------------------------------------------------- gguf


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def number(kind: int, value: float, order: str = "<") -> bytes:
    return struct.pack(order + LETTERS[kind], value)


def key(name: str | bytes, kind: int, value: bytes, order: str = "<") -> bytes:
    return text(name, order) + struct.pack(order + "I", kind) + value


def array(kind: int, values: list[bytes], order: str = "<", count: int | None = None) -> bytes:
    return struct.pack(order + "IQ", kind, len(values) if count is None else count) + b"".join(values)


def named(architecture: str = "llama", order: str = "<") -> bytes:
    return key("general.architecture", STRING, text(architecture, order), order)


def size(name: str, value: int, order: str = "<") -> bytes:
    return key(name, U32, number(U32, value, order), order)


def tensor(
    name: str | bytes,
    dimensions: list[int],
    kind: int = FLOATS,
    offset: int = 0,
    order: str = "<",
    rank: int | None = None,
) -> bytes:
    """A tensor entry; dimensions are innermost first, as in the file."""
    extents = b"".join(struct.pack(order + "Q", extent) for extent in dimensions)
    head = text(name, order) + struct.pack(order + "I", len(dimensions) if rank is None else rank)
    return head + extents + struct.pack(order + "IQ", kind, offset)


def gguf(
    keys: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: bytes = b"",
    *,
    version: int = 3,
    order: str = "<",
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
    magic: bytes = b"GGUF",
) -> bytes:
    """A file; `counts` overrides the announced numbers of tensors and keys."""
    keys = [] if keys is None else keys
    tensors = [] if tensors is None else tensors
    announced = (len(tensors), len(keys)) if counts is None else counts
    head = magic + struct.pack(order + "IQQ", version, *announced) + b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + data


def llama(layers: int = 1, *, order: str = "<") -> bytes:
    """A small, whole Llama: 8 wide, 2 heads, 16 hidden, 4 tokens, tied head."""
    sizes = {
        "block_count": layers,
        "embedding_length": 8,
        "feed_forward_length": 16,
        "context_length": 32,
        "attention.head_count": 2,
        "attention.head_count_kv": 1,
    }
    keys = [named("llama", order), *(size(f"llama.{name}", value, order) for name, value in sizes.items())]
    keys.append(key("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(t, order) for t in "abcd"], order), order))
    shapes = {"token_embd.weight": [8, 4], "output_norm.weight": [8]}
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": [8],
            f"blk.{layer}.attn_q.weight": [8, 8],
            f"blk.{layer}.attn_k.weight": [8, 4],
            f"blk.{layer}.attn_v.weight": [8, 4],
            f"blk.{layer}.attn_output.weight": [8, 8],
            f"blk.{layer}.ffn_norm.weight": [8],
            f"blk.{layer}.ffn_gate.weight": [8, 16],
            f"blk.{layer}.ffn_up.weight": [8, 16],
            f"blk.{layer}.ffn_down.weight": [16, 8],
        }
    tensors = []
    offset = 0
    for name, dimensions in shapes.items():
        tensors.append(tensor(name, dimensions, FLOATS, offset, order))
        count = 1
        for extent in dimensions:
            count *= extent
        offset += 4 * count
    return gguf(keys, tensors, b"\0" * offset, order=order)
