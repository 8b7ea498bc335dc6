"""Griffin's recurrent block: a causal convolution and a gated linear recurrence of one value a channel."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class RgLru:
    """`inner` channels in `heads` blocks, within which the gates' matrices are dense."""

    width: int
    inner: int
    heads: int
    kernel: int


def slots(part: RgLru) -> tuple[Slot, ...]:
    """Two projections in (inner, width), conv, the decay (inner), two gates (heads, block, block), out."""
    block = part.inner // part.heads
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for name in ("y", "x"):
        shapes += [(f"{name}.weight", (part.inner, part.width)), (f"{name}.bias", (part.inner,))]
    shapes += [("conv.weight", (part.inner, 1, part.kernel)), ("conv.bias", (part.inner,))]
    shapes.append(("decay.weight", (part.inner,)))
    for name in ("input_gate", "recurrent_gate"):
        shapes += [(f"{name}.weight", (part.heads, block, block)), (f"{name}.bias", (part.heads, block))]
    shapes += [("out.weight", (part.width, part.inner)), ("out.bias", (part.width,))]
    return tuple(Slot(key, shape, "ssm") for key, shape in shapes)


def forward(part: RgLru, step: Pass) -> int:
    """Projections and gates 2mn a token, convolution 2 x kernel a channel; the recurrence is elementwise."""
    gates = 2 * part.heads * (part.inner // part.heads) ** 2
    return 2 * (3 * part.width * part.inner + gates + part.kernel * part.inner) * step.tokens * step.batch


def backward(part: RgLru, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: RgLru) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of the convolution, and a value a channel."""
    return (State("conv", part.inner, rows=part.kernel - 1), State("recurrent", 1, heads=part.inner))


RG_LRU = PartKind(
    id="rg_lru",
    dimensions=RgLru,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("inner", "heads"),
    source="https://arxiv.org/abs/2402.19427",
    example=RgLru(width=4, inner=6, heads=2, kernel=4),
)
