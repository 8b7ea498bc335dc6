"""What every term must keep: both languages, names of its own, figures that exist, sources that are pages."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from weigh.commands import cost, show
from weigh.report import terms
from weigh.report.terms import LANGUAGES, Term
from weigh.types import Figure, WeighError

TERMS = terms.ids()
CHINESE = re.compile("[\u4e00-\u9fff]")
EACH = pytest.mark.parametrize("name", TERMS)


@cache
def results() -> dict[str, Any]:
    """Of a model that has everything: experts, a cache, a price."""
    return {**show.run("mixtral-8x7b").result, **cost.run("mixtral-8x7b", on="h100x2").result}


def test_there_are_terms_and_none_is_found_twice() -> None:
    assert len(TERMS) > 50
    by_name: dict[str, set[str]] = {}
    for name in TERMS:
        for alias in (name, *terms.read(name).aliases):
            by_name.setdefault(alias, set()).add(name)
    assert {alias: names for alias, names in by_name.items() if len(names) > 1} == {}


def test_a_malformed_file_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "FOLDER", tmp_path)
    for name, text in (("no-text", 'term = "x"\n[en]\n[zh]\ntext = "x"'), ("not-toml", "term = ")):
        (tmp_path / f"{name}.toml").write_text(text)
        with pytest.raises(WeighError) as refused:
            terms.read(name)
        assert refused.value.rule == "TERM-FILE"
        assert str(refused.value.path).endswith(f"{name}.toml")


@EACH
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_told_in_plain_words_of_its_language(name: str, language: str) -> None:
    term: Term = terms.read(name, language)
    assert term.term
    assert 100 < len(term.text) < 1200 if language == "en" else 40 < len(term.text) < 500
    assert bool(CHINESE.search(term.text)) == (language == "zh")
    assert term.text == term.text.strip()
    assert "\n" not in term.text
    assert term.text.endswith("." if language == "en" else "。")


@EACH
def test_every_name_of_it_leads_to_it(name: str) -> None:
    for alias in (name, name.replace("-", " "), name.upper(), *terms.read(name).aliases):
        assert terms.find(alias).id == name


@EACH
def test_what_it_points_to_is_there(name: str) -> None:
    term = terms.read(name)
    assert set(term.see) <= set(TERMS) - {name}
    assert len(set(term.see)) == len(term.see)
    # A definition needs no source; what is named as one is a page.
    for source in term.sources:
        assert re.fullmatch(r"https://\S+\.\S+", source)


@EACH
def test_the_figures_that_work_it_through_are_in_a_result(name: str) -> None:
    for path in terms.read(name).figures:
        value: Any = results()
        for word in path.split("."):
            assert word in value, f"{path}: no `{word}`"
            value = value[word]
        assert isinstance(value, Figure | int | float), path
