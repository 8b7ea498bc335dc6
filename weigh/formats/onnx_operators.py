"""What ONNX operators do with the tensors that they are given: weights, settings, integers with scales and zero points.

Inputs are counted from 0, as the operators' pages do. To teach weigh another operator: a line in the table it belongs
to. Sources: https://onnx.ai/onnx/operators/ and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (the domain `com.microsoft`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Quantized(NamedTuple):
    """Inputs of an operator that belong to each other."""

    data: int
    scale: int | None = None
    zero: int | None = None
    order: int | None = None


WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "FusedConv": (1, 2),
    "Gather": (0,),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "GRU": (1, 2, 3),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "MatMul": (1,),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
"""Inputs that are trained even where they hold a single value."""

SETTINGS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "Clip": (1, 2),
    "Dropout": (1,),
    "GroupQueryAttention": (7, 8),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "Pad": (2,),
    "Pow": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2),
    "RotaryEmbedding": (1, 2, 3),
    "STFT": (2,),
    "Upsample": (1,),
}
"""Inputs that are not trained by the optimizer: running statistics, bounds, windows, tables of angles."""

QUANTIZED: Mapping[str, tuple[Quantized, ...]] = {
    "ConvInteger": (Quantized(1, None, 3),),
    "DequantizeLinear": (Quantized(0, 1, 2),),
    "DynamicQuantizeLSTM": (Quantized(1, 8, 9), Quantized(2, 10, 11)),
    "DynamicQuantizeMatMul": (Quantized(1, 2, 3),),
    "GatherBlockQuantized": (Quantized(0, 2, 3),),
    "MatMulBnb4": (Quantized(1, 2),),
    "MatMulInteger": (Quantized(1, None, 3), Quantized(0, None, 2)),
    "MatMulIntegerToFloat": (Quantized(1, 3, 5), Quantized(0, 2, 4)),
    "MatMulNBits": (Quantized(1, 2, 3, 4),),
    "QAttention": (Quantized(1, 4, 7), Quantized(0, 3, 6)),
    "QGemm": (Quantized(3, 4, 5), Quantized(0, 1, 2), Quantized(6)),
    "QLinearAdd": (Quantized(3, 4, 5), Quantized(0, 1, 2)),
    "QLinearConv": (Quantized(3, 4, 5), Quantized(0, 1, 2), Quantized(8)),
    "QLinearMatMul": (Quantized(3, 4, 5), Quantized(0, 1, 2)),
    "QLinearMul": (Quantized(3, 4, 5), Quantized(0, 1, 2)),
    "QMoE": (Quantized(2, 3), Quantized(5, 6), Quantized(8, 9)),
    "QuantizeLinear": (Quantized(0, 1, 2),),
}
"""Where the data are stored, scales and zeros are theirs; where they are computed, they are settings of the graph."""

AXIS: Mapping[str, int] = {
    "ConvInteger": 0,
    "DequantizeLinear": 1,
    "DynamicQuantizeMatMul": -1,
    "MatMulInteger": -1,
    "MatMulIntegerToFloat": -1,
    "QLinearConv": 0,
    "QLinearMatMul": -1,
    "QuantizeLinear": 1,
}
"""The axis of the weight along which a row of scales lies, where no attribute `axis` says otherwise."""
AXIS_NAME = "axis"

OUTPUT_SETTINGS: Mapping[str, tuple[int, ...]] = {
    "QGemm": (7, 8),
    "QLinearAdd": (6, 7),
    "QLinearConv": (6, 7),
    "QLinearMatMul": (6, 7),
    "QLinearMul": (6, 7),
}
"""Scale and zero point of what the operator puts out."""

PASSES: frozenset[str] = frozenset(
    ("Cast", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
)
"""The first output is the first input in another form, or part of it."""

DYNAMIC = "DynamicQuantizeLinear"
"""Its second output is the scale of an activation; what is multiplied with that is the scale of a weight."""

ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "GatherBlockQuantized": frozenset(("bits",)),
    "MatMulBnb4": frozenset(("K", "N")),
    "MatMulNBits": frozenset(("K", "N", "bits")),
    "QMoE": frozenset(("expert_weight_bits",)),
}
"""What tells the logical shape of weights that are packed into bytes."""

BLOCKS = "MatMulNBits"

SUFFIX = "_quantized"
PARTNERS: Mapping[str, str] = {"_scale": "scale", "_zero_point": "zero"}
"""onnxruntime's quantizer calls the pieces of `w`: w_quantized, w_scale, w_zero_point."""


def logical(
    operator: str, attributes: Mapping[str, int], shape: tuple[int, ...], nbytes: int
) -> tuple[tuple[int, ...], str] | None:
    """Shape and codec of a weight that is packed into bytes; None where its attributes do not fit its bytes.

    MatMulNBits: N rows of K values in blocks, each padded to whole bytes. MatMulBnb4: N x K values, two a byte.
    GatherBlockQuantized and QMoE: several values a byte along the last axis.
    """
    if operator in ("MatMulNBits", "MatMulBnb4"):
        bits = attributes.get("bits", 4)
        whole = (attributes.get("N", 0), attributes.get("K", 0))
        fits = min(whole) > 0 and 1 <= bits <= 8 and whole[0] * whole[1] * bits <= 8 * nbytes
        # A last block that is not full is stored whole: at most 256 values more a row.
        return (whole, _code(bits)) if fits and nbytes * 8 <= whole[0] * (whole[1] + 256) * bits else None
    bits = attributes.get("bits", attributes.get("expert_weight_bits", 4))
    if bits not in (1, 2, 4, 8) or not shape:
        return None
    return (*shape[:-1], shape[-1] * (8 // bits)), _code(bits)


def _code(bits: int) -> str:
    """Codes of other widths than 2, 4 and 8 bits have no codec of their own."""
    return f"u{bits}" if bits in (2, 4, 8) else f"unknown:{bits}-bit integers"
