"""Which layouts there are for so many devices: every way to divide them, and what goes with each.

Many layouts are one `Layout` whose numbers are arrays that broadcast: what belongs to the degrees lies along the first
axis, sequence parallelism along the second, ZeRO along the third; the schedule is a word that a block of layouts
shares, and a block is taken once with each kind of recomputation and attention. So every formula of a layout runs over
a block at once, and a term is computed only as often as it differs. To let the search choose another field, give it
its values in `choices`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weigh.cost.train.layout import RULES, Layout, Recompute, Training
from weigh.types import Model

Array = NDArray[Any]
Columns = dict[str, Array]

KERNELS: tuple[tuple[Recompute, bool], ...] = (
    ("none", True),
    ("full", True),
    ("none", False),
    ("selective", False),
    ("full", False),
)
"""Recomputation and flash attention. A flash kernel leaves selective recomputation nothing to do."""
MISSES = ("HEADS", "LAYERS", "SEQUENCE", "BATCH", "EXPERTS", "SCHEDULE")
"""The order in which a reason is looked for: the model's own sizes before what the user can change."""
_WAY = ("tp", "pp", "cp", "dp")


@dataclass(frozen=True, slots=True)
class Block:
    """Layouts of one schedule, and which of them count."""

    layouts: Layout
    """With arrays for numbers, which broadcast to `legal`."""
    kernels: tuple[tuple[Recompute, bool], ...]
    """Recomputation and flash attention that each of them is taken with."""
    legal: NDArray[np.bool_]
    """Where there is a layout that is legal and not another one in other words."""

    def taken(self, kernel: int) -> Layout:
        """All of them with one of the kernels."""
        recompute, flash = self.kernels[kernel]
        return replace(self.layouts, recompute=recompute, flash_attention=flash)

    def one(self, kernel: int, place: int) -> Layout:
        """The layout at a place of `legal`, counted along its rows."""
        at = np.unravel_index(place, self.legal.shape)
        layouts = self.taken(kernel)
        found: dict[str, Any] = {}
        for field in fields(Layout):
            value = getattr(layouts, field.name)
            many = isinstance(value, np.ndarray)
            found[field.name] = np.broadcast_to(value, self.legal.shape)[at].item() if many else value
        return Layout(**found)


@dataclass(frozen=True, slots=True)
class Choices:
    """All legal layouts, and why the other ways to divide the devices are none."""

    blocks: tuple[Block, ...]
    ways: int
    """In how many ways tp x pp x dp x cp gives the devices."""
    refused: Mapping[str, int]
    """How many of these divide nothing evenly, by the first rule that they break."""

    @property
    def legal(self) -> int:
        """How many layouts."""
        return sum(len(block.kernels) * int(block.legal.sum()) for block in self.blocks)


