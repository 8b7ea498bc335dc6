"""What an engine would load: the file as it is, or the file that a recipe would make of the model."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.cost.params import configured_codec
from weigh.families import family_of
from weigh.families.audit import Holding, Promise, audit, bare, held, named, promises
from weigh.once import once
from weigh.recipes import RECIPES, Planned, planned
from weigh.recipes import find as find_recipe
from weigh.types import Device, Engine, Family, Model, Piece, Recipe, Tensor

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
    kept_wider: dict[str, str]
    """Matrices that the recipe keeps in a wider codec than its narrowest ones: name to codec and reason."""
    foreign: str = ""
    """The engine whose recipe it is, where that is not the one that was asked for."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Without their roles: the same tuple at every call."""
        return _tensors(self)


@once()
def _tensors(held: Loaded) -> tuple[Tensor, ...]:
    return tuple(holding.tensor for holding in held.holdings)


def loaded(model: Model, weights: str | None, engine: Engine, device: Device | None = None) -> Loaded:
    """The model in the form that `weights` (a recipe or codec; None = as it is) names.

    A file in the engine's own dialect is loaded as it is; any other is converted without a change of codec. An engine
    that turns the file's main codec into another while it loads (`loads_as`) finds that one.
    Errors: the model's refusal where there are no parts to plan with; WeighError RECIPE-UNKNOWN, RECIPE-FAMILY.
    """
    if model.refusal is not None:
        raise model.refusal
    main = _main_codec(model) if weights is None else weights
    turned = main
    if weights is None and engine.loads_as is not None and device is not None:
        turned = engine.loads_as(main, device)
    if weights is None and turned == main and model.inventory.tensors and model.inventory.dialect == engine.dialect:
        return _stored(model)
    return _planned(model, weights, engine, turned)


@once()
def _stored(model: Model) -> Loaded:
    return Loaded(audit(model).holdings, True, "as stored", {})


@once()
def _planned(model: Model, weights: str | None, engine: Engine, turned: str) -> Loaded:
    """The file that a recipe would make; planned once, since an estimate must not wait for it again."""
    main = _main_codec(model) if weights is None else weights
    recipe = _recipe(turned, engine)
    plan = recipe.plan(model)
    holdings = _held(model, planned(model, plan))
    foreign = "" if recipe.engine in ("any", engine.id) else recipe.engine
    reasons = {name: f"{allotment.codec}: {allotment.reason}" for name, allotment in plan.tensors.items()}
    asked = f"as configured ({main})" if weights is None else weights
    if turned != main:
        asked = f"as {engine.id} loads {main} ({turned})"
    return Loaded(holdings, False, asked, _kept_wider(holdings, reasons), foreign)


def _recipe(name: str, engine: Engine) -> Recipe:
    """The recipe of that name; of a plain codec the engine's own form of it, where it has one."""
    own = f"gguf_{name.lower()}" if engine.dialect == "ggml" else ""
    return next((recipe for recipe in RECIPES if recipe.id == own), None) or find_recipe(name)


def _main_codec(model: Model) -> str:
    """What most bytes of the file are stored in; without a file the configuration's dtype."""
    if not model.inventory.tensors:
        return configured_codec(model)[0].id
    sizes: dict[str, int] = {}
    for tensor in model.inventory.tensors:
        sizes[tensor.codec] = sizes.get(tensor.codec, 0) + tensor.nbytes
    return max(sizes, key=lambda codec: sizes[codec])


def _held(model: Model, rows: tuple[Planned, ...]) -> tuple[Holding, ...]:
    """The planned tensors one behind the other, each with what its promise says of it."""
    family = family_of(model)
    table = promised(model, family, {row.name for row in rows})
    holdings = []
    offset = 0
    for row in rows:
        tensor = Tensor(row.name, row.shape, row.codec, (Piece("planned", offset, row.nbytes),))
        offset += -(-row.nbytes // ALIGNMENT) * ALIGNMENT
        promise = table.get(bare(family, row.name))
        holdings.append(named(tensor) if promise is None else held(tensor, promise))
    return tuple(holdings)


def promised(model: Model, family: Family, names: set[str]) -> dict[str, Promise]:
    """Promises by bare name, of the dialect that most of the names belong to."""
    tables = [{bare(family, p.name): p for p in promises(model, family, dialect)} for dialect in family.names]
    return max(tables, key=lambda table: sum(bare(family, name) in table for name in names))


def _kept_wider(holdings: tuple[Holding, ...], reasons: dict[str, str]) -> dict[str, str]:
    """Vectors stay as they are in every recipe: only matrices are worth telling."""
    matrices = [holding.tensor for holding in holdings if len(holding.tensor.shape) > 1 and holding.tensor.parameters]
    if not matrices:
        return {}
    bits = {tensor.name: 8 * tensor.nbytes / (tensor.parameters or 1) for tensor in matrices}
    narrowest = min(matrices, key=lambda tensor: bits[tensor.name])
    return {
        tensor.name: reasons[tensor.name]
        for tensor in matrices
        # Two tensors of one codec differ a little where scales do not divide evenly.
        if tensor.codec != narrowest.codec and bits[tensor.name] > bits[narrowest.name]
    }
