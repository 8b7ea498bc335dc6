"""Time by roofline: the larger of compute and memory traffic, each at the efficiency that the engine reaches.

Time to first token is the prefill of the prompt; time per token is one decode step. Both are intervals: the ends
are those of the efficiency ranges in `engines/curves/`, fitted to measurements of each class of devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from weigh.cost.compute import decode_flops, forward_flops, generates, prompt_pass
from weigh.engines.curves import Efficiency, Phase, efficiency, limit
from weigh.families.audit import Holding
from weigh.types import NOT_COUNTED, Basis, Device, Engine, Figure, Job, WeighError, Why

SOURCE = "roofline: Williams, Waterman, Patterson, Communications of the ACM 52 (4), 2009"

START_S = 25e-6
"""Seconds a layer that a graphics processor takes to start the kernels of one step, about: what is left of 1.46 and
2.29 ms a token when the roofline is taken off (SmolLM2 135M and 360M in Q8_0 on an RTX 3060, runs that users of
github.com/AlexsJones/llmfit gave). Not part of the value: it moves the upper end of steps that are short against it."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds and tokens a second; None where the device's numbers are not known or nothing is generated."""

    ttft: Figure | None
    tpot: Figure | None
    tokens_per_second: Figure | None
    bound: Mapping[str, str]
    """Of prefill and decode: `compute` or `memory`."""


def weights_read(holdings: Iterable[Holding], tokens: int) -> float:
    """Bytes of weights that a step with `tokens` tokens reads.

    Every matrix once; of the token table one row a token, unless a tied head multiplies by all of it; of E experts
    with k used a token those that some token is routed to: E (1 - (1 - k/E)^tokens) on average if tokens choose
    independently. Buffers and layers for multi-token prediction are left out.
    Ignores: a model without any head (a bare encoder) is taken to multiply by its whole table too.
    """
    listed = list(holdings)
    tied = not any(share.role == "head" and share.parameters for holding in listed for share in holding.shares)
    read = 0.0
    for holding in listed:
        for share in holding.shares:
            if share.role in NOT_COUNTED:
                continue
            if share.table and not tied:
                rows = holding.tensor.shape[0] if holding.tensor.shape else 1
                read += share.nbytes * min(1.0, tokens / rows)
            elif share.parameters and share.active is not None and share.active < share.parameters:
                chance = share.active / share.parameters
                read += share.nbytes * (1 - (1 - chance) ** tokens)
            else:
                read += share.nbytes
    return read


