"""What a runtime's named mix really does to each tensor: (model, recipe) to a plan, with the reason for every tensor.

To add one: a file that ends with its `RECIPES`, an import and a line in `RECIPES` below; a mix of a runtime that is
here already is one row in that runtime's table. `docs/add-a-recipe.md` shows a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import Final

from weigh import codecs
from weigh.codecs import group_int
from weigh.recipes import groups, llama_cpp, plain
from weigh.recipes.tensors import Names, Stored, tensors
from weigh.types import Model, Plan, Recipe, Role, WeighError

__all__ = ["ALIASES", "RECIPES", "Planned", "Row", "find", "planned", "summary", "wider"]

RECIPES: Final[tuple[Recipe, ...]] = (*llama_cpp.RECIPES, *groups.RECIPES, *plain.RECIPES)

ALIASES: Final[Mapping[str, str]] = {
    "q3_k": "q3_k_m",
    "q4_k": "q4_k_m",
    "q5_k": "q5_k_m",
    "int4": "w4a16",
    "int8": "w8a8",
    "gptq": "gptq_int4",
    "awq": "awq_int4",
    "nf4": "bnb_nf4",
    "float32": "f32",
    "fp32": "f32",
    "float16": "f16",
    "fp16": "f16",
    "bfloat16": "bf16",
    **groups.BY_CODEC,
}
"""Other names. The first three are llama.cpp's own; the last ones are the codecs of groups."""

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

    @property
    def bits(self) -> float:
        """Bits a parameter, scales included; 0 where there are none."""
        return 8 * self.nbytes / self.parameters if self.parameters else 0.0


def find(name: str) -> Recipe:
    """The recipe of that name or alias, whatever its case, with `-` for `_` if you like; any codec id is one too.

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
    rows: list[Planned] = []
    for name, allotment in plan.tensors.items():
        tensor = found[name]
        size = _nbytes(tensor, allotment.codec)
        rows.append(Planned(name, tensor.shape, allotment.codec, size, allotment.reason, tensor.role))
    return tuple(rows)


def summary(model: Model, plan: Plan) -> tuple[Row, ...]:
    """The plan by codec and reason, most bytes first."""
    sums: dict[tuple[str, str], Row] = {}
    for tensor in planned(model, plan):
        key = tensor.codec, tensor.reason
        row = sums.get(key, Row(*key, 0, 0, 0))
        parameters = row.parameters + prod(tensor.shape)
        sums[key] = Row(*key, row.tensors + 1, parameters, row.nbytes + tensor.nbytes)
    return tuple(sorted(sums.values(), key=lambda row: -row.nbytes))


def wider(model: Model, plan: Plan) -> tuple[Row, ...]:
    """What the plan keeps wider than its narrowest tensors, and why, most bytes first."""
    rows = summary(model, plan)
    narrowest = min((row.bits for row in rows if row.parameters), default=0.0)
    return tuple(row for row in rows if row.bits > narrowest)


def _nbytes(tensor: Stored, codec: str) -> int:
    layout = group_int.LAYOUTS.get(codec)
    if layout is None:
        return codecs.nbytes(codecs.by_id(codec), tensor.shape)
    # A layout packs along the inputs, which GPT-2 stores first.
    return group_int.nbytes(layout, (*tensor.shape[:-2], tensor.outputs, tensor.inputs), tensor.codec)


def _tensors_of(model: Model, plan: Plan) -> Mapping[str, Stored]:
    """The model's tensors in the dialect that the plan is written in."""
    dialects: tuple[Names, ...] = ("ggml", "hf") if "token_embd.weight" in plan.tensors else ("hf", "ggml")
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
