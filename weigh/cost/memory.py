"""Memory to run a model: weights, state, activations, overhead; whether it fits, and up to which context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

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


def memory(job: Job, engine: Engine, devices: int = 1) -> Memory:
    """weights + state + activations + overhead, as the engine allocates them for the job, in bytes.

    Weights and state are spread over the devices; compute buffers and overhead are there once on each.
    Ignores: that the first and the middle devices need no logits, and that whole layers do not divide evenly.
    """
    weight_buffers = engine.weights(job)
    activation_buffers = {name: _on_each(buffer, devices) for name, buffer in engine.activations(job).items()}
    pieces = {
        "weights": total(weight_buffers, "sum of the weight buffers"),
        "state": engine.state(job),
        "activations": total(activation_buffers, "sum of the compute buffers"),
        "overhead": _on_each(engine.overhead(job), devices),
    }
    whole = total(pieces, "weights + state + activations + overhead")
    return Memory(**pieces, total=whole, weight_buffers=weight_buffers, activation_buffers=activation_buffers)


def _on_each(figure: Figure, devices: int) -> Figure:
    if devices == 1:
        return figure
    why = replace(
        figure.why, formula=f"({figure.why.formula}) x devices", inputs={**figure.why.inputs, "devices": devices}
    )
    value, low, high = (end * devices for end in (figure.value, figure.low, figure.high))
    return replace(figure, value=value, low=low, high=high, why=why)


def fits(needed: Figure, capacity: float | None) -> Fits:
    """Yes where the whole interval fits, no where none of it does, uncertain between or without a capacity."""
    if capacity is None:
        return "uncertain"
    if needed.high <= capacity:
        return "yes"
    return "no" if needed.low > capacity else "uncertain"


def longest_context(
    job: Job, engine: Engine, capacity: float | None, trained: int | None, devices: int = 1
) -> Figure | None:
    """Largest context that fits, in tokens: by the value of the total, and by both ends of its interval.

    Memory grows with the context, so it is found by halving, to a multiple of `STEP` below. It ends at what the
    model was trained for; 0 where no context fits; None where the capacity (bytes) is unknown or nothing is kept
    from token to token.
    """
    if capacity is None or engine.state(job).value == 0:
        return None
    limit = trained or LONGEST

    @cache
    def needed(context: int) -> Figure:
        return memory(replace(job, workload=replace(job.workload, context=context)), engine, devices).total

    low = _largest(lambda context: needed(context).high <= capacity, limit)
    value = _largest(lambda context: needed(context).value <= capacity, limit)
    high = _largest(lambda context: needed(context).low <= capacity, limit)
    binds = "the context that the model was trained for" if value == limit else "memory"
    why = Why(f"largest context whose total fits; {binds} binds", {"capacity": capacity, "trained": trained})
    return Figure(value, low, high, "tokens", "derived", why)


def _largest(good: Callable[[int], bool], limit: int) -> int:
    """The largest context that is good, if all that are shorter are good too: 0, `limit`, or a multiple of STEP."""
    if not good(1):
        return 0
    if good(limit):
        return limit
    low, high = 0, -(-limit // STEP)
    while high - low > 1:
        middle = (low + high) // 2
        if good(middle * STEP):
            low = middle
        else:
            high = middle
    return max(1, low * STEP)
