"""What a GGUF file says of one architecture: its metadata without the prefix, and the shapes of its tensors."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True)
class Source:
    """Metadata and tensor shapes of a GGUF file."""

    architecture: str
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    def value(self, key: str) -> Any:
        """A value by its key without the architecture; None where it is neither written nor implied.

        Arrays with one value for all layers become that value. `vocab_size` and `head_dim` are derived where they are
        not written, as llama.cpp does; layers that predict further tokens are not counted as layers, and
        no experts are none.
        """
        if key == "vocab_size":
            return self._vocabulary()
        if key == "head_dim":
            return self._head_width()
        found = _settled(self.metadata.get(f"{self.architecture}.{key}"))
        if key == "attention.head_count_kv" and found is None:
            return self.value("attention.head_count")
        if key in ("expert_count", "expert_used_count") and found == 0:
            return None
        if key == "block_count":
            further = self.metadata.get(f"{self.architecture}.nextn_predict_layers", 0)
            if type(found) is int and type(further) is int and 0 < further < found:
                return found - further
        return found

    def rows(self, tensor: str, axis: int = 0) -> int | None:
        """Extent of a tensor's axis, outermost first; None where the file has no such tensor."""
        shape = self.shapes.get(tensor, ())
        return shape[axis] if len(shape) > axis else None

    def has(self, tensor: str) -> bool:
        """Whether the first layer has this tensor."""
        return f"blk.0.{tensor}" in self.shapes

    def _vocabulary(self) -> Any:
        written = self.metadata.get(f"{self.architecture}.vocab_size")
        if written is not None:
            return written
        tokens = self.metadata.get(TOKENS)
        if isinstance(tokens, list):
            return len(tokens)
        if isinstance(tokens, dict):
            return tokens.get("length")
        return self.rows("token_embd.weight")

    def _head_width(self) -> Any:
        written = _settled(self.metadata.get(f"{self.architecture}.attention.key_length"))
        if written is not None:
            return written
        width, heads = self.value("embedding_length"), self.value("attention.head_count")
        if type(width) is int and type(heads) is int and heads > 0 and width % heads == 0:
            return width // heads
        return None


def _settled(value: Any) -> Any:
    if isinstance(value, list) and value and all(other == value[0] for other in value):
        value = value[0]
    return shortest(value) if isinstance(value, float) else value


def shortest(value: float) -> float:
    """The shortest decimal with the same 32-bit float: 1e-05 where the file's 9.99999974e-06 stands for it."""
    try:
        stored = struct.pack("<f", value)
    except OverflowError:
        return value
    if struct.unpack("<f", stored)[0] != value:
        return value
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next((short for short in candidates if struct.pack("<f", short) == stored), value)
