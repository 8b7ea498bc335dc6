"""What every entry of the catalogue must keep: it parses, its count is the published one, every number has a source."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from weigh import catalogue
from weigh.catalogue import FOLDER, Entry
from weigh.commands.source import load
from weigh.cost.params import count
from weigh.types import WeighError

ENTRIES = tuple(catalogue.entries())
EACH = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
IDENTITY = {"model_type", "architectures"}
"""Which class it is, which is our reading of the sources and not a number that they state."""
ROUNDED = 0.03
LOOSE = {
    ("gpt-1", 110_000_000),
    ("gpt2-xl", 1_500_000_000),
    ("llama-2-7b", 7_000_000_000),
    ("falcon-40b", 40_000_000_000),
    ("qwen3-14b", 14_000_000_000),
}
"""Published figures that are further than 3 % from the count of the same publisher's weights; the notes say why."""


def test_there_are_entries_and_no_two_share_a_name() -> None:
    words = [word for entry in ENTRIES for word in (entry.id, *entry.aliases)]
    assert len(ENTRIES) > 50
    assert len(set(words)) == len(words)
    assert [word for word in words if word != word.lower() or not word.strip()] == []


STATED = 'parameters = 1\nexact = true\nsays = "1"\nsource = "none"'


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        'name = "x"',
        f'name = "x"\n[config]\nmodel_type = "gpt2"\n[[published]]\n{STATED}',
    ],
)
def test_a_malformed_entry_is_named(text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    (tmp_path / "malformed.toml").write_text(text)
    with pytest.raises(WeighError) as refused:
        catalogue.entry("malformed")
    assert refused.value.rule == "CATALOGUE-ENTRY"
    assert str(refused.value.path).endswith("malformed.toml")


def test_a_name_that_is_not_there_is_none() -> None:
    assert catalogue.find("no-such-model") is None
    assert catalogue.find("") is None
    assert catalogue.find("../pyproject") is None


@EACH
def test_it_is_found_by_all_its_names_and_read_without_a_doubt(entry: Entry) -> None:
    for word in (entry.id, entry.id.upper(), *entry.aliases):
        found = catalogue.find(word)
        assert found is not None
        assert found.source == f"catalogue:{entry.id}"
    model = load(entry.id)
    assert model.family is not None
    assert model.refusal is None
    assert model.warnings == ()
    assert model.inventory.tensors == ()


@EACH
def test_the_count_is_the_published_one(entry: Entry) -> None:
    ours = count(load(entry.id)).total
    assert entry.published, "no published count to stand beside ours"
    for stated in entry.published:
        if stated.exact:
            assert ours == stated.parameters, stated.says
        elif (entry.id, stated.parameters) in LOOSE:
            assert abs(ours / stated.parameters - 1) > ROUNDED, "within 3 %: it is no exception any more"
            assert abs(ours / stated.parameters - 1) < 0.1
            assert entry.notes, "an exception is explained in the notes"
        else:
            assert abs(ours / stated.parameters - 1) <= ROUNDED, stated.says


def test_every_exception_is_in_the_catalogue() -> None:
    stated = {(entry.id, row.parameters) for entry in ENTRIES for row in entry.published}
    assert stated >= LOOSE


@EACH
def test_every_published_number_quotes_a_page(entry: Entry) -> None:
    for stated in entry.published:
        assert stated.parameters > 0
        assert re.search(r"\d", stated.says)
        assert re.fullmatch(r"https://\S+\.\S+", stated.source)


@EACH
def test_every_number_of_the_configuration_says_where_it_is_from(entry: Entry) -> None:
    assert set(entry.facts) == set(entry.configuration) - IDENTITY
    for key, fact in entry.facts.items():
        assert re.fullmatch(r"https://\S+\.\S+", fact) or (fact.startswith("assumed") and len(fact) > 20), (
            f"{key}: {fact}"
        )


@EACH
def test_every_source_was_read_on_a_day_and_is_used(entry: Entry) -> None:
    data = tomllib.loads((FOLDER / f"{entry.id}.toml").read_text(encoding="utf-8"))
    used = {*data.get("facts", {}).values(), *(row["source"] for row in data.get("published", ()))}
    for name, source in data["sources"].items():
        assert re.fullmatch(r"https://\S+\.\S+", source["url"]), name
        assert source["title"], name
        assert source["read"].isoformat() > "2020", name
        assert name in used, f"{name} is not used"
