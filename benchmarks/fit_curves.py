"""Fit what an engine reaches of a device's stated rates, per class of device, from measured rows.

`python -m benchmarks.fit_curves --data FOLDER [--configs FOLDER]` reads the tables of measured speeds in FOLDER (see
curve_rows.py), fits, prints, and writes `weigh/engines/curves/<engine>.toml`; entries that it does
not fit stay as they are. Models that are not in the catalogue are read from configurations in the second folder.

The formula is that of `cost/run/step.py`. Of each class the fit knows the share of the bandwidth by number type, the
share of the peak by number type, the seconds of a step and of a kernel. Logarithms of the errors are made small, large
errors weigh less (soft L1), a device weighs as the root of its rows, and what a class has few rows of stays near the
fit of all cards together, and that near what is plausible (PRIOR). The ends are those of devices that were left out.

Held out, by a rule that looks at names alone (`curve_rows.is_held_out`), are rows that no fit and no choice here has
seen: `--held-out` prints their errors, and is for the end.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.curve_rows import ENGINE, Sample, parts_of, samples
from weigh.cost.run.step import seconds
from weigh.engines.curves import CLASSES, CURVES, limit
from weigh.engines.rates import TYPES, Curve, Rates, Spread

FOLDER = Path(__file__).parents[1] / "weigh/engines/curves"
TARGET = FOLDER / f"{ENGINE}.toml"
MANY = 6
"""Devices whose percentiles tell of the next device. With fewer, ends are moved out, and those of all cards count."""
SLACK = 1.5
"""How far ends are moved out where one or two devices, another class or another engine stand in."""
SOME_SLACK = 1.1
"""How far with more devices, yet not many."""
CARDS = ("consumer", "workstation", "datacenter")
Curves = dict[str, dict[str, dict[str, Any]]]
"""Class to curve to what the file says of it."""

PRIOR = {
    "memory": (log(0.8), 0.2),
    "compute": (log(0.5), 0.7),
    "step_s": (log(1e-4), 1.5),
    "kernel_s": (log(4e-6), 1.0),
}
"""Centre and spread (natural logarithm) of what is plausible before any row is seen."""
NEAR = {"memory": 0.15, "compute": 0.5, "step_s": 1.0, "kernel_s": 0.5}
"""Spread of a class about all cards together."""
MOST = {"memory": log(0.88), "compute": log(3.0), "step_s": log(5e-3), "kernel_s": log(4e-5)}
"""Long copies reach 0.85 to 0.9 of a stated bandwidth, and matrices of a token are no longer; what looks like more is
paid in starts, and makes small models too slow. Integer kernels may pass a float peak."""
SCALE = 0.08
"""Error (logarithm) from which on a row weighs less."""
FALLBACK = {"f32": ("f16", "int8", "fp8", "int4", "fp4"), "f16": ("f32", "int8", "fp8", "int4", "fp4"),
            "fp8": ("int8", "f16", "f32", "int4", "fp4"), "int8": ("fp8", "f16", "int4", "f32", "fp4"),
            "fp4": ("int4", "int8", "fp8", "f16", "f32"), "int4": ("fp4", "int8", "fp8", "f16", "f32")}  # fmt: skip
"""Types that stand in for one without rows, the first that has some."""

Values = Mapping[str, float]
"""Parameter (`memory.f16`, `step_s`) to its logarithm."""


# ------------------------------------------------------------------------------------------------- fitting


def peak_name(one: Sample) -> str:
    """Which peak the shares of compute are of: `compute` that of 16 bits, `compute_f32` where only that is stated."""
    return "compute" if {"f16", "bf16"} & set(one.device.peak) else "compute_f32"


def rates_of(one: Sample, values: Values) -> Rates:
    """What the device of a sample would reach with these parameters."""
    bandwidth, peak = one.device.memory_bandwidth, limit(one.device, "prefill")
    unused = Curve("derived", "", "")
    compute = shares(values, peak_name(one))
    return Rates(
        None if bandwidth is None else bandwidth.value,
        None if peak is None or not compute else peak.value,
        shares(values, "memory"),
        compute,
        exp(values["step_s"]),
        exp(values["kernel_s"]),
        Spread(1, 1),
        Spread(1, 1),
        unused,
        unused,
    )


def shares(values: Values, what: str) -> dict[str, float]:
    """The share of every number type; of types without rows that of the one that stands in. Empty without any."""
    known = {name.partition(".")[2]: exp(value) for name, value in values.items() if name.partition(".")[0] == what}
    if not known:
        return {}
    return {kind: known[next(name for name in (kind, *FALLBACK[kind]) if name in known)] for kind in TYPES}


def predicted(one: Sample, values: Values) -> float:
    """Seconds of the step by the formula that the estimate uses, with the prompts that were worked on meanwhile."""
    reached = rates_of(one, values)
    return sum(share * float(seconds(loads, reached, apart_s, steps)) for loads, share, apart_s, steps in one.work)


def fit(some: Sequence[Sample], names: Sequence[str], about: Values | None = None) -> Values:
    """The parameters that make the logarithms of the errors small; `about`: what they stay near, else PRIOR."""
    import numpy as np
    from scipy.optimize import least_squares

    kinds = [name.partition(".")[0].removesuffix("_f32") for name in names]
    centre = [PRIOR[kind][0] if about is None else about[name] for name, kind in zip(names, kinds, strict=True)]
    spread = [PRIOR[kind][1] if about is None else NEAR[kind] for kind in kinds]
    counts: dict[str, int] = defaultdict(int)
    for one in some:
        counts[one.device.id] += 1
    weight = np.array([counts[one.device.id] ** -0.25 for one in some])
    measured = np.log([one.seconds for one in some])

    def errors(at: Any) -> Any:
        values = dict(zip(names, map(float, at), strict=True))
        rows = weight * (np.log([predicted(one, values) for one in some]) - measured)
        pull = SCALE * (at - np.array(centre)) / np.array(spread)
        # Plain residuals of the pull: soft L1 at ten times the scale is square.
        return np.concatenate([rows, pull])

    start = np.array([min(value, MOST[kind] - 1e-6) for value, kind in zip(centre, kinds, strict=True)])
    most = [MOST[kind] for kind in kinds]
    found = least_squares(errors, start, loss="soft_l1", f_scale=SCALE, bounds=([-np.inf] * len(names), most))
    return dict(zip(names, map(float, found.x), strict=True))


def names_of(some: Sequence[Sample]) -> list[str]:
    """The parameters that the rows say something of: number types that most of some row's weights are in."""
    memory = {one.type for one in some if one.phase == "decode"}
    compute = {(peak_name(one), one.type) for one in some if one.phase == "prefill"}
    names = [f"memory.{kind}" for kind in TYPES if kind in memory or not memory]
    names += [f"{peak}.{kind}" for peak in ("compute", "compute_f32") for kind in TYPES if (peak, kind) in compute]
    return [*names, "step_s", "kernel_s"]


