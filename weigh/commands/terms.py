"""The words of `--prices`, `--owned`, `--carbon-intensity`, `--pue` and `--months`, made into terms of money."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from weigh.commands.setting import Place
from weigh.cost.money import Owned, Tariff, bought, rented
from weigh.prices import grid
from weigh.prices.own import OwnPrices, own_prices
from weigh.types import Cluster, Quoted, WeighError

OPTIONS = ("prices", "owned", "carbon_intensity", "pue", "months", "storage")
"""Names of these options in a mapping of all."""
_OWNED = ("price", "years", "utilisation", "power_usd_per_kwh")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is paid, and for how long."""

    own: OwnPrices = field(default_factory=OwnPrices)
    owned: Owned | None = None
    pue: Quoted | None = None
    g_per_kwh: Quoted | None = None
    months: float = 1.0
    storage: bool = False
    """Every form of the file is asked for, with what clouds ask and how long each store takes."""

    def at(self, place: Place) -> Place:
        """The place at the user's own prices."""
        return replace(place, cluster=replace(place.cluster, device=self.own.of(place.cluster.device)))

    def tariff(self, cluster: Cluster) -> Tariff:
        """What an hour of these devices costs: bought where `--owned` says so, else the list price."""
        an_hour = rented(cluster) if self.owned is None else bought(cluster, self.owned, self.pue)
        return Tariff(an_hour, self.pue, self.g_per_kwh)


def terms(
    *,
    prices: str | None = None,
    owned: str | None = None,
    carbon_intensity: str | None = None,
    pue: float | None = None,
    months: float = 1.0,
    storage: bool = False,
) -> Terms:
    """Understand the words. Errors: PRICES-FILE (exit code 3); OWNED, GRID-UNKNOWN, CARBON, PUE, MONTHS (2)."""
    own = OwnPrices() if prices is None else own_prices(Path(prices))
    factor = own.power.get("pue")
    if pue is not None:
        if not (math.isfinite(pue) and pue >= 1):
            raise _wrong(
                "PUE", f"a PUE of {pue:g} cannot be", "power of the building / that of its machines: 1 or more"
            )
        factor = _given(pue, "--pue")
    if not (math.isfinite(months) and months > 0):
        raise _wrong("MONTHS", f"{months:g} months cannot be", "give a number above 0")
    intensity = own.power.get("g_per_kwh") if carbon_intensity is None else _intensity(carbon_intensity)
    bought_as = None if owned is None else _owned(owned, own.power.get("usd_per_kwh"))
    return Terms(own, bought_as, factor, intensity, months, storage)


def _intensity(words: str) -> Quoted:
    """Grams a kilowatt-hour: a number, or the name of a grid."""
    try:
        value = float(words)
    except ValueError:
        return grid(words).g_per_kwh
    if not (math.isfinite(value) and value >= 0):
        raise _wrong("CARBON", f"`{words}` g/kWh cannot be", "give a number that is not negative, or a grid's name")
    return _given(value, "--carbon-intensity")


def _owned(words: str, usd_per_kwh: Quoted | None) -> Owned:
    """`price=30000,years=4,utilisation=0.6,power_usd_per_kwh=0.1`; the last may be left out."""
    given: dict[str, float] = {}
    for pair in words.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or name not in _OWNED or name in given:
            problem = "is named twice" if name in given else f"is not one of {', '.join(_OWNED)}"
            raise _wrong("OWNED", f"--owned: `{pair.strip()}` {problem}", "price=30000,years=4,utilisation=0.6")
        given[name] = _number(name, value)
    missing = [name for name in _OWNED[:3] if name not in given]
    if missing:
        raise _wrong("OWNED", f"--owned: {', '.join(missing)} left out", "price=30000,years=4,utilisation=0.6")
    if given["utilisation"] > 1:
        raise _wrong("OWNED", "--owned: utilisation is more than 1", "the share of its years in which it works")
    stated = None if usd_per_kwh is None else usd_per_kwh.value
    return Owned(given["price"], given["years"], given["utilisation"], given.get("power_usd_per_kwh", stated))


def _number(name: str, words: str) -> float:
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    least = 0.0 if name == "power_usd_per_kwh" else math.ulp(0.0)
    if not (math.isfinite(value) and value >= least):
        raise _wrong("OWNED", f"--owned: {name} cannot be `{words}`", "give a number above 0")
    return value


def _given(value: float, option: str) -> Quoted:
    return Quoted(value, f"{option} {value:g}", "as given", date.today().isoformat())


def _wrong(rule: str, message: str, hint: str) -> WeighError:
    return WeighError(message, rule=rule, hint=hint, exit_code=2)


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of this page, and the others."""
    mine = {name: value for name, value in options.items() if name in OPTIONS}
    return mine, {name: value for name, value in options.items() if name not in OPTIONS}
