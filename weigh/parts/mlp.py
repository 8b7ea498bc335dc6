"""The feed-forward block: two matrices, or three where a gate multiplies the hidden values."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Mlp:
    """width to hidden and back."""

    width: int
    hidden: int
    gated: bool = False
    up_bias: bool = False
    """Also of the gate."""
    down_bias: bool = False
    relu: bool = False
    """The result of the activation tells its gradient: what comes before it is not kept."""


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


def remembers(_part: Mlp) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Mlp, step: Pass) -> tuple[Kept, ...]:
    """The input, the hidden values before the activation and after it, and the mask of dropout.

    Without a gate, of width h and hidden size 4h in 16 bit: 2 + 8 + 8 + 1 = 19 bytes x n h, the part of the layer of
    arXiv 2205.05198 that is no attention. With one: gate, up and their product; step by step also the activated gate.
    Ignores: that activations which are themselves written in steps (GPT-2's tanh form in transformers) keep more.
    """
    rows = step.tokens * step.batch
    return (
        Kept("input", rows * part.width, split="sequence"),
        *hidden(rows * part.hidden, gated=part.gated, relu=part.relu),
        Kept("mask", rows * part.width, "mask", "sequence", ("dropout",)),
    )


def hidden(values: int, *, gated: bool, relu: bool = False, of: str = "") -> tuple[Kept, ...]:
    """What a block keeps between its matrices, for so many hidden values."""
    kept = (Kept(f"{of}up", values), Kept(f"{of}activated", values))
    if not gated:
        return kept[1:] if relu else kept
    return (*kept, Kept(f"{of}gate", values), Kept(f"{of}activated gate", values, only=("eager",)))


MLP = PartKind(
    id="mlp",
    dimensions=Mlp,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("hidden",),
    source="https://arxiv.org/abs/2002.05202",
    keeps=keeps,
    example=Mlp(width=4, hidden=10, gated=True, up_bias=True, down_bias=True),
)
