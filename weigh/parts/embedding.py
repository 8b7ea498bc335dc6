"""Tables that are looked up by index: tokens, positions, token types."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Embedding:
    """A table of `rows` vectors of `width` values."""

    rows: int
    width: int
    role: str = "embedding"
    """embedding (the input token table), position, or other (token types)."""
    frozen: bool = False
    bias: bool = False
    """A single vector that is added rather than looked up: one axis only, and called `bias`."""


def slots(part: Embedding) -> tuple[Slot, ...]:
    """One array of (rows, width), or of (width) where it is a bias."""
    if part.bias:
        return (Slot("bias", (part.width,), part.role, frozen=part.frozen),)
    return (Slot("weight", (part.rows, part.width), part.role, frozen=part.frozen),)


def flops(_part: Embedding, _step: Pass) -> int:
    """A look-up multiplies nothing; its gradient only scatters."""
    return 0


def remembers(_part: Embedding) -> State | None:
    """Nothing."""
    return None


EMBEDDING = PartKind(
    id="embedding",
    dimensions=Embedding,
    slots=slots,
    forward=flops,
    backward=flops,
    remembers=remembers,
    source="https://arxiv.org/abs/1706.03762",
    example=Embedding(rows=7, width=4),
)
