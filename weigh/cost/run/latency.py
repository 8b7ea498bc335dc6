"""The Figures of time: to the first token, per token, tokens a second; and the roofline, a row a kind of part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weigh.cost.compute import generates, prompt_pass, source_of
from weigh.cost.run import measured
from weigh.cost.run.load import Group, Load, decode_loads, groups, prefill_loads
from weigh.cost.run.step import compute_s, memory_s, part_s, seconds
from weigh.engines.rates import Curve, Rates, Spread, rates
from weigh.families.audit import Holding
from weigh.numbers import rounded_up
from weigh.once import once
from weigh.types import Engine, Figure, Job, Model, Why

SOURCE = "roofline: Williams, Waterman, Patterson, Communications of the ACM 52 (4), 2009"
FORMULA = (
    "step_s x steps + kernels x kernel_s + sum over parts of "
    "max(flops / (peak x compute_efficiency), (weight_bytes + state_bytes) / (bytes_per_s x memory_efficiency))"
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds and tokens a second; None where the device's numbers are not known or nothing is generated."""

    ttft: Figure | None
    tpot: Figure | None
    tokens_per_second: Figure | None
    bound: Mapping[str, str]
    """Of prefill and decode: `compute`, `memory` or `launch` (the start of kernels), whichever takes longest."""
    roofline: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of prefill and decode: a row for each kind of part. Their seconds sum to the time."""


def latency(job: Job, engine: Engine, holdings: Iterable[Holding], reached: Rates | None = None) -> Latency:
    """Time to first token, time per token and tokens a second of all sequences together, on one device.

    The time to the first token is one pass over all prompts; the time per token the mean decode step of the output.
    `reached` is what the device reaches, None = as the engine's curve for its class says.
    Source: `SOURCE`; the efficiencies are those of `engines/curves/`.
    Ignores: waiting for other requests, sampling on the host, communication between devices (`split.py`).
    Off by: as far as the ends say; docs/speed.md gives the errors on rows that were not fitted.
    """
    found = latency_of(job, grouped(job.model, holdings), reached or rates(engine.id, job.device))
    own = None if reached is not None else measured.figures(job, engine)
    if own is None:
        return found
    tpot = own.get("decode")
    return replace(found, ttft=own["prefill"], tpot=tpot, tokens_per_second=_rate(tpot, job.workload.batch))


def grouped(model: Model, holdings: Iterable[Holding]) -> tuple[Group, ...]:
    """The model's parts in groups, made once for a form of it that is kept as a tuple."""
    return _grouped(model, holdings) if isinstance(holdings, tuple) else groups(model, holdings)


@once(subjects=2)
def _grouped(model: Model, holdings: tuple[Holding, ...]) -> tuple[Group, ...]:
    return groups(model, holdings)


def latency_of(job: Job, gathered: Sequence[Group], reached: Rates | None) -> Latency:
    """The same of parts that are grouped already, by the roofline alone."""
    bounds = {"prefill": "unknown"} | ({"decode": "unknown"} if generates(job.model) else {})
    if reached is None:
        return Latency(None, None, None, bounds)
    work = job.workload
    prompt = prompt_pass(job.model, work)
    first = prefill_loads(gathered, prompt, codec=work.state_codec, most=reached.stretch)
    tokens = work.prompt * work.batch
    stretches = rounded_up(tokens, min(reached.stretch, tokens))
    figures: dict[str, Figure | None] = {"prefill": None, "decode": None}
    rows: dict[str, list[dict[str, Any]]] = {}
    # Prefill without a peak, or decode without a bandwidth, would be a guess: then there is no figure.
    if reached.peak is not None:
        figures["prefill"] = _figure(first, reached, reached.prefill, reached.prefill_curve, stretches)
        rows["prefill"] = roofline(first, reached, stretches)
    if generates(job.model) and reached.bandwidth is not None:
        loads = decode_loads(
            gathered,
            prompt=work.prompt,
            output=work.output,
            batch=work.batch,
            codec=work.state_codec,
            source=source_of(work),
        )
        figures["decode"] = _figure(loads, reached, reached.decode, reached.decode_curve)
        rows["decode"] = roofline(loads, reached)
    bounds |= {phase: bound(table) for phase, table in rows.items()}
    tpot = figures["decode"]
    return Latency(figures["prefill"], tpot, _rate(tpot, work.batch), bounds, rows)


