"""Parameters, gradients and the optimizer's states on one device: every array cut as the layout cuts it.

Tensor parallelism cuts the matrices of attention, blocks, tables and heads; norms, routers and what is added after a
cut product stay whole. A pipeline gives each stage its layers, the first also the tables, the last the final norm and
the head. ZeRO then divides over the devices that hold the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weigh import parts
from weigh.cost.train.layout import Layout
from weigh.cost.train.optimizers import Optimizer, Precision
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
    """An array, or the piece of one, on a device."""

    shape: tuple[int, ...]
    role: str
    parameters: int
    group: str
    """`layers.3`, or the part's own path where it stands outside of the layers: what is gathered at once."""
    shards: int
    """Devices that hold the same, over which ZeRO divides."""
    trained: bool


@dataclass(frozen=True, slots=True)
class ModelStates:
    """Bytes on one device of a stage."""

    parameters: int
    gradients: int
    master: int
    optimizer: int

    @property
    def total(self) -> int:
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


def held(model: Model, layout: Layout, stage: int) -> tuple[Held, ...]:
    """Every array of a stage, as one device holds it. A tied head behind a pipeline is a copy of the table."""
    found = []
    for part in model.parts:
        if stage_of(part, model, layout) != stage:
            continue
        group = part.path if part.layer is None else f"layers.{part.layer}"
        for slot in parts.slots(part):
            copied = slot.role == "head" and layout.pp > 1
            if slot.role in NOT_COUNTED or (slot.tied and not copied):
                continue
            found.append(_piece(slot, group, model.dimensions, layout))
    return tuple(found)


def _piece(slot: Slot, group: str, sizes: Mapping[str, int], layout: Layout) -> Held:
    shape, shards = slot.shape, layout.shards
    if slot.experts is not None:
        shape = (-(-shape[0] // layout.ep), *shape[1:])
        shards = layout.shards // layout.ep
    whole = slot.role in AFTER and len(shape) == 1
    if slot.role in CUT and not whole and shape:
        axis = len(shape) - 1 if slot.role in AFTER else max(0, len(shape) - 2)
        shape = (*shape[:axis], _cut(shape[axis], slot.role, sizes, layout.tp), *shape[axis + 1 :])
    size = 1
    for length in shape:
        size *= length
    return Held(shape, slot.role, size, group, shards, not slot.frozen)


def _cut(length: int, role: str, sizes: Mapping[str, int], tp: int) -> int:
    """Its share, rounded up; heads of keys fewer than the devices are repeated, one a device."""
    if role in ("attention_k", "attention_v"):
        tp = min(tp, sizes.get("kv_heads", tp))
    return -(-length // tp)


def model_states(model: Model, layout: Layout, stage: int, optimizer: Optimizer, precision: Precision) -> ModelStates:
    """Bytes of one device of the stage, sums over its arrays.

    With P parameters on the device and n devices that hold the same, mixed-precision Adam takes 16 P; ZeRO-1
    (4 + 12/n) P, ZeRO-2 (2 + 14/n) P, ZeRO-3 16 P / n. Source: arXiv 1910.02054, section 5 and table 1.
    Frozen parameters have neither gradients nor states. Ignores: padding of shards and of the vocabulary.
    Off by: gradients summed in float32 (Megatron-LM's default) take 2 P more, over n from ZeRO-2 on.
    """
    weights = gradients = master = states = 0
    for one in held(model, layout, stage):
        weights += _share(one.parameters * precision.parameter, one.shards, layout.zero >= 3)
        if not one.trained:
            continue
        gradients += _share(one.parameters * precision.gradient, one.shards, layout.zero >= 2)
        master += _share(one.parameters * precision.master, one.shards, layout.zero >= 1)
        states += _share(optimizer.state(one.shape, one.role), one.shards, layout.zero >= 1)
    return ModelStates(weights, gradients, master, states)


def _share(size: int, shards: int, divided: bool) -> int:
    return -(-size // shards) if divided else size
