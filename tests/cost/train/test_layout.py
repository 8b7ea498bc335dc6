"""Words of --parallel, and every reason why a layout is not legal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training, check, microbatches, parse, refusals
from weigh.types import WeighError

GPT = Layout(tp=8, pp=16, dp=8)
STEP = Training(1536, 2048)


def rules(layout: Layout, model: str = "gpt-3-175b", step: Training = STEP, devices: int | None = None) -> set[str]:
    return {error.rule for error in refusals(layout, load(model), step, devices or layout.devices)}


def test_what_practitioners_run_is_legal() -> None:
    assert rules(GPT) == set()
    assert rules(replace(GPT, sequence_parallel=True, recompute="selective", zero=1)) == set()
    assert rules(replace(GPT, interleave=3, schedule="interleaved")) == set()
    assert rules(Layout(tp=8, pp=8, dp=4, cp=2), "llama-3.1-70b") == set()
    assert rules(Layout(dp=8, ep=8, zero=1), "mixtral-8x7b") == set()
    assert microbatches(GPT, STEP) == 192


@pytest.mark.parametrize(
    ("layout", "rule"),
    [
        (replace(GPT, tp=0), "LAYOUT-DEGREE"),
        (replace(GPT, zero=4), "LAYOUT-ZERO"),
        (replace(GPT, recompute="some"), "LAYOUT-DEGREE"),  # type: ignore[arg-type]
        (replace(GPT, schedule="2f2b"), "LAYOUT-SCHEDULE"),
        (replace(GPT, tp=5), "LAYOUT-HEADS"),
        (replace(GPT, pp=7), "LAYOUT-LAYERS"),
        (replace(GPT, interleave=4, schedule="interleaved"), "LAYOUT-LAYERS"),
        (replace(GPT, interleave=2), "LAYOUT-SCHEDULE"),
        (replace(GPT, dp=7), "LAYOUT-BATCH"),
        (replace(GPT, ep=2), "LAYOUT-EXPERTS"),
        (replace(GPT, cp=3), "LAYOUT-SEQUENCE"),
        (replace(GPT, tp=1, sequence_parallel=True), "LAYOUT-SEQUENCE"),
    ],
)
def test_what_does_not_divide_is_refused(layout: Layout, rule: str) -> None:
    assert rule in rules(layout)


def test_microbatches_fill_rounds_when_interleaved() -> None:
    layout = Layout(pp=16, interleave=2, schedule="interleaved", microbatch=2)
    assert "LAYOUT-SCHEDULE" in rules(layout, step=Training(20, 2048))


def test_experts_divide_by_their_degree_and_their_degree_divides_the_data_s() -> None:
    assert rules(Layout(dp=6, ep=4), "mixtral-8x7b") == {"LAYOUT-EXPERTS"}
    assert rules(Layout(dp=3, ep=3), "mixtral-8x7b") == {"LAYOUT-EXPERTS"}


def test_few_heads_of_keys_are_repeated() -> None:
    assert rules(Layout(tp=16), "llama-3.1-8b") == set()
    assert rules(Layout(tp=32), "llama-3.1-8b") == set()
    assert rules(Layout(tp=64), "llama-3.1-8b") == {"LAYOUT-HEADS"}


def test_the_devices_are_all_used_and_the_hint_says_how() -> None:
    with pytest.raises(WeighError) as caught:
        check(Layout(tp=8, pp=16), load("gpt-3-175b"), STEP, 1024)
    assert caught.value.rule == "LAYOUT-DEVICES"
    assert caught.value.exit_code == 2
    assert "dp=8" in caught.value.hint


def test_words() -> None:
    assert parse("tp=8,pp=64,dp=6,cp=1,ep=1,zero=1,interleave=3") == Layout(
        tp=8, pp=64, dp=6, zero=1, interleave=3, schedule="interleaved"
    )
    assert parse("") == Layout()


@pytest.mark.parametrize("words", ["tp", "tp=", "tp=x", "tp=-1", "xp=2", "tp=2,tp=2", "tp=1.5", "tp=9999999999"])
def test_words_that_are_none_are_refused(words: str) -> None:
    with pytest.raises(WeighError) as caught:
        parse(words)
    assert caught.value.rule == "LAYOUT-WORDS"
    assert caught.value.exit_code == 2
