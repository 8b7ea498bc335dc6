"""`weigh cost`: memory, compute, time, money and energy to run a model on a device."""

from __future__ import annotations

from typing import Any

from weigh.commands.setting import Setting, inputs, setting
from weigh.cost.compute import compute
from weigh.cost.latency import Latency, latency
from weigh.cost.memory import Memory, fits, longest_context, memory
from weigh.cost.money import joules_per_token, usd_per_million_tokens
from weigh.report.answer import Answer
from weigh.types import Cluster


def run(name: str, **options: Any) -> Answer:
    """Figures by the names of DESIGN's `cost`; `options` are those of `setting`."""
    chosen = setting(name, **options)
    result, warnings = priced(chosen)
    return Answer("cost", inputs(chosen, name), result, warnings)


def priced(chosen: Setting) -> tuple[dict[str, Any], list[str]]:
    """The result of `cost` for a setting, and its warnings."""
    needed = memory(chosen.job, chosen.engine)
    speed = timed(chosen, needed)
    capacity = chosen.place.capacity
    verdict = fits(needed.total, capacity)
    longest = longest_context(chosen.job, chosen.engine, capacity, chosen.model.dimensions.get("context"))
    cluster = chosen.place.cluster
    result = {
        "memory": {
            "weights": needed.weights,
            "state": needed.state,
            "activations": needed.activations,
            "overhead": needed.overhead,
            "total": needed.total,
        },
        "buffers": {**needed.weight_buffers, **needed.activation_buffers},
        "compute": compute(chosen.model, chosen.job.workload),
        "latency": {"ttft": speed.ttft, "tpot": speed.tpot, "tokens_per_second": speed.tokens_per_second},
        "bound": dict(speed.bound),
        "money": {
            "usd_per_million_tokens": usd_per_million_tokens(cluster, speed.tokens_per_second),
            "joules_per_token": joules_per_token(cluster, speed.tokens_per_second),
        },
        "capacity": None if capacity is None else int(capacity),
        "limit": chosen.place.limit,
        "fits": verdict,
        "max_context": longest,
        "advice": advice(chosen, needed, verdict),
        "kept_wider": chosen.loaded.reasons,
    }
    return result, [*chosen.model.inventory.warnings, *chosen.model.warnings, *chosen.place.warnings, *_told(cluster)]


def timed(chosen: Setting, needed: Memory) -> Latency:
    """The latency of the setting; a token's state is the state of the whole room by its tokens."""
    work = chosen.job.workload
    per_token = needed.state.value / (work.context * work.batch)
    return latency(chosen.job, chosen.engine.id, chosen.loaded.holdings, per_token)


def _told(cluster: Cluster) -> list[str]:
    device = cluster.device
    lacking = [name for name, value in (("memory bandwidth", device.memory_bandwidth),) if value is None]
    if not device.peak:
        lacking.append("peak compute")
    return [f"{device.name}: {' and '.join(lacking)} not known, so no time is estimated"] if lacking else []


def advice(chosen: Setting, needed: Memory, verdict: str) -> str:
    """The one change that would help most, computed by trying: other weights, a quantized cache, a shorter context."""
    capacity = chosen.place.capacity
    if capacity is None:
        return "name a size, such as `--on 16GB`, to learn whether it fits"
    if verdict == "yes":
        return f"{1 - needed.total.high / capacity:.0%} of the memory stays free at the upper end of the interval"
    return _smaller(chosen, capacity)


def _smaller(chosen: Setting, capacity: float) -> str:
    """The mildest recipe under which it would fit for certain; else what the least would still need."""
    from dataclasses import replace

    from weigh.cost.loading import loaded

    least = float("inf")
    for recipe in ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"):
        held = loaded(chosen.model, recipe, chosen.engine.dialect)
        job = replace(chosen.job, tensors=held.tensors, file=False)
        need = memory(job, chosen.engine).total
        least = min(least, need.high)
        if need.high <= capacity:
            return f"with --weights {recipe} it would need at most {need.high / 1e9:.2f} GB and fit"
    context = longest_context(chosen.job, chosen.engine, capacity, chosen.model.dimensions.get("context"))
    if context is not None and context.low > 0:
        return f"with --context {int(context.low)} it would fit"
    return f"even at q2_k it needs {least / 1e9:.2f} GB here: a device with more memory is needed"
