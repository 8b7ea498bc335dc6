"""Normalisation: root-mean-square, layer and batch."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm over `width` values (layer, root mean square) or channels (batch)."""

    width: int
    weight: bool = True
    bias: bool = False
    running: bool = False
    """Batch norm keeps a running mean and variance and a step count: buffers, not parameters."""


def slots(part: Norm) -> tuple[Slot, ...]:
    """Gain and bias of (width), if present; for batch norm also the buffers."""
    held: list[Slot] = []
    if part.weight:
        held.append(Slot("weight", (part.width,), "norm"))
    if part.bias:
        held.append(Slot("bias", (part.width,), "norm"))
    if part.running:
        held.append(Slot("running_mean", (part.width,), "buffer"))
        held.append(Slot("running_var", (part.width,), "buffer"))
        held.append(Slot("num_batches_tracked", (), "buffer"))
    return tuple(held)


def flops(_part: Norm, _step: Pass) -> int:
    """Elementwise work is not counted: for width w it is about 5/w of one w x w product."""
    return 0


def remembers(_part: Norm) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Norm, step: Pass) -> tuple[Kept, ...] | None:
    """The input, and the factor of each row in float32; with a bias also its mean.

    Run step by step (transformers' classes of root mean square), the normalised row is kept beside the input, for the
    gradient of the gain. Not known for batch norm, whose places the record does not tell.
    Source: arXiv 2205.05198 for the input; the rest is what autograd saves in the classes of transformers 5.23.
    Off by: a mean a row where a layer norm has no bias.
    """
    if part.running:
        return None
    rows = step.tokens * step.batch
    kept = (Kept("input", rows * part.width, split="sequence"), *statistics("", rows, 2 if part.bias else 1))
    if part.bias or not part.weight:
        return kept
    return (*kept, Kept("normalised", rows * part.width, split="sequence", only=("eager",)))


def statistics(of: str, rows: int, each: int = 1) -> tuple[Kept, ...]:
    """What the norm of `of` keeps beside its input and output: `each` values a row."""
    return (Kept(f"{of} statistics".strip(), rows * each, "statistic", "sequence"),)


NORM = PartKind(
    id="norm",
    dimensions=Norm,
    slots=slots,
    forward=flops,
    backward=flops,
    remembers=remembers,
    source="https://arxiv.org/abs/1910.07467",
    keeps=keeps,
    example=Norm(width=4, bias=True),
)
