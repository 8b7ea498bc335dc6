"""The mixes of llama.cpp: the type that `llama-quantize` gives each tensor of a GGUF file, for each of its file types.

The rules are tables in `llama_cpp_rules`; here they are applied, in the tool's own order: which tensors it leaves
alone, the output and the embedding, the exceptions by kind of matrix and place, and at the end the replacement where
a type's block does not divide the row. A new file type is a line in `FILE_TYPES` and rows in the tables.

Held to `llama-quantize` tensor by tensor (tests/recipes/test_llama_cpp_mixes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from weigh.codecs import by_id
from weigh.recipes.llama_cpp_rules import (
    EIGHT_EXPERTS,
    EMBEDDING,
    FALCON,
    FALLBACK,
    FILE_TYPES,
    FLOATS,
    LOWEST,
    LOWEST_RULES,
    NEEDS_IMPORTANCE,
    OUTPUT,
    OWN_RULES,
    RULES,
    UNTOUCHED,
    Clause,
    Place,
)
from weigh.recipes.tensors import Stored, tensors
from weigh.types import Allotment, Model, Plan, Recipe, WeighError

__all__ = ["RECIPES", "file_type_number", "left_alone", "plan"]

ENGINE = "llama.cpp"
SOURCE = "https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp"

_VALUE_LIKE = ("attn_qkv", "attn_kv_b", "attn_v")
_ATTENTION = ("attn_qkv", "attn_kv_b", "attn_v", "attn_k", "attn_q", "attn_output")
_FEED_FORWARD = ("ffn_up", "ffn_gate", "ffn_down")
_BLOCK = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Traits:
    """What the rules ask of a model."""

    architecture: str
    layers: int
    sharing: int
    """Query heads that share a key head."""
    experts: int
    is_70b: bool
    """What llama.cpp takes for a 70B model, by its layers."""


def plan(model: Model, file_type: str, *, importance: bool | None = None) -> Plan:
    """The type of each tensor of the model's GGUF file at this file type.

    `importance` says whether there is an importance matrix, which changes a few rules; by default there is one only
    where `llama-quantize` insists. Errors: WeighError RECIPE-FAMILY (no GGUF names), RECIPE-ARCHITECTURE (rules of
    its own), RECIPE-WIDTH (a width that llama.cpp refuses for this type).
    """
    file_type = file_type.upper()
    found = sorted(tensors(model, "ggml"), key=_file_order)
    traits = _traits(model)
    if traits.architecture in OWN_RULES:
        raise WeighError(
            f"llama.cpp quantizes `{traits.architecture}` by rules of its own, which are not known here",
            rule="RECIPE-ARCHITECTURE",
        )
    given = file_type in NEEDS_IMPORTANCE if importance is None else importance
    return Plan(_id(file_type), dict(_allotted(found, traits, file_type, importance=given)))


def file_type_number(file_type: str) -> int:
    """The value of `general.file_type` in a file of this type."""
    return FILE_TYPES[file_type.upper()][0]


def _allotted(
    found: Sequence[Stored], traits: Traits, file_type: str, *, importance: bool
) -> Iterable[tuple[str, Allotment]]:
    own = FILE_TYPES[file_type][1]
    tied = all(tensor.name != "output.weight" for tensor in found)
    value_like = sum(_kind(tensor.name) in _VALUE_LIKE for tensor in found)
    seen: dict[str, int] = {}
    for tensor in found:
        left = left_alone(tensor)
        if left:
            yield tensor.name, Allotment(tensor.codec, f"{left} stays {tensor.codec}")
            continue
        if file_type in FLOATS:
            yield tensor.name, Allotment(own, f"{file_type}'s own type")
            continue
        kind = _kind(tensor.name)
        counted = "attn_v" if kind in _VALUE_LIKE else kind
        number = seen.get(counted, 0)
        seen[counted] = number + 1
        if kind in _FEED_FORWARD and traits.experts > 1 and file_type not in LOWEST:
            # Shared experts and dense layers would put the count out of step with the layers.
            number = _layer(tensor.name)
        of = value_like if counted == "attn_v" else traits.layers
        place = Place(number, of, traits.sharing, traits.experts, importance)
        codec, reason = _wanted(tensor, kind, place, traits, file_type, tied=tied)
        yield tensor.name, _fitting(tensor, codec, reason)


# ------------------------------------------------------------------------------------------------ the model


def _traits(model: Model) -> Traits:
    metadata = model.inventory.metadata
    architecture = metadata.get("general.architecture") if model.inventory.dialect == "ggml" else None
    if isinstance(architecture, str):
        layers = _first(metadata, f"{architecture}.block_count", 0)
        heads = _first(metadata, f"{architecture}.attention.head_count", 1)
        kv_heads = _first(metadata, f"{architecture}.attention.head_count_kv", heads)
        experts = _first(metadata, f"{architecture}.expert_count", 0)
    else:
        model_type = model.model_type or ""
        architecture = {"mistral": "llama", "mixtral": "llama"}.get(model_type, model_type)
        layers = model.dimensions.get("layers", 0)
        heads = model.dimensions.get("heads", 1)
        kv_heads = model.dimensions.get("kv_heads", heads)
        experts = model.dimensions.get("experts", 0)
    sharing = heads // kv_heads if kv_heads else 0
    return Traits(architecture, layers, sharing, experts, _is_70b(architecture, layers, experts, heads != kv_heads))


def _first(metadata: Mapping[str, Any], key: str, default: int) -> int:
    """A number, or that of the first layer where the file has one a layer."""
    value = metadata.get(key, default)
    if isinstance(value, Sequence) and value:
        value = value[0]
    return value if isinstance(value, int) else default


def _is_70b(architecture: str, layers: int, experts: int, grouped: bool) -> bool:
    """Source: load_arch_hparams in src/models/{llama,qwen2,olmo,deci,jais2}.cpp, type LLM_TYPE_70B."""
    if architecture == "llama":
        return layers == 80 and experts != 8 and grouped
    return (architecture, layers) in {("qwen2", 80), ("olmo", 80), ("deci", 80), ("jais2", 68)}


# -------------------------------------------------------------------------------------------------- tensors


def _file_order(tensor: Stored) -> tuple[int, str]:
    """The tool goes by layer, then by name; what lies outside the layers comes first."""
    return _layer(tensor.name), tensor.name


def _layer(name: str) -> int:
    found = _BLOCK.match(name)
    return int(found[1]) if found else -1


def _kind(name: str) -> str:
    """Category by name: the rules' own classes, or `other`."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    for kind in _ATTENTION:
        if f"{kind}.weight" in name:
            return kind
    return next((kind for kind in _FEED_FORWARD if kind in name), "other")


