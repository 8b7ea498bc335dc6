"""Mamba-1: a selective state-space layer, each channel with a small state of its own."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State

_CHUNK = 2048
"""Tokens that the fused kernel scans between two states that it keeps."""


@dataclass(frozen=True, slots=True)
class Mamba:
    """`inner` channels of `state` values each, behind a causal convolution over `kernel` tokens."""

    width: int
    inner: int
    state: int
    rank: int
    """Width of the bottleneck that the time steps go through."""
    kernel: int
    conv_bias: bool = True
    bias: bool = False
    """Of the projections into and out of the layer."""
    norms: bool = False
    """Gains on the time step's bottleneck and on both state projections (Jamba)."""


def slots(part: Mamba) -> tuple[Slot, ...]:
    """in (2 inner, width), conv (inner, 1, kernel), x (rank + 2 state, inner), dt (inner, rank), a, d, out."""
    shapes: list[tuple[str, tuple[int, ...]]] = [("in.weight", (2 * part.inner, part.width))]
    if part.bias:
        shapes.append(("in.bias", (2 * part.inner,)))
    shapes.append(("conv.weight", (part.inner, 1, part.kernel)))
    if part.conv_bias:
        shapes.append(("conv.bias", (part.inner,)))
    shapes += [
        ("x.weight", (part.rank + 2 * part.state, part.inner)),
        ("dt.weight", (part.inner, part.rank)),
        ("dt.bias", (part.inner,)),
        ("a.weight", (part.inner, part.state)),
        ("d.weight", (part.inner,)),
    ]
    if part.norms:
        lengths = {"dt_norm": part.rank, "b_norm": part.state, "c_norm": part.state}
        shapes += [(f"{name}.weight", (length,)) for name, length in lengths.items()]
    shapes.append(("out.weight", (part.width, part.inner)))
    if part.bias:
        shapes.append(("out.bias", (part.width,)))
    return tuple(Slot(key, shape, "ssm") for key, shape in shapes)


def forward(part: Mamba, step: Pass) -> int:
    """Projections 2mn a token, convolution 2 x kernel a channel, recurrence 4 x inner x state.

    The recurrence adds the product of input and B to the state and reads it out with C: two multiply-adds a value
    of the state. Left out, as elementwise: the decay of the state, the step sizes, the gate. A scan in parallel
    computes more than this.
    """
    projected = 3 * part.width * part.inner + part.inner * (2 * part.rank + 2 * part.state)
    recurrence = 2 * part.inner * part.state
    return 2 * (projected + part.kernel * part.inner + recurrence) * step.tokens * step.batch


def backward(part: Mamba, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: Mamba) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of the convolution, and the state of each channel."""
    return (State("conv", part.inner, rows=part.kernel - 1), State("recurrent", part.state, heads=part.inner))


def keeps(part: Mamba, step: Pass) -> tuple[Kept, ...] | None:
    """The input, the projections, B and C once more, what the scan gives, and a pair of states every 2,048 tokens.

    As the fused kernel keeps it, which computes the convolution and the step sizes again. What plain PyTorch keeps is
    not known here, nor what a layer with norms inside does, which runs the pieces apart.
    Source: state-spaces/mamba, mamba_ssm/ops/selective_scan_interface.py, MambaInnerFn, and
    csrc/selective_scan/selective_scan.cpp (the chunks). Not measured.
    """
    if part.norms:
        return None
    rows, chunks = step.tokens * step.batch, -(-step.tokens // _CHUNK) * step.batch
    return (
        Kept("input", rows * part.width, split="sequence"),
        Kept("projected", rows * 2 * part.inner),
        Kept("time steps, B and C", rows * (part.rank + 2 * part.state), split="sequence"),
        Kept("B and C by tokens", rows * 2 * part.state, split="sequence"),
        Kept("states between chunks", chunks * part.inner * 2 * part.state, "statistic"),
        Kept("scanned", rows * part.inner),
        Kept("steps of the scan", None, only=("eager",)),
    )


MAMBA = PartKind(
    id="mamba",
    dimensions=Mamba,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("inner",),
    source="https://arxiv.org/abs/2312.00752",
    keeps=keeps,
    example=Mamba(width=4, inner=8, state=3, rank=2, kernel=4, bias=True, norms=True),
)
