"""Many users at once: time per token under a steady load, and the largest batch that memory and latency allow.

`under_load` is what a batch of users sees; `limits` finds the batch at which a bound breaks. Both look at one copy of
the model: several copies share the users evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from weigh.cost.compute import prompt_pass
from weigh.cost.memory import memory
from weigh.cost.run.several import ends_of
from weigh.cost.run.split import Split
from weigh.cost.run.stages import Line, decode_s, prefill_s
from weigh.numbers import Number
from weigh.types import Engine, Figure, Job, Why

SOURCE = (
    "iteration-level scheduling, as told of Orca in https://kylehh.github.io/code23/2025/06/05/orca; the sum is ours"
)
STATIC = frozenset({"transformers", "onnxruntime"})
"""Engines whose batch begins and ends together; all others take a new prompt in when a sequence ends."""
MOST = 2**16
"""Sequences beyond which no batch is looked for."""


@dataclass(frozen=True, slots=True)
class Served:
    """What each user of a batch sees, in seconds; each may be an array."""

    tpot: Number
    ttft: Number


def under_load(line: Line, job: Job, batch: Number) -> Served:
    """Of `batch` users of one copy that each send the next prompt when their answer is complete.

    Each answer takes `output` steps, so that batch / output prompts begin a step on average, and their prefill
    lengthens it: step = decode(batch) + batch / output x prefill(one prompt). A new prompt waits for half a step and
    comes out with its own: ttft = step / 2 + decode(batch) + prefill(one). An engine that does not mix the two runs
    all prompts first. Source: `SOURCE`.
    Ignores: weights that a mixed step reads once for both, prompts cut into chunks, arrivals in bursts, equal prompts
    that are kept. So the time per token is an upper estimate and the wait a lower one.
    """
    work = job.workload
    decode = decode_s(line, job, batch).total
    one = prefill_s(line, replace(job, workload=replace(work, batch=1))).total
    if line.engine in STATIC:
        return Served(decode, batch * one)
    step = decode + batch / max(1, work.output) * one
    return Served(step, step / 2 + decode + one)


def served_figures(line: Line, job: Job) -> dict[str, Figure]:
    """`tpot`, `ttft`, tokens a second of each user and of all, under a steady load of the job's batch."""
    copies = line.split.copies
    batch = -(-job.workload.batch // copies)
    found = under_load(line, job, batch)
    ends = ends_of(line, "decode"), ends_of(line, "prefill")
    low, high = min(end.low for end in ends), max(end.high for end in ends)
    inputs = {"batch": batch, "output": job.workload.output, "prompt": prompt_pass(job.model, job.workload).tokens}
    mixed = "decode" if line.engine in STATIC else "decode + batch / output x prefill of one prompt"
    waits = "prefill of all" if line.engine in STATIC else "half a step + decode + prefill of one prompt"

    def seconds(value: float, formula: str) -> Figure:
        return Figure(value, value * low, value * high, "s", "assumed", Why(formula, inputs, SOURCE))

    tpot = seconds(found.tpot, mixed)
    whole = job.workload.batch

    def rate(users: int, formula: str) -> Figure:
        ends = users / tpot.value, users / tpot.high, users / tpot.low
        return Figure(*ends, "tokens/s", "assumed", Why(formula, {"users": users, "tpot": tpot.value}, SOURCE))

    return {
        "ttft": seconds(found.ttft, waits),
        "tpot": tpot,
        "tokens_per_second_per_user": rate(1, "1 / time per token"),
        "tokens_per_second": rate(whole, "users / time per token"),
    }


# ------------------------------------------------------------------------------------------------ the largest


def limits(
    line: Line | None,
    job: Job,
    engine: Engine,
    split: Split,
    capacity: float | None,
    *,
    max_ttft_s: float | None = None,
    max_tpot_s: float | None = None,
) -> dict[str, Any]:
    """The largest batch that memory allows and that keeps each bound under load, and which of them binds.

    Memory and times grow with the batch, so each is found by halving. The ends are those of memory and of the times.
    None for a bound that was not asked for or of which nothing is known; 0 where not even one sequence keeps it.
    """
    found: dict[str, Figure | None] = {"memory": None, "tpot": None, "ttft": None}
    if capacity is not None:
        found["memory"] = _by_memory(job, engine, split, capacity)
    if line is not None:
        for name, bound in (("tpot", max_tpot_s), ("ttft", max_ttft_s)):
            if bound is not None:
                found[name] = _by_time(line, job, name, bound)
    known = {name: figure for name, figure in found.items() if figure is not None}
    binds = min(known, key=lambda name: known[name].value) if known else None
    return {**found, "batch": known[binds] if binds else None, "binds": binds}


def _by_memory(job: Job, engine: Engine, split: Split, capacity: float) -> Figure:
    def needed(batch: int) -> Figure:
        return memory(replace(job, workload=replace(job.workload, batch=batch)), engine, split).total

    low = largest(lambda batch: needed(batch).high <= capacity)
    value = largest(lambda batch: needed(batch).value <= capacity)
    high = largest(lambda batch: needed(batch).low <= capacity)
    why = Why("largest batch whose memory fits on the fullest device", {"capacity": capacity})
    return Figure(value, low, high, "sequences", "derived", why)


def _by_time(line: Line, job: Job, name: str, bound: float) -> Figure:
    copies = line.split.copies
    ends = ends_of(line, "prefill" if name == "ttft" else "decode")

    def keeps(factor: float) -> int:
        found = largest(lambda batch: factor * float(getattr(under_load(line, job, batch), name)) <= bound)
        return found * copies

    why = Why(f"largest batch whose {name} under load stays below the bound", {"bound_s": bound}, SOURCE)
    return Figure(keeps(1.0), keeps(ends.high), keeps(ends.low), "sequences", "assumed", why)


def largest(good: Callable[[int], bool]) -> int:
    """The largest number up to MOST that is good, if all below it are: 0 where not even one is."""
    if not good(1):
        return 0
    low, high = 1, 2
    while high <= MOST and good(high):
        low, high = high, 2 * high
    high = min(high, MOST + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    return low
