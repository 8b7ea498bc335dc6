"""How far training stays behind what devices state: one coefficient a term, fitted, with the spread of what is left.

The numbers are data, `efficiency.toml`; benchmarks/fit_training.py writes it and says from which rows.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from weigh.cost.train.terms import TERMS
from weigh.types import WeighError

_FILE = Path(__file__).with_name("efficiency.toml")


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Times by which each term is longer than ideal, and the ends of the 90 % interval of their sum."""

    coefficients: Mapping[str, float]
    low: float
    high: float
    """Factors on the sum: where 90 % of rows lay whose model size was left out of the fit."""
    device: str
    """Id of the device that was measured; for any other the same is assumed and the interval is twice as wide."""
    source: str


@cache
def efficiency(path: Path = _FILE) -> Efficiency:
    """What the file says. Error: TRAIN-EFFICIENCY where it does not hold every term once, as a number from 0 on."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    coefficients = table.get("coefficients", {})
    numbers = [*coefficients.values(), table.get("low"), table.get("high")]
    good = all(isinstance(one, int | float) and math.isfinite(one) and one >= 0 for one in numbers)
    if set(coefficients) != set(TERMS) or not good:
        raise WeighError("the coefficients are not those of the terms", rule="TRAIN-EFFICIENCY", path=path)
    return Efficiency(coefficients, table["low"], table["high"], table["device"], table["source"])
