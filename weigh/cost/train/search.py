"""The fastest layout for a model on so many devices: every legal one is looked at, and why the others lose is told.

`choices.py` says which layouts there are, `many.py` what each needs and takes; here they are ranked. A layout fits
where the value of its memory does; the fastest whose upper end fits as well is told beside it. To rank by something
else, give `search` another measure in the place of seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weigh.cost.train.choices import Block, Choices, choices
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.many import loads, needs, passes, seconds, stocks
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.types import Cluster, Model, WeighError

Array = NDArray[Any]
TOKENS = 2**22
"""Tokens of a step where no batch is named. Assumed: GPT-3 175B took 3.2 million (arXiv 2005.14165, table 2.1), BLOOM
4.2 (github.com/bigscience-workshop/bigscience, train/tr11-176B-ml)."""

REASONS = {
    "HEADS": "do not divide the heads",
    "LAYERS": "do not divide the layers",
    "SEQUENCE": "do not divide the sequence",
    "BATCH": "do not divide the batch",
    "EXPERTS": "do not divide the experts",
    "SCHEDULE": "do not fill the schedule's rounds",
}
"""What is told of the ways that a rule refuses."""
MOST = 2**16
"""Devices that are tried where fewer do not suffice."""
NEAR = 64
"""How many numbers below the named one are tried one by one, where none of its layouts is legal."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be trained, on what and how: all that a search takes for given."""

    model: Model
    training: Training
    cluster: Cluster
    capacity: float | None
    """Bytes of a device; None where they are not known, and then every layout is taken to fit."""
    optimizer: Optimizer
    precision: Precision
    fixed: Mapping[str, Any]
    """Fields of the layout that are not to be chosen, by name."""
    framework: str | None = None
    """Whose kernels run it; None = what most run such a layout under."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A layout with what it takes."""

    layout: Layout
    seconds: float
    """Of a step."""
    needed: float
    """Bytes of the device that holds the most."""
    needed_high: float
    """The upper end of these."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search saw."""

    rows: tuple[Ranked, ...]
    """The fastest that fits of each way to divide the devices, fastest first."""
    sure: Ranked | None
    """The fastest of which the upper end of the memory fits too."""
    faster: Ranked | None
    """Of those that are faster than the first row and do not fit, the one that needs the least more."""
    near: tuple[Ranked, ...]
    """Ways of which no layout fits, by their smallest one, smallest first."""
    smallest: Ranked
    """The layout that needs the least memory of all."""
    ways: int
    """In how many ways the devices can be divided."""
    refused: Mapping[str, int]
    """How many of these are not legal, by the rule that they break."""
    legal: int
    """Layouts that are legal."""
    fitting: int
    """Those of them that fit."""
    unknown: Mapping[str, str]
    """Kernels of which nothing could be told, and why."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What every layout takes: a row for each set of degrees, schedule and kernel, a column for each choice of sequence
    parallelism and ZeRO. Infinite where the layout is not legal."""

    seconds: Array
    needed: Array
    high: Array
    way: Array
    """A number for each tp, pp, cp and ep; one entry a row, as the three that follow."""
    block: Array
    kernel: Array
    degrees: Array
    """Which row of its block."""


def search(task: Task) -> Found:
    """Every legal layout, ranked.

    Errors: PLAN-NONE (exit code 2) where there is none; TRAIN-DEVICE where a device states too little for times;
    TRAIN-KEPT where what the model keeps is not known in any way of training.
    """
    listed = choices(task.model, task.training, task.cluster.count, task.fixed)
    if not listed.blocks:
        raise _none(task, listed)
    unknown: dict[str, str] = {}
    table = _table(task, listed, unknown)
    most = np.inf if task.capacity is None else task.capacity
    fits = (table.needed <= most) & np.isfinite(table.needed)
    rows = _least(table.way, np.where(fits, table.seconds, np.inf), table.needed)
    best = table.seconds[rows[0]] if rows else np.inf
    ways = np.array([table.way[row] for row, _ in rows])
    beaten = ~np.isin(table.way, ways)
    sure = _least(table.way, np.where(fits & (table.high <= most), table.seconds, np.inf), table.needed)
    faster = _least(table.way, np.where(~fits & (table.seconds < best), table.needed, np.inf), table.seconds)
    near = _least(table.way[beaten], table.needed[beaten], table.seconds[beaten])
    places = np.flatnonzero(beaten)
    smallest = _least(table.way, table.needed, table.seconds)

    def named(found: Sequence[tuple[int, int]]) -> tuple[Ranked, ...]:
        return tuple(_ranked(table, listed, *place) for place in found)

    return Found(
        rows=named(rows),
        sure=next(iter(named(sure[:1])), None),
        faster=next(iter(named(faster[:1])), None) if rows else None,
        near=named([(int(places[row]), column) for row, column in near]),
        smallest=named(smallest[:1])[0],
        ways=listed.ways,
        refused=listed.refused,
        legal=listed.legal,
        fitting=int(fits.sum()),
        unknown=unknown,
    )


