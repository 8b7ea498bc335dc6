"""Numbers as people read them: right to three digits, never out of order, the unit always said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.report import units
from weigh.types import Figure, Why, counted

SCALES = {
    **{prefix + unit: 10 ** (3 * power) for power, prefix in enumerate(("", "k", "M", "G", "T", "P", "E", "Z", "Y"))
       for unit in ("B", "FLOP")},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate(("", "K", "M", "G")) if prefix},
    "": 1, "K": 1e3, "M": 1e6, "T": 1e12, "Q": 1e15,
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86400,
    "mJ": 1e-3, "J": 1, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9,
}  # fmt: skip


def meant(text: str, *, counts: bool = False) -> float:
    number, _, unit = text.partition(" ")
    # B is bytes in a size and a thousand million in a count.
    scale = 1e9 if counts and unit == "B" else SCALES[unit]
    return float(number.replace(",", "")) * scale


SHOWN: tuple[tuple[Callable[[float], str], float, float], ...] = (
    (units.size, 0, 1e20),
    (units.binary_size, 0, 2**50),
    (units.quantity, 0, 1e17),
    (units.operations, 0, 1e26),
    (units.duration, 1e-9, 1e9),
    (units.energy, 1e-6, 1e12),
)
EACH = pytest.mark.parametrize(("show", "least", "most"), SHOWN, ids=[show.__name__ for show, _, _ in SHOWN])


@EACH
@given(data=st.data())
def test_three_digits_are_right(show: Callable[[float], str], least: float, most: float, data: st.DataObject) -> None:
    value = data.draw(st.floats(least, most))
    assert meant(show(value), counts=show is units.quantity) == pytest.approx(value, rel=0.0051, abs=0.51e-8)


@EACH
@given(data=st.data())
def test_more_is_never_shown_as_less(
    show: Callable[[float], str], least: float, most: float, data: st.DataObject
) -> None:
    near = data.draw(st.floats(least, most))
    low, high = sorted((near, min(most, near * data.draw(st.floats(1, 1.01)))))
    counts = show is units.quantity
    assert meant(show(low), counts=counts) <= meant(show(high), counts=counts) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (units.size(0), "0 B"),
        (units.size(999), "999 B"),
        (units.size(999.6), "1.00 kB"),
        (units.size(98_362_432), "98.4 MB"),
        (units.size(8e9), "8.00 GB"),
        (units.size(999_499), "999 kB"),
        (units.size(999_500), "1.00 MB"),
        (units.binary_size(24 * 2**30), "24 GiB"),
        (units.binary_size(96_576_768), "92.1 MiB"),
        (units.quantity(134_515_008), "135 M"),
        (units.quantity(7), "7"),
        (units.quantity(1.8e12), "1.80 T"),
        (units.operations(308_807_424), "309 MFLOP"),
        (units.duration(0.000906), "906 us"),
        (units.duration(0.9996), "1,000 ms"),
        (units.duration(119), "119 s"),
        (units.duration(121), "2.02 min"),
        (units.duration(86400 * 30), "30.0 days"),
        (units.energy(0.0564), "56.4 mJ"),
        (units.energy(3381), "3.38 kJ"),
        (units.percent(1, 8), "12.5 %"),
        (units.percent(1, 0), "-"),
        (units.in_unit(0.0139, "USD"), "$0.0139"),
        (units.in_unit(7648, "USD"), "$7,648"),
        (units.in_unit(0.0512, "tokens/s"), "0.0512 tok/s"),
        (units.in_unit(131_072, "tokens"), "131,072"),
        (units.in_unit(4.847, "bits"), "4.85 bits"),
        (units.in_unit(2.5, "furlongs"), "2.50 furlongs"),
    ],
)
def test_examples(shown: str, text: str) -> None:
    assert shown == text


# ----------------------------------------------------------------------------------------------------- figures


def figure(value: float, low: float, high: float, unit: str) -> Figure:
    return Figure(value, low, high, unit, "derived", Why("given"))


def test_what_is_not_known_is_a_dash() -> None:
    assert units.shown(None) == "-"
    assert units.brief(None) == "-"


def test_what_is_counted_has_no_interval() -> None:
    assert units.shown(counted(94_371_840, "B", "x")) == "94.4 MB ="


def test_an_interval_says_its_unit_once_where_it_is_one() -> None:
    assert units.shown(figure(155e6, 150e6, 162e6, "B")) == "155 MB [150, 162] ~"
    assert units.shown(figure(711e6, 504e6, 1.02e9, "B")) == "711 MB [504 MB, 1.02 GB] ~"
    assert units.shown(figure(906e-6, 644e-6, 1.09e-3, "s")) == "906 us [644 us, 1.09 ms] ~"
    assert units.shown(figure(0.0139, 0.0114, 0.0171, "USD")) == "$0.0139 [$0.0114, $0.0171] ~"
    assert units.brief(figure(155e6, 150e6, 162e6, "B")) == "155 MB ~"


def test_every_basis_has_a_mark_of_its_own_that_both_legends_explain() -> None:
    assert set(units.MARKS) == {"counted", "measured", "derived", "assumed"}
    assert len(set(units.MARKS.values())) == 4
    for mark, basis in ((mark, basis) for basis, mark in units.MARKS.items()):
        assert f"{mark} {basis}" in units.LEGEND
        assert f"{mark} " in units.LEGEND_ZH
