"""mLSTM: a matrix a head as memory, with gates for what is written, what is forgotten and what is read (xLSTM)."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Mlstm:
    """`heads` memories of (queries / heads) x (values / heads) values."""

    width: int
    heads: int
    queries: int
    """Values of all heads' queries together, and of their keys."""
    values: int
    bias: bool = False
    """Of the matrices and the norm; those of the two gates always have one."""


def slots(part: Mlstm) -> tuple[Slot, ...]:
    """q, k (queries, width), v and output gate (values, width), a row a head for each gate, norm, out."""
    inward = (
        ("q", part.queries, "attention_q"),
        ("k", part.queries, "attention_k"),
        ("v", part.values, "attention_v"),
        ("output_gate", part.values, "attention_q"),
    )
    held = [Slot(f"{name}.weight", (size, part.width), role) for name, size, role in inward]
    for name in ("input_gate", "forget_gate"):
        held.append(Slot(f"{name}.weight", (part.heads, part.width), "ssm"))
        held.append(Slot(f"{name}.bias", (part.heads,), "ssm"))
    held.append(Slot("norm.weight", (part.values,), "norm"))
    held.append(Slot("o.weight", (part.width, part.values), "attention_o"))
    if part.bias:
        held += [Slot(f"{name}.bias", (size,), role) for name, size, role in inward]
        held.append(Slot("norm.bias", (part.values,), "norm"))
        held.append(Slot("o.bias", (part.width,), "attention_o"))
    return tuple(held)


def forward(part: Mlstm, step: Pass) -> int:
    """Projections 2mn a token, and 4 x queries x values / heads for the recurrence.

    It adds the outer product of key and value to each head's memory and reads it at the query: two multiply-adds a
    value of the memory. Left out: the gates and the normaliser, which are elementwise or one row. The form in chunks,
    which kernels use on prompts, computes more than this.
    """
    projected = part.width * (2 * part.queries + 3 * part.values + 2 * part.heads)
    memory = part.queries * part.values // part.heads
    return 2 * (projected + 2 * memory) * step.tokens * step.batch


def backward(part: Mlstm, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(part: Mlstm) -> tuple[State, ...]:
    """A sequence keeps the memories, a normaliser as long as the queries, and the largest gate of each head."""
    query, value = part.queries // part.heads, part.values // part.heads
    return tuple(State("recurrent", width, heads=part.heads) for width in (query * value, query, 1))


MLSTM = PartKind(
    id="mlstm",
    dimensions=Mlstm,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads", "queries", "values"),
    source="https://arxiv.org/abs/2405.04517",
    example=Mlstm(width=6, heads=2, queries=4, values=6, bias=True),
)
