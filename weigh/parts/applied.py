"""A layer that does not run once for every token: in encoders before a decoder, towers, images, shared weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from weigh.parts.array import ARRAY
from weigh.parts.attention import ATTENTION
from weigh.parts.conv import CONV
from weigh.parts.cross_attention import CROSS_ATTENTION
from weigh.parts.embedding import EMBEDDING
from weigh.parts.linear import LINEAR
from weigh.parts.mlp import MLP
from weigh.parts.moe import MOE
from weigh.parts.norm import NORM
from weigh.types import Kept, PartKind, Pass, Slot, State

INNER: dict[type[Any], PartKind[Any]] = {
    kind.dimensions: kind for kind in (ARRAY, ATTENTION, CONV, CROSS_ATTENTION, EMBEDDING, LINEAR, MLP, MOE, NORM)
}
"""The kinds that may be wrapped."""

PER = ("pass", "token", "sequence", "image", "never")


@dataclass(frozen=True, slots=True)
class Applied:
    """The layer `inner`, and when it runs on how much."""

    inner: Any
    per: str = "pass"
    """Runs on the tokens of every pass (`pass`), on an input of its own for each token (`token`: an image), each
    sequence when it begins (`sequence`: a recording, the text to translate) or each image among its tokens (`image`),
    or not at all (`never`: heads for training; towers whose images have as many places as they are large)."""
    positions: int = 0
    """Places of that input; 0 = as many as the pass's source, or tokens where it does not tell."""
    times: int = 1
    """How often it runs there: layers that share one set of weights, windows of an image."""
    role: str = ""
    """Role of all that it holds, where it is another than the inner layer's: vision, audio."""
    tied: str = ""
    """Address of the part whose arrays it uses: it computes and remembers, and holds nothing of its own."""


def slots(part: Applied) -> tuple[Slot, ...]:
    """Those of the inner layer; buffers stay buffers whatever the role."""
    held = INNER[type(part.inner)].slots(part.inner)
    if part.tied:
        held = tuple(replace(slot, tied=f"{part.tied}.{slot.key}") for slot in held)
    if not part.role:
        return held
    return tuple(slot if slot.role == "buffer" else replace(slot, role=part.role) for slot in held)


def inner_pass(part: Applied, step: Pass) -> Pass:
    """The pass that the inner layer sees: its inputs are the sequences of a batch, each begun anew."""
    if part.per == "pass":
        return replace(step, batch=step.batch * part.times)
    inputs = {"token": step.tokens, "sequence": 0 if step.past else 1, "image": step.images, "never": 0}[part.per]
    places = part.positions or (step.tokens if step.source is None else step.source)
    return Pass(places, 0, step.batch * inputs * part.times, places)


def forward(part: Applied, step: Pass) -> int:
    """What the inner layer computes in the pass that it sees, as often as it runs."""
    return INNER[type(part.inner)].forward(part.inner, inner_pass(part, step))


def backward(part: Applied, step: Pass) -> int:
    """Gradients of the same pass."""
    return INNER[type(part.inner)].backward(part.inner, inner_pass(part, step))


def remembers(part: Applied) -> tuple[State, ...]:
    """What the inner layer remembers if it sees the tokens of every pass; an input of its own is forgotten.

    A layer that runs several times over the same tokens would remember each of them: it is refused by families.
    """
    return INNER[type(part.inner)].remembers(part.inner) if part.per == "pass" else ()


def keeps(part: Applied, step: Pass) -> tuple[Kept, ...] | None:
    """What the inner layer keeps of all of its inputs; nothing where it does not run."""
    seen, inner = inner_pass(part, step), INNER[type(part.inner)].keeps
    if not seen.batch:
        return ()
    return None if inner is None else inner(part.inner, seen)


APPLIED = PartKind(
    id="applied",
    dimensions=Applied,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/1909.11942",
    keeps=keeps,
    example=Applied(
        replace(ATTENTION.example, causal=False, window=None), "token", positions=4, times=2, role="vision"
    ),
)
