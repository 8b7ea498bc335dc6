"""RWKV-4: attention as a recurrence of two sums a channel (time mixing), and its feed-forward block."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class TimeMix:
    """`inner` channels, each with a decay and a bonus for the current token."""

    width: int
    inner: int


@dataclass(frozen=True, slots=True)
class ChannelMix:
    """width to hidden and back, behind a gate, on a mixture of this token and the one before."""

    width: int
    hidden: int


def time_slots(part: TimeMix) -> tuple[Slot, ...]:
    """decay and first (inner), three mixtures (1, 1, width), key, value, receptance (inner, width), output."""
    shapes: list[tuple[str, tuple[int, ...]]] = [("decay.weight", (part.inner,)), ("first.weight", (part.inner,))]
    shapes += [(f"mix_{name}.weight", (1, 1, part.width)) for name in ("key", "value", "receptance")]
    inward = (("key", "attention_k"), ("value", "attention_v"), ("receptance", "attention_q"))
    held = [Slot(key, shape, "ssm") for key, shape in shapes]
    held += [Slot(f"{name}.weight", (part.inner, part.width), role) for name, role in inward]
    return (*held, Slot("output.weight", (part.width, part.inner), "attention_o"))


def time_forward(part: TimeMix, step: Pass) -> int:
    """Four matrices, 2mn a token; the recurrence is elementwise."""
    return 2 * 4 * part.width * part.inner * step.tokens * step.batch


def time_backward(part: TimeMix, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * time_forward(part, step)


def time_remembers(part: TimeMix) -> tuple[State, ...]:
    """A sequence keeps the last token's row, and of each channel a numerator, a denominator and a maximum."""
    return (State("shift", part.width), State("recurrent", 3, heads=part.inner))


def channel_slots(part: ChannelMix) -> tuple[Slot, ...]:
    """Two mixtures (1, 1, width), key (hidden, width), value (width, hidden), receptance (width, width)."""
    mixtures = [Slot(f"mix_{name}.weight", (1, 1, part.width), "ssm") for name in ("key", "receptance")]
    return (
        *mixtures,
        Slot("key.weight", (part.hidden, part.width), "mlp_up"),
        Slot("receptance.weight", (part.width, part.width), "mlp_gate"),
        Slot("value.weight", (part.width, part.hidden), "mlp_down"),
    )


def channel_forward(part: ChannelMix, step: Pass) -> int:
    """Three matrices, 2mn a token."""
    return 2 * part.width * (2 * part.hidden + part.width) * step.tokens * step.batch


def channel_backward(part: ChannelMix, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * channel_forward(part, step)


def channel_remembers(part: ChannelMix) -> tuple[State, ...]:
    """A sequence keeps the last token's row."""
    return (State("shift", part.width),)


TIME_MIX = PartKind(
    id="time_mix",
    dimensions=TimeMix,
    slots=time_slots,
    forward=time_forward,
    backward=time_backward,
    remembers=time_remembers,
    divides=("inner",),
    source="https://arxiv.org/abs/2305.13048",
    example=TimeMix(width=4, inner=6),
)

CHANNEL_MIX = PartKind(
    id="channel_mix",
    dimensions=ChannelMix,
    slots=channel_slots,
    forward=channel_forward,
    backward=channel_backward,
    remembers=channel_remembers,
    divides=("hidden",),
    source="https://arxiv.org/abs/2305.13048",
    example=ChannelMix(width=4, hidden=6),
)
