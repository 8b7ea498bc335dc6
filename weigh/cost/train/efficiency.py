"""How far training stays behind what devices state: one coefficient a term, fitted, with the spread of what is left.

The numbers are data, `efficiency.toml`: a set of them for each generation of devices and kind of framework of which
measured steps are public. benchmarks/fit_training.py writes it and says from which rows. To add a set: rows in
weigh/published that say `fitted = true`, and its line in the SETS of that script.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from weigh.cost.train.layout import Layout
from weigh.cost.train.terms import TERMS
from weigh.numbers import Number, chosen
from weigh.types import Device, WeighError

_FILE = Path(__file__).with_name("efficiency.toml")
GENERATIONS = (("blackwell", "fp4"), ("hopper", "fp8"), ("ampere", ""))
"""Generation, and the type of products that it has and the one before has not."""
CLOCKED = ("products", "flash", "head")
"""Terms whose speed follows the clock of the processors, and so the power that the card may draw."""
FUSED = 0.3
"""Memory traffic of elementwise steps that a compiler fuses, as a share of what they move one by one. Derived for a
Llama block in values a token and width: norms 36 and 8, rotations 12.5 and 2.5, the gated product 17.5 and 10.5,
residual sums 6 and none of their own (part of the norm's): 72 and 21. Assumed to hold for other blocks."""
FRAMEWORKS = {
    "pytorch": ("pytorch", False),
    "compiled": ("pytorch", True),
    "megatron": ("megatron", False),
}
"""Word of --framework: whose kernels, and whether a compiler fuses elementwise steps."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Times by which each term is longer than ideal, and the ends of the 90 % interval of their sum."""

    coefficients: Mapping[str, float]
    low: float
    high: float
    """Factors on the sum: where 90 % of rows lay whose size, or whose source, was left out of the fit."""
    devices: tuple[str, ...]
    """Ids of those that were measured; for any other the same is assumed and the interval is twice as wide."""
    generation: str
    framework: str
    watts: float
    """A FLOP/s of its peak in 16 bit: the power of the card at which the coefficients were measured."""
    source: str


@cache
def efficiencies(path: Path = _FILE) -> tuple[Efficiency, ...]:
    """What the file says. Error: TRAIN-EFFICIENCY where a set does not hold every term once, as a number from 0 on."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    sets = table.get("sets", [])
    if not sets:
        raise WeighError("there are no coefficients", rule="TRAIN-EFFICIENCY", path=path)
    return tuple(_set(one, path) for one in sets)


def _set(table: Mapping[str, object], path: Path) -> Efficiency:
    coefficients = table.get("coefficients")
    coefficients = coefficients if isinstance(coefficients, dict) else {}
    ends = {name: table.get(name) for name in ("low", "high", "watts")}
    numbers = [*coefficients.values(), *ends.values()]
    good = all(isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in numbers)
    devices = table.get("devices")
    if set(coefficients) != set(TERMS) or not good or not isinstance(devices, list):
        raise WeighError("the coefficients are not those of the terms", rule="TRAIN-EFFICIENCY", path=path)
    low, high, watts = (float(str(ends[name])) for name in ("low", "high", "watts"))
    words = {name: str(table.get(name, "")) for name in ("generation", "framework", "source")}
    return Efficiency(coefficients, low, high, tuple(devices), watts=watts, **words)


def generation(device: Device) -> str:
    """The newest generation whose types of products the device has, whoever made it."""
    return next(name for name, kind in GENERATIONS if not kind or kind in device.peak)


def framework_of(layout: Layout) -> str:
    """What most run such a layout under: Megatron's kernels with tensor or pipeline parallelism, PyTorch's without."""
    return "megatron" if layout.tp > 1 or layout.pp > 1 else "pytorch"


def efficiency(device: Device, framework: str) -> tuple[Efficiency, bool]:
    """The set for a device under a framework, and whether this very combination was measured.

    Where a generation was not measured under the framework, the nearest that was: of the same generation, then of the
    one before. Error: TRAIN-FRAMEWORK (exit code 2).
    """
    if framework not in FRAMEWORKS:
        known = ", ".join(FRAMEWORKS)
        raise WeighError(f"no framework `{framework}`", rule="TRAIN-FRAMEWORK", hint=f"known: {known}", exit_code=2)
    kernels, _ = FRAMEWORKS[framework]
    order = [name for name, _ in GENERATIONS]
    mine = order.index(generation(device))

    def distance(one: Efficiency) -> tuple[int, int, bool]:
        theirs = order.index(one.generation)
        # Kernels of another framework on the same generation are worse known than its own on the one before.
        return (abs(theirs - mine) + (one.framework not in (kernels, "both")), abs(theirs - mine), False)

    best = min(efficiencies(), key=distance)
    return best, device.id in best.devices and best.framework in (kernels, "both")


def clocks(device: Device, fitted: Efficiency) -> float:
    """Clock of the processors as a share of that at which the set was measured.

    Under products a card runs at its limit of power, P = k f V^2, and over its range the voltage follows the clock, so
    that f goes with the cube root of the power; of two cards of a generation it is that of the power a FLOP/s of peak.
    1 where the device does not state its power. Ignores: the share of the power that does not follow the clock, which
    makes a card with less power slower than this.
    """
    top = next((device.peak[name].value for name in ("bf16", "f16") if name in device.peak), None)
    if device.power_w is None or top is None or generation(device) != fitted.generation:
        return 1.0
    return float((device.power_w.value / top / fitted.watts) ** (1 / 3))


def real_seconds(ideal: Mapping[str, Number], device: Device, framework: str, fitted: Efficiency) -> dict[str, Number]:
    """Seconds by term: ideal ones times their coefficients, at the device's clock, never below the ideal."""
    speed = clocks(device, fitted)
    _, compiled = FRAMEWORKS[framework]
    found = {}
    for name, value in ideal.items():
        times = fitted.coefficients[name]
        if name in CLOCKED:
            times = max(times / speed, 1.0)
        if name == "elementwise":
            times *= chosen(compiled and fitted.framework != "megatron", FUSED, 1.0)
        found[name] = value * times
    return found
