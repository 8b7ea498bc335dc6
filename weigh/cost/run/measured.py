"""Times on a device that `weigh bench` measured: amounts of each kind of work x the seconds that a unit of it took.

It goes before the roofline of `step.py`, which knows a class of devices; this knows one machine and one engine. What an
engine does in a step is told in its `amounts`; the seconds stand in the device's profile or sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.engines.measured import terms
from weigh.types import Engine, Figure, Job, Measured, Why

FORMULA = "sum of amount x seconds a unit; of each codec the longer of reading and multiplying"


def figures(job: Job, engine: Engine) -> Mapping[str, Figure] | None:
    """Seconds of `prefill` and `decode`; None where the device was not measured under the engine, or lacks a kind.

    Off by: as far as the profile says, which is what the measurement's own models show, and no less than `weigh bench`
    assumes.
    """
    found = job.device.measured.get(engine.id)
    if found is None or engine.amounts is None:
        return None
    amounts = engine.amounts(job)
    if missing(amounts, found):
        return None
    errors = {"prefill": found.prefill_error, "decode": found.decode_error}
    return {phase: _figure(amounts[phase], found, error) for phase, error in errors.items() if phase in amounts}


def missing(amounts: Mapping[str, Mapping[str, Any]], found: Measured) -> set[str]:
    """Kinds of work of a job that were not measured."""
    return {name for phase in amounts.values() for name in phase if name not in found.unit_s}


def _figure(amounts: Mapping[str, Any], found: Measured, error: float) -> Figure:
    spent = terms(amounts, found.unit_s)
    value = sum(spent.values())
    source = f"{found.engine} as of {found.version}, {found.threads} threads, measured on {found.day}: {found.method}"
    return Figure(value, value / (1 + error), value * (1 + error), "s", "measured", Why(FORMULA, spent, source))
