"""An array that stands alone: class tokens, layer scales, tables of biases, indices."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Array:
    """Values that are added, multiplied elementwise or looked up. An empty shape is a single value."""

    shape: tuple[int, ...]
    role: str = "other"
    frozen: bool = False
    tied: str = ""
    """Address and key of the slot that it is another name of."""


def slots(part: Array) -> tuple[Slot, ...]:
    """The array, of its own shape."""
    return (Slot("weight", part.shape, part.role, tied=part.tied, frozen=part.frozen),)


def flops(_part: Array, _step: Pass) -> int:
    """Elementwise work is not counted."""
    return 0


def remembers(_part: Array) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Array, _step: Pass) -> tuple[Kept, ...] | None:
    """Nothing of what is added or is another name; of what is multiplied the factor, which is not known here."""
    return () if part.tied or part.role in ("position", "buffer", "embedding") else None


ARRAY = PartKind(
    id="array",
    dimensions=Array,
    slots=slots,
    forward=flops,
    backward=flops,
    remembers=remembers,
    source="https://arxiv.org/abs/2010.11929",
    keeps=keeps,
    example=Array(shape=(1, 2, 3)),
)