def left_alone(tensor: Stored) -> str:
    """What the tensor is that the tool does not quantize; empty where it does."""
    if "_norm.weight" in tensor.name:
        return "norm"
    if not tensor.name.endswith("weight"):
        return "bias" if tensor.name.endswith("bias") else "table"
    for what, pieces in UNTOUCHED.items():
        if any(piece in tensor.name for piece in pieces):
            return what
    if _rank(tensor.shape) > 1:
        return ""
    return "norm" if tensor.role == "norm" else "vector"


def _rank(shape: tuple[int, ...]) -> int:
    """ggml counts axes up to the outermost one that is longer than one."""
    outermost = next((axis for axis, size in enumerate(shape) if size > 1), len(shape) - 1)
    return len(shape) - outermost


# --------------------------------------------------------------------------------------------------- choice


def _wanted(tensor: Stored, kind: str, place: Place, traits: Traits, file_type: str, *, tied: bool) -> tuple[str, str]:
    """The type that the mix gives the tensor, whether it divides the row or not, and why."""
    own = FILE_TYPES[file_type][1]
    if kind == "output" or (kind == "token_embd" and tied):
        return _output(tensor, traits, file_type, tied=kind == "token_embd")
    if kind == "token_embd":
        codec = EMBEDDING.get(file_type, own)
        return codec, f"{file_type}'s own type" if codec == own else f"embedding gets {codec}"
    if file_type == "MXFP4_MOE":
        expert = len(tensor.shape) > 2 and tensor.shape[-3] > 1
        return ("mxfp4", "experts get mxfp4") if expert else ("q8_0", "all but the experts get q8_0")
    rules, why = _rules(kind, traits, file_type)
    clause = next((clause for clause in rules if clause.holds(place)), None)
    codec = clause.codec if clause else own
    reason = _said(kind, clause, why) if clause and codec != own else f"{file_type}'s own type"
    if kind in _VALUE_LIKE and traits.is_70b and file_type not in LOWEST and codec in ("q3_k", "q4_k"):
        return "q5_k", f"{kind} gets q5_k instead of {codec} in what llama.cpp takes for a 70B model"
    return codec, reason


