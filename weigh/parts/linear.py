"""One matrix with an optional bias: output heads, projections, poolers."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Linear:
    """y = W x + b, where W is (outputs, inputs)."""

    inputs: int
    outputs: int
    bias: bool = False
    role: str = "other"
    tied: str = ""
    """Address and key of the slot whose matrix is used (`embedding.weight`); the bias stays an own one."""
    bias_tied: str = ""
    positions: str = "all"
    """Positions it is applied to: `all`, `outputs` (those that reach the head) or `one` (a pooled sequence)."""


def slots(part: Linear) -> tuple[Slot, ...]:
    """weight (outputs, inputs), and bias (outputs) if there is one."""
    weight = Slot("weight", (part.outputs, part.inputs), part.role, tied=part.tied)
    if not part.bias:
        return (weight,)
    return (weight, Slot("bias", (part.outputs,), part.role, tied=part.bias_tied))


def forward(part: Linear, step: Pass) -> int:
    """2 x inputs x outputs at each position that the matrix is applied to."""
    count = {"all": step.tokens, "outputs": min(step.outputs, step.tokens), "one": 1}[part.positions]
    return 2 * part.inputs * part.outputs * count * step.batch


def backward(part: Linear, step: Pass) -> int:
    """Two products of the forward's size: one for the gradient of the input, one for that of the weight."""
    return 2 * forward(part, step)


def remembers(_part: Linear) -> State | None:
    """Nothing."""
    return None


LINEAR = PartKind(
    id="linear",
    dimensions=Linear,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html",
    example=Linear(inputs=4, outputs=6, bias=True),
)
