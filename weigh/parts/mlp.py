"""The feed-forward block: two matrices, or three where a gate multiplies the hidden values."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Mlp:
    """width to hidden and back."""

    width: int
    hidden: int
    gated: bool = False
    up_bias: bool = False
    """Also of the gate."""
    down_bias: bool = False


def slots(part: Mlp) -> tuple[Slot, ...]:
    """up (hidden, width), down (width, hidden), gate as up."""
    inward = (("gate", "mlp_gate"), ("up", "mlp_up")) if part.gated else (("up", "mlp_up"),)
    held = [Slot(f"{name}.weight", (part.hidden, part.width), role) for name, role in inward]
    held.append(Slot("down.weight", (part.width, part.hidden), "mlp_down"))
    if part.up_bias:
        held += [Slot(f"{name}.bias", (part.hidden,), role) for name, role in inward]
    if part.down_bias:
        held.append(Slot("down.bias", (part.width,), "mlp_down"))
    return tuple(held)


def forward(part: Mlp, step: Pass) -> int:
    """2 x width x hidden for each of the two or three matrices and each token."""
    matrices = 3 if part.gated else 2
    return 2 * part.width * part.hidden * matrices * step.tokens * step.batch


def backward(part: Mlp, step: Pass) -> int:
    """Two products of the forward's size: gradients of the input and of the weight."""
    return 2 * forward(part, step)


def remembers(_part: Mlp) -> State | None:
    """Nothing."""
    return None


MLP = PartKind(
    id="mlp",
    dimensions=Mlp,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/2002.05202",
    example=Mlp(width=4, hidden=10, gated=True, up_bias=True, down_bias=True),
)
