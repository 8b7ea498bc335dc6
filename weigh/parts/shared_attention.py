"""Attention over a window in which one row a token is key and value of all heads; the output is low-rank by groups."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class SharedAttention:
    """Dimensions of one layer; what lies before the window is another part's (`compressor`)."""

    width: int
    heads: int
    head_dim: int
    q_rank: int
    o_groups: int
    """Groups of heads, each with a matrix of its own to `o_rank` values."""
    o_rank: int
    window: int


def slots(part: SharedAttention) -> tuple[Slot, ...]:
    """q_a, its norm, q_b; kv with a norm; o_a by groups, o_b; a score for each head's sink."""
    heads = part.heads * part.head_dim
    return (
        Slot("q_a.weight", (part.q_rank, part.width), "attention_q"),
        Slot("q_a_norm.weight", (part.q_rank,), "norm"),
        Slot("q_b.weight", (heads, part.q_rank), "attention_q"),
        Slot("kv.weight", (part.head_dim, part.width), "attention_k"),
        Slot("kv_norm.weight", (part.head_dim,), "norm"),
        Slot("o_a.weight", (part.o_groups * part.o_rank, heads // part.o_groups), "attention_o"),
        Slot("o_b.weight", (part.width, part.o_groups * part.o_rank), "attention_o"),
        Slot("sinks.weight", (part.heads,), "other"),
    )


def attended(part: SharedAttention, step: Pass) -> int:
    """Pairs within the window: token number p + i sees min(p + i, window) tokens, summed over i = 1..n."""
    growing = min(max(part.window - step.past, 0), step.tokens)
    before = growing * step.past + growing * (growing + 1) // 2
    return before + (step.tokens - growing) * part.window


def forward(part: SharedAttention, step: Pass) -> int:
    """Every matrix once a token, and scores and weighted sum 2 x heads x head size an attended pair."""
    matrices = sum(slot.parameters for slot in slots(part) if len(slot.shape) > 1)
    pairs = attended(part, step) * part.heads * 2 * part.head_dim
    return 2 * step.batch * (step.tokens * matrices + pairs)


def backward(part: SharedAttention, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: SharedAttention) -> tuple[State, ...]:
    """One row a token of the window, key and value at once."""
    return (State("latent", part.head_dim, window=part.window),)


SHARED_ATTENTION = PartKind(
    id="shared_attention",
    dimensions=SharedAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads", "o_groups"),
    source="https://huggingface.co/docs/transformers/main/model_doc/deepseek_v4",
    example=SharedAttention(width=8, heads=4, head_dim=3, q_rank=5, o_groups=2, o_rank=3, window=4),
)