def batch_for(devices: int, sequence: int) -> int:
    """Sequences of a step where none are named: about `TOKENS`, as a multiple of the devices or a divisor of them."""
    wanted = max(1, TOKENS // sequence)
    if wanted >= devices:
        return round(wanted / devices) * devices
    return max(one for one in range(1, wanted + 1) if devices % one == 0)


def steps() -> list[int]:
    """Powers of two and their threefold, to `MOST`: numbers of devices that are tried."""
    every = sorted({base * 2**power for base in (1, 3) for power in range(MOST.bit_length())})
    return [count for count in every if count <= MOST]


def fitting(task: Task) -> Ranked | None:
    """The fastest layout that fits; None where none does, or none is legal."""
    try:
        found = search(task)
    except WeighError as refusal:
        if refusal.rule != "PLAN-NONE":
            raise
        return None
    return next(iter(found.rows), None)


def _table(task: Task, listed: Choices, unknown: dict[str, str]) -> _Table:
    columns: list[tuple[Array, ...]] = []
    for number, block in enumerate(listed.blocks):
        rows = len(block.legal)
        way = np.broadcast_to(_way(block.layouts), (rows, 1, 1)).reshape(-1)
        for kernel, *numbers in _evaluated(task, block, unknown):
            legal = [np.where(block.legal, one, np.inf).reshape(rows, -1) for one in numbers]
            columns.append((*legal, way, np.full(rows, number), np.full(rows, kernel), np.arange(rows)))
    if not columns:
        raise WeighError(next(iter(unknown.values())), rule="TRAIN-KEPT")
    return _Table(*(np.concatenate(one) for one in zip(*columns, strict=True)))


def _evaluated(task: Task, block: Block, unknown: dict[str, str]) -> Iterator[tuple[int, Any, Any, Any]]:
    """Seconds, bytes and their upper end of a block, for each kernel that the model's parts tell of."""
    stocked = stocks(task.model, block.layouts, task.optimizer, task.precision)
    told = passes(task.model, block.layouts, task.training)
    moved = loads(stocked)
    for kernel, (recompute, flash) in enumerate(block.kernels):
        layouts = block.taken(kernel)
        try:
            needed = needs(task.model, layouts, task.training, stocked, told, task.precision, task.framework)
        except WeighError as unclear:
            if unclear.rule != "TRAIN-KEPT":
                raise
            unknown[f"recompute {recompute}, flash attention {'on' if flash else 'off'}"] = unclear.message
            continue
        took = seconds(task.model, layouts, task.training, task.cluster.device, task.precision, moved, task.framework)
        yield kernel, took, needed.value, needed.high


def _way(at: Layout) -> Any:
    """A number for each way to divide the devices, the same in all blocks."""
    return ((at.tp * 2**16 + at.pp) * 2**16 + at.cp) * 2**10 + at.ep


def _least(way: Array, measure: Array, second: Array) -> list[tuple[int, int]]:
    """Row and column of the least of each way, least first; of equal rows the one with less of the second measure.

    Of equal columns the first, which has less ZeRO and no sequence parallelism: what is simpler.
    """
    if not len(way):
        return []
    column = measure.argmin(axis=1)
    rows = np.arange(len(way))
    least = measure[rows, column]
    order = np.lexsort((second[rows, column], least))
    order = order[np.isfinite(least[order])]
    _, first = np.unique(way[order], return_index=True)
    return [(int(row), int(column[row])) for row in order[np.sort(first)]]


def _ranked(table: _Table, listed: Choices, row: int, column: int) -> Ranked:
    block = listed.blocks[table.block[row]]
    place = int(table.degrees[row]) * table.seconds.shape[1] + column
    numbers = (table.seconds[row, column], table.needed[row, column], table.high[row, column])
    return Ranked(block.one(int(table.kernel[row]), place), *(float(number) for number in numbers))


def _none(task: Task, listed: Choices) -> WeighError:
    """Nothing divides: why, and the nearest number of devices that does."""
    reasons = ", ".join(f"{count} {REASONS[rule]}" for rule, count in listed.refused.items())
    count = task.cluster.count
    text = f"no layout is legal on {count:,} devices: of {listed.ways} ways to divide them {reasons or 'none is left'}"
    tried = [*range(count - 1, max(0, count - NEAR), -1), *(n for n in reversed(steps()) if n <= count - NEAR)]
    fewer = next((n for n in tried if choices(task.model, task.training, n, task.fixed).blocks), None)
    hint = f"{fewer:,} devices can be divided" if fewer else "name fewer fields, or another --batch"
    return WeighError(text, rule="PLAN-NONE", hint=hint, exit_code=2)