def latency(job: Job, engine: Engine, holdings: Iterable[Holding]) -> Latency:
    """Time to first token, time per token and tokens a second of all sequences together.

    Each step takes max(bytes / (bandwidth x memory efficiency), FLOPs / (peak x compute efficiency)). A decode
    step reads the weights that `batch` tokens need and the state of prompt + output / 2 tokens a sequence, as the
    engine lays it out. Of several devices one works at a time, so it is the time of one.
    Source: `SOURCE`; the efficiencies are those of `engines/curves/`.
    Ignores: the start of kernels, sampling, communication between devices, what the prompt's own state costs.
    Off by: as far as the ends say. Where a step is short against the start of its kernels (`START_S`) the value is
    too short, 0.6 ms instead of 1.5 ms for 135 M parameters (Q8_0) on an RTX 3060, and the upper end moves out.
    """
    listed = list(holdings)
    work = job.workload
    prompt = prompt_pass(job.model, work)
    prefill, bound_prefill = _step(
        job.device,
        engine.id,
        flops=forward_flops(job.model, prompt),
        traffic={"weight_bytes": weights_read(listed, work.prompt * work.batch)},
        phase="prefill",
    )
    if not generates(job.model):
        return Latency(prefill, None, None, {"prefill": bound_prefill})
    attended = min(work.prompt + work.output // 2, work.context)
    state = engine.state(replace(job, workload=replace(work, context=attended)))
    decode, bound_decode = _step(
        job.device,
        engine.id,
        flops=decode_flops(job.model, work) * work.batch,
        traffic={"weight_bytes": weights_read(listed, work.batch), "state_bytes": state.value},
        phase="decode",
    )
    decode = _with_starts(job, decode)
    return Latency(prefill, decode, _rate(decode, work.batch), {"prefill": bound_prefill, "decode": bound_decode})


def starts_s(job: Job) -> float:
    """Seconds that the kernels of one step take to start, about; 0 on a processor, which starts none."""
    if job.device.kind == "host" or not job.device.peak:
        return 0.0
    return START_S * job.model.dimensions.get("layers", 0)


def is_short(job: Job, step: Figure | None) -> bool:
    """Whether the start of its kernels decides how long the step takes, rather than what it reads."""
    return step is not None and step.value < 2 * starts_s(job)


def _with_starts(job: Job, step: Figure | None) -> Figure | None:
    """A short step with its upper end moved out by twice the start of its kernels, which is known about."""
    if step is None or not is_short(job, step):
        return step
    starts = starts_s(job)
    why = replace(step.why, inputs={**step.why.inputs, "start_s": starts})
    why = replace(why, formula=f"{step.why.formula}; the upper end + 2 x start_s, since the step is short")
    return replace(step, high=step.high + 2 * starts, basis="assumed", why=why)


def _step(
    device: Device, engine_id: str, *, flops: float, traffic: Mapping[str, float], phase: Phase
) -> tuple[Figure | None, str]:
    """One step: max(traffic / bandwidth, flops / peak), each with its own efficiency range.

    Prefill without a peak, or decode without a bandwidth, would be a guess: then there is no figure.
    """
    limits = {"memory": limit(device, "decode"), "compute": limit(device, "prefill")}
    curves = {"memory": _curve(engine_id, device, "decode"), "compute": _curve(engine_id, device, "prefill")}
    work = {"memory": sum(traffic.values()), "compute": flops}
    times = {
        name: _range(work[name] / stated.value, curve)
        for name, stated in limits.items()
        if stated is not None and (curve := curves[name]) is not None
    }
    if ("compute" if phase == "prefill" else "memory") not in times:
        return None, "unknown"
    bound = max(times, key=lambda name: times[name][1])
    low, value, high = (max(time[end] for time in times.values()) for end in range(3))
    used = curves[bound]
    inputs: dict[str, Any] = {**traffic, "flops": flops, "bound": bound}
    for name, words in (("memory", "bytes_per_s"), ("compute", "peak")):
        stated, curve = limits[name], curves[name]
        if stated is not None and curve is not None:
            inputs[words] = stated.value
            inputs[f"{name}_efficiency"] = [curve.low, curve.value, curve.high]
    read = " + ".join(traffic)
    formula = f"max(({read}) / (bytes_per_s x memory_efficiency), flops / (peak x compute_efficiency))"
    basis: Basis = "assumed" if used is None or used.basis == "assumed" else "derived"
    why = Why(formula, inputs, f"{SOURCE}; {used.source if used else ''}")
    return Figure(value, low, high, "s", basis, why), bound


def _curve(engine_id: str, device: Device, phase: Phase) -> Efficiency | None:
    """The efficiency range, or None where none is known of this class of devices."""
    try:
        return efficiency(engine_id, device, phase)
    except WeighError as unknown:
        if unknown.rule != "CURVE-CLASS":
            raise
        return None


def _range(ideal: float, reached: Efficiency) -> tuple[float, float, float]:
    return ideal / reached.high, ideal / reached.value, ideal / reached.low


def _rate(tpot: Figure | None, batch: int) -> Figure | None:
    if tpot is None:
        return None
    why = Why("batch / time per token", {"batch": batch, "tpot": tpot.value}, tpot.why.source)
    return Figure(batch / tpot.value, batch / tpot.high, batch / tpot.low, "tokens/s", tpot.basis, why)
