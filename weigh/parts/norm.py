"""Normalisation: root-mean-square, layer and batch."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm over `width` values (layer, root mean square) or channels (batch)."""

    width: int
    weight: bool = True
    bias: bool = False
    running: bool = False
    """Batch norm keeps a running mean and variance and a step count: buffers, not parameters."""


def slots(part: Norm) -> tuple[Slot, ...]:
    """Gain and bias of (width), if present; for batch norm also the buffers."""
    held: list[Slot] = []
    if part.weight:
        held.append(Slot("weight", (part.width,), "norm"))
    if part.bias:
        held.append(Slot("bias", (part.width,), "norm"))
    if part.running:
        held.append(Slot("running_mean", (part.width,), "buffer"))
        held.append(Slot("running_var", (part.width,), "buffer"))
        held.append(Slot("num_batches_tracked", (), "buffer"))
    return tuple(held)


def flops(_part: Norm, _step: Pass) -> int:
    """Elementwise work is not counted: for width w it is about 5/w of one w x w product."""
    return 0


def remembers(_part: Norm) -> State | None:
    """Nothing."""
    return None


NORM = PartKind(
    id="norm",
    dimensions=Norm,
    slots=slots,
    forward=flops,
    backward=flops,
    remembers=remembers,
    source="https://arxiv.org/abs/1910.07467",
    example=Norm(width=4, bias=True),
)
