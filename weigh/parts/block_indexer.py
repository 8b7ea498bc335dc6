"""An indexer beside grouped attention: a few small heads score all keys, and the best blocks are attended to."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class BlockIndexer:
    """`heads` queries of `head_dim` values against one key a token."""

    width: int
    heads: int
    head_dim: int


def slots(part: BlockIndexer) -> tuple[Slot, ...]:
    """q (heads x head_dim, width), k (head_dim, width), and a gain for each."""
    return (
        Slot("q.weight", (part.heads * part.head_dim, part.width), "attention_q"),
        Slot("k.weight", (part.head_dim, part.width), "attention_k"),
        Slot("q_norm.weight", (part.head_dim,), "norm"),
        Slot("k_norm.weight", (part.head_dim,), "norm"),
    )


def forward(part: BlockIndexer, step: Pass) -> int:
    """Both matrices once a token, and 2 x heads x head_dim for every pair of a token and one before it.

    Left out: the maxima over blocks and the choice of the best.
    """
    pairs = step.tokens * step.past + step.tokens * (step.tokens + 1) // 2
    projections = step.tokens * part.width * (part.heads + 1) * part.head_dim
    return 2 * step.batch * (projections + pairs * part.heads * part.head_dim)


def backward(part: BlockIndexer, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: BlockIndexer) -> tuple[State, ...]:
    """One key a token."""
    return (State("index", part.head_dim),)


BLOCK_INDEXER = PartKind(
    id="block_indexer",
    dimensions=BlockIndexer,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://huggingface.co/docs/transformers/main/model_doc/minimax_m3_vl",
    example=BlockIndexer(width=6, heads=2, head_dim=3),
)
