"""Hyper-connection: a residual stream of several lanes, mixed into one for a block and back out of it."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class HyperConnection:
    """`lanes` streams of `width` values around one block, or their joining behind the last layer."""

    width: int
    lanes: int
    joins: bool = False
    """Only joins the lanes into one: nothing goes back."""


def slots(part: HyperConnection) -> tuple[Slot, ...]:
    """fn gives, from all lanes, a weight a lane in, a weight a lane out and a matrix lane to lane; base, scale."""
    mixes = part.lanes if part.joins else part.lanes * (2 + part.lanes)
    return (
        Slot("fn.weight", (mixes, part.lanes * part.width), "other"),
        Slot("base.bias", (mixes,), "other"),
        Slot("scale.bias", (1 if part.joins else 3,), "other"),
    )


def forward(part: HyperConnection, step: Pass) -> int:
    """fn once a token, and the lanes mixed by a matrix of lanes x lanes; the rest is elementwise."""
    mixes = part.lanes if part.joins else part.lanes * (2 + part.lanes)
    mixed = 0 if part.joins else part.lanes**2 * part.width
    return 2 * step.batch * step.tokens * (mixes * part.lanes * part.width + mixed)


def backward(part: HyperConnection, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(_part: HyperConnection) -> tuple[State, ...]:
    """Nothing."""
    return ()


HYPER_CONNECTION = PartKind(
    id="hyper_connection",
    dimensions=HyperConnection,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://huggingface.co/docs/transformers/main/model_doc/deepseek_v4",
    example=HyperConnection(width=4, lanes=2),
)
