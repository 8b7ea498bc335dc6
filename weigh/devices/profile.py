"""What `weigh bench` measured here, kept as a device sheet in the user's folder and used wherever `this` is asked for.

The file is a sheet like any other (`sheet.py`), so it may be given to others and named in WEIGH_DEVICES. It counts for
this machine as long as processor, cores and memory are those that it names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from weigh.devices.machine import Machine
from weigh.devices.sheet import FIGURES, HOST, read_sheet
from weigh.types import Device, Quoted, WeighError
from weigh.writing import write_text

FILE_VARIABLE = "WEIGH_PROFILE"
"""Environment variable with the file to use instead of the one in the user's folder."""
FRESH_DAYS = 90
"""An older profile is used with a warning: systems, drivers and engines change."""
_ALIKE = 0.02
"""Share by which the memory may differ: what firmware keeps changes a little from start to start."""
_AGAIN = "`weigh bench` measures anew"


def path() -> Path:
    """The file: that of WEIGH_PROFILE, else `weigh/this.toml` where the system keeps programs' data.

    Source: specifications.freedesktop.org/basedir-spec.
    """
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        base = Path(data)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".local" / "share"
    return base / "weigh" / "this.toml"


def rated(machine: Machine) -> Machine:
    """The machine with its rates: those of the profile, or else probed in a moment. Errors: those of `applied`."""
    here = applied(machine)
    if here.device.memory_bandwidth is not None:
        return here
    from weigh.devices.probe import probe  # slow, and needless with a profile

    return probe(here)


def applied(machine: Machine) -> Machine:
    """The machine with what was measured on it; as it is, with a warning, where the profile is of another one.

    Errors: WeighError DEVICE-FILE where the file is no sheet.
    """
    file = path()
    if not file.is_file():
        return machine
    try:
        kept = read_sheet(file, "this")
    except WeighError as fault:
        fault.hint = f"{_AGAIN} and writes the file again; without it `this` is probed for a moment"
        raise
    foreign = _foreign(kept, machine.device)
    if foreign:
        warning = f"the profile {file} is of another machine ({foreign}) and is left aside; {_AGAIN}"
        return replace(machine, warnings=(*machine.warnings, warning))
    device = replace(
        machine.device,
        memory_bandwidth=kept.memory_bandwidth,
        disk_bandwidth=kept.disk_bandwidth,
        cached_bandwidth=kept.cached_bandwidth,
        peak={**machine.device.peak, **kept.peak},
        measured=kept.measured,
    )
    return replace(machine, device=device, warnings=(*machine.warnings, *_stale(kept)))


def _foreign(kept: Device, here: Device) -> str:
    """What tells that the profile was not measured here; empty where nothing does."""
    if kept.name != here.name:
        return f"of {kept.name}, here is {here.name}"
    cores = [None if one.cores is None else int(one.cores.value) for one in (kept, here)]
    if cores[0] != cores[1]:
        return f"of {cores[0]} cores, here are {cores[1]}"
    memory = [None if one.memory_bytes is None else one.memory_bytes.value for one in (kept, here)]
    if None in memory:
        return "" if memory[0] is memory[1] else "of which the memory is not known"
    if abs(memory[0] - memory[1]) > _ALIKE * memory[1]:  # type: ignore[operator]
        return f"with {memory[0]:,} bytes of memory, here are {memory[1]:,}"
    return ""


def _stale(kept: Device) -> Iterable[str]:
    """Reasons to measure again."""
    bandwidth = kept.memory_bandwidth
    days = 0 if bandwidth is None else (date.today() - date.fromisoformat(bandwidth.read)).days
    if days > FRESH_DAYS:
        yield f"the profile of this machine is {days} days old; {_AGAIN}"
    for engine, found in kept.measured.items():
        package, _, measured = found.version.partition(" ")
        try:
            here = version(package)
        except PackageNotFoundError:
            # Times of an engine that is not installed here now are still those of this machine.
            continue
        if here != measured:
            yield f"the profile was measured with {engine} as of {found.version}, installed is {here}; {_AGAIN}"


def save(text: str, file: Path) -> Path:
    """Write a sheet. Errors: WeighError PROFILE-FOLDER where its folder cannot be made, and those of writing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise WeighError(
            f"the folder of the profile cannot be made: {cause.strerror}",
            rule="PROFILE-FOLDER",
            path=file.parent,
            hint=f"name another file in {FILE_VARIABLE}",
            exit_code=2,
        ) from cause
    write_text(file, text)
    return file


# --------------------------------------------------------------------------------------------------- the text


def sheet(device: Device, name: str, kind: str = HOST) -> str:
    """The device as the text of a sheet. Every figure of it is one that was measured or read off the machine."""
    lines = [
        f"name = {json.dumps(name)}",
        f"vendor = {json.dumps(device.vendor or 'unknown')}",
        f'class = "{kind}"',
        f"unified_memory = {str(device.unified_memory).lower()}",
        f"features = {json.dumps(sorted(device.features))}",
        "",
        "[figures]",
    ]
    sources: dict[tuple[str, str], str] = {}
    figures = {key: getattr(device, key) for key in FIGURES}
    lines += _figures(figures, sources)
    lines += ["", "[figures.peak]", *_figures(device.peak, sources)]
    for (method, read), key in sources.items():
        lines += ["", f"[sources.{key}]", f"method = {json.dumps(method)}", f"read = {read}"]
    for engine, found in device.measured.items():
        where = f"measured.{json.dumps(engine)}"
        lines += ["", f"[{where}]", f"version = {json.dumps(found.version)}", f"day = {found.day}"]
        lines += [f"threads = {found.threads}", f"method = {json.dumps(found.method)}"]
        lines += [f"decode_error = {found.decode_error:.3g}", f"prefill_error = {found.prefill_error:.3g}"]
        lines += ["", f"[{where}.unit_s]"]
        lines += [f"{json.dumps(unit)} = {seconds:.5g}" for unit, seconds in sorted(found.unit_s.items())]
    return "\n".join(lines) + "\n"


def _figures(figures: Mapping[str, Quoted | None], sources: dict[tuple[str, str], str]) -> Iterable[str]:
    for key, figure in figures.items():
        if figure is None:
            continue
        source = sources.setdefault((figure.source, figure.read), f"m{len(sources) + 1}")
        value = str(int(figure.value)) if figure.value == int(figure.value) else f"{figure.value:.6g}"
        yield f"{key} = {{ value = {value}, says = {json.dumps(figure.says)}, source = {json.dumps(source)} }}"
