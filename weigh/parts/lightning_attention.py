"""Lightning attention: linear attention with a fixed decay a head and no softmax."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class LightningAttention:
    """`heads` states of head_dim x head_dim; prompts are computed in blocks of `block` tokens."""

    width: int
    heads: int
    head_dim: int
    block: int
    """Length of the tables of decays, which are buffers."""


def slots(part: LightningAttention) -> tuple[Slot, ...]:
    """q, k, v and gate (inner, width), o (width, inner), norm (inner), and the decays as buffers."""
    inner = part.heads * part.head_dim
    inward = (("q", "attention_q"), ("k", "attention_k"), ("v", "attention_v"), ("gate", "attention_q"))
    held = [Slot(f"{name}.weight", (inner, part.width), role) for name, role in inward]
    held.append(Slot("norm.weight", (inner,), "norm"))
    held.append(Slot("o.weight", (part.width, inner), "attention_o"))
    decays: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("slope.weight", (part.heads, 1, 1)),
        ("query_decay.weight", (part.heads, part.block, 1)),
        ("key_decay.weight", (part.heads, part.block, 1)),
        ("diagonal_decay.weight", (1, part.heads, part.block, part.block)),
    )
    return (*held, *(Slot(key, shape, "buffer") for key, shape in decays))


def forward(part: LightningAttention, step: Pass) -> int:
    """Projections 2mn a token, and 4 x heads x head_dim^2 for the recurrence.

    It adds the outer product of key and value to the state and reads it at the query: two multiply-adds a value of
    the state. Left out, as elementwise: the decay and the gate. The form in blocks computes more than this.
    """
    inner = part.heads * part.head_dim
    return 2 * (5 * part.width * inner + 2 * inner * part.head_dim) * step.tokens * step.batch


def backward(part: LightningAttention, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: LightningAttention) -> tuple[State, ...]:
    """A sequence keeps a square state a head."""
    return (State("recurrent", part.head_dim**2, heads=part.heads),)


LIGHTNING_ATTENTION = PartKind(
    id="lightning_attention",
    dimensions=LightningAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://arxiv.org/abs/2501.08313",
    example=LightningAttention(width=6, heads=2, head_dim=3, block=4),
)
