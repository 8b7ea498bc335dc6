"""What a runtime's named mix really does to each tensor: (model, recipe) to a plan, with the reason for every tensor.

To add one: a file that ends with its `RECIPES`, an import and a line in `RECIPES` below; a mix of a runtime that is
here already is one row in that runtime's table. `docs/add-a-recipe.md` shows a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from weigh import codecs
from weigh.codecs import group_int
from weigh.recipes import groups, llama_cpp, plain
from weigh.recipes.tensors import Names, Stored, dtype, tensors
from weigh.types import Model, Plan, Recipe, Role, WeighError

__all__ = ["ALIASES", "RECIPES", "Planned", "Row", "find", "planned", "summary"]

RECIPES: Final[tuple[Recipe, ...]] = (*llama_cpp.RECIPES, *groups.RECIPES, *plain.RECIPES)

ALIASES: Final[Mapping[str, str]] = {
    "q3_k": "q3_k_m",
    "q4_k": "q4_k_m",
    "q5_k": "q5_k_m",
    "mxfp4": "mxfp4_moe",
    "int4": "w4a16",
    "gptq": "gptq_int4",
    "awq": "awq_int4",
    "int8": "w8a8",
    "nf4": "bnb_nf4",
    "fp32": "f32",
    "fp16": "f16",
    "float16": "f16",
    "bfloat16": "bf16",
}
"""Other names; the first three are llama.cpp's own."""

_BY_ID: Final = {recipe.id: recipe for recipe in RECIPES}


@dataclass(frozen=True, slots=True)
class Planned:
    """One tensor of a plan, with its exact bytes."""

    name: str
    shape: tuple[int, ...]
    codec: str
    nbytes: int
    """Scales, zeros and indices included; not what a file pads between tensors."""
    reason: str
    role: Role


@dataclass(frozen=True, slots=True)
class Row:
    """All tensors of a plan that have one codec for one reason."""

    codec: str
    reason: str
    tensors: int
    parameters: int
    nbytes: int


def find(name: str) -> Recipe:
    """The recipe of that name or alias, whatever its case, `-` as `_`; any codec id is a recipe too.

    WeighError RECIPE-UNKNOWN (exit code 2) names the nearest.
    """
    wanted = name.strip().lower().replace("-", "_")
    wanted = ALIASES.get(wanted, wanted)
    if wanted in _BY_ID:
        return _BY_ID[wanted]
    if wanted in {codec.id for codec in codecs.CODECS}:
        return plain.plain(wanted)
    near = get_close_matches(wanted, [*_BY_ID, *ALIASES], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`weigh recipes` lists them"
    raise WeighError(f"no recipe is called `{name}`", rule="RECIPE-UNKNOWN", hint=hint, exit_code=2)


def planned(model: Model, plan: Plan) -> tuple[Planned, ...]:
    """Each tensor of the plan with its bytes, in the plan's order.

    WeighError RECIPE-PLAN where the plan names a tensor that the model does not have.
    """
    found = _tensors_of(model, plan)
    floating = dtype(model)
    rows: list[Planned] = []
    for name, allotment in plan.tensors.items():
        tensor = found[name]
        size = _nbytes(tensor, allotment.codec, floating)
        rows.append(Planned(name, tensor.shape, allotment.codec, size, allotment.reason, tensor.role))
    return tuple(rows)


def summary(model: Model, plan: Plan) -> tuple[Row, ...]:
    """The plan by codec and reason, most bytes first: what the mix is, what it keeps wider, and why."""
    sums: dict[tuple[str, str], Row] = {}
    for tensor in planned(model, plan):
        key = tensor.codec, tensor.reason
        row = sums.get(key, Row(*key, 0, 0, 0))
        count = 1
        for size in tensor.shape:
            count *= size
        sums[key] = Row(*key, row.tensors + 1, row.parameters + count, row.nbytes + tensor.nbytes)
    return tuple(sorted(sums.values(), key=lambda row: -row.nbytes))


def _nbytes(tensor: Stored, codec: str, floating: str) -> int:
    layout = group_int.LAYOUTS.get(codec)
    if layout is None:
        return codecs.nbytes(codecs.by_id(codec), tensor.shape)
    matrices = 1
    for size in tensor.shape[:-2]:
        matrices *= size
    return matrices * group_int.nbytes(layout, (tensor.outputs, tensor.inputs), floating)


def _tensors_of(model: Model, plan: Plan) -> Mapping[str, Stored]:
    """The model's tensors in the dialect that the plan is written in."""
    dialects: tuple[Names, Names] = ("hf", "ggml")
    missing = ""
    for dialect in dialects:
        try:
            found = {tensor.name: tensor for tensor in tensors(model, dialect)}
        except WeighError:
            # A family without names in one dialect may have them in the other.
            continue
        missing = next((name for name in plan.tensors if name not in found), "")
        if not missing:
            return found
    raise WeighError(
        f"the plan is for another model: this one has no tensor `{missing}`" if missing else "the model has no tensors",
        rule="RECIPE-PLAN",
        exit_code=2,
    )
