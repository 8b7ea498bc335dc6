"""A sweep: every combination of contexts, batches, forms of the weights and devices, through the estimator's own lines.

The formulas of memory, time and money take arrays as well as numbers (`weigh/numbers.py`), so a sweep asks each of them
once for a form and a device, with all contexts and batches at once. A point of a sweep is the single estimate, number
by number. To sweep one more figure, add it to Sweep and fill it in `_fill`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weigh.cost.compute import generates, prompt_pass, source_of
from weigh.cost.loading import Loaded
from weigh.cost.memory import memory, spread
from weigh.cost.money import dollars_per_million
from weigh.cost.run import measured
from weigh.cost.run.latency import grouped
from weigh.cost.run.load import Group, decode_loads, prefill_loads
from weigh.cost.run.several import line_of
from weigh.cost.run.split import Split
from weigh.cost.run.stages import decode_s, prefill_s
from weigh.cost.run.step import seconds
from weigh.engines.rates import Rates, rates
from weigh.numbers import Number, rounded_up, smaller
from weigh.types import Cluster, Engine, Figure, Job, Model, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

VECTORISED = frozenset({"llama.cpp", "transformers", "vllm", "tensorrt-llm", "onnxruntime"})
"""Engines whose memory takes arrays of contexts and batches. Any other is asked point by point, which is slower."""

VERDICTS = {1: "yes", 0: "uncertain", -1: "no"}
COLUMNS = (
    "memory_bytes", "memory_low", "memory_high", "fits", "ttft_s", "tpot_s", "tokens_per_second",
    "usd_per_million_tokens",
)  # fmt: skip
"""Figures of a point, in the order of the rows."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Arrays over context x batch x weights x device, in this order. NaN = not known."""

    contexts: NDArray[np.int64]
    batches: NDArray[np.int64]
    weights: tuple[str, ...]
    devices: tuple[str, ...]
    memory_bytes: NDArray[np.float64]
    memory_low: NDArray[np.float64]
    memory_high: NDArray[np.float64]
    """The 90 % interval of the total."""
    fits: NDArray[np.int8]
    """1 = yes, -1 = no, 0 = uncertain, as `VERDICTS` says."""
    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    tokens_per_second: NDArray[np.float64]
    """Of all sequences together."""
    usd_per_million_tokens: NDArray[np.float64]
    """Of tokens out."""

    @property
    def points(self) -> int:
        """Combinations."""
        return self.memory_bytes.size

    def rows(self) -> Iterator[dict[str, object]]:
        """A record a point; figures that are not known are None."""
        for place in np.ndindex(self.memory_bytes.shape):
            context, batch, form, device = place
            row: dict[str, object] = {
                "context": int(self.contexts[context]),
                "batch": int(self.batches[batch]),
                "weights": self.weights[form],
                "device": self.devices[device],
            }
            for name in COLUMNS:
                value = getattr(self, name)[place]
                row[name] = VERDICTS[int(value)] if name == "fits" else (None if np.isnan(value) else float(value))
            yield row


@dataclass(frozen=True, slots=True)
class Site:
    """Devices of one kind with their memory and what an hour of all of them costs."""

    name: str
    cluster: Cluster
    capacity: float | None
    """Of one of them."""
    split: Split
    usd_per_hour: Figure | None


def sweep(
    model: Model,
    engine: Engine,
    sites: Sequence[Site],
    forms: Sequence[tuple[str, Sequence[tuple[Loaded, Workload]]]],
    contexts: NDArray[np.int64],
    batches: NDArray[np.int64],
) -> Sweep:
    """Every combination of sites and forms: of each form its name, and on each site what is loaded and asked.

    The workloads give what all points share: tokens in and out, and the codec of the cache.

    Contexts must have room for the tokens in and out, as those of a single estimate must. As there, times are those
    of the tokens in and out and do not depend on the room that is made beyond them.
    """
    shape = (len(forms), len(sites), len(contexts), len(batches))
    found = {name: np.full(shape, np.nan) for name in COLUMNS}
    rooms: Number = contexts[:, None]
    sequences: Number = batches[None, :]
    for row, (_, placed) in enumerate(forms):
        for column, (site, (held, work)) in enumerate(zip(sites, placed, strict=True)):
            gathered = grouped(model, held.holdings)
            both = replace(work, context=rooms, batch=sequences)
            job = Job(model, held.tensors, both, site.cluster.device, file=held.as_stored)
            _fill({name: array[row, column] for name, array in found.items()}, job, engine, site, gathered)
    turned = {name: np.moveaxis(array, (2, 3), (0, 1)) for name, array in found.items()}
    return Sweep(
        contexts,
        batches,
        tuple(name for name, _ in forms),
        tuple(site.name for site in sites),
        **{**turned, "fits": turned["fits"].astype(np.int8)},
    )


