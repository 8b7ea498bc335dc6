"""Parameters, gradients and the optimizer's states on one device: every array cut as the layout cuts it.

Tensor parallelism cuts the matrices of attention, blocks, tables and heads; norms, routers and what is added after a
cut product stay whole. A pipeline gives each stage its layers, the first also the tables, the last the final norm and
the head. ZeRO then divides over the devices that hold the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from weigh import parts
from weigh.cost.train.layout import Layout
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.tuning import WHOLE, Tuning, adapters
from weigh.numbers import Number, chosen, rounded_up, smaller
from weigh.types import NOT_COUNTED, Model, Part, Slot

CUT = frozenset(
    {"embedding", "head", "attention_q", "attention_k", "attention_v", "attention_o", "mlp_gate", "mlp_up", "mlp_down",
     "expert", "shared_expert", "ssm", "conv"}
)  # fmt: skip
"""Roles that tensor parallelism cuts. Source: arXiv 1909.08053, section 3."""
AFTER = frozenset({"attention_o", "mlp_down"})
"""Their matrices are cut by columns, so that their biases are added once, whole."""


@dataclass(frozen=True, slots=True)
class Held:
    """An array, or the piece of one, on a device; of many layouts where the numbers are arrays."""

    shape: tuple[Number, ...]
    role: str
    parameters: Number
    group: str
    """`layers.3`, or the part's own path where it stands outside of the layers: what is gathered at once."""
    shards: Number
    """Devices that hold the same, over which ZeRO divides."""
    trained: bool
    expert: bool = False
    """One of several experts', which expert parallelism spreads."""
    stored: int | None = None
    """Bytes, where it is stored otherwise than the precision says."""

    def stored_bytes(self, precision: Precision) -> int:
        """Bytes of the array as the passes read it."""
        return self.parameters * precision.parameter if self.stored is None else self.stored


@dataclass(frozen=True, slots=True)
class ModelStates:
    """Bytes on one device of a stage."""

    parameters: Number
    gradients: Number
    master: Number
    optimizer: Number

    @property
    def total(self) -> Number:
        """All of it."""
        return self.parameters + self.gradients + self.master + self.optimizer


def stage_of(part: Part, model: Model, layout: Layout) -> int:
    """The stage that a part lies on: layers in even runs, tables first, what comes after the layers last.

    With interleaving a stage has `interleave` runs, and the model goes round the stages once a run.
    """
    if part.layer is None:
        return 0 if part.kind == "embedding" else layout.pp - 1
    run = model.dimensions["layers"] // (layout.pp * layout.interleave)
    return part.layer // run % layout.pp


def held(model: Model, layout: Layout, stage: int, tuned: Tuning = WHOLE) -> tuple[Held, ...]:
    """Every array of a stage, as one device holds it, adapters included. A tied head behind a pipeline is a copy."""
    return tuple(
        piece
        for part in model.parts
        if stage_of(part, model, layout) == stage
        for piece in pieces(part, model.dimensions, layout, piped=layout.pp > 1, tuned=tuned)
    )


def pieces(part: Part, sizes: Mapping[str, int], layout: Layout, *, piped: bool, tuned: Tuning = WHOLE) -> list[Held]:
    """The arrays of a part as one device holds them. `piped`: there are several stages, so that a tied head is one."""
    group = part.path if part.layer is None else f"layers.{part.layer}"
    found = []
    for slot in parts.slots(part):
        if slot.role in NOT_COUNTED or (slot.tied and not (piped and slot.role == "head")):
            continue
        found.append(_piece(slot, group, sizes, layout, tuned))
        if tuned.rank is not None and len(slot.shape) >= 2 and tuned.adapts(slot.role):
            found += _adapters(slot, group, sizes, layout, tuned.rank)
    return found


def _piece(slot: Slot, group: str, sizes: Mapping[str, int], layout: Layout, tuned: Tuning) -> Held:
    shape: tuple[Number, ...] = slot.shape
    shards = layout.shards
    if slot.experts is not None:
        shape = (rounded_up(shape[0], layout.ep), *shape[1:])
        shards = layout.shards // layout.ep
    whole = slot.role in AFTER and len(shape) == 1
    if slot.role in CUT and not whole and shape:
        axis = len(shape) - 1 if slot.role in AFTER else max(0, len(shape) - 2)
        shape = (*shape[:axis], _cut(shape[axis], slot.role, sizes, layout.tp), *shape[axis + 1 :])
    size = prod(shape)
    trained = not slot.frozen and tuned.trains(slot.role)
    packed = tuned.packed_bytes(slot, size)
    return Held(shape, slot.role, size, group, shards, trained, slot.experts is not None, packed)


def _adapters(slot: Slot, group: str, sizes: Mapping[str, int], layout: Layout, rank: int) -> list[Held]:
    """The two matrices of an adapter: the one on the side that is cut is cut as well, the other stays whole."""
    down, up = adapters(slot, rank)
    first = replace(slot, shape=down, tied="", frozen=False)
    second = replace(slot, shape=up, tied="", frozen=False)
    found = []
    for one, cut in ((first, slot.role in AFTER), (second, slot.role not in AFTER)):
        piece = _piece(one, group, sizes, layout if cut else replace(layout, tp=1), WHOLE)
        shards = layout.shards // (layout.ep if slot.experts is not None else 1)
        found.append(replace(piece, role="adapter", shards=shards))
    return found


def _cut(length: int, role: str, sizes: Mapping[str, int], tp: Number) -> Number:
    """Its share, rounded up; heads of keys fewer than the devices are repeated, one a device."""
    if role in ("attention_k", "attention_v"):
        tp = smaller(tp, sizes.get("kv_heads", tp))
    return rounded_up(length, tp)


def model_states(
    model: Model, layout: Layout, stage: int, optimizer: Optimizer, precision: Precision, tuned: Tuning = WHOLE
) -> ModelStates:
    """Bytes of one device of the stage, sums over its arrays.

    With P parameters on the device and n devices that hold the same, mixed-precision Adam takes 16 P; ZeRO-1
    (4 + 12/n) P, ZeRO-2 (2 + 14/n) P, ZeRO-3 16 P / n. Source: arXiv 1910.02054, section 5 and table 1.
    Frozen parameters have neither gradients nor states nor a master copy; a base of 4 bit takes 4.127 bits a weight.
    Ignores: padding of shards and of the vocabulary.
    Off by: gradients summed in float32 (Megatron-LM's default) take 2 P more, over n from ZeRO-2 on.
    """
    return states_of(held(model, layout, stage, tuned), layout, optimizer, precision)


def states_of(arrays: Iterable[Held], layout: Layout, optimizer: Optimizer, precision: Precision) -> ModelStates:
    """Bytes of these arrays on one device."""
    weights = gradients = master = states = 0
    for one in arrays:
        weights += _share(one.stored_bytes(precision), one.shards, layout.zero >= 3)
        if not one.trained:
            continue
        gradients += _share(one.parameters * precision.gradient, one.shards, layout.zero >= 2)
        master += _share(one.parameters * precision.master, one.shards, layout.zero >= 1)
        states += _share(optimizer.state(one.shape, one.role), one.shards, layout.zero >= 1)
    return ModelStates(weights, gradients, master, states)


def _share(size: Number, shards: Number, divided: Number) -> Number:
    return rounded_up(size, chosen(divided, shards, 1))