def roofline(loads: Iterable[Load], reached: Rates, steps: float = 1) -> list[dict[str, Any]]:
    """A row for each name of parts, and one for what starts cost: FLOPs, bytes, FLOPs a byte, what binds, seconds."""
    rows: dict[str, dict[str, Any]] = {}
    kernels = 0.0
    for load in loads:
        row = rows.setdefault(
            load.name, {"name": load.name, "count": 0, "flops": 0.0, "bytes": 0.0, "seconds": 0.0, "compute": 0.0}
        )
        row["count"] += load.count
        row["flops"] += load.count * load.flops
        row["bytes"] += load.count * load.bytes
        spent = load.count * part_s(load, reached)
        row["seconds"] += spent
        row["compute"] += spent if _bound_by_compute(load, reached) else 0.0
        kernels += load.count * load.kernels
    table = []
    for row in rows.values():
        share = row.pop("compute")
        row["intensity"] = row["flops"] / row["bytes"] if row["bytes"] else None
        row["bound"] = "compute" if share > row["seconds"] / 2 else "memory"
        table.append(row)
    start = kernels * reached.kernel_s + reached.step_s * steps
    launch = {"name": "launch", "count": kernels, "flops": 0.0, "bytes": 0.0, "seconds": start}
    return [*table, {**launch, "intensity": None, "bound": "launch"}]


def _bound_by_compute(load: Load, reached: Rates) -> bool:
    if reached.peak is None or reached.bandwidth is None:
        return reached.bandwidth is None
    return bool(compute_s(load, reached) > memory_s(load, reached))


def bound(table: Iterable[Mapping[str, Any]]) -> str:
    """What most of the time of a step goes into: `compute`, `memory` or `launch`."""
    spent = {"memory": 0.0, "compute": 0.0, "launch": 0.0}
    for row in table:
        spent[row["bound"]] += row["seconds"]
    return max(spent, key=lambda name: spent[name])


def _figure(loads: Sequence[Load], reached: Rates, spread: Spread, curve: Curve, steps: float = 1) -> Figure:
    value = seconds(loads, reached, steps=steps)
    codecs = sorted({codec for load in loads for codec in load.weight_bytes})
    inputs: dict[str, Any] = {
        "flops": sum(load.count * load.flops for load in loads),
        "weight_bytes": sum(load.count * sum(load.weight_bytes.values()) for load in loads),
        "state_bytes": sum(load.count * load.state_bytes for load in loads),
        "kernels": sum(load.count * load.kernels for load in loads),
        "steps": steps,
        "step_s": reached.step_s,
        "kernel_s": reached.kernel_s,
        "ends": list(spread),
    }
    if reached.bandwidth is not None:
        inputs["bytes_per_s"] = reached.bandwidth
        inputs["memory_efficiency"] = [reached.bytes_per_s(codec) / reached.bandwidth for codec in codecs]
    if reached.peak is not None:
        inputs["peak"] = reached.peak
        inputs["compute_efficiency"] = [reached.flop_per_s(codec) / reached.peak for codec in codecs]
    inputs["codecs"] = codecs
    why = Why(FORMULA, inputs, f"{SOURCE}; {curve.source}")
    return Figure(value, value * spread.low, value * spread.high, "s", curve.basis, why)


def _rate(tpot: Figure | None, batch: int) -> Figure | None:
    if tpot is None:
        return None
    why = replace(tpot.why, formula="batch / time per token", inputs={"batch": batch, "tpot": tpot.value})
    return Figure(batch / tpot.value, batch / tpot.high, batch / tpot.low, "tokens/s", tpot.basis, why)
