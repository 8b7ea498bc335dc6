"""What would help a model that does not fit for certain: found by trying one change after the other, mildest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weigh.codecs import by_id
from weigh.commands.setting import Setting
from weigh.cost.loading import loaded
from weigh.cost.memory import Memory
from weigh.engines import why_not
from weigh.report.units import percent, size
from weigh.types import Fits, Job, Tensor

CACHE = "q8_0"
"""What a cache is quantized to: half the bytes, and hardly a difference to the answers."""


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of the setting; None = leave it."""

    weights: str | None = None
    cache: str | None = None
    shorter: bool = False
    """The context as long as fits, or else as short as the tokens in and out allow."""


CHANGES = (
    Change("q8_0"),
    Change(cache=CACHE),
    Change("q6_k"),
    Change("q5_k_m"),
    Change("q4_k_m"),
    Change(shorter=True),
    Change("q4_k_m", CACHE),
    Change("q4_k_m", CACHE, shorter=True),
    Change("q3_k_m"),
    Change("q2_k"),
    Change("q2_k", CACHE, shorter=True),
)
"""From the mildest to the harshest: one change before two, and below four bits only where nothing else helps."""


def advice(chosen: Setting, needed: Memory, verdict: Fits) -> str:
    """How much of the memory it takes where it fits; else the mildest change under which it would fit for certain."""
    capacity = chosen.capacity
    if capacity is None:
        return "name a size, such as `--on 16GB`, to learn whether it fits"
    if verdict == "yes":
        return f"it takes at most {percent(needed.total.high, capacity)} of the memory"
    least = needed.total.low
    harshest = ""
    for job, words in _tried(chosen):
        need = chosen.needed(job).total
        if need.high <= capacity:
            return f"with {words} it would need at most {size(need.high)} and fit"
        if need.low < least:
            least, harshest = need.low, words
    even = f"even with {harshest} it" if harshest else "it"
    return f"{even} needs {size(least)} here: only more memory would help"


def _tried(chosen: Setting) -> Iterator[tuple[Job, str]]:
    """Each change that makes it smaller, as a job and as the words of a command line."""
    forms: dict[str, tuple[Tensor, ...]] = {}
    stored = sum(tensor.nbytes for tensor in chosen.job.tensors)
    keeps = chosen.engine.state(chosen.job).value > 0
    for change in CHANGES:
        job, words = chosen.job, []
        if change.weights is not None:
            if change.weights not in forms:
                forms[change.weights] = loaded(chosen.model, change.weights, chosen.engine, chosen.device).tensors
            if not _reads(chosen, forms[change.weights]):
                continue
            if sum(tensor.nbytes for tensor in forms[change.weights]) >= stored:
                continue
            job = replace(job, tensors=forms[change.weights], file=False)
            words.append(f"--weights {change.weights}")
        if change.cache is not None and change.cache not in chosen.engine.state_codecs:
            continue
        if change.cache is not None and keeps and by_id(change.cache).bits < by_id(job.workload.state_codec).bits:
            job = replace(job, workload=replace(job.workload, state_codec=change.cache))
            words.append(f"--kv {change.cache}")
        if change.shorter and keeps:
            context = _shorter(chosen, job)
            if change == Change(shorter=True) and 2 * context < job.workload.context:
                # A fraction of the tokens asked for is no mild change: first smaller weights and a smaller cache.
                continue
            job = replace(job, workload=replace(job.workload, context=context))
            words.append(f"--context {context}")
        if words:
            yield job, " ".join(words)


def _reads(chosen: Setting, tensors: tuple[Tensor, ...]) -> bool:
    """Whether the engine runs such weights on this device."""
    matrices = {tensor.codec for tensor in tensors if len(tensor.shape) > 1}
    return not any(why_not(chosen.engine, codec, chosen.device) for codec in matrices)


def _shorter(chosen: Setting, job: Job) -> int:
    """The longest context that fits for certain, at least what goes in and out, at most what was asked for."""
    work = job.workload
    longest = chosen.longest(job)
    fitting = int(longest.low) if longest is not None else work.context
    return min(work.context, max(fitting, work.prompt + work.output))
