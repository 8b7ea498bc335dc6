"""Mamba-2: a state-space layer whose heads each decay as one, with B and C shared by groups of heads."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Mamba2:
    """`heads` of `head_dim` channels, each channel with `state` values, behind a causal convolution."""

    width: int
    heads: int
    head_dim: int
    groups: int
    state: int
    kernel: int
    conv_bias: bool = True
    bias: bool = False
    """Of the projections into and out of the layer."""
    norm: bool = True
    """A gain on the gated output."""
    out_bias: bool | None = None
    """Of the projection out of the layer, where it is another than `bias`."""


def _inner(part: Mamba2) -> int:
    return part.heads * part.head_dim


def _convolved(part: Mamba2) -> int:
    """Channels of the convolution: the input, and B and C of every group."""
    return _inner(part) + 2 * part.groups * part.state


def slots(part: Mamba2) -> tuple[Slot, ...]:
    """in (gate, input, B, C and step sizes; width), conv, dt, a and d (heads), norm (inner), out (width, inner)."""
    projected, convolved = _inner(part) + _convolved(part) + part.heads, _convolved(part)
    shapes: list[tuple[str, tuple[int, ...]]] = [("in.weight", (projected, part.width))]
    if part.bias:
        shapes.append(("in.bias", (projected,)))
    shapes.append(("conv.weight", (convolved, 1, part.kernel)))
    if part.conv_bias:
        shapes.append(("conv.bias", (convolved,)))
    shapes += [("dt.bias", (part.heads,)), ("a.weight", (part.heads,)), ("d.weight", (part.heads,))]
    if part.norm:
        shapes.append(("norm.weight", (_inner(part),)))
    shapes.append(("out.weight", (part.width, _inner(part))))
    if part.bias if part.out_bias is None else part.out_bias:
        shapes.append(("out.bias", (part.width,)))
    return tuple(Slot(key, shape, "ssm") for key, shape in shapes)


def forward(part: Mamba2, step: Pass) -> int:
    """Projections 2mn a token, convolution 2 x kernel a channel, recurrence 4 x inner x state.

    The recurrence adds the outer product of input and B to each head's state and reads it out with C: two
    multiply-adds a value of the state. Left out, as elementwise: the decay, the step sizes, the gate. The form in
    chunks, which kernels use on prompts, computes more than this.
    """
    inner = _inner(part)
    projected = part.width * (2 * inner + _convolved(part) + part.heads)
    return 2 * (projected + part.kernel * _convolved(part) + 2 * inner * part.state) * step.tokens * step.batch


def backward(part: Mamba2, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: Mamba2) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of the convolution, and the states of each head."""
    inputs = State("conv", _convolved(part), rows=part.kernel - 1)
    return (inputs, State("recurrent", part.head_dim * part.state, heads=part.heads))


def keeps(part: Mamba2, step: Pass) -> tuple[Kept, ...]:
    """The input, what the first matrix makes of it, what the scan gives, and a factor a row and group of the norm.

    As the fused kernel keeps it, which computes the convolution, the states and the gated output again. What plain
    PyTorch keeps is not known here: several times as much, decays of chunks x chunks values a head among it.
    Source: state-spaces/mamba, mamba_ssm/ops/triton/ssd_combined.py, MambaSplitConv1dScanCombinedFn. Not measured.
    """
    rows = step.tokens * step.batch
    projected = _inner(part) + _convolved(part) + part.heads
    kept = (
        Kept("input", rows * part.width, split="sequence"),
        Kept("projected", rows * projected),
        Kept("scanned", rows * _inner(part)),
        Kept("steps of the scan", None, only=("eager",)),
    )
    return (*kept, Kept("statistics", rows * part.groups, "statistic")) if part.norm else kept


MAMBA2 = PartKind(
    id="mamba2",
    dimensions=Mamba2,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads", "groups"),
    source="https://arxiv.org/abs/2405.21060",
    keeps=keeps,
    example=Mamba2(width=4, heads=4, head_dim=2, groups=2, state=3, kernel=4, bias=True),
)
