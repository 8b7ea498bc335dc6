"""How near an engine comes to the roofline of a class of devices: fractions of stated bandwidth and stated peak.

The numbers are data: `curves/<engine id>.toml`, a table for each class and phase. benchmarks/fit_curves.py fits them
from measured rows, and benchmarks/host_speed.py measures class `host`. A new engine is one new file in that folder and
no line of code; a file of the same name in a folder that the caller gives goes before ours, class by class.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from weigh.types import Basis, Device, Quoted, WeighError

Phase = Literal["prefill", "decode"]

CLASSES = (
    "datacenter", "consumer", "workstation", "apple", "tpu", "desktop", "laptop", "edge", "phone", "host", "size",
    "processor",
)  # fmt: skip
"""Kinds of Device, and `processor` for those that are a CPU with its memory and no accelerator."""
CURVES = ("decode", "prefill", "prefill_f32")
"""`prefill_f32` is for devices of which no 16-bit peak is stated."""
BASES: tuple[Basis, ...] = ("measured", "derived", "assumed")

_FOLDER = Path(__file__).with_suffix("")
_PEAKS = ("f16", "bf16", "f32")
_REQUIRED = ("low", "value", "high", "basis", "why", "source", "fitted")
_OPTIONAL = (
    "types", "step_s", "kernel_s", "seconds", "rows", "devices", "models", "left_out_error", "left_out_worst",
    "left_out_inside", "left_out_model_error", "fitted_rows",
)  # fmt: skip
_LONGEST_START_S = 1.0
_MOST = 100.0
"""Kernels in 8-bit integers pass a stated float peak several times over; what is beyond this is a slip."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A fraction of what the device states: of its bandwidth (decode), of its peak (prefill). 90 % interval.

    It may pass 1: a stated peak is that of one number type, and quantized kernels may use a faster one.
    """

    low: float
    value: float
    high: float
    basis: Basis
    """`measured` on this very machine, `derived` from rows of the device's class, `assumed` where there are none."""
    why: str
    source: str
    types: Mapping[str, float] = field(default_factory=dict)
    """The fraction by number type or codec, where they are told apart; `value` for all others."""
    step_s: float = 0.0
    """Seconds that a step takes beside what its parts do; where 0, the fraction includes it."""
    kernel_s: float = 0.0
    """Seconds that a kernel takes beside what it moves; where 0, the fraction includes it."""
    seconds: tuple[float, float] | None = None
    """Factors on the seconds of a step between which 90 % of steps lie; None = as `low` and `high` say."""


def efficiency(engine_id: str, device: Device, phase: Phase, folders: tuple[Path, ...] = ()) -> Efficiency:
    """The engine's efficiency on a device of this class, relative to `limit(device, phase)`.

    `folders` are asked before the curves that come with weigh: that is where a measured profile goes.
    WeighError: CURVE-ENGINE (no file), CURVE-CLASS (the file leaves the class out), CURVE-FILE (malformed).
    """
    wanted = curve_class(device)
    curve: str = phase
    if phase == "prefill" and device.peak and not {"f16", "bf16"} & set(device.peak):
        curve = "prefill_f32"
    files = [folder / f"{engine_id}.toml" for folder in (*folders, _FOLDER)]
    known = [_read(file) for file in files if file.is_file()]
    if not known:
        raise _no_engine(engine_id)
    for table in known:
        # A profile of one machine need not tell the two prefills apart.
        for name in (curve, phase):
            if name in table.get(wanted, {}):
                return table[wanted][name]
    raise WeighError(
        f"how near {engine_id} comes to the limits of `{wanted}` devices is not known",
        rule="CURVE-CLASS",
        path=files[-1],
        where=f"{wanted}.{curve}",
        hint=f"known here are {', '.join(sorted({name for table in known for name in table}))}",
    )


def stretch(engine_id: str) -> float:
    """Most tokens of a prompt that the engine takes in one pass, by default; infinite where its file names none.

    WeighError: CURVE-ENGINE (no file), CURVE-FILE (no number of tokens).
    """
    path = _FOLDER / f"{engine_id}.toml"
    if not path.is_file():
        raise _no_engine(engine_id)
    return _stretch(path)


@cache
def _stretch(path: Path) -> float:
    said = _table(path).get("stretch", math.inf)
    if isinstance(said, bool) or not isinstance(said, int | float) or said < 1:
        raise _fault(path, "stretch", f"must be a number of tokens, not {said}")
    return float(said)