def _fill(out: dict[str, NDArray[np.float64]], job: Job, engine: Engine, site: Site, gathered: Sequence[Group]) -> None:
    """One form on one site: arrays of contexts x batches."""
    out["memory_bytes"][:], out["memory_low"][:], out["memory_high"][:] = _memory(job, engine, site.split)
    capacity = np.nan if site.capacity is None else site.capacity
    out["fits"][:] = np.where(out["memory_high"] <= capacity, 1, np.where(out["memory_low"] > capacity, -1, 0))
    reached = rates(engine.id, job.device)
    if reached is None:
        return
    batches = np.asarray(job.workload.batch, np.float64).ravel()
    first, each = _times(job, engine, site, gathered, reached, batches)
    if reached.peak is not None:
        out["ttft_s"][:] = first()
    if reached.bandwidth is not None and generates(job.model):
        step = each()
        out["tpot_s"][:] = step
        out["tokens_per_second"][:] = batches / step
        if site.usd_per_hour is not None:
            out["usd_per_million_tokens"][:] = dollars_per_million(site.usd_per_hour.value, batches / step)


def _times(
    job: Job, engine: Engine, site: Site, gathered: Sequence[Group], reached: Rates, batches: NDArray[np.float64]
) -> tuple[Callable[[], Number], Callable[[], Number]]:
    """Seconds to the first token and of a token, for each batch, on one device or over several."""
    if site.split.devices == 1:
        own = measured.figures(replace(job, workload=replace(job.workload, batch=batches)), engine)  # type: ignore[arg-type]
        if own is not None:
            return lambda: own["prefill"].value, lambda: own["decode"].value
        return lambda: first_token_s(job, gathered, reached, batches), lambda: token_s(job, gathered, reached, batches)
    found = line_of(job, engine, gathered, site.split, reached)
    if found is None:
        return lambda: np.nan, lambda: np.nan
    of_one = -(-batches // site.split.copies)
    one = replace(job, workload=replace(job.workload, batch=of_one))  # type: ignore[arg-type]
    return lambda: prefill_s(found, one).total, lambda: decode_s(found, one, of_one).total


def _memory(job: Job, engine: Engine, split: Split) -> tuple[NDArray[np.float64], ...]:
    """Of the device that holds the most, with both ends, contexts x batches."""
    if engine.id in VECTORISED:
        return _fullest([needed.total for _, needed in spread(job, engine, split).stages])
    contexts, batches = (np.asarray(axis).ravel() for axis in (job.workload.context, job.workload.batch))
    ends = np.empty((3, len(contexts), len(batches)))
    for row, context in enumerate(contexts.tolist()):
        for column, batch in enumerate(batches.tolist()):
            single = replace(job, workload=replace(job.workload, context=context, batch=batch))
            whole = memory(single, engine, split).total
            ends[:, row, column] = whole.value, whole.low, whole.high
    return tuple(ends)


def _fullest(totals: Sequence[Figure]) -> tuple[NDArray[np.float64], ...]:
    """The total of the fullest of several devices, point by point: the largest value, the first among equals."""
    best = tuple(np.asarray(end, np.float64) for end in (totals[0].value, totals[0].low, totals[0].high))
    for other in totals[1:]:
        fuller = np.asarray(other.value) > best[0]
        ends = (other.value, other.low, other.high)
        best = tuple(np.where(fuller, end, before) for end, before in zip(ends, best, strict=True))
    return best


def first_token_s(
    job: Job, gathered: Sequence[Group], reached: Rates, batches: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Seconds to the first token, for each batch."""
    work = job.workload
    step = replace(prompt_pass(job.model, work), batch=batches)  # type: ignore[arg-type]
    loads = prefill_loads(gathered, step, codec=work.state_codec, most=reached.stretch)
    tokens = work.prompt * batches
    found: NDArray[np.float64] = seconds(loads, reached, steps=rounded_up(tokens, smaller(reached.stretch, tokens)))
    return found


def token_s(job: Job, gathered: Sequence[Group], reached: Rates, batches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of a decode step, for each batch."""
    work = job.workload
    loads = decode_loads(
        gathered,
        prompt=work.prompt,
        output=work.output,
        batch=batches,
        codec=work.state_codec,
        source=source_of(work),
    )
    found: NDArray[np.float64] = seconds(loads, reached)
    return found
