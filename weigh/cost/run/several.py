"""The Figures of time over several devices, or beside the host: `stages.py` with its intervals.

`latency.py` is that of one device; here are the same Figures where a step also goes over links.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from weigh.cost.compute import generates
from weigh.cost.run.latency import Latency, grouped
from weigh.cost.run.load import Group
from weigh.cost.run.split import Split
from weigh.cost.run.stages import SOURCE, Line, Spent, decode_s, line, prefill_s
from weigh.devices import find as find_device
from weigh.engines.rates import Rates, rates
from weigh.engines.rates import Spread as Ends
from weigh.families.audit import Holding
from weigh.types import Device, Engine, Figure, Job, Why

ASSUMED_HOST = "ryzen-9-7950x"
"""The machine around an accelerator of which nobody said what it is: two channels of DDR5."""
LINK_ENDS = Ends(0.5, 2.0)
"""Factors on the seconds that links take. Assumed: small sums have kernels of their own, large ones share the links."""
FORMULA = "devices_s + host_s + links_s: every stage one after the other, and what goes between them"


def host_of(split: Split) -> Device:
    """The host that is known, else the assumed one."""
    return split.host or find_device(ASSUMED_HOST).device


def line_of(
    job: Job, engine: Engine, gathered: Sequence[Group], split: Split, reached: Rates | None = None
) -> Line | None:
    """The stages of the job, its parts in groups; None where the rates of the device or the host are unknown."""
    device = reached or rates(engine.id, job.device)
    host = rates(engine.id, host_of(split)) if split.offloaded else None
    if device is None or (split.offloaded and host is None):
        return None
    work = replace(job.workload, batch=-(-job.workload.batch // split.copies))
    return line(replace(job, workload=work), gathered, split, engine, device, host)


def latency_over(
    job: Job, engine: Engine, holdings: Iterable[Holding], split: Split, reached: Rates | None = None
) -> Latency:
    """Time to first token, time per token, and tokens a second of all sequences on all devices.

    Source: `stages.SOURCE`. Ignores: experts of unequal use, sums that overlap with products, buffers that are full.
    Off by: as far as the ends say; what links take was not measured.
    """
    found = line_of(job, engine, grouped(job.model, holdings), split, reached)
    bounds = {"prefill": "unknown"} | ({"decode": "unknown"} if generates(job.model) else {})
    if found is None:
        return Latency(None, None, None, bounds)
    work = job.workload
    one = replace(job, workload=replace(work, batch=-(-work.batch // split.copies)))
    device = next(stage.rates for stage in found.stages if not stage.on_host)
    ttft = tpot = speed = None
    if device.peak is not None:
        spent = prefill_s(found, one)
        ttft = _figure(spent, found, "prefill")
        bounds["prefill"] = _bound(spent)
    if generates(job.model) and device.bandwidth is not None:
        spent = decode_s(found, one, one.workload.batch)
        tpot = _figure(spent, found, "decode")
        bounds["decode"] = _bound(spent)
        speed = _rate(tpot, work.batch)
    return Latency(ttft, tpot, speed, bounds)


def _bound(spent: Spent) -> str:
    """What takes the longest: `devices`, `host` or `links`."""
    took = {"devices": spent.devices, "host": spent.host, "links": spent.links}
    return max(took, key=lambda name: took[name])


def _figure(spent: Spent, found: Line, phase: str) -> Figure:
    ends = _ends([stage.rates for stage in found.stages if not stage.on_host], phase)
    host = _ends([stage.rates for stage in found.stages if stage.on_host], phase)
    low = spent.devices * ends.low + spent.host * host.low + spent.links * LINK_ENDS.low
    high = spent.devices * ends.high + spent.host * host.high + spent.links * LINK_ENDS.high
    inputs: dict[str, Any] = {
        "devices_s": spent.devices,
        "host_s": spent.host,
        "links_s": spent.links,
        "parallel": found.split.words,
        "stages": len(found.stages),
        "sums": sum(stage.sums for stage in found.stages),
    }
    if found.split.tp * found.split.pp > 1:
        inputs["link_bytes_per_s"] = found.wires.between(found.split.tp)
    if found.split.offloaded:
        inputs["host"] = host_of(found.split).name
        inputs["host_bytes_per_s"] = found.host_bytes_per_s
    return Figure(spent.total, low, high, "s", "assumed", Why(FORMULA, inputs, SOURCE))


def ends_of(found: Line, phase: str) -> Ends:
    """Factors on the seconds of a step of all its stages together."""
    return _ends([stage.rates for stage in found.stages], phase)


def _ends(reached: Sequence[Rates], phase: str) -> Ends:
    found = [getattr(rate, phase) for rate in reached]
    return Ends(min((one.low for one in found), default=1.0), max((one.high for one in found), default=1.0))


def _rate(tpot: Figure, batch: int) -> Figure:
    why = Why("batch / time per token, all copies", {"batch": batch, "tpot": tpot.value}, tpot.why.source)
    return Figure(batch / tpot.value, batch / tpot.high, batch / tpot.low, "tokens/s", tpot.basis, why)