def limit(device: Device, phase: Phase) -> Quoted | None:
    """What the efficiency is a fraction of: bandwidth in bytes a second (decode), dense peak in FLOP/s (prefill).

    The peak is that of f16, else bf16, else f32. None where the vendor states none: then no time can be given.
    """
    if phase == "decode":
        return device.memory_bandwidth
    return next((device.peak[name] for name in _PEAKS if name in device.peak), None)


def curve_class(device: Device) -> str:
    """The device's kind, or `processor` where it is a CPU alone: cores and no peak stated, as the sheets have them."""
    may_be = device.kind in ("datacenter", "workstation", "desktop", "laptop", "edge")
    return "processor" if may_be and device.cores is not None and not device.peak else device.kind


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise _fault(path, "", f"cannot be read: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise _fault(path, "", f"is not TOML: {cause}") from cause


@cache
def _read(path: Path) -> Mapping[str, Mapping[str, Efficiency]]:
    """Class to curve to efficiency."""
    table = _table(path)
    found = {}
    table.pop("stretch", None)
    for name, curves in table.items():
        if name not in CLASSES:
            raise _fault(path, name, f"is no class of devices: {', '.join(CLASSES)}")
        if not isinstance(curves, dict):
            raise _fault(path, name, "must be a table")
        found[name] = {curve: _efficiency(path, f"{name}.{curve}", entry) for curve, entry in curves.items()}
    return found


def _efficiency(path: Path, key: str, entry: Any) -> Efficiency:
    if key.partition(".")[2] not in CURVES:
        raise _fault(path, key, f"is no curve: {', '.join(CURVES)}")
    if not isinstance(entry, dict):
        raise _fault(path, key, "must be a table")
    for name in entry:
        if name not in (*_REQUIRED, *_OPTIONAL):
            raise _fault(path, f"{key}.{name}", f"is not known; known here are {', '.join((*_REQUIRED, *_OPTIONAL))}")
    low, value, high = (_share(path, f"{key}.{name}", entry.get(name)) for name in ("low", "value", "high"))
    if not low <= value <= high:
        raise _fault(path, key, f"must rise from low to value to high, not {low}, {value}, {high}")
    basis = entry.get("basis")
    if basis not in BASES:
        raise _fault(path, f"{key}.basis", f"must be one of {', '.join(BASES)}")
    day = entry.get("fitted")
    # A datetime is a date to isinstance, and `fitted` is a day.
    if not isinstance(day, date) or isinstance(day, datetime):
        raise _fault(path, f"{key}.fitted", "must be a day such as 2026-01-31, without quotes")
    why = _words(path, f"{key}.why", entry.get("why"))
    source = _words(path, f"{key}.source", entry.get("source"))
    types = entry.get("types", {})
    if not isinstance(types, dict):
        raise _fault(path, f"{key}.types", "must be a table of fractions")
    by_type = {name: _share(path, f"{key}.types.{name}", share) for name, share in types.items()}
    starts = {name: _start(path, f"{key}.{name}", entry.get(name, 0.0)) for name in ("step_s", "kernel_s")}
    return Efficiency(
        low, value, high, basis, why, source, by_type, seconds=_ends(path, f"{key}.seconds", entry), **starts
    )


def _ends(path: Path, key: str, entry: Mapping[str, Any]) -> tuple[float, float] | None:
    said = entry.get("seconds")
    if said is None:
        return None
    if not isinstance(said, list) or len(said) != 2:
        raise _fault(path, key, "must be two factors")
    low, high = (_share(path, key, end) for end in said)
    if not low <= 1 <= high:
        raise _fault(path, key, f"must lie on both sides of 1, not {low} and {high}")
    return low, high


def _start(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_START_S:
        raise _fault(path, key, f"must be seconds from 0 to {_LONGEST_START_S:g}")
    return float(value)


def _share(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(path, key, "is missing" if value is None else "must be a number")
    if not math.isfinite(value) or not 0 < value <= _MOST:
        raise _fault(path, key, f"must be greater than 0 and at most {_MOST:g}, not {value}")
    return float(value)


def _words(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _fault(path, key, "is missing" if value is None else "must be words")
    return value


def _no_engine(engine_id: str) -> WeighError:
    known = ", ".join(sorted(path.stem for path in _FOLDER.glob("*.toml")))
    return WeighError(
        f"no efficiency curves of an engine `{engine_id}` are known",
        rule="CURVE-ENGINE",
        hint=f"known are those of {known}",
    )


def _fault(path: Path, key: str, problem: str) -> WeighError:
    what = f"`{key}` " if key else ""
    return WeighError(
        f"{path.name}: {what}{problem}",
        rule="CURVE-FILE",
        path=path,
        where=key,
        hint="benchmarks/fit_curves.py writes a complete file",
    )
