"""Money, energy and carbon of tokens: what the devices cost and draw while they read a prompt and while they write.

The plain formulas take floats or NumPy arrays alike, so that one estimate and a sweep go through the same lines; the
functions below them give Figures. What is not known stays None: a price, a power, a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weigh.numbers import Number
from weigh.types import Basis, Cluster, Figure, Quoted, Why

DRAW = {"prefill": (0.6, 0.85, 1.0), "decode": (0.4, 0.7, 1.0)}
"""Share of the stated board power that each phase draws: low, value, high. Assumed: the stated power is an upper end,
decoding waits for memory, and no public table of draw by device was found."""

HOURS_A_YEAR = 8766
"""365.25 days."""

NAMES = (
    "usd_per_hour", "usd_per_million_tokens", "usd_per_million_input_tokens", "joules_per_token",
    "joules_per_input_token", "g_co2_per_million_tokens", "g_co2_per_million_input_tokens",
)  # fmt: skip
"""Of the Figures of `money`."""

BASES: tuple[Basis, ...] = ("counted", "measured", "derived", "assumed")


# ------------------------------------------------------------------------------------------- floats and arrays


def dollars_per_million(usd_per_hour: Number, tokens_per_second: Number) -> Number:
    """USD of the time that a million tokens take: usd_per_hour / 3600 / tokens_per_second x 10^6."""
    return usd_per_hour / 3600 / tokens_per_second * 1e6


def joules(watts: Number, tokens_per_second: Number) -> Number:
    """Energy of a token: watts / tokens_per_second."""
    return watts / tokens_per_second


def grams_per_million(joules_per_token: Number, pue: float, g_per_kwh: float) -> Number:
    """CO2 equivalent of a million tokens: a kWh is 3.6 x 10^6 J, and the building takes `pue` times as much."""
    return joules_per_token * 1e6 / 3.6e6 * pue * g_per_kwh


# ---------------------------------------------------------------------------------------------------- an hour


@dataclass(frozen=True, slots=True)
class Owned:
    """Hardware that was bought. `price` is that of one device with its share of the machine around it, in USD."""

    price: float
    years: float
    """Until it is written off."""
    utilisation: float
    """Share of those years in which it works, above 0 and at most 1."""
    usd_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Tariff:
    """What an hour of the devices costs, and what a kilowatt-hour stands for."""

    usd_per_hour: Figure | None
    """Of all of them."""
    pue: Quoted | None = None
    """Power of the building / power of its machines."""
    g_per_kwh: Quoted | None = None


def rented(cluster: Cluster) -> Figure | None:
    """An hour of all devices at the list price; None without one."""
    price = cluster.device.rental_usd_per_hour
    if price is None:
        return None
    inputs = {"usd_per_hour": price.value, "devices": cluster.count, "says": price.says, "read": price.read}
    value = price.value * cluster.count
    return Figure(value, value, value, "USD/h", "derived", Why("usd_per_hour x devices", inputs, price.source))


def bought(cluster: Cluster, owned: Owned, pue: Quoted | None) -> Figure | None:
    """A working hour of devices that were bought: what is written off, and the electricity.

    price / (years x 8766 x utilisation) + power_w / 1000 x draw x pue x usd_per_kwh, times the devices. None where
    electricity has a price and the device's power is not known.
    Ignores: the draw of idle hours, interest, people, and what the device sells for in the end.
    """
    hours = owned.years * HOURS_A_YEAR * owned.utilisation
    written_off = owned.price / hours
    inputs: dict[str, Any] = {
        "price": owned.price,
        "years": owned.years,
        "utilisation": owned.utilisation,
        "devices": cluster.count,
    }
    if owned.usd_per_kwh is None:
        value = written_off * cluster.count
        formula = "price / (years x 8766 x utilisation) x devices; electricity left out, its price was not given"
        return Figure(value, value, value, "USD/h", "derived", Why(formula, inputs))
    power = cluster.device.power_w
    if power is None:
        return None
    factor = 1.0 if pue is None else pue.value
    a_draw = power.value / 1000 * factor * owned.usd_per_kwh
    low, value, high = (cluster.count * (written_off + a_draw * draw) for draw in DRAW["decode"])
    inputs |= {"power_w": power.value, "draw": list(DRAW["decode"]), "usd_per_kwh": owned.usd_per_kwh, "pue": factor}
    formula = "(price / (years x 8766 x utilisation) + power_w / 1000 x draw x pue x usd_per_kwh) x devices"
    return Figure(value, low, high, "USD/h", "assumed", Why(formula, inputs, power.source))


# ---------------------------------------------------------------------------------------------------- a token


def money(
    cluster: Cluster, tariff: Tariff, reads_per_second: Figure | None, writes_per_second: Figure | None
) -> dict[str, Figure | None]:
    """Price, energy and carbon of tokens in (read in prefill) and out (written in decode), each of its own phase.

    The names without `input` are of tokens out, and do not charge the prompt. A model that writes nothing has none.
    """
    energy_out = joules_per_token(cluster, writes_per_second, "decode")
    energy_in = joules_per_token(cluster, reads_per_second, "prefill")
    return {
        "usd_per_hour": tariff.usd_per_hour,
        "usd_per_million_tokens": usd_per_million(tariff.usd_per_hour, writes_per_second),
        "usd_per_million_input_tokens": usd_per_million(tariff.usd_per_hour, reads_per_second),
        "joules_per_token": energy_out,
        "joules_per_input_token": energy_in,
        "g_co2_per_million_tokens": grams(energy_out, tariff),
        "g_co2_per_million_input_tokens": grams(energy_in, tariff),
    }


def reads(ttft: Figure | None, prompt: int, batch: int) -> Figure | None:
    """Tokens of the prompts read a second, while they are read."""
    if ttft is None:
        return None
    tokens = prompt * batch
    why = Why("prompt x batch / ttft", {"prompt": prompt, "batch": batch, "ttft": ttft.value}, ttft.why.source)
    return Figure(tokens / ttft.value, tokens / ttft.high, tokens / ttft.low, "tokens/s", ttft.basis, why)


def usd_per_million(an_hour: Figure | None, rate: Figure | None) -> Figure | None:
    """USD of a million tokens; None without the price of an hour or a rate. The fast end is the cheap end."""
    if an_hour is None or rate is None:
        return None
    inputs = {**an_hour.why.inputs, "usd_per_hour": an_hour.value, "tokens_per_second": rate.value}
    why = Why("usd_per_hour / 3600 / tokens_per_second x 1e6", inputs, an_hour.why.source)
    return Figure(
        dollars_per_million(an_hour.value, rate.value),
        dollars_per_million(an_hour.low, rate.high),
        dollars_per_million(an_hour.high, rate.low),
        "USD",
        _weaker(an_hour.basis, rate.basis),
        why,
    )


def joules_per_token(cluster: Cluster, rate: Figure | None, phase: str) -> Figure | None:
    """Energy that the devices take for a token; None without a stated power or a rate.

    power_w x devices x draw / tokens_per_second, where `draw` is the share of the stated power in `DRAW`.
    """
    power = cluster.device.power_w
    if power is None or rate is None:
        return None
    watts = power.value * cluster.count
    low, value, high = DRAW[phase]
    inputs = {"power_w": watts, "draw": [low, value, high], "tokens_per_second": rate.value}
    why = Why("power_w x draw / tokens_per_second", inputs, power.source)
    ends = joules(watts * low, rate.high), joules(watts * high, rate.low)
    return Figure(joules(watts * value, rate.value), *ends, "J", "assumed", why)


def grams(energy: Figure | None, tariff: Tariff) -> Figure | None:
    """Grams of CO2 equivalent of a million tokens; None without an energy or a grid.

    Without a PUE it is that of the devices alone. Ignores: what building the devices emitted.
    """
    grid = tariff.g_per_kwh
    if energy is None or grid is None:
        return None
    factor = 1.0 if tariff.pue is None else tariff.pue.value
    note = "" if tariff.pue is not None else "; of the devices alone, no PUE was given"
    inputs = {"joules_per_token": energy.value, "pue": factor, "g_per_kwh": grid.value, "says": grid.says}
    why = Why(f"joules_per_token x 1e6 / 3.6e6 x pue x g_per_kwh{note}", inputs, grid.source)
    value, low, high = (grams_per_million(end, factor, grid.value) for end in (energy.value, energy.low, energy.high))
    return Figure(value, low, high, "g", energy.basis, why)


def _weaker(one: Basis, other: Basis) -> Basis:
    return max(one, other, key=BASES.index)
