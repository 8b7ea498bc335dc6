"""Attention to another sequence: the decoder's queries against keys and values of what an encoder gave."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.parts.attention import core
from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """Queries of `width` values, keys and values of `source_width` values at `source` places."""

    width: int
    source_width: int
    heads: int
    key_dim: int
    value_dim: int
    q_bias: bool = False
    k_bias: bool = False
    v_bias: bool = False
    o_bias: bool = False
    source: int | None = None
    """Places that the encoder gives, where they are always as many; None = those of the pass's source."""


def slots(part: CrossAttention) -> tuple[Slot, ...]:
    """q (heads x key size, width), k and v (heads x head size, source width), o (width, heads x value size)."""
    query, value = part.heads * part.key_dim, part.heads * part.value_dim
    matrices = (
        ("q", (query, part.width), "attention_q", part.q_bias),
        ("k", (query, part.source_width), "attention_k", part.k_bias),
        ("v", (value, part.source_width), "attention_v", part.v_bias),
        ("o", (part.width, value), "attention_o", part.o_bias),
    )
    held = [Slot(f"{name}.weight", shape, role) for name, shape, role, _ in matrices]
    held += [Slot(f"{name}.bias", shape[:1], role) for name, shape, role, bias in matrices if bias]
    return tuple(held)


def places_of(part: CrossAttention, step: Pass) -> int:
    """Places of the source that every query attends to."""
    if part.source is not None:
        return part.source
    return step.past + step.tokens if step.source is None else step.source


def forward(part: CrossAttention, step: Pass) -> int:
    """q and o at each new token, k and v at each place of the source in the first pass only, scores over all.

    2 n w h (dk + dv) + 2 s w' h (dk + dv) if nothing is past + 2 n s h (dk + dv), for n tokens and s places.
    Source: arXiv 1706.03762, section 3.2.3. Where the pass does not tell the length of the source it is taken as that
    of the sequence.
    """
    inner = part.heads * (part.key_dim + part.value_dim)
    places = places_of(part, step)
    kept = 0 if step.past else places
    products = step.tokens * part.width + kept * part.source_width + step.tokens * places
    return 2 * inner * products * step.batch


def backward(part: CrossAttention, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: CrossAttention) -> tuple[State, ...]:
    """A key and a value row a head and place of the source, the same while decoding."""
    return (State("cross", part.key_dim, part.value_dim, part.heads, part.source),)


def keeps(part: CrossAttention, step: Pass) -> tuple[Kept, ...]:
    """As attention, with keys and values of the source; what the encoder gave is one array for all layers."""
    rows, places = step.tokens * step.batch, places_of(part, step)
    kept = [
        Kept("input", rows * part.width, split="sequence"),
        Kept("source", step.batch * places * part.source_width, split="sequence", shared=True),
        Kept("queries", rows * part.heads * part.key_dim),
        Kept("keys", step.batch * places * part.heads * part.key_dim),
        Kept("values", step.batch * places * part.heads * part.value_dim),
        *core(step, part.heads, places, rows * part.heads * part.value_dim),
        Kept("mask", rows * part.width, "mask", "sequence", ("dropout",)),
    ]
    return tuple(entry for entry in kept if entry.values)


CROSS_ATTENTION = PartKind(
    id="cross_attention",
    dimensions=CrossAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://arxiv.org/abs/1706.03762",
    keeps=keeps,
    example=CrossAttention(
        width=8, source_width=6, heads=2, key_dim=3, value_dim=4, q_bias=True, o_bias=True, source=5
    ),
)
