"""Attention to another sequence: the decoder's queries against keys and values of what an encoder gave."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


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
    """Places that the encoder gives; None = as many as the sequence has tokens, new and old."""


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


def forward(part: CrossAttention, step: Pass) -> int:
    """q and o at each new token, k and v at each place of the source in the first pass only, scores over all.

    2 n w h (dk + dv) + 2 s w' h (dk + dv) if nothing is past + 2 n s h (dk + dv), for n tokens and s places.
    Source: arXiv 1706.03762, section 3.2.3. Where the length of the source is not known it is taken as that of the
    sequence: a translation of twice the length costs the more.
    """
    inner = part.heads * (part.key_dim + part.value_dim)
    places = part.source if part.source is not None else step.past + step.tokens
    kept = 0 if step.past else places
    products = step.tokens * part.width + kept * part.source_width + step.tokens * places
    return 2 * inner * products * step.batch


def backward(part: CrossAttention, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: CrossAttention) -> State | None:
    """A key and a value row a head and place of the source, the same while decoding."""
    return State("cross", part.key_dim, part.value_dim, part.heads, part.source)


CROSS_ATTENTION = PartKind(
    id="cross_attention",
    dimensions=CrossAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/1706.03762",
    example=CrossAttention(
        width=8, source_width=6, heads=2, key_dim=3, value_dim=4, q_bias=True, o_bias=True, source=5
    ),
)
