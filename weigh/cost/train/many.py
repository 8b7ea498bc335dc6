"""Memory and time of many layouts at once, by the formulas of one.

A single layout is summed over its parts (`memory.py`, `terms.py`). Here a stage is a sum over kinds of layers times
their counts (`kinds.py`), and what a kind takes is computed once for each set of the numbers that it depends on. The
rest are the lines of the single layout, which take arrays; tests hold every number against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weigh import parts
from weigh.cost.activations import Step
from weigh.cost.train.efficiency import efficiency, real_seconds
from weigh.cost.train.kinds import Group, Stage, distinct, groups, stages
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.memory import Kept, in_all, of_part, step_of, step_pass
from weigh.cost.train.model_states import pieces, states_of
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.terms import Loads, terms
from weigh.cost.train.tuning import LINEAR
from weigh.numbers import Number, chosen, larger, smaller
from weigh.types import Device, Model, Part
from weigh.types import Kept as Entry

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes on the device that holds the most, and the upper end of the interval."""

    value: Array
    high: Array


@dataclass(frozen=True, slots=True)
class Holding:
    """What one of a group puts on a device."""

    states: Number
    """Bytes of parameters, gradients, master copy and optimizer's states."""
    states_high: Number
    """The same with gradients summed in float32."""
    moved: Number
    """Those that the optimizer moves: the master copy and its states."""
    parameters: Number
    experts: Number
    trained: Number
    copies: Number
    """Bytes of the 8-bit copies of its matrices, where they are kept."""


@dataclass(frozen=True, slots=True)
class Stocks:
    """A block's stages and what each group puts on a device, whatever is kept for the backward pass."""

    stages: tuple[Stage, ...]
    holdings: tuple[Holding, ...]

    def sum(self, stage: int, name: str) -> Number:
        """Of all groups of a stage."""
        found: Number = 0
        for times, one in zip(self.stages[stage].times, self.holdings, strict=True):
            found = found + times * getattr(one, name)
        return found


# ----------------------------------------------------------------------------------------------------- states


