"""Money, energy and carbon by hand; nothing where a price, a power, a grid or a speed is not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.cost.money import (
    DRAW,
    HOURS_A_YEAR,
    NAMES,
    Owned,
    Tariff,
    bought,
    dollars_per_million,
    grams_per_million,
    joules,
    money,
    reads,
    rented,
)
from weigh.types import Cluster, Device, Figure, Quoted, Why


def quoted(value: float, what: str) -> Quoted:
    return Quoted(value, f"{value:g} of {what}", f"https://example.org/{what}", "2026-01-01")


DEVICE = Device("d", "d", "d", "datacenter", power_w=quoted(500, "power"), rental_usd_per_hour=quoted(3.6, "price"))
BARE = Cluster(replace(DEVICE, power_w=None, rental_usd_per_hour=None))


def figure(value: float, low: float, high: float, unit: str = "tokens/s") -> Figure:
    return Figure(value, low, high, unit, "derived", Why("given"))


SPEED = figure(100, 50, 200)


def told(cluster: Cluster, rate: Figure | None = SPEED, **tariff: Quoted) -> dict[str, Figure | None]:
    return money(cluster, Tariff(rented(cluster), **tariff), rate, rate)


def found(cluster: Cluster, name: str, rate: Figure | None = SPEED, **tariff: Quoted) -> Figure:
    one = told(cluster, rate, **tariff)[name]
    assert one is not None
    return one


def ends(one: Figure) -> tuple[float, float, float]:
    return one.low, one.value, one.high


def test_nothing_is_made_up_where_something_is_not_known() -> None:
    assert told(BARE, g_per_kwh=quoted(100, "grid")) == dict.fromkeys(NAMES)
    known = told(Cluster(DEVICE), None)
    assert {name for name in NAMES if known[name] is not None} == {"usd_per_hour"}
    without_grid = told(Cluster(DEVICE))
    assert {name for name in NAMES if without_grid[name] is None} == {
        "g_co2_per_million_tokens",
        "g_co2_per_million_input_tokens",
    }
    assert reads(None, 512, 1) is None


def test_electricity_of_a_device_without_a_stated_power_leaves_the_hour_unknown() -> None:
    assert bought(BARE, Owned(1000, 4, 0.5, usd_per_kwh=0.1), None) is None
    assert bought(BARE, Owned(1000, 4, 0.5), None) is not None


def test_a_million_tokens_by_hand() -> None:
    price = found(Cluster(DEVICE), "usd_per_million_tokens")
    # 10,000 seconds at $0.001 a second; the fast end of the speed is the cheap end of the price.
    assert ends(price) == pytest.approx((5, 10, 20))
    assert price.unit == "USD"
    assert price.why.source == "https://example.org/price"


def test_tokens_in_are_read_at_the_speed_of_the_prompt() -> None:
    rate = reads(figure(2.0, 1.0, 4.0, "s"), prompt=512, batch=4)
    assert rate is not None
    assert ends(rate) == pytest.approx((512, 1024, 2048))
    hour = money(Cluster(DEVICE), Tariff(rented(Cluster(DEVICE))), rate, SPEED)["usd_per_million_input_tokens"]
    assert hour is not None
    assert hour.value == pytest.approx(3.6 / 3600 / 1024 * 1e6)


def test_energy_by_hand_and_each_phase_with_its_own_draw() -> None:
    for name, phase in (("joules_per_token", "decode"), ("joules_per_input_token", "prefill")):
        energy = found(Cluster(DEVICE), name)
        low, value, high = DRAW[phase]
        assert ends(energy) == pytest.approx((500 * low / 200, 500 * value / 100, 500 * high / 50))
        assert energy.basis == "assumed"


def test_carbon_by_hand() -> None:
    # 3.5 J a token are 3.5e6 J a million, 0.9722 kWh; in a building that takes 1.2 times as much, at 360 g.
    carbon = found(Cluster(DEVICE), "g_co2_per_million_tokens", g_per_kwh=quoted(360, "grid"), pue=quoted(1.2, "pue"))
    assert carbon.value == pytest.approx(3.5e6 / 3.6e6 * 1.2 * 360)
    assert carbon.unit == "g"
    alone = found(Cluster(DEVICE), "g_co2_per_million_tokens", g_per_kwh=quoted(360, "grid"))
    assert alone.value == pytest.approx(carbon.value / 1.2)
    assert "no PUE" in alone.why.formula


def test_an_hour_of_what_was_bought_by_hand() -> None:
    hour = bought(Cluster(DEVICE, 8), Owned(30_000, 4, 0.6, usd_per_kwh=0.1), quoted(1.5, "pue"))
    assert hour is not None
    written_off = 30_000 / (4 * HOURS_A_YEAR * 0.6)
    assert hour.value == pytest.approx(8 * (written_off + 0.5 * DRAW["decode"][1] * 1.5 * 0.1))
    assert hour.low < hour.value < hour.high
    assert bought(Cluster(DEVICE), Owned(30_000, 4, 0.3), None).value == pytest.approx(2 * written_off)  # type: ignore[union-attr]


@given(st.integers(1, 64), st.floats(0.01, 1e5), st.floats(1, 5), st.floats(1, 5))
def test_the_ends_stay_in_order_and_devices_multiply(devices: int, speed: float, down: float, up: float) -> None:
    rate = figure(speed, speed / down, speed * up)
    grid = quoted(100, "grid")
    for name in NAMES[1:]:
        one = found(Cluster(DEVICE), name, rate, g_per_kwh=grid)
        many = found(Cluster(DEVICE, devices), name, rate, g_per_kwh=grid)
        assert 0 < many.low <= many.value <= many.high
        assert many.value == pytest.approx(devices * one.value)


def test_arrays_go_through_the_same_lines_as_floats() -> None:
    speeds = np.array([0.5, 100.0, 1e5])
    assert dollars_per_million(np.full(3, 3.6), speeds).tolist() == [
        dollars_per_million(3.6, s) for s in speeds.tolist()
    ]
    assert joules(np.full(3, 350.0), speeds).tolist() == [joules(350.0, s) for s in speeds.tolist()]
    assert grams_per_million(speeds, 1.2, 30.0).tolist() == [grams_per_million(s, 1.2, 30.0) for s in speeds.tolist()]
