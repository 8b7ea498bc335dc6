"""Attention to compressed rows: each stretch of tokens becomes one row, and every head attends to those rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Compressor:
    """Adds to a layer of shared attention the rows of what lies before; queries and output are that layer's."""

    width: int
    heads: int
    """Heads that attend to the rows."""
    head_dim: int
    rate: int
    """Tokens a row stands for."""
    overlap: bool = False
    """A row is made of two stretches, its own and the one before: twice the columns."""
    top: int = 0
    """Rows that a token attends to at most, picked by an indexer; 0 = all, and no indexer."""
    index_heads: int = 0
    index_dim: int = 0
    q_rank: int = 0
    """Width of the row that the indexer's queries are expanded from."""


def slots(part: Compressor) -> tuple[Slot, ...]:
    """kv and gate, a bias for each place in a stretch, a norm; the same for the indexer, its queries and weights."""
    held = _compression("", part.head_dim, part)
    if part.top:
        held += _compression("index_", part.index_dim, part)
        held.append(Slot("index_q.weight", (part.index_heads * part.index_dim, part.q_rank), "attention_q"))
        held.append(Slot("index_weights.weight", (part.index_heads, part.width), "attention_q"))
    return tuple(held)


def _compression(stem: str, row: int, part: Compressor) -> list[Slot]:
    columns = row * (2 if part.overlap else 1)
    return [
        Slot(f"{stem}kv.weight", (columns, part.width), "attention_k"),
        Slot(f"{stem}gate.weight", (columns, part.width), "attention_k"),
        Slot(f"{stem}position.bias", (part.rate, columns), "position"),
        Slot(f"{stem}norm.weight", (row,), "norm"),
    ]


def pairs(part: Compressor, step: Pass) -> tuple[int, int]:
    """Pairs (new token, row) in one sequence: those seen, and those attended to.

    The token number t (from 1) sees the rows of the t // rate stretches that are whole, and attends to at most `top`.
    """
    last = step.past + step.tokens
    visible = _rows(part.rate, last) - _rows(part.rate, step.past)
    if not part.top:
        return visible, visible
    return visible, _rows(part.rate, last, part.top) - _rows(part.rate, step.past, part.top)


def _rows(rate: int, tokens: int, top: int | None = None) -> int:
    """Sum of min(t // rate, top) over t = 1..tokens, without enumerating."""
    if top is not None and tokens >= rate * top:
        return _rows(rate, rate * top - 1) + (tokens - rate * top + 1) * top
    whole, rest = divmod(tokens, rate)
    return rate * (whole * (whole - 1) // 2) + whole * (rest + 1)


def forward(part: Compressor, step: Pass) -> int:
    """Every matrix once a token; scores and weighted sum 2 x heads x head size an attended row; the indexer's scores.

    The gated sum that makes a row is elementwise and not counted.
    """
    matrices = sum(slot.parameters for slot in slots(part) if slot.key.endswith("weight") and len(slot.shape) > 1)
    visible, attended = pairs(part, step)
    scored = visible * part.index_heads * part.index_dim if part.top else 0
    return 2 * step.batch * (step.tokens * matrices + attended * part.heads * 2 * part.head_dim + scored)


def backward(part: Compressor, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: Compressor) -> tuple[State, ...]:
    """A row, and a key of the indexer, for every whole stretch; of tokens in none yet their kv and gate.

    Where stretches overlap, also kv and gate of the last whole one, in the columns that the next row is made of.
    """
    kept = _kept("latent", part.head_dim, part)
    return kept + _kept("index", part.index_dim, part) if part.top else kept


def _kept(kind: Literal["latent", "index"], row: int, part: Compressor) -> tuple[State, ...]:
    columns = row * (2 if part.overlap else 1)
    kept = (State(kind, row, rate=part.rate), State("pending", columns, columns, rows=0, rate=part.rate))
    return (*kept, State("pending", row, row, rows=part.rate)) if part.overlap else kept


COMPRESSOR = PartKind(
    id="compressor",
    dimensions=Compressor,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://huggingface.co/docs/transformers/main/model_doc/deepseek_v4",
    example=Compressor(width=8, heads=4, head_dim=3, rate=2, overlap=True, top=2, index_heads=2, index_dim=3, q_rank=5),
)