# ----------------------------------------------------------------------------------------------- left out


Ratio = tuple[Sample, float]
"""A row, and measured / predicted seconds."""


def left_out(some: Sequence[Sample], beside: Sequence[Sample], names: Sequence[str], what: str) -> list[Ratio]:
    """Predict the rows of each device (or model) of `some` from the others, near the others of its pool `beside`."""
    found = []
    pooled = len(beside) > len(some)
    for name in sorted({key(one, what) for one in some}):
        rest = [one for one in some if key(one, what) != name]
        pool = [one for one in beside if key(one, what) != name]
        centre = fit(pool, names) if pooled else None
        values = fit(rest, names, centre)
        own = [one for one in some if key(one, what) == name]
        found += [(one, one.seconds / predicted(one, values)) for one in own]
    return found


def key(one: Sample, what: str) -> str:
    """What is left out at a time."""
    return one.device.id if what == "device" else one.model


def weighed(some: Iterable[Ratio]) -> list[tuple[float, float]]:
    """Ratios with weights: a device weighs as the root of its rows."""
    listed = list(some)
    counts: dict[str, int] = defaultdict(int)
    for one, _ in listed:
        counts[one.device.id] += 1
    return [(ratio, counts[one.device.id] ** -0.5) for one, ratio in listed]


def spread(ratios: Sequence[Ratio]) -> tuple[float, float]:
    """Factors on the seconds that hold 90 % of the rows left out, moved out where the devices are few."""
    values = weighed(ratios)
    count = len({one.device.id for one, _ in ratios})
    low, high = quantile(values, 0.05), quantile(values, 0.95)
    slack = 1.0 if count >= MANY else SOME_SLACK if count >= 3 else SLACK
    return min(low, 1.0) / slack, max(high, 1.0) * slack


