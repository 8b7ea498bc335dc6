"""Every table of rates: numbers of this world, dated sources; and files that are none are refused with their key."""

from __future__ import annotations

from pathlib import Path

import pytest

from weigh.engines import ENGINES
from weigh.prices import grid, grids, start, storage, stores
from weigh.prices.table import number, quoted_of, range_of, tables
from weigh.types import WeighError

GOOD = '[a]\nname = "x"\nprice = { value = 1, says = "one", source = "s" }\n'
SOURCES = '[sources.s]\nurl = "https://example.org"\ntitle = "t"\nread = 2026-01-01\n'


def price(path: Path, text: str) -> float | None:
    path.write_text(text)
    entries, sources = tables(path, ("name", "price"))
    found = quoted_of(path, "a", entries["a"], "price", sources)
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[a", ""),
        ("a = 1", "a"),
        (GOOD.replace("name", "named") + SOURCES, "a.named"),
        (GOOD, "a.price.source"),
        (GOOD.replace("1,", "-1,") + SOURCES, "a.price.value"),
        (GOOD.replace("1,", "nan,") + SOURCES, "a.price.value"),
        (GOOD.replace("1,", "true,") + SOURCES, "a.price.value"),
        (GOOD.replace("one", " ") + SOURCES, "a.price.says"),
        (GOOD + SOURCES.replace("2026-01-01", '"2026"'), "sources.s.read"),
        (GOOD + SOURCES.replace("https", "gopher"), "sources.s.url"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_key(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(WeighError) as refused:
        price(tmp_path / "x.toml", text)
    assert (refused.value.rule, refused.value.where) == ("PRICE-TABLE", where)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(WeighError):
            tables(path, ())
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(WeighError) as refused:
        tables(tmp_path / "x.toml", ())
    assert "UTF-8" in refused.value.message


@pytest.mark.parametrize("ends", [(2, 1, 3), (0, 1, 2), (1, 3, 2)])
def test_a_range_rises(ends: tuple[int, int, int]) -> None:
    low, value, high = ends
    entry = {"r": {"low": low, "value": value, "high": high, "basis": "assumed", "why": "x", "source": "x"}}
    with pytest.raises(WeighError) as refused:
        range_of(Path("x.toml"), "a", entry, "r")
    assert refused.value.where == "a.r"


def test_what_the_file_leaves_out_is_unknown(tmp_path: Path) -> None:
    assert price(tmp_path / "x.toml", '[a]\nname = "x"\n') is None
    assert price(tmp_path / "x.toml", GOOD + SOURCES) == 1
    assert number(Path("x"), "free", 0) == 0


def test_clouds_ask_cents_for_a_gigabyte() -> None:
    for entry in storage():
        assert entry.usd_per_gb_month is not None
        assert 0.001 <= entry.usd_per_gb_month.value <= 0.1
        assert entry.usd_per_gb_out is None or 0 <= entry.usd_per_gb_out.value <= 0.3


def test_grids_are_found_by_name_and_plausible() -> None:
    assert grid("France").id == "france"
    assert grid("united states").id == "united-states"
    assert all(1 <= entry.g_per_kwh.value <= 1200 for entry in grids())
    with pytest.raises(WeighError) as refused:
        grid("frence")
    assert (refused.value.rule, refused.value.exit_code) == ("GRID-UNKNOWN", 2)
    assert "france" in refused.value.hint


def test_stores_are_ordered_by_what_usually_comes_of_each_kind() -> None:
    rates = {entry.id: entry.bytes_per_s.value for entry in stores()}
    assert rates["page-cache"] > rates["nvme"] > rates["sata"] > rates["hdd"]
    assert rates["network-100"] > rates["network-10"] > rates["network-1"]
    assert rates["network-1"] < 1e9 / 8


def test_an_engine_without_a_known_start_has_none() -> None:
    assert start("nonesuch") is None
    known = {engine.id for engine in ENGINES}
    assert all(start(name) is not None for name in known & {"llama.cpp", "transformers", "vllm"})