def stocks(model: Model, layouts: Layout, optimizer: Optimizer, precision: Precision) -> Stocks:
    """States and parameters, computed once for each tp, number of shards and ep, and taken to their places."""
    sizes = model.dimensions
    rows, where = distinct(*(np.asarray(one) for one in (layouts.tp, layouts.shards, layouts.ep)))
    names = ("tp", "dp", "ep")
    columns: dict[str, Any] = {
        name: np.array(column).reshape(-1, 1, 1) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    few = replace(layouts, cp=1, **columns)
    upper = replace(precision, gradient=precision.gradient_high)
    found = []
    for group in groups(model):
        arrays = [one for part in group.parts for one in pieces(part, sizes, few, piped=group.piped)]
        states, high = (states_of(arrays, few, optimizer, each) for each in (precision, upper))
        numbers = (
            states.total,
            high.total,
            states.master + states.optimizer,
            sum(one.parameters for one in arrays),
            sum(one.parameters for one in arrays if one.expert),
            sum(one.parameters for one in arrays if one.trained),
            2 * sum(one.parameters for one in arrays if one.role in LINEAR and len(one.shape) > 1),
        )
        found.append(Holding(*(_placed(number, where) for number in numbers)))
    return Stocks(stages(model, layouts), tuple(found))


def _placed(few: Number, where: Array) -> Number:
    """What was computed for each distinct row, at every place; a plain number is the same everywhere."""
    return few[where.reshape(-1)] if isinstance(few, np.ndarray) and few.ndim else few


def gathered(found: Stocks, stage: int, layouts: Layout, precision: Precision) -> Number:
    """Bytes that ZeRO-3 holds whole for a while, as `memory.gathered`: of the two largest groups of a stage."""
    first: Number = 0
    second: Number = 0
    for times, one in zip(found.stages[stage].times, found.holdings, strict=True):
        for there in (times > 0, times > 1):
            size = one.parameters * there
            second = larger(second, smaller(first, size))
            first = larger(first, size)
    # As `memory.gathered`: parameters of two groups, and gradients of one.
    whole = (first + second) * precision.parameter + first * precision.gradient
    return chosen(layouts.zero >= 3, whole, 0)


def loads(found: Stocks) -> Loads:
    """What the terms of a step take, as `terms.loads`: of the first or the last stage, what has more parameters."""
    sums = {name: (found.sum(0, name), found.sum(2, name)) for name in ("parameters", "experts", "trained")}
    first, last = sums["parameters"]
    there = found.stages[2].exists & (last > first)
    picked = {name: chosen(there, of_last, of_first) for name, (of_first, of_last) in sums.items()}
    return Loads(**picked, state_bytes=found.sum(0, "moved"))


# ------------------------------------------------------------------------------------------------ activations


@dataclass(frozen=True, slots=True)
class Passes:
    """What the parts of each group say that they keep of one microbatch, for each distinct cp, microbatch and tp."""

    tp: Array
    where: Array
    """Which of the distinct ones each layout is."""
    told: tuple[tuple[tuple[Part, list[Entry] | None], ...], ...]
    """Each part of each group with its entries, whose values are arrays."""


def passes(model: Model, layouts: Layout, training: Training) -> Passes:
    """Every part is asked once for each cp and microbatch: its answer depends on nothing else of a layout."""
    rows, where = distinct(*(np.asarray(one) for one in (layouts.cp, layouts.microbatch, layouts.tp)))
    cp, microbatch, tp = (np.array(column) for column in zip(*rows, strict=True))
    pairs, at = distinct(cp, microbatch)
    asked = [step_pass(Layout(cp=one, microbatch=sequences), training) for one, sequences in pairs]
    told = tuple(
        tuple((part, _entries([parts.keeps(part, one) for one in asked], at)) for part in group.parts)
        for group in groups(model)
    )
    return Passes(tp.reshape(-1, 1, 1), where, told)


def _entries(told: Sequence[tuple[Entry, ...] | None], at: Array) -> list[Entry] | None:
    """What a part says in each pass as entries of arrays: the same entry of all passes is one, absent where it is 0."""
    found: dict[Any, tuple[Entry, list[int | None]]] = {}
    for row, entries in enumerate(told):
        if entries is None:
            return None
        seen: dict[Any, int] = {}
        for entry in entries:
            key = (entry.name, entry.kind, entry.split, entry.only, entry.shared)
            seen[key] = seen.get(key, 0) + 1
            _, values = found.setdefault((*key, seen[key]), (entry, [0] * len(told)))
            values[row] = entry.values
    together = []
    for entry, values in found.values():
        numbers: Any = None if None in values else np.array(values)[at].reshape(-1, 1, 1)
        together.append(replace(entry, values=numbers))
    return together


def needs(
    model: Model,
    layouts: Layout,
    training: Training,
    stocked: Stocks,
    told: Passes,
    precision: Precision,
    framework: str | None = None,
) -> Needs:
    """Memory of a device of each layout, as `memory.memory`. Error: TRAIN-KEPT, as there."""
    eager = _keeping(model, layouts, told, fused=False, cached=False)
    ways = {
        cached: _needs(model, layouts, training, stocked, told, precision, eager, cached=cached)
        for cached in {_caches(words, precision) for words in _frameworks(framework)}
    }
    if len(ways) == 1:
        return next(iter(ways.values()))
    divided, own, other = _divided(layouts), ways[True], ways[False]
    return Needs(chosen(divided, own.value, other.value), chosen(divided, own.high, other.high))


def _needs(
    model: Model,
    layouts: Layout,
    training: Training,
    stocked: Stocks,
    told: Passes,
    precision: Precision,
    eager: _Keeping,
    *,
    cached: bool,
) -> Needs:
    fused = _keeping(model, layouts, told, fused=True, cached=cached)
    value: Number = 0
    high: Number = 0
    for number, stage in enumerate(stocked.stages):
        whole, working = fused.of(stage, model, layouts, training)
        whole_high, _ = eager.of(stage, model, layouts, training)
        buffers = working + gathered(stocked, number, layouts, precision)
        if cached:
            buffers = buffers + stocked.sum(number, "copies")
        total = stocked.sum(number, "states") + whole + buffers
        most = stocked.sum(number, "states_high") + larger(whole, whole_high) + 2 * buffers
        worst = stage.exists & (total > value)
        value, high = chosen(worst, total, value), chosen(worst, most, high)
    return Needs(value, high)


def _frameworks(framework: str | None) -> tuple[str, ...]:
    """The framework that was named, else those that `framework_of` picks by the layout."""
    return ("megatron", "pytorch") if framework is None else (framework,)


def _divided(layouts: Layout) -> Number:
    """Where `framework_of` says Megatron."""
    return (layouts.tp > 1) | (layouts.pp > 1)


def _caches(framework: str, precision: Precision) -> bool:
    """Whether 8-bit copies of weights and inputs are kept, as `train.memory` is told for this framework."""
    return framework == "megatron" and precision.id == "fp8"


@dataclass(frozen=True, slots=True)
class _Keeping:
    """Bytes that one of each group keeps of one microbatch, and the arrays that several parts share, by name."""

    groups: tuple[Group, ...]
    own: tuple[Number, ...]
    shared: tuple[dict[str, Number], ...]
    step: Step

    def of(self, stage: Stage, model: Model, layouts: Layout, training: Training) -> tuple[Number, Number]:
        """Bytes kept of all microbatches in flight, and of the larger of the loss and a layer computed again."""
        full = layouts.recompute == "full"
        layers: Number = 0
        again: Number = 0
        working: Number = 0
        tables: Number = 0
        head: Number = 0
        shared: dict[str, Number] = {}
        for group, times, own, named in zip(self.groups, stage.times, self.own, self.shared, strict=True):
            if group.table:
                tables = tables + times * own
            elif group.behind:
                head = head + times * own
            elif full:
                again = again + times
                working = larger(working, own * (times > 0))
            else:
                layers = layers + times * own
            for name, size in named.items():
                shared[name] = larger(shared.get(name, 0), size * (times > 0))
        mine = Kept(layers, again, working, tables + sum(shared.values()), head)
        whole, logits = in_all(mine, model.dimensions, layouts, training, self.step, stage.number)
        return whole, larger(logits, working)


def _keeping(model: Model, layouts: Layout, told: Passes, *, fused: bool, cached: bool) -> _Keeping:
    """Sums over the parts of each group, taken to their places."""
    step = replace(step_of(model, layouts, fused=fused), tensor=told.tp)
    own: list[Number] = []
    shared: list[dict[str, Number]] = []
    for group in told.told:
        mine: Number = 0
        named: dict[str, Number] = {}
        for part, entries in group:
            for name, size, one_array in of_part(part, entries, step, cached=cached):
                if one_array:
                    named[name] = larger(named.get(name, 0), size)
                else:
                    mine = mine + size
        own.append(_placed(mine, told.where))
        shared.append({name: _placed(size, told.where) for name, size in named.items()})
    return _Keeping(groups(model), tuple(own), tuple(shared), step)


# ------------------------------------------------------------------------------------------------------- time


def seconds(
    model: Model,
    layouts: Layout,
    training: Training,
    device: Device,
    precision: Precision,
    moved: Loads,
    framework: str | None = None,
) -> Number:
    """Seconds of a step of each layout, as `step.step`. Errors: TRAIN-DEVICE, TRAIN-FRAMEWORK, as there."""
    ideal = terms(model, layouts, training, device, precision, moved)
    found = []
    for words in _frameworks(framework):
        fitted, _ = efficiency(device, words)
        found.append(sum(real_seconds(ideal, device, words, fitted).values()))
    return found[0] if len(found) == 1 else chosen(_divided(layouts), *found)