def error(ratios: Sequence[Ratio]) -> float:
    """Median error of the speed, |predicted / measured - 1|, as weighed."""
    return quantile([(abs(ratio - 1), weight) for ratio, weight in weighed(ratios)], 0.5)


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
POOLS = (CARDS, ("apple",), ("desktop",))
"""Classes that are fitted near each other."""
OF_CURVE = {
    "decode": ("decode", "memory"),
    "prefill": ("prefill", "compute"),
    "prefill_f32": ("prefill", "compute_f32"),
}
"""Phase of the rows of a curve, and its parameters."""


def fitted(found: Sequence[Sample], source: str) -> Curves:
    """A curve for each class and phase of which there are rows; prints the parameters and what was left out."""
    curves: Curves = defaultdict(dict)
    for pool in POOLS:
        beside = [one for one in found if one.kind in pool]
        if not beside:
            continue
        names = names_of(beside)
        about = fit(beside, names) if len(pool) > 1 else None
        out = left_out(beside, beside, names, "device") if about else []
        for kind in pool:
            some = [one for one in beside if one.kind == kind]
            if not some:
                continue
            values = fit(some, names, about)
            own = {what: left_out(some, beside, names, what) for what in ("device", "model")}
            for curve, (phase, _) in OF_CURVE.items():
                rows = [one for one in some if one.phase == phase and (curve == "decode" or _is_of(one, curve))]
                if not rows:
                    continue
                kept = {what: [(one, r) for one, r in own[what] if one in rows] for what in own}
                wider = [(one, r) for one, r in out if one.phase == phase]
                curves[kind][curve] = _entry(curve, values, rows, kept, wider, source)
    return curves


def _is_of(one: Sample, curve: str) -> bool:
    return OF_CURVE[curve][1] == peak_name(one)


def _entry(
    curve: str, values: Values, rows: Sequence[Sample], own: Mapping[str, list[Ratio]], wider: list[Ratio], source: str
) -> dict[str, Any]:
    """What the file says of one class and phase."""
    devices = sorted({one.device.id for one in rows})
    by_type = {kind: round(share, 3) for kind, share in shares(values, OF_CURVE[curve][1]).items()}
    main = median(by_type[one.type] for one in rows)
    # Few devices tell little of the next one: then those of the other cards count as well, where they are wider.
    ends = [spread(own["device"])] + ([spread(wider)] if wider and len(devices) < MANY else [])
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    starts = {name: float(f"{exp(values[name]):.3g}") for name in ("step_s", "kernel_s")} if curve == "decode" else {}
    inside = [low <= ratio <= high for _, ratio in own["device"]]
    said = f"{error(own['device']):.0%} on devices left out, {error(own['model']):.0%} on models left out"
    return {
        "low": round(main / high, 3),
        "value": round(main, 3),
        # Nothing reads faster than its memory.
        "high": round(min(main / low, 1.0) if curve == "decode" else main / low, 3),
        "types": by_type,
        **starts,
        "seconds": [round(low, 3), round(high, 3)],
        "basis": "derived",
        "why": f"{len(rows)} rows on {', '.join(devices)}; median error {said}; "
        "ends hold 90 % of the rows of devices left out"
        + ("" if len(devices) >= MANY else ", and of all cards, moved out since the devices are few"),
        "source": source + " on " + ", ".join(sorted({one.file for one in rows})),
        "fitted": date.today(),
        "rows": len(rows),
        "devices": devices,
        "models": sorted({f"{one.model} {one.codec}" for one in rows}),
        "left_out_error": round(error(own["device"]), 3),
        "left_out_worst": round(max(abs(ratio - 1) for _, ratio in own["device"]), 3),
        "left_out_inside": round(sum(inside) / len(inside), 3),
        "left_out_model_error": round(error(own["model"]), 3),
        "fitted_rows": sorted({one.name for one in rows}),
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
    entries = list(known.values())
    factors = [
        entry.get("seconds", [entry["value"] / entry["high"], entry["value"] / entry["low"]]) for entry in entries
    ]
    value = median(entry["value"] for entry in entries)
    low, high = min(factor[0] for factor in factors) / SLACK, max(factor[1] for factor in factors) * SLACK
    typed = [entry["types"] for entry in entries if "types" in entry]
    by_type = {kind: round(median(types[kind] for types in typed), 3) for kind in TYPES} if typed else {}
    starts = {
        name: median(entry.get(name, 0.0) for entry in entries)
        for name in ("step_s", "kernel_s")
        if curve == "decode" and any(name in entry for entry in entries)
    }
    return {
        **ends(value / high, value, value / low, curve),
        **({"types": by_type} if by_type else {}),
        **starts,
        "seconds": [round(low, 3), round(high, 3)],
        "basis": "assumed",
        "why": f"{reason}; median of {', '.join(known)}, ends {SLACK} times beyond theirs",
        "source": "benchmarks/fit_curves.py",
        "fitted": date.today(),
    }


def with_assumed(curves: Curves, assumed: Mapping[str, tuple[tuple[str, ...], str]], target: Path) -> Curves:
    """Every class of `assumed` with every curve, but for those that the file has from rows of another fit."""
    held = tomllib.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    rows = {kind: dict(own) for kind, own in curves.items()}
    for kind, (like, reason) in assumed.items():
        for curve in CURVES:
            known = curve in curves.get(kind, {}) or held.get(kind, {}).get(curve, {}).get("basis") == "derived"
            entry = None if known else stand_in(curves, like, curve, reason)
            if entry is not None:
                rows.setdefault(kind, {})[curve] = entry
    return rows


# ------------------------------------------------------------------------------------------------- writing


def write_curves(fresh: Curves, target: Path = TARGET) -> None:
    """Put curves into the file, curve by curve; what `fresh` lacks stays."""
    held: dict[str, Any] = tomllib.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    most = held.pop("stretch", None)
    lines = [
        f"# How near {target.stem} comes to what devices state. Written by benchmarks/fit_curves.py and host_speed.py."
    ]
    lines += [] if most is None else ["", f"stretch = {most}"]
    for kind in CLASSES:
        own = held.get(kind, {}) | fresh.get(kind, {})
        for curve in (curve for curve in CURVES if curve in own):
            lines += ["", f"[{kind}.{curve}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in own[curve].items()]
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(entry)}" for name, entry in value.items()) + " }"
    # Strings, numbers and lists of strings look the same in JSON.
    return json.dumps(value, ensure_ascii=False)


