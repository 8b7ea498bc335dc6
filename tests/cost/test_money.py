"""Money and energy by hand; nothing where a price, a power or a speed is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.cost.money import DRAW, joules_per_token, usd_per_million_tokens
from weigh.types import Cluster, Device, Figure, Quoted, Why

DEVICE = Device(
    "d",
    "d",
    "d",
    "datacenter",
    power_w=Quoted(500, "500 W", "https://example.org/power", "2026-01-01"),
    rental_usd_per_hour=Quoted(3.6, "$3.60", "https://example.org/price", "2026-01-01"),
)


def rate(value: float, low: float, high: float) -> Figure:
    return Figure(value, low, high, "tokens/s", "derived", Why("given"))


SPEED = rate(100, 50, 200)


def test_nothing_is_made_up_where_something_is_not_known() -> None:
    bare = Cluster(replace(DEVICE, power_w=None, rental_usd_per_hour=None))
    assert usd_per_million_tokens(bare, SPEED) is None
    assert joules_per_token(bare, SPEED) is None
    assert usd_per_million_tokens(Cluster(DEVICE), None) is None
    assert joules_per_token(Cluster(DEVICE), None) is None


def test_a_million_tokens_by_hand() -> None:
    price = usd_per_million_tokens(Cluster(DEVICE), SPEED)
    assert price is not None
    # 10,000 seconds at $0.001 a second; the fast end of the speed is the cheap end of the price.
    assert (price.low, price.value, price.high) == pytest.approx((5, 10, 20))
    assert price.unit == "USD"
    assert price.why.source == "https://example.org/price"


def test_energy_by_hand() -> None:
    energy = joules_per_token(Cluster(DEVICE), SPEED)
    assert energy is not None
    assert (energy.low, energy.value, energy.high) == pytest.approx(
        (500 * DRAW[0] / 200, 500 * DRAW[1] / 100, 500 * DRAW[2] / 50)
    )
    assert energy.basis == "assumed"


@given(st.integers(1, 64), st.floats(0.01, 1e5), st.floats(1, 5), st.floats(1, 5))
def test_the_ends_stay_in_order_and_devices_multiply(devices: int, speed: float, down: float, up: float) -> None:
    given_rate = rate(speed, speed / down, speed * up)
    for cost in (usd_per_million_tokens, joules_per_token):
        one, many = cost(Cluster(DEVICE), given_rate), cost(Cluster(DEVICE, devices), given_rate)
        assert one is not None
        assert many is not None
        assert 0 < many.low <= many.value <= many.high
        assert many.value == pytest.approx(devices * one.value)