def divisors(number: int) -> list[int]:
    """In rising order."""
    small = [one for one in range(1, int(number**0.5) + 1) if number % one == 0]
    return small + [number // one for one in reversed(small) if one * one != number]


def ways(devices: int) -> list[tuple[int, int, int, int]]:
    """Every tp, pp, cp and dp whose product is the devices."""
    return [
        (tp, pp, cp, devices // (tp * pp * cp))
        for tp in divisors(devices)
        for pp in divisors(devices // tp)
        for cp in divisors(devices // (tp * pp))
    ]


def choices(model: Model, training: Training, devices: int, fixed: Mapping[str, Any]) -> Choices:
    """Every legal layout whose fields are those of `fixed`, as far as these are named.

    A way to divide the devices is counted as refused where nothing can be added that makes it legal. Schedules are
    1F1B and, with several runs of layers a stage, the interleaved one; others are searched where `fixed` names them.
    """
    sizes = model.dimensions
    every = ways(devices)
    named = [way for way in every if all(fixed.get(name, got) == got for name, got in zip(_WAY, way, strict=True))]
    degrees: Columns = dict(zip(_WAY, np.array(named, dtype=np.int64).reshape(-1, 4).T, strict=True))
    refused, fine = _refused(_alone(degrees, fixed), "1f1b", training, sizes)
    degrees = _kept(degrees, fine)
    degrees = _crossed(degrees, "microbatch", fixed.get("microbatch"), divisors(training.batch))
    degrees = _kept(degrees, training.batch % (degrees["dp"] * degrees["microbatch"]) == 0)
    degrees = _crossed(degrees, "interleave", fixed.get("interleave"), divisors(sizes.get("layers", 1)))
    degrees = _crossed(degrees, "ep", fixed.get("ep"), divisors(sizes.get("experts", 0) or 1))
    blocks = []
    for schedule, mask in _schedules(degrees, fixed):
        mine = _kept(degrees, mask)
        mine = _kept(mine, _refused(mine, schedule, training, sizes)[1])
        blocks.append(_block(mine, schedule, fixed, training, sizes))
    return Choices(tuple(block for block in blocks if block.legal.any()), len(named), refused)


def _alone(degrees: Columns, fixed: Mapping[str, Any]) -> Columns:
    """The degrees with the least of everything else, to see whether they can be legal at all."""
    rows = len(degrees["tp"])
    given = {"microbatch": 1, "interleave": 1, "ep": 1} | {n: fixed[n] for n in ("microbatch", "ep") if n in fixed}
    return degrees | {name: np.full(rows, value, dtype=np.int64) for name, value in given.items()}


def _refused(
    degrees: Columns, schedule: str, training: Training, sizes: Mapping[str, int]
) -> tuple[dict[str, int], Array]:
    """How many break which rule first, and which break none."""
    words: dict[str, Any] = {"schedule": schedule, "sequence_parallel": False}
    at = Layout(**{**words, **degrees})
    left = np.ones(len(degrees["tp"]), dtype=bool)
    found: Counter[str] = Counter()
    for rule in sorted(RULES, key=lambda one: MISSES.index(one.name)):
        broken = left & rule.broken(at, training, sizes)
        found[rule.name] += int(broken.sum())
        left &= ~broken
    return {name: count for name, count in found.items() if count}, left


def _kept(columns: Columns, mask: Array) -> Columns:
    return {name: column[mask] for name, column in columns.items()}


def _crossed(columns: Columns, name: str, value: int | None, values: Sequence[int]) -> Columns:
    """Every row with every value of another column."""
    free = np.array(values if value is None else [value], dtype=np.int64)
    rows = len(columns["tp"])
    longer = {other: np.repeat(column, len(free)) for other, column in columns.items()}
    return longer | {name: np.tile(free, rows)}


def _schedules(degrees: Columns, fixed: Mapping[str, Any]) -> list[tuple[str, Array]]:
    """Each schedule with the rows that it is for."""
    if "schedule" in fixed:
        return [(fixed["schedule"], np.ones(len(degrees["tp"]), dtype=bool))]
    several = degrees["interleave"] > 1
    return [("1f1b", ~several), ("interleaved", several)]


def _kernels(fixed: Mapping[str, Any]) -> tuple[tuple[Recompute, bool], ...]:
    """Recomputation with attention; a pair that the user names stands even where it is two words for one thing."""
    fitting = tuple(
        (again, flash)
        for again, flash in KERNELS
        if fixed.get("recompute", again) == again and fixed.get("flash_attention", flash) == flash
    )
    return fitting or ((fixed["recompute"], fixed["flash_attention"]),)


def _block(
    degrees: Columns, schedule: str, fixed: Mapping[str, Any], training: Training, sizes: Mapping[str, int]
) -> Block:
    """The layouts of these degrees, each field along its axis.

    ZeRO that has nothing to divide is stage 0 in other words.
    """
    columns: dict[str, Any] = {name: column.reshape(-1, 1, 1) for name, column in degrees.items()}
    rows = [fixed["sequence_parallel"]] if "sequence_parallel" in fixed else [False, True]
    stages = [fixed["zero"]] if "zero" in fixed else [0, 1, 2, 3]
    columns |= {"sequence_parallel": np.array(rows).reshape(1, -1, 1), "zero": np.array(stages).reshape(1, 1, -1)}
    layouts = Layout(**columns, schedule=schedule)
    broken: Any = False
    for rule in RULES:
        broken = broken | rule.broken(layouts, training, sizes)
    idle = (np.array(stages) > stages[0]) & (layouts.shards == 1)
    shape = (len(degrees["tp"]), len(rows), len(stages))
    return Block(layouts, _kernels(fixed), np.broadcast_to(~(broken | idle), shape))
