"""Memory to run a model: weights, state, activations, overhead; whether it fits, and up to which context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

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


def memory(job: Job, engine: Engine) -> Memory:
    """weights + state + activations + overhead, as the engine allocates them for the job."""
    weight_buffers = engine.weights(job)
    activation_buffers = engine.activations(job)
    pieces = {
        "weights": total(weight_buffers, "sum of the weight buffers"),
        "state": engine.state(job),
        "activations": total(activation_buffers, "sum of the compute buffers"),
        "overhead": engine.overhead(job),
    }
    whole = total(pieces, "weights + state + activations + overhead")
    return Memory(**pieces, total=whole, weight_buffers=weight_buffers, activation_buffers=activation_buffers)


def fits(needed: Figure, capacity: float | None) -> Fits:
    """Yes where the whole interval fits, no where none of it does, uncertain between or without a capacity."""
    if capacity is None:
        return "uncertain"
    if needed.high <= capacity:
        return "yes"
    return "no" if needed.low > capacity else "uncertain"


def longest_context(job: Job, engine: Engine, capacity: float | None, trained: int | None) -> Figure | None:
    """Largest context that fits, in tokens: by the value of the total, and by both ends of its interval.

    Memory grows with the context, so it is found by halving. It ends at what the model was trained for; None
    where the capacity is unknown or nothing is kept from token to token.
    """
    if capacity is None or engine.state(job).value == 0:
        return None
    limit = trained or LONGEST
    low = _largest(job, engine, lambda figure: figure.high <= capacity, limit)
    value = _largest(job, engine, lambda figure: figure.value <= capacity, limit)
    high = _largest(job, engine, lambda figure: figure.low <= capacity, limit)
    binds = "the context that the model was trained for" if value == limit else "memory"
    why = Why(f"largest context whose total fits; {binds} binds", {"capacity": capacity, "trained": trained})
    return Figure(value, low, high, "tokens", "derived", why)


def _largest(job: Job, engine: Engine, suits: Callable[[Figure], bool], limit: int) -> int:
    def good(context: int) -> bool:
        workload = replace(job.workload, context=context)
        return suits(memory(replace(job, workload=workload), engine).total)

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
