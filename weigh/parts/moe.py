"""Mixture of experts: a router picks `used` of `experts` feed-forward blocks for each token; shared ones always run."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Moe:
    """`experts` blocks of `hidden` values, of which `used` run for a token, beside an optional shared block."""

    width: int
    hidden: int
    experts: int
    used: int
    gated: bool = True
    shared_hidden: int = 0
    shared_gate: bool = False
    """A vector of `width` that scales the shared block's output by a sigmoid."""


def slots(part: Moe) -> tuple[Slot, ...]:
    """router (experts, width); experts stacked on a first axis; the shared block like an MLP."""
    routed = (part.used, part.experts)
    names = ("gate", "up", "down") if part.gated else ("up", "down")
    held = [Slot("router.weight", (part.experts, part.width), "router")]
    for name in names:
        shape = (part.width, part.hidden) if name == "down" else (part.hidden, part.width)
        held.append(Slot(f"experts.{name}.weight", (part.experts, *shape), "expert", experts=routed))
    if part.shared_hidden:
        for name in names:
            shape = (part.width, part.shared_hidden) if name == "down" else (part.shared_hidden, part.width)
            held.append(Slot(f"shared.{name}.weight", shape, "shared_expert"))
    if part.shared_gate:
        held.append(Slot("shared_gate.weight", (1, part.width), "shared_expert"))
    return tuple(held)


def forward(part: Moe, step: Pass) -> int:
    """Router, `used` experts and the shared block, for each token: tokens never run through the other experts."""
    matrices = 3 if part.gated else 2
    routed = part.used * matrices * part.hidden
    shared = matrices * part.shared_hidden + int(part.shared_gate)
    return 2 * part.width * (part.experts + routed + shared) * step.tokens * step.batch


def backward(part: Moe, step: Pass) -> int:
    """Two products of the forward's size, over the same experts."""
    return 2 * forward(part, step)


def remembers(_part: Moe) -> State | None:
    """Nothing."""
    return None


MOE = PartKind(
    id="moe",
    dimensions=Moe,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/2401.04088",
    example=Moe(width=4, hidden=6, experts=4, used=2, shared_hidden=8, shared_gate=True),
)
