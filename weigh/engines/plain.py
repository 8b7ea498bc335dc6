"""Which plain number type a model computes in, by what its tensors are stored in: what engines' own caches follow."""

from __future__ import annotations

from collections.abc import Sequence

from weigh.types import Tensor

FLOATS = ("f32", "f16", "bf16")


def main_float(tensors: Sequence[Tensor]) -> str | None:
    """The plain float type of most bytes: that of norms and tables where matrices are quantized; None without any."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.codec in FLOATS:
            sizes[tensor.codec] = sizes.get(tensor.codec, 0) + tensor.nbytes
    return max(sizes, key=lambda codec: sizes[codec]) if sizes else None


def sixteen_bit(tensors: Sequence[Tensor]) -> str:
    """`bf16`, or `f16` where most plain tensors are: what servers compute in, whatever the file has in float32."""
    return "f16" if main_float(tensors) == "f16" else "bf16"
