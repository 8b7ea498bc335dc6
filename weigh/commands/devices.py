"""`weigh devices`: the registry as rows of plain numbers, each with the words and the source that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.devices import devices, parse_size
from weigh.devices.sheet import FIGURES, KINDS, NUMBER_TYPES
from weigh.types import Device, Quoted, WeighError

_WHOLE = ("memory_bytes", "launch_year", "cores")


def run(
    *,
    kind: str | None = None,
    vendor: str | None = None,
    minimum_memory: str | int | None = None,
    search: str | None = None,
    this: bool = False,
) -> dict[str, Any]:
    """Devices of a kind, of a vendor, with at least that memory (`24GB` or bytes), with all words of `search`.

    Returns `devices` (rows sorted by id; None = the vendor does not say), `this` (this machine, where asked for)
    and `warnings`. A device of unknown memory does not meet a minimum.
    Raises WeighError (exit code 2) for a kind or vendor that no device has, or an unreadable size.
    """
    known = devices()
    vendors = {device.vendor.casefold(): device.vendor for device in known}
    if kind is not None and kind not in KINDS:
        raise _no_such("kind", kind, KINDS)
    if vendor is not None and vendor.casefold() not in vendors:
        raise _no_such("vendor", vendor, sorted(vendors.values()))
    least = parse_size(minimum_memory) if isinstance(minimum_memory, str) else minimum_memory
    rows = [
        row_of(device)
        for device in known
        if (kind is None or device.kind == kind)
        and (vendor is None or device.vendor.casefold() == vendor.casefold())
        and (least is None or (device.memory_bytes is not None and device.memory_bytes.value >= least))
        and _mentions(device, search or "")
    ]
    machine, warnings = _this() if this else (None, [])
    return {"devices": rows, "this": machine, "warnings": warnings}


def row_of(device: Device) -> dict[str, Any]:
    """One device as plain data. `why` holds what the source says, by the name of the figure (`peak.f16`)."""
    figures: dict[str, Quoted | None] = {name: getattr(device, name) for name in FIGURES}
    peaks = {name: device.peak.get(name) for name in NUMBER_TYPES}
    quoted = {**figures, **{f"peak.{name}": figure for name, figure in peaks.items()}}
    return {
        "id": device.id,
        "name": device.name,
        "vendor": device.vendor,
        "class": device.kind,
        "aliases": list(device.aliases),
        "unified_memory": device.unified_memory,
        **{name: _number(name, figure) for name, figure in figures.items()},
        "peak": {name: _number(name, figure) for name, figure in peaks.items()},
        "why": {name: _why(figure) for name, figure in quoted.items() if figure is not None},
    }


def _this() -> tuple[dict[str, Any], list[str]]:
    """This machine as plain data, and what could not be found out."""
    from weigh.devices.detect import machine  # runs the vendors' tools: only when it is asked for
    from weigh.devices.profile import rated

    here = rated(machine())
    row = {
        **row_of(here.device),
        "physical_cores": here.physical_cores,
        "logical_cores": here.logical_cores,
        "usable_cores": here.usable_cores,
        "cpu_quota": here.cpu_quota,
        "memory_total": here.memory_total,
        "memory_available": here.memory_available,
        "memory_limit": here.memory_limit,
        "memory_limit_by": here.memory_limit_by or None,
        "features": sorted(here.features),
        "gpus": [{**row_of(gpu.device), "known": gpu.known, "free_bytes": gpu.free_bytes} for gpu in here.gpus],
    }
    return row, list(here.warnings)


def _number(name: str, figure: Quoted | None) -> int | float | None:
    if figure is None:
        return None
    return int(figure.value) if name in _WHOLE else float(figure.value)


def _why(figure: Quoted) -> Mapping[str, str]:
    return {"says": figure.says, "source": figure.source, "read": figure.read}


def _mentions(device: Device, search: str) -> bool:
    text = " ".join((device.id, device.name, device.vendor, *device.aliases)).casefold()
    return all(word in text for word in search.casefold().split())


def _no_such(what: str, given: str, known: tuple[str, ...] | list[str]) -> WeighError:
    return WeighError(
        f"no device has the {what} `{given}`",
        rule="DEVICE-FILTER",
        hint=f"one of {', '.join(known)}",
        exit_code=2,
    )
