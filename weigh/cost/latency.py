"""Time by roofline: the larger of compute and memory traffic, each at the efficiency that the engine reaches.

Time to first token is the prefill of the prompt; time per token is one decode step. Both are intervals: the ends
are those of the efficiency ranges in `engines/curves/`, fitted to measurements of each class of devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weigh.cost.compute import decode_flops, forward_flops, generates
from weigh.engines.curves import Efficiency, Phase, efficiency, limit
from weigh.families.audit import Holding
from weigh.types import Basis, Device, Figure, Job, Pass, WeighError, Why

SOURCE = "roofline: Williams, Waterman, Patterson, Communications of the ACM 52 (4), 2009"


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

    Every matrix once; of the token table one row a token, unless a tied head multiplies by all of it; of experts
    those that some token is routed to: E (1 - (1 - k/E)^tokens) on average if tokens choose independently.
    """
    listed = list(holdings)
    tied = not any(share.role == "head" and share.parameters for holding in listed for share in holding.shares)
    read = 0.0
    for holding in listed:
        for share in holding.shares:
            if share.role == "buffer":
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


def latency(job: Job, engine_id: str, holdings: Iterable[Holding], state_bytes_per_token: float) -> Latency:
    """Time to first token, time per token and tokens a second of all sequences together.

    Each step takes max(bytes / (bandwidth x memory efficiency), FLOPs / (peak x compute efficiency)). A decode
    step reads the weights that `batch` tokens need and the state of prompt + output / 2 tokens a sequence.
    Ignores: the launch of kernels, sampling, communication between devices.
    """
    listed = list(holdings)
    work = job.workload
    prompt = Pass(tokens=work.prompt, batch=work.batch)
    prefill, bound_prefill = _step(
        job.device,
        engine_id,
        flops=forward_flops(job.model, prompt),
        traffic=weights_read(listed, work.prompt * work.batch),
        phase="prefill",
    )
    if not generates(job.model):
        return Latency(prefill, None, None, {"prefill": bound_prefill})
    kept = min(work.prompt + work.output / 2, work.context)
    decode, bound_decode = _step(
        job.device,
        engine_id,
        flops=decode_flops(job.model, work) * work.batch,
        traffic=weights_read(listed, work.batch) + state_bytes_per_token * kept * work.batch,
        phase="decode",
    )
    return Latency(prefill, decode, _rate(decode, work.batch), {"prefill": bound_prefill, "decode": bound_decode})


def _step(device: Device, engine_id: str, *, flops: float, traffic: float, phase: Phase) -> tuple[Figure | None, str]:
    """One step: max(traffic / bandwidth, flops / peak), each with its own efficiency range.

    Prefill without a peak, or decode without a bandwidth, would be a guess: then there is no figure.
    """
    limits = {"memory": limit(device, "decode"), "compute": limit(device, "prefill")}
    curves = {"memory": _curve(engine_id, device, "decode"), "compute": _curve(engine_id, device, "prefill")}
    work = {"memory": traffic, "compute": flops}
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
    inputs: dict[str, Any] = {"bytes": traffic, "flops": flops, "bound": bound}
    for name, words in (("memory", "bytes_per_s"), ("compute", "peak")):
        stated, curve = limits[name], curves[name]
        if stated is not None and curve is not None:
            inputs[words] = stated.value
            inputs[f"{name}_efficiency"] = [curve.low, curve.value, curve.high]
    formula = "max(bytes / (bytes_per_s x memory_efficiency), flops / (peak x compute_efficiency))"
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
