"""Fit how near llama.cpp comes to a device's stated bandwidth and peak, per class of device, from measured rows.

`python -m benchmarks.fit_curves --data FOLDER` reads the tables of measured speeds in FOLDER (see curve_rows.py),
prints what it fits and writes it into `weigh/engines/curves/llama.cpp.toml`; classes that it does not fit stay as they
are. The rows stay in FOLDER: their licences differ, and only ranges, names and errors come into the project.

Lines of one device, model and codec count as one (their median) and every device weighs the same, so that a card that
many people own does not speak for its class.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.curve_rows import ENGINE, LEAST_BYTES, Point, points
from weigh.engines.curves import CLASSES, CURVES

TARGET = Path(__file__).parents[1] / "weigh/engines/curves" / f"{ENGINE}.toml"
MANY = 6
"""Devices whose percentiles tell of the next device. With fewer, the interval is from least to most, moved out."""
SLACK = 1.5
"""How far ends are moved out where one or two devices, another class or another engine stand in."""
SOME_SLACK = 1.1
"""How far with more devices, yet not many."""
CARDS = ("consumer", "workstation", "datacenter")
Curves = dict[str, dict[str, dict[str, Any]]]
"""Class to curve to what the file says of it."""


# ------------------------------------------------------------------------------------------------- fitting


def quantile(values: Sequence[tuple[float, float]], share: float) -> float:
    """Weighted quantile of (value, weight), linear between the middles of the weights."""
    ordered = sorted(values)
    whole = sum(weight for _, weight in ordered)
    places, passed = [], 0.0
    for value, weight in ordered:
        places.append(((passed + weight / 2) / whole, value))
        passed += weight
    if share <= places[0][0]:
        return places[0][1]
    for (left, low), (right, high) in pairwise(places):
        if share <= right:
            return low + (high - low) * (share - left) / (right - left)
    return places[-1][1]


def weighed(some: Iterable[Point]) -> list[tuple[float, float]]:
    """Efficiencies with weights that sum to one a device."""
    by_device: dict[str, list[float]] = defaultdict(list)
    for point in some:
        by_device[point.group.device].append(point.efficiency)
    return [(value, 1 / len(values)) for values in by_device.values() for value in values]


def interval(some: Sequence[Point]) -> tuple[float, float, float]:
    """5th, 50th and 95th percentile; with few devices from the least to the most, moved out."""
    values = weighed(some)
    count = len({point.group.device for point in some})
    value = quantile(values, 0.5)
    if count >= MANY:
        return quantile(values, 0.05), value, quantile(values, 0.95)
    slack = SLACK if count < 3 else SOME_SLACK
    return min(values)[0] / slack, value, max(values)[0] * slack


def left_out(some: Sequence[Point]) -> dict[str, float]:
    """Predict each device from the others: median and worst error of its speed, and the share inside the interval."""
    errors, inside = [], []
    for name in sorted({point.group.device for point in some}):
        own = [point.efficiency for point in some if point.group.device == name]
        low, value, high = interval([point for point in some if point.group.device != name])
        errors.append(median(abs(value / one - 1) for one in own))
        inside.append(sum(low <= one <= high for one in own) / len(own))
    return {
        "left_out_error": round(median(errors), 3),
        "left_out_worst": round(max(errors), 3),
        "left_out_inside": round(sum(inside) / len(inside), 3),
    }


# ------------------------------------------------------------------------------------------------- curves


ASSUMED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "desktop": (("apple", "consumer"), "no line gives the prompts of a desktop's graphics part"),
    "laptop": (("apple", "desktop", "consumer"), "no line is of a laptop's graphics part"),
    "edge": (("apple", "desktop", "consumer"), "no line is of a module"),
    "phone": (("apple", "consumer"), "no phone states a peak that its measured prompts could be held against"),
    "size": (("apple", "desktop", *CARDS), "nothing but a size is known"),
    "tpu": (CARDS, "llama.cpp does not run on one: this is a bound for a port of it"),
}
"""Classes without rows: those that stand in for them, and why."""


def fitted(found: Sequence[Point]) -> Curves:
    """A curve for each class and phase of which there are rows."""
    curves: Curves = defaultdict(dict)
    for kind in CLASSES:
        for curve in CURVES:
            some = [point for point in found if (point.group.kind, point.group.curve) == (kind, curve)]
            if some:
                curves[kind][curve] = _derived(some)
    return curves


def _derived(some: Sequence[Point]) -> dict[str, Any]:
    kind, curve = some[0].group.kind, some[0].group.curve
    names = sorted({point.group.device for point in some})
    low, value, high = interval(some)
    reach = "5th to 95th percentile" if len(names) >= MANY else "ends beyond the least and the most"
    if kind == "phone":
        low, high = low / SLACK, high * SLACK
        reach += ", moved out again since it was ExecuTorch that was measured"
    elif curve == "prefill_f32" and kind in CARDS:
        low, high = low / SLACK, high * SLACK
        reach += ", moved out again since cards that state no 16-bit peak are others than those measured"
    errors = left_out(some) if len(names) > 1 else {}
    said = f"a device left out is predicted to {errors['left_out_error']:.0%}" if errors else "no second device"
    return {
        **ends(low, value, high, curve),
        "basis": "derived",
        "why": f"median of {len(some)} rows on {', '.join(names)}, each device weighing the same; {reach}; {said}",
        "source": "benchmarks/fit_curves.py on " + ", ".join(sorted({point.group.file for point in some})),
        "fitted": date.today(),
        "rows": len(some),
        "devices": names,
        "models": sorted({f"{point.group.model} {point.group.codec}" for point in some}),
        **errors,
    }


def ends(low: float, value: float, high: float, curve: str) -> dict[str, float]:
    """The interval as the file has it."""
    # Nothing reads faster than its memory, however far ends are moved out.
    most = 1.0 if curve == "decode" else high
    return {"low": round(low, 3), "value": round(value, 3), "high": round(min(high, most), 3)}


def stand_in(curves: Curves, like: Sequence[str], curve: str, reason: str) -> dict[str, Any] | None:
    """A curve for a class without rows: the median of those like it, with ends beyond all of theirs."""
    known = {kind: curves[kind][curve] for kind in like if curve in curves.get(kind, {})}
    if not known:
        return None
    low = min(entry["low"] for entry in known.values()) / SLACK
    high = max(entry["high"] for entry in known.values()) * SLACK
    return {
        **ends(low, median(entry["value"] for entry in known.values()), high, curve),
        "basis": "assumed",
        "why": f"{reason}; median of {', '.join(known)}, ends {SLACK} times beyond theirs",
        "source": "benchmarks/fit_curves.py",
        "fitted": date.today(),
    }


def with_assumed(curves: Curves) -> Curves:
    """Every class of ASSUMED with every curve."""
    rows = {kind: dict(own) for kind, own in curves.items()}
    for kind, (like, reason) in ASSUMED.items():
        for curve in CURVES:
            entry = None if curve in curves.get(kind, {}) else stand_in(curves, like, curve, reason)
            if entry is not None:
                rows.setdefault(kind, {})[curve] = entry
    return rows


# ------------------------------------------------------------------------------------------------- writing


def write_curves(fresh: Curves, target: Path = TARGET) -> None:
    """Put curves into the file, class by class; classes that `fresh` lacks stay."""
    held: Curves = tomllib.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    held |= fresh
    lines = [f"# How near {ENGINE} comes to what devices state. Written by benchmarks/fit_curves.py and host_speed.py."]
    for kind in (kind for kind in CLASSES if kind in held):
        for curve in (curve for curve in CURVES if curve in held[kind]):
            lines += ["", f"[{kind}.{curve}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in held[kind][curve].items()]
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    # Strings, numbers and lists of strings look the same in JSON.
    return json.dumps(value, ensure_ascii=False)


def print_curves(curves: Curves) -> None:
    """The table: efficiency with its interval, rows, and the errors of devices left out."""
    print(f"{'class':12}{'curve':12}{'low':>7}{'value':>7}{'high':>7}  {'basis':9}{'rows':>5}{'devices':>8}  left out")
    for kind, own in curves.items():
        for curve, entry in own.items():
            ends = "".join(f"{entry[name]:7.2f}" for name in ("low", "value", "high"))
            counts = f"{entry.get('rows', 0):5}{len(entry.get('devices', ())):8}"
            errors = ", ".join(f"{entry[name]:.0%}" for name in entry if name.startswith("left_out"))
            print(f"{kind:12}{curve:12}{ends}  {entry['basis']:9}{counts}  {errors}")


def main() -> None:
    """Read, fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables of measured speeds")
    parser.add_argument("--output", type=Path, default=TARGET)
    asked = parser.parse_args()
    found = points(asked.data)
    print(f"tokens that read less than {LEAST_BYTES / 1e9} GB are left out\n")
    curves = with_assumed(fitted(found))
    print_curves(curves)
    write_curves(curves, asked.output)


if __name__ == "__main__":
    main()
