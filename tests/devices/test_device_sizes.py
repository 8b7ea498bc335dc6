"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.devices.sizes import UNITS, looks_like_size, parse_size
from weigh.types import WeighError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "8",
        "8G",
        "8Gi",
        "-8GB",
        "+8GB",
        "8,5GB",
        "8_0GB",
        "1e9GB",
        "8GBx2",
        "8 GB RAM",
        "nanGB",
        "infGB",
        "٨GB",
    ],
)
def test_what_is_no_size_is_refused_as_usage_with_a_hint(text: str) -> None:
    with pytest.raises(WeighError) as caught:
        parse_size(text)
    assert caught.value.rule == "SIZE"
    assert caught.value.exit_code == 2
    assert "8GiB" in caught.value.hint


@pytest.mark.parametrize("text", ["0GB", "0.0GiB", "0.4B"])
def test_less_than_a_byte_is_refused(text: str) -> None:
    with pytest.raises(WeighError, match="less than a byte"):
        parse_size(text)


@pytest.mark.parametrize(("text", "hint"), [("8Gb", "8GB"), ("100Mb", "100MB"), ("2Gib", "2GiB")])
def test_a_small_b_after_a_capital_may_mean_bits_and_is_asked_back(text: str, hint: str) -> None:
    with pytest.raises(WeighError) as caught:
        parse_size(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("6GiB", 6 * 2**30),
        ("512MB", 512_000_000),
        ("512MiB", 512 * 2**20),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1.5 GB", 1_500_000_000),
        ("24gb", 24_000_000_000),
        (" 1TB ", 10**12),
        ("17B", 17),
        ("0.1GB", 100_000_000),
        ("0.3KiB", 307),
        ("123456789.123456789GB", 123456789123456789),
    ],
)
def test_a_size_is_exact_and_a_part_of_a_byte_is_cut_off(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(1, 10**12), st.sampled_from(sorted(UNITS)))
def test_whole_numbers_of_every_unit_are_exact(count: int, unit: str) -> None:
    assert looks_like_size(f"{count}{unit}")
    assert parse_size(f"{count}{unit}") == count * UNITS[unit]


@pytest.mark.parametrize("name", ["h100", "4090", "8gen3", "3060ti", "8GBx2", "this", ""])
def test_names_of_devices_do_not_look_like_sizes(name: str) -> None:
    assert not looks_like_size(name)
