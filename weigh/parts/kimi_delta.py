"""Kimi delta attention: linear attention with the delta rule, where each channel of a key forgets at its own pace."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class KimiDelta:
    """`heads` states of head_dim x head_dim behind a convolution of queries, keys and values each."""

    width: int
    heads: int
    head_dim: int
    kernel: int


def slots(part: KimiDelta) -> tuple[Slot, ...]:
    """q, k, v (inner, width) with their convolutions; pace of forgetting and gate in two matrices each; norm, out."""
    inner, width = part.heads * part.head_dim, part.width
    held = [Slot(f"{name}.weight", (inner, width), f"attention_{name}") for name in "qkv"]
    held += [Slot(f"{name}_conv.weight", (inner, 1, part.kernel), "ssm") for name in "qkv"]
    for name in ("forget", "gate"):
        held.append(Slot(f"{name}_a.weight", (part.head_dim, width), "ssm"))
        held.append(Slot(f"{name}_b.weight", (inner, part.head_dim), "ssm"))
    return (
        *held,
        Slot("a.weight", (1, 1, part.heads, 1), "ssm"),
        Slot("dt.bias", (inner,), "ssm"),
        Slot("beta.weight", (part.heads, width), "ssm"),
        Slot("norm.weight", (part.head_dim,), "norm"),
        Slot("o.weight", (width, inner), "attention_o"),
    )


def forward(part: KimiDelta, step: Pass) -> int:
    """Every matrix once a token, convolutions 2 x kernel a channel, and 6 x heads x head_dim^2 for the recurrence.

    The delta rule reads the state at the key, writes the correction and reads at the query: three multiply-adds a
    value. Left out, as elementwise: decays and gates. The form in chunks computes more than this.
    """
    inner = part.heads * part.head_dim
    matrices = part.width * (4 * inner + part.heads) + 2 * part.head_dim * (part.width + inner)
    every = matrices + 3 * part.kernel * inner + 3 * inner * part.head_dim
    return 2 * every * step.tokens * step.batch


def backward(part: KimiDelta, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: KimiDelta) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of three convolutions and a square state a head."""
    inputs = State("conv", 3 * part.heads * part.head_dim, rows=part.kernel - 1)
    return (inputs, State("recurrent", part.head_dim**2, heads=part.heads))


KIMI_DELTA = PartKind(
    id="kimi_delta",
    dimensions=KimiDelta,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://arxiv.org/abs/2510.26692",
    example=KimiDelta(width=6, heads=2, head_dim=3, kernel=4),
)
