"""`weigh cost --train --plan`: the fastest layout, the runners-up, and why others fail, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from weigh.commands.setting import Place
from weigh.cost.train.compute import model_flops
from weigh.cost.train.layout import Layout, Training, microbatches, unusable
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.terms import peak
from weigh.types import Model

if TYPE_CHECKING:
    from weigh.cost.train.search import Ranked, Task

LIMIT = 5
"""Layouts that are shown, the winner among them."""
MISSES = 3
"""Ways that do not fit, of those that come nearest."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The layout that won, the batch that it was found for, and what is told of the search."""

    layout: Layout
    training: Training
    told: dict[str, Any]
    warnings: list[str]


def plan(
    model: Model,
    place: Place,
    *,
    batch: int | None,
    sequence: int,
    optimizer: Optimizer,
    precision: Precision,
    fixed: Mapping[str, Any],
    framework: str | None = None,
    limit: int = LIMIT,
) -> Planned:
    """Search every legal layout with the fields of `fixed` given. Errors: those of `search.search`.

    Where none fits, the layout is the one that needs the least memory, and `told` has the fewest devices that do.
    """
    from weigh.cost.train import search as rank

    count = place.cluster.count
    training = Training(rank.batch_for(count, sequence) if batch is None else batch, sequence)
    for refusal in unusable(replace(Layout(), **fixed), training):
        raise refusal
    capacity = None if place.capacity is None else place.capacity / count
    task = rank.Task(model, training, place.cluster, capacity, optimizer, precision, fixed, framework)
    found = rank.search(task)
    won = found.rows[0] if found.rows else found.smallest
    shown = [_row(one, task, "" if one is won else _slower(one, won)) for one in found.rows[:limit]]
    shown += [_row(one, task, _short(one, task)) for one in found.near[:MISSES]]
    told: dict[str, Any] = {
        "batch_given": batch is not None,
        "given": dict(fixed),
        "ways": found.ways,
        "refused": {rank.REASONS[rule]: count for rule, count in found.refused.items()},
        "too_large": len(found.near),
        "legal": found.legal,
        "fitting": found.fitting,
        "unknown": dict(found.unknown),
        "rows": shown,
        "sure": found.sure and _row(found.sure, task, _slower(found.sure, won)),
        "faster": found.faster and _row(found.faster, task, _short(found.faster, task)),
        "fewest": None,
    }
    warnings = []
    if batch is None:
        tokens = training.tokens / 1e6
        warnings.append(
            f"no --batch: a step of {training.batch:,} sequences, {tokens:.1f} million tokens, as large runs"
        )
    warnings += [f"not looked at: {words}, since {why}" for words, why in found.unknown.items()]
    if not found.rows:
        told["fewest"] = _fewest(task, batch)
        warnings.append("no layout fits: the one shown needs the least memory")
    return Planned(won.layout, training, told, warnings)


def _row(one: Ranked, task: Task, why: str) -> dict[str, Any]:
    """A layout as data: step in seconds, share of the peak, bytes of a device with their upper end."""
    most = task.cluster.count * peak(task.cluster.device, task.precision)
    return {
        "layout": {**asdict(one.layout), "microbatches": microbatches(one.layout, task.training)},
        "step": one.seconds,
        "mfu": model_flops(task.model, task.training).value / (one.seconds * most),
        "memory": int(one.needed),
        "memory_high": int(one.needed_high),
        "fits": _verdict(one, task.capacity),
        "why": why,
    }


def _verdict(one: Ranked, capacity: float | None) -> str:
    if capacity is None or one.needed <= capacity < one.needed_high:
        return "uncertain"
    return "yes" if one.needed_high <= capacity else "no"


def _slower(one: Ranked, won: Ranked) -> str:
    return f"{100 * (one.seconds / won.seconds - 1):.1f} % slower"


def _short(one: Ranked, task: Task) -> str:
    return f"needs {(one.needed - (task.capacity or 0)) / 1e9:.1f} GB more"


def _fewest(task: Task, batch: int | None) -> dict[str, Any] | None:
    """The fewest devices that anything fits on, of the powers of two and their threefold."""
    from weigh.cost.train import search as rank

    for count in (count for count in rank.steps() if count > task.cluster.count):
        size = rank.batch_for(count, task.training.sequence) if batch is None else batch
        larger = replace(task, cluster=replace(task.cluster, count=count), training=replace(task.training, batch=size))
        found = rank.fitting(larger)
        if found is not None:
            return {"devices": count, "batch": size, **_row(found, larger, "")}
    return None
