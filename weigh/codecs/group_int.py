"""Matrices that serving runtimes store as several tensors: integer or fp8 codes, and apart from them their scales.

Sizes only. A codec here gives the bytes of codes, group scales and group zeros, which is all that is proportional to
the values; `pieces` gives every tensor that a matrix is stored as, to the byte, with what is one a row, one an input
or one a matrix. To add one: write the function of its pieces, and a line in `LAYOUTS`.

Sources, all opened: compressed-tensors 0.20.0 (compressors/pack_quantized, compressors/naive_quantized,
quantization/lifecycle/initialize.py), auto-gptq 0.7.1 (nn_modules/qlinear/qlinear_cuda_old.py), AutoAWQ at 88e4c76
(awq/modules/linear/gemm.py), bitsandbytes 0.50.2 (nn/modules.py, functional.py QuantState, _ops.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from weigh.types import Codec, WeighError

__all__ = ["CODECS", "LAYOUTS", "Layout", "nbytes", "pieces"]

_COMPRESSED = "https://github.com/vllm-project/compressed-tensors"
_GPTQ = "https://github.com/AutoGPTQ/AutoGPTQ"
_AWQ = "https://github.com/casper-hansen/AutoAWQ"
_BITSANDBYTES = "https://github.com/bitsandbytes-foundation/bitsandbytes"

Pieces = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one matrix is stored."""

    codec: Codec
    pieces: Callable[[int, int, str], Pieces]
    """(outputs, inputs, floating type of the model) to the bytes of each stored tensor."""
    inputs: int = 1
    """What the number of inputs must be a multiple of."""
    outputs: int = 1
    """What the number of outputs must be a multiple of."""


def pieces(layout: Layout, shape: Sequence[int], dtype: str = "bf16") -> Pieces:
    """Bytes of each tensor that a matrix of this shape (..., outputs, inputs) is stored as.

    `dtype` is the codec of the model's other tensors, in which compressed-tensors writes its scales. Leading axes are
    so many matrices. WeighError CODEC-BLOCK where the layout cannot hold the shape.
    """
    outputs, inputs = (shape[-2], shape[-1]) if len(shape) > 1 else (1, prod(shape))
    for size, multiple, what in ((inputs, layout.inputs, "inputs"), (outputs, layout.outputs, "outputs")):
        if size % multiple:
            raise WeighError(
                f"{layout.codec.name} packs {multiple} {what} together; {size} is no multiple of that",
                rule="CODEC-BLOCK",
            )
    matrices = prod(shape[:-2])
    return {name: matrices * size for name, size in layout.pieces(outputs, inputs, dtype).items()}


def nbytes(layout: Layout, shape: Sequence[int], dtype: str = "bf16") -> int:
    """All bytes that a matrix of this shape takes."""
    return sum(pieces(layout, shape, dtype).values())