def print_curves(curves: Curves) -> None:
    """The table: share with its ends, starts, rows, and the errors of devices and models left out."""
    print(f"{'class':12}{'curve':12}{'low':>7}{'value':>7}{'high':>7}  {'basis':9}{'rows':>5}{'devices':>8}  left out")
    for kind, own in curves.items():
        for curve, entry in own.items():
            ends = "".join(f"{entry[name]:7.2f}" for name in ("low", "value", "high"))
            counts = f"{entry.get('rows', 0):5}{len(entry.get('devices', ())):8}"
            errors = ", ".join(f"{entry[name]:.0%}" for name in entry if name.startswith("left_out"))
            starts = "".join(f"  {name} {entry[name]:.2g}" for name in ("step_s", "kernel_s") if name in entry)
            print(f"{kind:12}{curve:12}{ends}  {entry['basis']:9}{counts}  {errors}  {entry.get('types', '')}{starts}")


def print_held_out(some: Sequence[Sample], engine: str) -> None:
    """Errors and coverage of rows that were not fitted, with the curves as they stand in the repository."""
    from weigh.engines.rates import rates

    print(f"{'phase':9}{'class':13}{'rows':>5}{'median error':>14}{'inside':>8}")
    for phase in ("decode", "prefill"):
        for kind in (*CLASSES, ""):
            rows = [one for one in some if one.phase == phase and kind in ("", one.kind)]
            ratios, inside = [], 0
            for one in rows:
                reached = rates(engine, one.device)
                if reached is None:
                    continue
                ends = reached.decode if phase == "decode" else reached.prefill
                whole = sum(
                    part * float(seconds(loads, reached, apart, steps)) for loads, part, apart, steps in one.work
                )
                ratios.append(one.seconds / whole)
                inside += ends.low <= ratios[-1] <= ends.high
            if ratios:
                # The error of a speed: predicted / measured speed - 1 is measured / predicted seconds - 1.
                middle = median(abs(ratio - 1) for ratio in ratios)
                print(f"{phase:9}{kind or 'all':13}{len(ratios):5}{middle:14.1%}{inside / len(ratios):8.0%}")


def main() -> None:
    """Read, fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables of measured speeds")
    parser.add_argument("--configs", type=Path, help="folder with configurations of models, <owner>__<name>.json")
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--held-out", action="store_true", help="fit nothing; errors on the rows kept apart")
    asked = parser.parse_args()
    found = samples(asked.data, asked.configs)
    if asked.held_out:
        print_held_out(parts_of(found, held_out=True), ENGINE)
        return
    curves = with_assumed(fitted(parts_of(found, held_out=False), "benchmarks/fit_curves.py"), ASSUMED, asked.output)
    print_curves(curves)
    write_curves(curves, asked.output)


if __name__ == "__main__":
    main()
