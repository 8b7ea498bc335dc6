"""Puts together the values of tensors whose encoding is spread over several pieces: codes, scales, zero points, order.

A layout is a function that gives a run of rows of the tensor, seen as (rows, last axis), in float32; what it needs of
the codes is read for those rows only, scales and zero points are read whole. Products are rounded once, in float32:
where the reference computes in the type of the scales, its result is this one rounded to that type.
To add a layout: the function, in the file of its kind (`packed_scaled`, `packed_words`, `packed_float4`), and a line in
`LAYOUTS`; the reader of a format names it in `Tensor.layout`. References, which the tests compare with:
compressed-tensors 0.20 (PackedQuantizationCompressor, NVFP4PackedCompressor, MXFP4PackedCompressor .decompress),
AutoGPTQ at 179776b (qlinear_cuda_old.py), AutoAWQ (awq/utils/packing_utils.py dequantize_gemm), bitsandbytes 0.50.2
(dequantize_4bit, int8_vectorwise_dequant), transformers 5.23 (integrations/mxfp4.py, finegrained_fp8.py),
DequantizeLinear of ONNX, and the formula of `QuantizationParameters` in the schema of TensorFlow Lite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from weigh.formats import packed_float4, packed_scaled, packed_words
from weigh.formats.packed_pieces import Pieces
from weigh.types import Inventory, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Layout(NamedTuple):
    """How pieces become rows."""

    rows: Callable[[Pieces, range], NDArray[np.float32]]
    """Values of those rows, in order, in any shape."""
    width: Callable[[Pieces], int]
    """Values a row."""
    at_once: Callable[[Pieces], int]
    """Rows that cannot be parted: they share bytes."""


def chunks(inventory: Inventory, tensor: Tensor, size: int) -> Iterator[NDArray[np.float32]]:
    """The values in order, flat, about `size` at a time, or as many rows as cannot be parted.

    Errors: VALUES-SIZE, and those of `files.opened`.
    """
    layout = LAYOUTS[tensor.layout]
    count = prod(tensor.shape)
    with Pieces(inventory, tensor) as pieces:
        width = layout.width(pieces)
        at_once = layout.at_once(pieces)
        pieces.require(width > 0 and at_once > 0)
        step = max(size // width // at_once, 1) * at_once
        rows = -(-count // width)
        for begin in range(0, rows, step):
            found = layout.rows(pieces, range(begin, min(begin + step, rows))).reshape(-1)
            yield found[: count - begin * width]


def _one(_pieces: Pieces) -> int:
    return 1


def _eight(_pieces: Pieces) -> int:
    """AWQ: eight outputs lie in a word."""
    return 8


LAYOUTS: Mapping[str, Layout] = {
    "affine": Layout(packed_scaled.affine, packed_scaled.row_width, packed_scaled.whole_blocks),
    "awq": Layout(packed_words.awq, packed_scaled.row_width, _eight),
    "bnb_4bit": Layout(packed_float4.bnb_4bit, packed_float4.bnb_block, _one),
    "bnb_int8": Layout(packed_scaled.bnb_int8, packed_scaled.row_width, _one),
    "divided": Layout(packed_scaled.divided, packed_scaled.row_width, _one),
    "gptq": Layout(packed_words.gptq, packed_scaled.row_width, _one),
    "joined": Layout(packed_scaled.joined, packed_scaled.row_width, _one),
    "mxfp4_experts": Layout(packed_float4.experts, packed_float4.experts_width, _one),
    "nvfp4_over": Layout(packed_float4.nvfp4_over, packed_scaled.row_width, _one),
    "nvfp4_times": Layout(packed_float4.nvfp4_times, packed_scaled.row_width, _one),
    "onnx_nbits": Layout(packed_words.onnx_nbits, packed_scaled.row_width, _one),
    "packed": Layout(packed_words.packed, packed_scaled.row_width, _one),
}
"""What `Tensor.layout` may name."""
