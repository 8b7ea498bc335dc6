"""A user's own prices go before ours; what the file says wrongly is an error with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from weigh.devices import find
from weigh.prices import storage
from weigh.prices.own import own_prices
from weigh.types import WeighError

HEAD = "read = 2026-11-24\n"


def own(folder: Path, text: str):  # type: ignore[no-untyped-def]
    path = folder / "prices.toml"
    path.write_text(text)
    return own_prices(path)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "read"),
        ("read = 2026", "read"),
        (HEAD + "devices = 1", "devices"),
        (HEAD + "[devices]\nh100 = -1", "devices.h100"),
        (HEAD + '[devices]\nh100 = "2"', "devices.h100"),
        (HEAD + "[devices]\nh100x8 = 2", "devices.h100x8"),
        (HEAD + "[storage]\nnas = 2", "storage.nas"),
        (HEAD + "[storage.nas]\nusd = 2", "storage.nas.usd"),
        (HEAD + "[power]\npue = 0.9", "power.pue"),
        (HEAD + "[power]\nwatts = 9", "power.watts"),
        (HEAD + "[rent]\n", "rent"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(WeighError) as refused:
        own(tmp_path, text)
    assert (refused.value.rule, refused.value.where, refused.value.exit_code) == ("PRICES-FILE", where, 3)


def test_a_device_that_does_not_exist_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(WeighError) as refused:
        own(tmp_path, HEAD + "[devices]\nh1000 = 2")
    assert refused.value.rule == "DEVICE-UNKNOWN"


def test_own_prices_replace_ours_and_leave_the_others(tmp_path: Path) -> None:
    found = own(tmp_path, HEAD + "[devices]\nh100 = 2.1\n[storage.s3]\nusd_per_gb_month = 0.5\n[storage.nas]\n")
    h100, a100 = found.of(find("h100").device), find("a100").device
    assert h100.rental_usd_per_hour is not None
    assert (h100.rental_usd_per_hour.value, h100.rental_usd_per_hour.read) == (2.1, "2026-11-24")
    assert found.of(a100) is a100
    clouds = {price.id: price for price in found.clouds(storage())}
    assert clouds["s3"].usd_per_gb_month is not None
    assert clouds["s3"].usd_per_gb_month.value == 0.5
    assert clouds["nas"].usd_per_gb_month is None
    assert "gcs" in clouds