def _output(tensor: Stored, traits: Traits, file_type: str, *, tied: bool) -> tuple[str, str]:
    own = FILE_TYPES[file_type][1]
    codec = OUTPUT.get(file_type, "q6_k")
    block = by_id(own).block
    subject = "tied embedding takes the output's type" if tied else "output gets"
    if traits.architecture == "falcon":
        return "q8_0", f"{subject} q8_0 in Falcon"
    if tensor.inputs % block:
        return "q8_0", f"{subject} q8_0, since width {tensor.inputs} is no multiple of {block}"
    return codec, f"{subject} {codec}"


def _rules(kind: str, traits: Traits, file_type: str) -> tuple[tuple[Clause, ...], str]:
    """The clauses for this kind of matrix, and what is special about the model if that chose them."""
    kind = "attn_v" if kind in _VALUE_LIKE else kind
    if file_type in LOWEST:
        return LOWEST_RULES.get(kind, {}).get(file_type, ()), ""
    if traits.architecture == "falcon" and kind in FALCON:
        return FALCON[kind].get(file_type, ()), "in Falcon"
    if traits.experts == 8 and kind in EIGHT_EXPERTS:
        return EIGHT_EXPERTS[kind].get(file_type, ()), "in a model with 8 experts"
    return RULES.get(kind, {}).get(file_type, ()), ""


def _said(kind: str, clause: Clause, why: str) -> str:
    return " ".join(word for word in (kind, "gets", clause.codec, clause.words, why) if word)


def _fitting(tensor: Stored, codec: str, reason: str) -> Allotment:
    """The type, or what replaces it where its block does not divide the row."""
    block = by_id(codec).block
    if tensor.inputs % block == 0:
        return Allotment(codec, reason)
    fallback = FALLBACK.get(codec, codec)
    if fallback == codec and block > 32:
        raise WeighError(
            f"`{tensor.name}` is {tensor.inputs} wide, no multiple of {block}",
            rule="RECIPE-WIDTH",
            hint=f"llama.cpp has nothing to replace {codec} by; take another type",
        )
    if tensor.inputs % by_id(fallback).block:
        fallback = "f16"
    width = f"width {tensor.inputs} is no multiple of {block}: falls back from {codec} to {fallback}"
    return Allotment(fallback, width if reason.endswith("own type") else f"{reason}; {width}")


def _recipe(file_type: str) -> Recipe:
    name = f"llama.cpp {file_type}"
    if file_type in NEEDS_IMPORTANCE:
        name += " (with an importance matrix)"
    return Recipe(_id(file_type), name, ENGINE, partial(_planned, file_type), SOURCE)


def _id(file_type: str) -> str:
    """`f16` and its like are everybody's; llama.cpp's own leave less in that type."""
    return f"gguf_{file_type.lower()}" if file_type in FLOATS else file_type.lower()


def _planned(file_type: str, model: Model) -> Plan:
    return plan(model, file_type)


RECIPES = tuple(_recipe(file_type) for file_type in FILE_TYPES)
