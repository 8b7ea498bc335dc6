"""`weigh catalogue`: our count beside each published one."""

from __future__ import annotations

import pytest

from weigh import catalogue as entries
from weigh.commands import catalogue
from weigh.cost.params import count
from weigh.families.identify import identify


def test_what_matches_nothing_is_an_empty_list() -> None:
    answer = catalogue.run("no such model")
    assert answer.result["models"] == []
    assert answer.inputs == {"search": "no such model"}


def test_without_a_search_every_entry_has_a_row() -> None:
    assert [row["id"] for row in catalogue.run().result["models"]] == list(entries.names())


@pytest.mark.parametrize("search", ["MIXTRAL", "mixtral-8x", "Mixtral 8x"])
def test_a_search_looks_into_ids_names_and_aliases(search: str) -> None:
    assert [row["id"] for row in catalogue.run(search).result["models"]] == ["mixtral-8x22b", "mixtral-8x7b"]


def test_a_row_is_our_count_and_how_far_it_is_from_each_published_one() -> None:
    (row,) = catalogue.run("mixtral-8x7b").result["models"]
    found = entries.find("mixtral-8x7b")
    assert found is not None
    assert row["parameters"] == count(identify(found)).total == 46_702_792_704
    for stated in row["published"]:
        assert stated["difference"] == pytest.approx(row["parameters"] / stated["parameters"] - 1)
        assert stated["source"].startswith("https://")
    assert row["difference"] == row["published"][0]["difference"]
    assert row["published_parameters"] == row["published"][0]["parameters"]


def test_an_alias_finds_the_entry_that_has_it() -> None:
    for entry in entries.entries():
        for alias in entry.aliases:
            assert entry.id in [row["id"] for row in catalogue.run(alias).result["models"]]
