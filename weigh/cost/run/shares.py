"""What each device holds of a model that is spread, as a job of its own.

A share is the job that one device would run if there were nothing else: the parts of its stage, each divided by the
degree of tensor parallelism, and the tensors that hold them. Engines see a share as they see any job, so that none of
them knows of parallelism. A new kind of layer says what divides it (`PartKind.divides`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

from weigh import parts
from weigh.cost.loading import promised
from weigh.cost.run.split import Held, Split, held_by, layers_of
from weigh.families import family_of
from weigh.families.audit import bare
from weigh.families.roles import role_and_layer
from weigh.types import Device, Engine, Job, Model, Part, Piece, Slot, Tensor

HOST = Device("host", "a host that was not named", "", "host")
"""Stands for a host of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Share:
    """What each device of a stage holds."""

    stage: int
    """From 0; -1 is the host."""
    devices: int
    """That hold as much."""
    layers: range
    job: Job


def shares(job: Job, split: Split, engine: Engine) -> tuple[Share, ...]:
    """One share for each stage, and first that of the host where layers are offloaded.

    The first stage has what stands before the layers, the last what stands behind them, and where these share the
    token table both have it. llama.cpp leaves the table with the host, unless the head is tied to it.
    """
    work = replace(job.workload, batch=-(-job.workload.batch // split.copies))
    job = replace(job, workload=work)
    if split.tp == split.pp == 1 and not split.offloaded:
        return (Share(0, split.copies, range(len(layers_of(job.model))), job),)
    job = replace(job, stages=split.pp)
    tied = _is_tied(job)
    found: list[Share] = []
    for stage, (on_host, held) in enumerate(held_by(job.model, split, engine), start=-1 if split.offloaded else 0):
        run = range(held.run.start, held.run.stop)
        if on_host:
            found.append(Share(-1, 1, run, _share(replace(job, device=split.host or HOST), held, 1)))
            places = _places(job)
            # A token table is looked up and never multiplied, so it is never lent.
            lent = [tensor.nbytes for tensor in found[0].job.tensors if places[tensor.name].layer is not None]
            job = replace(job, fetched=max(lent, default=0))
            continue
        first = held.first and engine.dialect != "ggml"
        here = replace(held, table=first or (held.last and tied))
        found.append(Share(stage, split.tp * split.copies, run, _share(job, here, split.tp)))
    return tuple(found)


def _share(job: Job, held: Held, tp: int) -> Job:
    """The job with the parts and tensors of one device; cut once, and kept for the next question."""
    known = _known(job)
    found = known.cut.get((held, tp))
    if found is None:
        found = known.cut[held, tp] = (_model(job.model, held, tp), _tensors(job, known.places, held, tp))
    return replace(job, model=found[0], tensors=found[1])


def _model(model: Model, held: Held, tp: int) -> Model:
    before = before_the_layers(model)
    kept = tuple(parts.cut(part, tp) for part in model.parts if is_here(part.layer, part.path, before, held))
    sizes = {**model.dimensions, "layers": len(held.layers)}
    for name in ("heads", "kv_heads"):
        if name in sizes:
            sizes[name] = -(-sizes[name] // tp)
    return replace(model, parts=kept, dimensions=sizes)


def _tensors(job: Job, places: Mapping[str, _Place], held: Held, tp: int) -> tuple[Tensor, ...]:
    return tuple(
        _divided(tensor, _left(place, tp)) for tensor in job.tensors if _has(place := places[tensor.name], held)
    )  # fmt: skip


def is_here(layer: int | None, path: str, before: frozenset[str], held: Held) -> bool:
    """Whether a part at this place belongs to the stage."""
    return _has(_Place(layer, path in before, path == "embedding"), held)


def _has(place: _Place, held: Held) -> bool:
    if place.layer is not None:
        return place.layer in held.layers or (held.last and place.ahead)
    if place.table:
        return held.table
    return held.first if place.entrance else held.last


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor or a part stands, and which slots lie in it."""

    layer: int | None
    entrance: bool
    table: bool
    slots: tuple[tuple[Part, Slot], ...] = ()
    ahead: bool = False
    """Of a layer for multi-token prediction, which stands behind all others."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found of a model in one form."""

    model: Model
    tensors: tuple[Tensor, ...]
    """These two are kept so that no other object can get their identity."""
    places: Mapping[str, _Place]
    cut: dict[tuple[Held, int], tuple[Model, tuple[Tensor, ...]]]


_KNOWN: OrderedDict[tuple[int, int], _Known] = OrderedDict()
_MOST_KNOWN = 4


def _known(job: Job) -> _Known:
    """Place of every tensor, found once for a model and its tensors."""
    key = (id(job.model), id(job.tensors))
    found = _KNOWN.get(key)
    if found is None:
        found = _KNOWN[key] = _Known(job.model, job.tensors, _find_places(job), {})
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.popitem(last=False)
    return found


def _places(job: Job) -> Mapping[str, _Place]:
    return _known(job).places


def _find_places(job: Job) -> dict[str, _Place]:
    family = family_of(job.model)
    table = promised(job.model, family, {tensor.name for tensor in job.tensors})
    numbers = layers_of(job.model)
    past = numbers[-1] + 1 if numbers else 0
    places = {}
    for tensor in job.tensors:
        promise = table.get(bare(family, tensor.name))
        if promise is None:
            role, layer = role_and_layer(tensor.name)
            outside = layer is None and role in ("embedding", "position", "buffer")
            places[tensor.name] = _Place(layer, outside, False, ahead=layer is not None and layer >= past)
            continue
        part = promise.slots[0][0]
        places[tensor.name] = _Place(part.layer, promise.entrance, part.path == "embedding", promise.slots)
    return places


def before_the_layers(model: Model) -> frozenset[str]:
    """Paths of the parts that stand before the first layer."""
    found = []
    for part in model.parts:
        if part.layer is not None:
            break
        found.append(part.path)
    return frozenset(found)


def _is_tied(job: Job) -> bool:
    """Whether the head is the token table: it is stored once and needed twice."""
    return not any(
        slot.role == "head" and not slot.tied and len(slot.shape) > 1
        for place in _places(job).values()
        for _, slot in place.slots
    )


def _left(place: _Place, tp: int) -> tuple[int, int]:
    """(parameters of a device, of all) of the slots that lie in a tensor."""
    if tp == 1 or not place.slots:
        return 1, 1
    whole = left = 0
    for part, slot in place.slots:
        mine = _cut_sizes(part.kind, part.dimensions, tp)
        whole += prod(slot.shape)
        left += mine.get(slot.key, prod(slot.shape))
    return left, whole


@lru_cache(maxsize=256)
def _cut_sizes(kind: str, dimensions: Any, tp: int) -> Mapping[str, int]:
    """Values of each slot of such a layer on one device; layers of one model are mostly alike."""
    return {slot.key: prod(slot.shape) for slot in parts.slots(parts.cut(Part(kind, "", dimensions), tp))}


def _divided(tensor: Tensor, share: tuple[int, int]) -> Tensor:
    left, whole = share
    if left == whole:
        return tensor
    size = -(-tensor.nbytes * left // whole)
    shape = (-(-tensor.shape[0] * left // whole), *tensor.shape[1:]) if tensor.shape else tensor.shape
    file = tensor.pieces[0].file if tensor.pieces else ""
    return replace(tensor, shape=shape, pieces=(Piece(file, 0, size),))
