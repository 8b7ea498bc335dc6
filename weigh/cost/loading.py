"""What an engine would load: the file as it is, or the file that a recipe would make of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weigh.codecs import by_id, nbytes
from weigh.cost.params import configured_codec
from weigh.families import family_of
from weigh.families.audit import Holding, Promise, audit, held, stacked_promises
from weigh.recipes import find as find_recipe
from weigh.types import Allotment, Dialect, Model, Piece, Tensor, WeighError

ALIGNMENT = 32
"""Bytes to which tensors are aligned in a file; GGUF's default."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tensors that an engine finds, with the roles that they play."""

    holdings: tuple[Holding, ...]
    as_stored: bool
    """They are those of a file that exists."""
    weights: str
    """What was asked for: `as stored`, a codec or a recipe."""
    reasons: dict[str, str]
    """Where a recipe kept a tensor in another codec than its name says: the reason by tensor."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Without their roles."""
        return tuple(holding.tensor for holding in self.holdings)


def loaded(model: Model, weights: str | None, dialect: Dialect) -> Loaded:
    """The model in the form that `weights` (a recipe or codec; None = as it is) names.

    Errors: the model's refusal where there are no parts to plan with; WeighError RECIPE-UNKNOWN.
    """
    if model.refusal is not None:
        raise model.refusal
    if weights is None and model.inventory.tensors and model.inventory.dialect == dialect:
        return Loaded(audit(model).holdings, True, "as stored", {})
    if weights is None and model.inventory.tensors:
        return _converted(model, dialect)
    if weights is None:
        codec = configured_codec(model)[0].id
        return _planned(model, dialect, codec, lambda _: Allotment(codec, "as the configuration's dtype"))
    plan = find_recipe(weights).plan(model)
    return _planned(model, dialect, weights, lambda promise: plan.tensors[promise.name])


def _converted(model: Model, dialect: Dialect) -> Loaded:
    """A file of another dialect, converted without change of codec: what most tensors are stored in."""
    codecs: dict[str, int] = {}
    for tensor in model.inventory.tensors:
        codecs[tensor.codec] = codecs.get(tensor.codec, 0) + tensor.nbytes
    codec = max(codecs, key=lambda name: codecs[name])
    return _planned(model, dialect, codec, lambda _: Allotment(codec, "as most of the file"))


def _planned(model: Model, dialect: Dialect, name: str, choose: Callable[[Promise], Allotment]) -> Loaded:
    family = family_of(model)
    used = dialect if dialect in family.names else "hf"
    holdings = []
    reasons = {}
    offset = 0
    for promise in stacked_promises(model, family, used):
        if promise.optional:
            continue
        allotment = choose(promise)
        if allotment.codec != name and len(promise.shape) > 1:
            reasons[promise.name] = f"{allotment.codec}: {allotment.reason}"
        size = nbytes(by_id(allotment.codec), promise.shape)
        tensor = Tensor(promise.name, promise.shape, allotment.codec, (Piece("planned", offset, size),))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
        holdings.append(held(tensor, promise))
    if not holdings:
        raise WeighError(
            "the model has no tensors that could be stored", rule="PLAN-EMPTY", path=model.inventory.source
        )
    return Loaded(tuple(holdings), False, name, reasons)
