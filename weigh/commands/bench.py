"""`weigh bench`: measure this machine, keep what was found as its profile, and write it as a device file if asked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from weigh import __version__, kernels
from weigh.devices import profile
from weigh.devices.machine import Machine
from weigh.devices.probe import cache_bytes, matrix_rate, read_bandwidth
from weigh.engines.llama_cpp import running
from weigh.engines.measured import MULTIPLY, READ
from weigh.measure import disk, speed
from weigh.report.answer import Answer
from weigh.types import Device, Measured, Quoted, WeighError

ENGINE = "llama.cpp"
SOURCE = f"weigh bench {__version__}"
DECODE_ERROR, PREFILL_ERROR = 0.30, 0.30
"""Least half-widths of the stated intervals, assumed: a fit on its own rows is closer than on models it never saw."""
_SECONDS = 1.0
_QUICK_SECONDS = 0.02
_QUICK_DISK = 8 * 2**20
_NINETY = 0.9
_STEM = re.compile(r"[a-z0-9][a-z0-9.-]*")

Tell = Callable[[int, int, str], None]


def run(
    *,
    output: str | None = None,
    name: str | None = None,
    quick: bool = False,
    thorough: bool = False,
    tell: Tell | None = None,
) -> Answer:
    """Measure memory, products, disk and, where it is installed, llama.cpp; keep the profile.

    `output` is a device file to write as well, `name` the device's name in it. `quick` measures tiny models for a
    look at what would be measured: it is no profile and is not kept. `thorough` measures each codec in two
    processes instead of one, since one may be a fifth slower than the next.
    Errors: WeighError DEVICE-NAME (exit code 2) for a file that no device can be called after, those of `profile.save`,
    `disk.measure` and `speed.measure`.
    """
    target = _target(output)
    from weigh.devices.detect import host

    here = host()
    threads = here.usable_cores or 1
    rated, rows, told = _rates(here, threads, quick=quick)
    device, found, warnings = _engine(rated, threads, quick=quick, thorough=thorough, tell=tell)
    told = [*here.warnings, *told, *warnings]
    kept = None
    if not quick:
        kept = str(profile.save(profile.sheet(device, device.name), profile.path()))
    if target is not None:
        profile.save(profile.sheet(device, name or device.name), target)
    result = {
        "machine": device.name,
        "threads": threads,
        "memory_bytes": None if device.memory_bytes is None else int(device.memory_bytes.value),
        "kernels": kernels.implementation(),
        "rates": rows,
        "engine": found,
        "profile": kept,
        "device_file": None if target is None else str(target),
    }
    return Answer("bench", {"quick": quick, "thorough": thorough, "output": output, "name": name}, result, told)


def _target(output: str | None) -> Path | None:
    if output is None:
        return None
    target = Path(output)
    if target.suffix != ".toml" or not _STEM.fullmatch(target.stem):
        raise WeighError(
            "a device file is called after the device's id",
            rule="DEVICE-NAME",
            path=target,
            hint="small letters, digits, dots and dashes, then .toml, such as mybox.toml",
            exit_code=2,
        )
    return target


def _rates(here: Machine, threads: int, *, quick: bool) -> tuple[Device, list[dict[str, Any]], list[str]]:
    """Memory, products and disk, as figures of the device and as rows."""
    seconds = _QUICK_SECONDS if quick else _SECONDS
    bandwidth = replace(read_bandwidth(threads, here.memory_available, seconds), source=SOURCE)
    kinds = (("f32", "float32"), ("f64", "float64"))
    peak = {key: replace(matrix_rate(threads, seconds, kind), source=SOURCE) for key, kind in kinds}
    folder = Path(tempfile.gettempdir())
    files = disk.measure(folder, _QUICK_DISK if quick else disk.BYTES)
    words = f"measured on this machine by reading a file of {files.nbytes // 2**20} MiB in {folder}"
    cold = None if files.cold is None else _quoted(files.cold, f"{words}, dropped from memory before")
    cached = _quoted(files.cached, f"{words}, which memory holds")
    device = replace(here.device, memory_bandwidth=bandwidth, peak=peak, disk_bandwidth=cold, cached_bandwidth=cached)
    named = {
        "memory, read": (bandwidth, "B/s"),
        "products in f32": (peak["f32"], "FLOP/s"),
        "products in f64": (peak["f64"], "FLOP/s"),
        "file, from the disk": (cold, "B/s"),
        "file, from memory": (cached, "B/s"),
    }
    rows = [
        {"what": what, "value": figure.value, "unit": unit, "how": figure.says}
        for what, (figure, unit) in named.items()
        if figure is not None
    ]
    told = [] if cold is not None else ["this system does not let memory forget a file, so the disk is not measured"]
    if kernels.library() is None:
        told.append("weigh's own kernels are not compiled here: their NumPy twins run, with the same results, slower")
    return device, rows, told


def _quoted(value: float, words: str) -> Quoted:
    return Quoted(value, words, SOURCE, date.today().isoformat())


def _engine(
    device: Device, threads: int, *, quick: bool, thorough: bool, tell: Tell | None
) -> tuple[Device, dict[str, Any] | None, list[str]]:
    """llama.cpp's rates into the device; a warning where it is not installed."""
    if running.installed() is None:
        missing = f"{ENGINE} is not installed, so its rates are not measured: {running.INSTALL}"
        return device, None, [missing]
    codecs = speed.QUICK if quick else speed.CODECS
    found = speed.measure(threads, cache_bytes(), codecs, quick=quick, twice=thorough, tell=tell)
    kept = Measured(
        engine=ENGINE,
        version=f"{running.PACKAGE} {found.version}",
        day=date.today().isoformat(),
        threads=threads,
        unit_s=found.unit_s,
        decode_error=max(DECODE_ERROR, _quantile(found.off("decode"))),
        prefill_error=max(PREFILL_ERROR, _quantile(found.off("prefill"))),
        method=f"{SOURCE}{', quick' if quick else ''}, {len(found.rows)} timed steps of models of one codec each",
    )
    warnings = []
    if found.disturbed:
        warnings.append(
            f"other programs were at work beside {found.disturbed} of {len(found.rows)} timed steps: "
            "measure again on a machine at rest"
        )
    return replace(device, measured={ENGINE: kept}), _told(found, kept), warnings


def _quantile(errors: list[float]) -> float:
    return errors[min(len(errors) - 1, int(_NINETY * len(errors)))] if errors else 0.0


def _told(found: speed.Speed, kept: Measured) -> dict[str, Any]:
    """What was found of the engine, by codec and by kind of work."""
    units = kept.unit_s
    codecs = [name.removeprefix(READ) for name in units if name.startswith(READ)]
    others = {name: value for name, value in units.items() if not name.startswith((READ, MULTIPLY))}
    nbytes, seconds = max(found.loads)
    return {
        "id": kept.engine,
        "version": kept.version,
        "timed_steps": len(found.rows),
        "codecs": [
            {"codec": codec, "read": _per_second(units[READ + codec]), "multiply": _per_second(units[MULTIPLY + codec])}
            for codec in sorted(codecs)
        ],
        "unit_s": others,
        "load": {"bytes": nbytes, "seconds": seconds},
        "decode_error": kept.decode_error,
        "prefill_error": kept.prefill_error,
    }


def _per_second(unit_s: float | None) -> float | None:
    """None where no time at all was found to go into it."""
    return 1 / unit_s if unit_s else None
