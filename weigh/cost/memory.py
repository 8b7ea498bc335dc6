"""Memory to run a model: weights, state, activations, overhead; whether it fits, and up to which context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from weigh.cost.run.shares import Share, shares
from weigh.cost.run.split import ONE, Split
from weigh.types import Engine, Figure, Fits, Job, Why, total

STEP = 256
"""Contexts are searched in steps of so many tokens: engines pad to this or finer."""
LONGEST = 2**24


@dataclass(frozen=True, slots=True)
class Memory:
    """The Figures of one job, in bytes, and what weights and activations consist of."""

    weights: Figure
    state: Figure
    activations: Figure
    overhead: Figure
    total: Figure
    weight_buffers: Mapping[str, Figure]
    activation_buffers: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Spread:
    """Memory of a job over its devices, stage by stage, and of the host where it holds layers."""

    stages: tuple[tuple[Share, Memory], ...]
    host: tuple[Share, Memory] | None = None

    @property
    def fullest(self) -> Memory:
        """Of the device that holds the most: it decides whether the job fits."""
        return max((needed for _, needed in self.stages), key=lambda needed: needed.total.value)

    @property
    def total(self) -> Figure:
        """Of all devices together, without the host."""
        every = {f"stage {share.stage}": _times(needed.total, share.devices) for share, needed in self.stages}
        return total(every, "sum over stages of devices x memory of one")


def memory(job: Job, engine: Engine, split: Split = ONE) -> Memory:
    """weights + state + activations + overhead of the device that holds the most, in bytes."""
    return spread(job, engine, split).fullest


def spread(job: Job, engine: Engine, split: Split = ONE) -> Spread:
    """Memory of each stage, as the engine allocates what its devices hold.

    Compute buffers and overhead are there once on each device. Ignores: buffers of the collectives.
    """
    found = tuple((share, _alone(share.job, engine)) for share in shares(job, split, engine))
    host = next((pair for pair in found if pair[0].stage < 0), None)
    return Spread(tuple(pair for pair in found if pair[0].stage >= 0), host)


def _alone(job: Job, engine: Engine) -> Memory:
    """Of one device with a job of its own."""
    weight_buffers, activation_buffers = engine.weights(job), engine.activations(job)
    pieces = {
        "weights": total(weight_buffers, "sum of the weight buffers"),
        "state": engine.state(job),
        "activations": total(activation_buffers, "sum of the compute buffers"),
        "overhead": engine.overhead(job),
    }
    whole = total(pieces, "weights + state + activations + overhead")
    return Memory(**pieces, total=whole, weight_buffers=weight_buffers, activation_buffers=activation_buffers)


def _times(figure: Figure, devices: int) -> Figure:
    if devices == 1:
        return figure
    value, low, high = (end * devices for end in (figure.value, figure.low, figure.high))
    return replace(figure, value=value, low=low, high=high)


def fits(needed: Figure, capacity: float | None) -> Fits:
    """Yes where the whole interval fits, no where none of it does, uncertain between or without a capacity."""
    if capacity is None:
        return "uncertain"
    if needed.high <= capacity:
        return "yes"
    return "no" if needed.low > capacity else "uncertain"


def longest_context(
    job: Job, engine: Engine, capacity: float | None, trained: int | None, split: Split = ONE
) -> Figure | None:
    """Largest context that fits, in tokens: by the value of the total, and by both ends of its interval.

    Of several devices the fullest decides. Memory grows with the context, nearly evenly, so it is found by drawing
    lines, to a multiple of `STEP` below. It ends at what the model was trained for; 0 where no context fits; None where
    the capacity (bytes of one device) is unknown or nothing is kept from token to token.
    """
    if capacity is None or engine.state(job).value == 0:
        return None
    limit = trained or LONGEST
    held = [share.job for share in shares(job, split, engine) if share.stage >= 0]

    @cache
    def needed(context: int) -> Figure:
        longer = (replace(one, workload=replace(one.workload, context=context)) for one in held)
        return max((_alone(one, engine).total for one in longer), key=lambda total: total.value)

    low = _largest(lambda context: needed(context).high, capacity, limit, job.workload.context)
    value = _largest(lambda context: needed(context).value, capacity, limit, job.workload.context)
    high = _largest(lambda context: needed(context).low, capacity, limit, job.workload.context)
    binds = "the context that the model was trained for" if value == limit else "memory"
    why = Why(f"largest context whose total fits; {binds} binds", {"capacity": capacity, "trained": trained})
    return Figure(value, low, high, "tokens", "derived", why)


def _largest(needed: Callable[[int], float], capacity: float, limit: int, known: int) -> int:
    """The largest context whose need is at most the capacity, if it grows with it: 0, `limit`, or a multiple of STEP.

    A line through what a context that fits and one that does not need points at the next to ask; every third time it is
    the one in the middle, so that an uneven need cannot make it long. `known` is a context whose need costs nothing.
    """
    if needed(limit) <= capacity:
        return limit
    fitting = known if known < limit and needed(known) <= capacity else 1
    if fitting == 1 and needed(1) > capacity:
        return 0
    low, high = fitting // STEP, -(-limit // STEP)
    low_need, high_need = needed(fitting), needed(limit)
    asked = 0
    while high - low > 1:
        line = low + int((capacity - low_need) / (high_need - low_need) * (high - low))
        # The line points below what fits: its other neighbour is asked next, and often ends it.
        guess = (low + high) // 2 if asked % 3 == 2 else line + asked % 3
        place = min(max(guess, low + 1), high - 1)
        found = needed(place * STEP)
        if found <= capacity:
            low, low_need = place, found
        else:
            high, high_need = place, found
        asked += 1
    return max(1, low * STEP)
