"""One codec for every matrix, as a file in plain bf16 or fp8 has it: norms, biases and buffers stay as they are.

The names are those of the model's own file, or Hugging Face's for a configuration; a codec that only GGUF files know
goes by their names. `plain(codec id)` makes the recipe; nothing has to be added.
"""

from __future__ import annotations

from functools import partial

from weigh.codecs import by_id
from weigh.recipes.llama_cpp import left_alone
from weigh.recipes.tensors import Names, Stored, names, tensors
from weigh.types import Allotment, Codec, Model, Plan, Recipe, WeighError

__all__ = ["RECIPES", "plain"]

_NOT_FOR_WEIGHTS = frozenset({"bool", "c64", "q8_1", "q8_k", "f8_e8m0"})
"""Truth values, complex numbers, the runtime's own activations, and scales."""


def plain(codec_id: str) -> Recipe:
    """The recipe of that codec. WeighError RECIPE-UNKNOWN where weights are not stored so, CODEC-UNKNOWN."""
    codec = by_id(codec_id)
    if codec.id in _NOT_FOR_WEIGHTS or codec.id.rstrip("0123456789") in ("i", "u"):
        raise WeighError(
            f"weights are not stored as {codec.name}",
            rule="RECIPE-UNKNOWN",
            hint="`weigh recipes` lists what they are stored as",
            exit_code=2,
        )
    return Recipe(codec.id, f"{codec.name} in every matrix", "any", partial(_plan, codec.id), codec.reference)


def _plan(codec_id: str, model: Model) -> Plan:
    codec = by_id(codec_id)
    dialect = _dialect(model, codec)
    found = tensors(model, dialect)
    return Plan(codec_id, {tensor.name: _allotment(tensor, codec, dialect) for tensor in found})


def _dialect(model: Model, codec: Codec) -> Names:
    if codec.ggml_type is None:
        return "hf"
    return "ggml" if codec.safetensors is None else names(model)


def _allotment(tensor: Stored, codec: Codec, dialect: Names) -> Allotment:
    left = left_alone(tensor) if dialect == "ggml" else _left_alone(tensor)
    if left:
        return Allotment(tensor.codec, f"{left} stays {tensor.codec}")
    row = tensor.shape[-1]
    if row % codec.block:
        stays = "f16" if dialect == "ggml" else tensor.codec
        return Allotment(stays, f"width {row} is no multiple of {codec.block}: stays {stays}")
    return Allotment(codec.id, f"every matrix gets {codec.id}")


def _left_alone(tensor: Stored) -> str:
    """What the tensor is that stays as it is; empty where it is a matrix."""
    if tensor.role in ("norm", "buffer"):
        return tensor.role
    if len(tensor.shape) > 1:
        return ""
    return "bias" if tensor.name.endswith("bias") else "vector"


RECIPES = tuple(plain(codec_id) for codec_id in ("f32", "bf16", "f16", "f8_e4m3"))
