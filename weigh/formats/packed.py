"""Folds what quantizers store for a matrix back into the tensor that it stands for, so that totals are the model's.

A matrix may be stored as packed integers with scales, zero points and an order of the inputs beside them. Here they
become pieces of one tensor with the name, shape and count of the original. Layouts are told by the names, types and
shapes of the tensors, and by `quantization_config` where those leave it open. What does not fit together is left as it
is stored, with a warning. To add a layout: a function from the stored tensor to what it stands for, and a line in
`LAYOUTS`; the sources of the layouts are those of `weigh/codecs/group_int.py`, and for blocks and scales
https://github.com/huggingface/transformers/blob/main/src/transformers/integrations/mxfp4.py.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

from weigh import codecs, files
from weigh.codecs import group_int
from weigh.types import Inventory, Limits, Piece, Tensor

Kind = Literal["data", "scale", "zero", "index"]
Parts = Mapping[str, Kind]

BESIDE: Parts = {
    ".absmax": "scale", ".quant_map": "scale", ".nested_absmax": "scale", ".nested_quant_map": "scale",
    ".quant_state.bitsandbytes__nf4": "index", ".quant_state.bitsandbytes__fp4": "index",
}  # fmt: skip
"""What bitsandbytes stores beside a 4-bit weight, behind its whole name."""
SCALES: Parts = {
    "_scale": "scale", "_scale_inv": "scale", "_scale_2": "scale", "_global_scale": "scale", "_zero_point": "zero",
    "_shape": "index", "_g_idx": "index",
}  # fmt: skip
"""What stands behind `weight`."""
MODULE: Parts = {".SCB": "scale", ".weight_format": "index"}
"""What bitsandbytes stores beside an 8-bit weight."""
GROUPED: Parts = {".qzeros": "zero", ".scales": "scale", ".g_idx": "index", ".bias_zero": "index"}
ACTIVATIONS = (
    ".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point",
    ".activation_scale", ".k_scale", ".v_scale", ".q_scale", ".prob_scale", ".kv_scale",
)  # fmt: skip
"""Of what flows through a layer, not of its weight: buffers."""
MARKS = (".qweight", ".weight_packed", "_blocks", "_scale", "_scale_inv", ".SCB", *BESIDE)
"""No quantized file is without one of these names."""
SMALL = (".weight_shape", ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
SMALL_BYTES = 4096
WORD = 32
FLOAT8 = ("f8_e4m3", "f8_e5m2", "f8_e4m3fnuz", "f8_e5m2fnuz")


@dataclass(frozen=True, slots=True)
class Store:
    """The tensors of the files by name, and what decides between layouts."""

    tensors: Mapping[str, Tensor]
    small: Mapping[str, bytes]
    settings: Mapping[str, Any]

    def codec(self, layout: str, otherwise: str) -> str:
        """A codec of that very layout where there is one."""
        return layout if layout in group_int.LAYOUTS else codecs.by_id(otherwise).id


@dataclass(frozen=True, slots=True)
class Whole:
    """What a stored tensor stands for, and the names of the tensors that belong to it."""

    name: str
    shape: tuple[int, ...]
    codec: str
    parts: Parts
    layout: str = ""
    """A key of `packed_values.LAYOUTS`."""


def logical(inventory: Inventory, limits: Limits) -> Inventory:
    """The inventory with every packed matrix as one tensor. One without packed tensors comes back as it is."""
    if inventory.dialect != "hf" or not any(tensor.name.endswith(MARKS) for tensor in inventory.tensors):
        return inventory
    named = {tensor.name: tensor for tensor in inventory.tensors}
    if len(named) != len(inventory.tensors):
        return inventory
    store = Store(named, _small(inventory, limits), _settings(inventory))
    made: dict[str, Tensor] = {}
    used: set[str] = set()
    odd: list[str] = []
    for tensor in inventory.tensors:
        for suffix, read in LAYOUTS:
            if not tensor.name.endswith(suffix):
                continue
            whole = read(tensor, tensor.name.removesuffix(suffix), store)
            if whole is None:
                odd += [tensor.name] if suffix in (".qweight", ".weight_packed") else []
                continue
            if whole.name != tensor.name and (whole.name in named or whole.name in used):
                odd.append(tensor.name)
                continue
            made[tensor.name] = _joined(tensor, whole, named)
            used |= {whole.name, *whole.parts}
            break
    warnings = inventory.warnings
    if odd:
        listed = ", ".join(odd[:3])
        warnings += (f"{len(odd)} packed tensors do not fit what lies beside them, counted as stored: {listed[:300]}",)
    kept = [
        made.get(tensor.name) or _activation(tensor)
        for tensor in inventory.tensors
        if tensor.name in made or tensor.name not in used
    ]
    return replace(inventory, tensors=tuple(kept), warnings=warnings)


def _joined(tensor: Tensor, whole: Whole, named: Mapping[str, Tensor]) -> Tensor:
    pieces = [replace(piece, shape=tensor.shape, codec=tensor.codec) for piece in tensor.pieces]
    for name, kind in whole.parts.items():
        held = named[name]
        pieces += [replace(piece, kind=kind, shape=held.shape, codec=held.codec) for piece in held.pieces]
    # Pieces in steps of their own or of an unknown type are counted, not put together.
    readable = all(not piece.strides and not piece.codec.startswith("unknown:") for piece in pieces)
    return Tensor(whole.name, whole.shape, whole.codec, tuple(pieces), layout=whole.layout if readable else "")


def _activation(tensor: Tensor) -> Tensor:
    return replace(tensor, buffer=True) if tensor.name.endswith(ACTIVATIONS) else tensor


def _settings(inventory: Inventory) -> Mapping[str, Any]:
    found = (inventory.configuration or {}).get("quantization_config")
    return found if isinstance(found, dict) else {}


def _small(inventory: Inventory, limits: Limits) -> Mapping[str, bytes]:
    """The values of the few tensors that hold a shape, each file opened once."""
    wanted: dict[str, list[tuple[str, Piece]]] = {}
    total = 0
    for tensor in inventory.tensors:
        if tensor.name.endswith(SMALL) and len(tensor.pieces) == 1 and tensor.nbytes <= SMALL_BYTES:
            total += tensor.nbytes
            if total > limits.header_bytes:
                break
            wanted.setdefault(tensor.pieces[0].file, []).append((tensor.name, tensor.pieces[0]))
    found: dict[str, bytes] = {}
    for file_name, pieces in wanted.items():
        with files.opened(Path(inventory.folder), file_name) as file:
            for name, piece in pieces:
                found[name] = files.read_at(file, piece.offset, piece.nbytes)
    return found


def _there(base: str, suffixes: Parts, store: Store) -> dict[str, Kind]:
    """Those of the names that the files hold."""
    return {base + suffix: kind for suffix, kind in suffixes.items() if base + suffix in store.tensors}


# ---------------------------------------------------------------------------------------------------- layouts


def _grouped(tensor: Tensor, base: str, store: Store) -> Whole | None:
    """GPTQ and AWQ: 32-bit words of codes, scales (groups, outputs).

    GPTQ packs along the inputs, (inputs * bits / 32, outputs); AWQ along the outputs, (inputs, outputs * bits / 32).
    """
    scales = store.tensors.get(base + ".scales")
    if scales is None or len(tensor.shape) != 2 or len(scales.shape) != 2 or tensor.codec not in ("i32", "u32"):
        return None
    rows, columns = tensor.shape
    groups, outputs = scales.shape
    order = store.tensors.get(base + ".g_idx")
    if columns == outputs:
        bits = store.settings.get("bits", store.settings.get("w_bit", 4))
        inputs = (0 if order is None else prod(order.shape)) or _divided(rows * WORD, bits)
        method = "gptq"
    else:
        inputs = rows
        method = "awq"
    bits = _divided(rows * columns * WORD, inputs * outputs)
    if bits not in (2, 3, 4, 8) or not groups:
        return None
    codec = store.codec(f"{method}_int{bits}_g{_divided(inputs, groups)}", f"u{bits}")
    return Whole(base + ".weight", (outputs, inputs), codec, _there(base, GROUPED, store), method)


def _divided(value: int, by: object) -> int:
    """The quotient where it is whole, else 0."""
    return value // by if type(by) is int and by > 0 and value % by == 0 else 0


def _compressed(tensor: Tensor, base: str, store: Store) -> Whole | None:
    """compressed-tensors: words of codes with the shape beside them, or 4-bit floats, two a byte."""
    parts = _there(base + ".weight", SCALES, store)
    scale = store.tensors.get(base + ".weight_scale")
    if scale is None or len(tensor.shape) < 2:
        return None
    if tensor.codec in ("u8", "f4"):
        return _float4(tensor, base + ".weight", scale, parts)
    said = store.small.get(base + ".weight_shape", b"")
    shape = struct.unpack(f"<{len(said) // 8}q", said) if said and len(said) % 8 == 0 else ()
    if len(shape) != len(tensor.shape) or tensor.shape[:-1] != shape[:-1] or shape[-1] <= 0:
        return None
    stored = tensor.shape[-1] * WORD
    bits = stored // shape[-1]
    # The last word of a row may not be full: less than 32 bits are left over.
    if tensor.codec != "i32" or bits not in (2, 3, 4, 8) or stored - shape[-1] * bits >= WORD:
        return None
    groups = scale.shape[-1] if len(scale.shape) > 1 else 1
    uneven = "_asym" if base + ".weight_zero_point" in parts else ""
    layout = f"int{bits}_g{_divided(shape[-1], groups)}{uneven}"
    if groups == 1 and bits == 8 and not uneven:
        layout = "int8_channel_packed"
    return Whole(base + ".weight", shape, store.codec(layout, f"u{bits}"), parts, "packed")


def _float4(tensor: Tensor, name: str, scale: Tensor, parts: Parts) -> Whole | None:
    """4-bit floats, two a byte, a scale for 16 (nvfp4) or 32 (mxfp4) of them."""
    shape = (*tensor.shape[:-1], tensor.shape[-1] * (2 if tensor.codec == "u8" else 1))
    group = _divided(prod(shape), prod(scale.shape))
    if group not in (16, 32) or scale.shape[:-1] != shape[:-1]:
        return None
    layout = "nvfp4_over" if f"{name}_global_scale" in parts else "nvfp4_times"
    return Whole(name, shape, "nvfp4" if group == 16 else "mxfp4", parts, layout)


def _blocks(tensor: Tensor, base: str, store: Store) -> Whole | None:
    """MXFP4 of experts: (experts, outputs, inputs / 32, 16 bytes), a scale for each 32; the class has inputs first."""
    scales = store.tensors.get(base + "_scales")
    if scales is None or len(tensor.shape) < 3 or tensor.shape[-1] != 16 or tensor.codec != "u8":
        return None
    if scales.shape != tensor.shape[:-1]:
        return None
    *outer, outputs, groups = tensor.shape[:-1]
    return Whole(base, (*outer, groups * 32, outputs), "mxfp4", {base + "_scales": "scale"}, "mxfp4_experts")


def _scaled(tensor: Tensor, base: str, store: Store) -> Whole | None:
    """A weight under its own name, with scales beside it: fp8, int8, bitsandbytes, 4-bit floats."""
    name = base + ".weight"
    state = next((store.small[name + suffix] for suffix in BESIDE if name + suffix in store.small), None)
    if state is not None:
        return _bitsandbytes(tensor, name, state, store)
    if base + ".SCB" in store.tensors and tensor.codec == "i8":
        return Whole(name, tensor.shape, "bnb_int8", _there(base, MODULE, store), "bnb_int8")
    parts = _there(name, SCALES, store)
    scale = store.tensors.get(name + "_scale_inv") or store.tensors.get(name + "_scale")
    if scale is None or not parts:
        return None
    if tensor.codec in ("u8", "f4") and len(tensor.shape) >= 2:
        return _float4(tensor, name, scale, parts)
    if tensor.codec not in (*FLOAT8, "i8"):
        return None
    return Whole(name, tensor.shape, _byte_codec(tensor, scale), parts, "affine")


def _experts(tensor: Tensor, base: str, store: Store) -> Whole | None:
    """The matrices of all experts in one tensor without `.weight` behind its name, in fp8."""
    name = base + "_proj"
    parts = _there(name, SCALES, store)
    return Whole(name, tensor.shape, tensor.codec, parts, "affine") if parts and tensor.codec in FLOAT8 else None


def _byte_codec(tensor: Tensor, scale: Tensor) -> str:
    """The layout by the number of scales: one, one a row, or one a block."""
    rows = tensor.shape[0] if tensor.shape else 1
    count = prod(scale.shape)
    if tensor.codec == "i8":
        return "int8_channel" if count == rows else "i8"
    if tensor.codec != "f8_e4m3":
        return tensor.codec
    if len(tensor.shape) == 2 and scale.shape == tuple(-(-extent // 128) for extent in tensor.shape):
        return "fp8_block128"
    if count == 1:
        return "fp8_tensor"
    return "fp8_channel" if count == rows else tensor.codec


def _bitsandbytes(tensor: Tensor, name: str, state: bytes, store: Store) -> Whole | None:
    """Two codes a byte in a flat array; the shape stands in a text of JSON beside it."""
    try:
        told = json.loads(state)
        shape = tuple(told["shape"])
        nested = told.get("quant_type"), told.get("blocksize")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not all(type(extent) is int and extent > 0 for extent in shape) or len(shape) > 8:
        return None
    if (prod(shape) + 1) // 2 != tensor.nbytes:
        return None
    codec = "bnb_nf4" if nested == ("nf4", 64) else "u4"
    return Whole(name, shape, codec, _there(name, BESIDE, store), "bnb_4bit")


LAYOUTS: tuple[tuple[str, Callable[[Tensor, str, Store], Whole | None]], ...] = (
    (".qweight", _grouped),
    (".weight_packed", _compressed),
    ("_blocks", _blocks),
    (".weight", _scaled),
    ("_proj", _experts),
)
