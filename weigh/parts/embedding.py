"""Tables that are looked up by index: tokens, positions, token types."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


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


def remembers(_part: Embedding) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Embedding, step: Pass) -> tuple[Kept, ...]:
    """The indices that were looked up, one array for all tables; a vector that is added keeps nothing."""
    if part.bias:
        return ()
    return (Kept("indices", step.tokens * step.batch, "index", "sequence", shared=True),)


EMBEDDING = PartKind(
    id="embedding",
    dimensions=Embedding,
    slots=slots,
    forward=flops,
    backward=flops,
    remembers=remembers,
    divides=("rows",),
    source="https://arxiv.org/abs/1706.03762",
    keeps=keeps,
    example=Embedding(rows=7, width=4),
)
