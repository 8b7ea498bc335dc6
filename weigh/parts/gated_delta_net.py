"""Gated delta rule: linear attention whose state forgets by a gate and is corrected instead of added to."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """`value_heads` states of key_dim x value_dim; `key_heads` of queries and keys serve them in groups."""

    width: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int


def _keys(part: GatedDeltaNet) -> int:
    return part.key_heads * part.key_dim


def _values(part: GatedDeltaNet) -> int:
    return part.value_heads * part.value_dim


def _convolved(part: GatedDeltaNet) -> int:
    """Channels of the convolution: queries, keys and values."""
    return 2 * _keys(part) + _values(part)


def slots(part: GatedDeltaNet) -> tuple[Slot, ...]:
    """qkv and the gate z, beta and alpha (a value a head), conv, dt, a, the norm that heads share, out."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("qkv.weight", (_convolved(part), part.width)),
        ("z.weight", (_values(part), part.width)),
        ("beta.weight", (part.value_heads, part.width)),
        ("alpha.weight", (part.value_heads, part.width)),
        ("conv.weight", (_convolved(part), 1, part.kernel)),
        ("dt.bias", (part.value_heads,)),
        ("a.weight", (part.value_heads,)),
        ("norm.weight", (part.value_dim,)),
        ("out.weight", (part.width, _values(part))),
    )
    return tuple(Slot(key, shape, "ssm") for key, shape in shapes)


def forward(part: GatedDeltaNet, step: Pass) -> int:
    """Projections 2mn a token, convolution 2 x kernel a channel, recurrence 6 x key_dim x value_dim a value head.

    The rule reads the state at the key, adds the outer product of key and error, and reads it at the query: three
    multiply-adds a value of the state. Left out, as elementwise: the decay, the norms, the gate. The form in chunks,
    which kernels use on prompts, computes more than this.
    """
    projected = part.width * (_convolved(part) + 2 * _values(part) + 2 * part.value_heads)
    recurrence = 3 * part.value_heads * part.key_dim * part.value_dim
    return 2 * (projected + part.kernel * _convolved(part) + recurrence) * step.tokens * step.batch


def backward(part: GatedDeltaNet, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: GatedDeltaNet) -> tuple[State, ...]:
    """A sequence keeps the last kernel - 1 inputs of the convolution, and a state a value head."""
    inputs = State("conv", _convolved(part), rows=part.kernel - 1)
    return (inputs, State("recurrent", part.key_dim * part.value_dim, heads=part.value_heads))


GATED_DELTA_NET = PartKind(
    id="gated_delta_net",
    dimensions=GatedDeltaNet,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("key_heads", "value_heads"),
    source="https://arxiv.org/abs/2412.06464",
    example=GatedDeltaNet(width=6, key_heads=2, value_heads=4, key_dim=3, value_dim=5, kernel=4),
)
