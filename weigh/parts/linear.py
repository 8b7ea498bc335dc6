"""One matrix with an optional bias: output heads, projections, poolers."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


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
    columns: int = 0
    """Columns that the outputs, themselves a matrix, multiply at each position: a mixture weighed by the token."""


def slots(part: Linear) -> tuple[Slot, ...]:
    """weight (outputs, inputs), and bias (outputs) if there is one."""
    weight = Slot("weight", (part.outputs, part.inputs), part.role, tied=part.tied)
    if not part.bias:
        return (weight,)
    return (weight, Slot("bias", (part.outputs,), part.role, tied=part.bias_tied))


def forward(part: Linear, step: Pass) -> int:
    """2 x inputs x outputs at each position that the matrix is applied to, and 2 x outputs x columns of a mixture."""
    return 2 * (part.inputs + part.columns) * part.outputs * _count(part, step) * step.batch


def _count(part: Linear, step: Pass) -> int:
    return {"all": step.tokens, "outputs": min(step.outputs, step.tokens), "one": 1}[part.positions]


def backward(part: Linear, step: Pass) -> int:
    """Two products of the forward's size: one for the gradient of the input, one for that of the weight."""
    return 2 * forward(part, step)


def remembers(_part: Linear) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Linear, step: Pass) -> tuple[Kept, ...] | None:
    """The input at each position; of a head over a vocabulary also the logits, in float32, which the loss keeps.

    Not known of a mixture.
    Source: what autograd saves in a whole model with a loss of log-softmax. Ignores: losses fused with the matrix.
    """
    if part.columns:
        return None
    places = _count(part, step) * step.batch
    kept = (Kept("input", places * part.inputs, split="sequence"),)
    return (*kept, Kept("logits", places * part.outputs, "statistic")) if part.role == "head" else kept


LINEAR = PartKind(
    id="linear",
    dimensions=Linear,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("outputs",),
    source="https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html",
    keeps=keeps,
    example=Linear(inputs=4, outputs=6, bias=True),
)
