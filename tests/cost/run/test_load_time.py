"""Seconds until a model answers, by hand, and from how many requests an hour it should stay loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weigh.cost.run.load_time import LINK, busy_per_hour, copy_time, load_time, loadings
from weigh.prices import Range, Store
from weigh.types import Cluster, Device, Figure, Quoted, Why

DISK = Store("disk", "a disk", Range(1e9, 2e9, 4e9, "assumed", "given", "given"))
START = Range(1, 2, 10, "assumed", "given", "given")
DEVICE = Device(
    "d", "d", "d", "datacenter", host_bandwidth=Quoted(64e9, "64 GB/s", "https://example.org", "2026-01-01")
)


def seconds(value: float, low: float, high: float) -> Figure:
    return Figure(value, low, high, "s", "derived", Why("given"))


def ends(one: Figure) -> tuple[float, float, float]:
    return one.low, one.value, one.high


def test_what_is_not_known_is_left_out_and_said() -> None:
    assert copy_time(1e9, Cluster(replace(DEVICE, host_bandwidth=None))) is None
    assert busy_per_hour(seconds(1, 1, 1), None) is None
    bare = load_time(8e9, DISK, None, None)
    assert ends(bare) == pytest.approx((2, 4, 8))
    assert bare.why.inputs["start"] == "not known, left out"
    (row,) = loadings(8e9, (DISK,), Cluster(DEVICE), None, ttft=None, answer=None)
    assert row.first_token is None
    assert row.busy_per_hour is None


def test_each_device_copies_its_share_over_its_own_link_in_one_direction() -> None:
    one, four = copy_time(32e9, Cluster(DEVICE)), copy_time(32e9, Cluster(DEVICE, 4))
    assert one is not None
    assert four is not None
    assert ends(one) == pytest.approx((1 / LINK[2], 1 / LINK[1], 1 / LINK[0]))
    assert four.value == pytest.approx(one.value / 4)


def test_reading_and_copying_lie_between_one_behind_the_other_and_one_over_the_other() -> None:
    whole = load_time(8e9, DISK, seconds(6, 1, 9), START)
    # Reading takes 2, 4 or 8 seconds: 2 hidden behind nothing + 1; 6 + half of 4 + 2; 9 + 8 + 10.
    assert ends(whole) == pytest.approx((2 + 0 + 1, 6 + 2 + 2, 9 + 8 + 10))


def test_a_model_stays_loaded_from_the_rate_at_which_loading_would_fill_the_hour() -> None:
    often = busy_per_hour(seconds(8, 4, 16), seconds(2, 1, 4))
    assert often is not None
    assert ends(often) == pytest.approx((180, 360, 720))
    # At that rate the devices are busy for exactly the hour that keeping the model would cost.
    assert often.value * (8 + 2) == pytest.approx(3600)


def test_the_first_request_after_unloading_waits_for_both() -> None:
    (row,) = loadings(8e9, (DISK,), Cluster(DEVICE), START, ttft=seconds(1, 1, 1), answer=seconds(2, 2, 2))
    assert row.first_token is not None
    assert row.first_token.value == pytest.approx(row.seconds.value + 1)
