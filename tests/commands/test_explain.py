"""A term is found by any of its names, in both languages, and worked through for a model."""

from __future__ import annotations

from typing import Any

import pytest

from weigh.commands import cost, explain
from weigh.report.answer import Answer
from weigh.types import WeighError


@pytest.fixture(autouse=True)
def a_device_that_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    run = cost.run

    def there(name: str, *, on: str = "rtx-4090", **options: Any) -> Answer:
        return run(name, on=on, **options)

    monkeypatch.setattr(cost, "run", there)


@pytest.mark.parametrize("word", ["kv-cash", "", "  ", "\x1b"])
def test_a_term_that_is_not_there_is_an_error(word: str) -> None:
    with pytest.raises(WeighError) as refused:
        explain.run(word)
    assert (refused.value.rule, refused.value.exit_code) == ("TERM-UNKNOWN", 2)
    assert refused.value.hint


def test_a_near_miss_is_told_what_was_meant() -> None:
    with pytest.raises(WeighError) as refused:
        explain.run("quantisation of weight")
    assert refused.value.rule == "TERM-UNKNOWN"
    with pytest.raises(WeighError) as refused:
        explain.run("perplexty")
    assert "perplexity" in refused.value.hint


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(WeighError) as refused:
        explain.run("kv-cache", "no-such-model")
    assert refused.value.rule == "MODEL-UNKNOWN"


@pytest.mark.parametrize("word", ["kv-cache", "KV cache", "kv_cache", " KV-Cache ", "KV 缓存"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_any_name_finds_it(word: str, language: str) -> None:
    assert explain.run(word, language=language).result["id"] == "kv-cache"


def test_the_languages_differ_in_their_text_and_share_the_formula() -> None:
    en, zh = (explain.run("kv-cache", language=language).result for language in ("en", "zh"))
    assert en["text"] != zh["text"]
    assert any("\u4e00" <= character <= "\u9fff" for character in zh["text"])
    assert en["formula"] == zh["formula"]
    assert [row["id"] for row in en["see"]] == [row["id"] for row in zh["see"]]


def test_figures_are_those_of_cost_and_the_setting_is_told() -> None:
    answer = explain.run("kv-cache", "llama-3.1-8b")
    there = cost.run("llama-3.1-8b")
    assert {row["name"]: row["value"] for row in answer.result["worked"]} == {
        "memory.state": there.result["memory"]["state"]
    }
    assert answer.result["setting"] == there.inputs


def test_what_is_counted_needs_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a count asked for a cost")

    monkeypatch.setattr(cost, "run", never)
    answer = explain.run("embedding", "gpt2")
    assert answer.result["setting"] is None
    figures = {row["name"]: row["value"] for row in answer.result["worked"]}
    assert figures["parameters.embedding"].value == 50257 * 768
    assert figures["parameters.embedding"].basis == "counted"


def test_figures_that_the_model_does_not_have_are_left_out() -> None:
    answer = explain.run("time-per-token", "bert-base")
    assert "latency.tpot" not in {row["name"] for row in answer.result["worked"]}


def test_what_no_engine_runs_is_worked_through_as_far_as_it_goes() -> None:
    answer = explain.run("flop", "resnet-50")
    assert answer.result["setting"] is None
    assert "compute.prefill_flops" in {row["name"] for row in answer.result["worked"]}


def test_warnings_of_the_model_reach_the_reader() -> None:
    assert explain.run("kv-cache", "gpt2").warnings == cost.run("gpt2").warnings


def test_without_a_term_every_term_is_listed_once() -> None:
    rows = explain.run().result["terms"]
    assert len({row["id"] for row in rows}) == len(rows) > 50
    assert all(row["text"] for row in rows)