def _words(values: int, bits: int) -> int:
    """Bytes of the fewest 32-bit words that hold so many codes side by side."""
    return 4 * -(-values * bits // 32)


def _float(dtype: str) -> int:
    """Bytes of a scale in the model's own type; compressed-tensors takes fp16 where that is no plain float."""
    return {"f32": 4, "f64": 8}.get(dtype, 2)


def _packed(bits: int, group: int, zeros: bool, outputs: int, inputs: int, dtype: str) -> Pieces:
    """compressed-tensors `pack_quantized`: each row's codes in int32 words, a scale a group, the shape as two int64.

    Zeros are packed along the outputs, since a group has one an output. `group` 0 is the whole row.
    """
    groups = inputs // group if group else 1
    stored = {
        "weight_packed": outputs * _words(inputs, bits),
        "weight_scale": outputs * groups * _float(dtype),
        "weight_shape": 2 * 8,
    }
    if zeros:
        stored["weight_zero_point"] = _words(outputs, bits) * groups
    return stored


def _plain(rows: int, columns: int, extra: int, outputs: int, inputs: int, dtype: str) -> Pieces:
    """compressed-tensors `int_quantized` and `float_quantized`: a byte a value, a scale a block of rows x columns.

    0 stands for all rows or all columns. `extra` scales belong to the inputs of the layer.
    """
    blocks = -(-outputs // (rows or outputs)) * -(-inputs // (columns or inputs))
    stored = {"weight": outputs * inputs, "weight_scale": blocks * _float(dtype)}
    if extra:
        stored["input_scale"] = extra * _float(dtype)
    return stored


def _gptq(bits: int, group: int, outputs: int, inputs: int, _dtype: str) -> Pieces:
    """Codes packed along the inputs, zeros along the outputs, fp16 scales, and the group of each input as int32."""
    groups = inputs // group
    return {
        "qweight": inputs // 32 * bits * outputs * 4,
        "qzeros": groups * (outputs // 32 * bits) * 4,
        "scales": groups * outputs * 2,
        "g_idx": inputs * 4,
    }


def _awq(bits: int, group: int, outputs: int, inputs: int, _dtype: str) -> Pieces:
    """Codes and zeros packed along the outputs, fp16 scales."""
    groups = inputs // group
    packed = outputs // (32 // bits) * 4
    return {"qweight": inputs * packed, "qzeros": groups * packed, "scales": groups * outputs * 2}


def _bnb_int8(outputs: int, inputs: int, _dtype: str) -> Pieces:
    """A byte a value, an fp32 absolute maximum a row, and a byte that names the order of the values."""
    return {"weight": outputs * inputs, "SCB": outputs * 4, "weight_format": 1}


_TORCH = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def _bnb_nf4(outputs: int, inputs: int, dtype: str) -> Pieces:
    """Two codes a byte, an fp32 absolute maximum for 64 values in a row, the 16 values, and the rest as JSON bytes."""
    values = outputs * inputs
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": _TORCH.get(dtype, dtype), "shape": [outputs, inputs]}
    return {
        "weight": (values + 1) // 2,
        "weight.absmax": -(-values // 64) * 4,
        "weight.quant_map": 16 * 4,
        "weight.quant_state.bitsandbytes__nf4": len(json.dumps(state)),
    }


def _codec(name: str, block: int, block_bytes: int, source: str) -> Codec:
    return Codec(name.lower(), name, block, block_bytes, reference=f"size only; {source}")


# Where a group has a zero of 4 bits, a block is two groups, so that it ends on a byte.
_ALL = (
    Layout(_codec("INT4_G128", 128, 64 + 2, _COMPRESSED), partial(_packed, 4, 128, False), inputs=128),
    Layout(_codec("INT4_G128_ASYM", 256, 2 * (64 + 2) + 1, _COMPRESSED), partial(_packed, 4, 128, True), inputs=128),
    Layout(_codec("INT8_G128", 128, 128 + 2, _COMPRESSED), partial(_packed, 8, 128, False), inputs=128),
    Layout(_codec("INT8_CHANNEL_PACKED", 1, 1, _COMPRESSED), partial(_packed, 8, 0, False)),
    Layout(_codec("INT8_CHANNEL", 1, 1, _COMPRESSED), partial(_plain, 1, 0, 0)),
    Layout(_codec("GPTQ_INT4_G128", 256, 2 * (64 + 2) + 1, _GPTQ), partial(_gptq, 4, 128), inputs=128, outputs=32),
    Layout(_codec("GPTQ_INT8_G128", 128, 128 + 2 + 1, _GPTQ), partial(_gptq, 8, 128), inputs=128, outputs=32),
    Layout(_codec("AWQ_INT4_G128", 256, 2 * (64 + 2) + 1, _AWQ), partial(_awq, 4, 128), inputs=128, outputs=8),
    Layout(_codec("FP8_CHANNEL", 1, 1, _COMPRESSED), partial(_plain, 1, 0, 0)),
    Layout(_codec("FP8_TENSOR", 1, 1, _COMPRESSED), partial(_plain, 0, 0, 1)),
    Layout(_codec("FP8_BLOCK128", 1, 1, _COMPRESSED), partial(_plain, 128, 128, 0), inputs=128),
    Layout(_codec("BNB_INT8", 1, 1, _BITSANDBYTES), _bnb_int8),
    Layout(_codec("BNB_NF4", 64, 32 + 4, _BITSANDBYTES), _bnb_nf4),
)

LAYOUTS: Mapping[str, Layout] = {layout.codec.id: layout for layout in _ALL}
"""By id of the codec."""

CODECS = tuple(layout.codec for layout in _ALL)
