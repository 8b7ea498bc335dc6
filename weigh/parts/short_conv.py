"""A short causal convolution between two gates, in the place of attention (LFM2)."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class ShortConv:
    """`width` channels, each convolved over `kernel` tokens."""

    width: int
    kernel: int
    bias: bool = False
    """Of both matrices and the convolution."""


def slots(part: ShortConv) -> tuple[Slot, ...]:
    """in (both gates and the input: 3 width, width), conv (width, 1, kernel), out (width, width)."""
    held = [
        Slot("in.weight", (3 * part.width, part.width), "ssm"),
        Slot("conv.weight", (part.width, 1, part.kernel), "ssm"),
        Slot("out.weight", (part.width, part.width), "ssm"),
    ]
    if part.bias:
        held += [Slot(slot.key.replace("weight", "bias"), slot.shape[:1], "ssm") for slot in tuple(held)]
    return tuple(held)


def forward(part: ShortConv, step: Pass) -> int:
    """Projections 2mn a token and the convolution 2 x kernel a channel; the two gates are elementwise."""
    return 2 * (4 * part.width * part.width + part.kernel * part.width) * step.tokens * step.batch


def backward(part: ShortConv, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: ShortConv) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of the convolution."""
    return (State("conv", part.width, rows=part.kernel - 1),)


SHORT_CONV = PartKind(
    id="short_conv",
    dimensions=ShortConv,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/2511.23404",
    example=ShortConv(width=4, kernel=3, bias=True),
)
