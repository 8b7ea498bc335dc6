"""Drafts: those that make no sense are refused, and what one gives is worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.test_experts import DEEPSEEK_V3
from weigh.commands.cost import run
from weigh.commands.serving import Asked, draft_of, speculation
from weigh.commands.setting import locate, setting
from weigh.cost.run.speculative import Steps, expected_tokens, pays_from, tpot
from weigh.families.identify import identify
from weigh.types import Inventory, WeighError


@pytest.mark.parametrize(
    ("options", "rule", "hint"),
    [
        ({"accept": 0.5}, "DRAFT-OPTIONS", "--draft MODEL"),
        ({"draft_tokens": 3}, "DRAFT-OPTIONS", "--draft MODEL"),
        ({"draft": "llama-3.2-1b"}, "DRAFT-OPTIONS", "--accept"),
        ({"draft": "llama-3.2-1b", "accept": 1.5}, "DRAFT-OPTIONS", "--accept 0.7"),
        ({"draft": "llama-3.2-1b", "accept": float("nan")}, "DRAFT-OPTIONS", "--accept 0.7"),
        ({"draft": "llama-3.2-1b", "accept": 0.5, "draft_tokens": 0}, "DRAFT-OPTIONS", "--draft-tokens 4"),
        ({"draft": "qwen2.5-0.5b", "accept": 0.5}, "DRAFT-VOCABULARY", "same family"),
        ({"draft": "resnet-50", "accept": 0.5}, "DRAFT-VOCABULARY", "same family"),
        ({"draft": "mtp", "accept": 0.5}, "DRAFT-MTP", "smaller model"),
    ],
)
def test_a_draft_that_makes_no_sense_is_refused(options: dict[str, Any], rule: str, hint: str) -> None:
    with pytest.raises(WeighError) as refused:
        run("llama-3.1-8b", on="h100", engine="vllm", **options)
    assert (refused.value.rule, refused.value.exit_code) == (rule, 2)
    assert hint in refused.value.hint


@given(st.integers(1, 16), st.floats(0, 0.99))
def test_expected_tokens_are_the_closed_form(tokens: int, accept: float) -> None:
    assert expected_tokens(tokens, accept) == pytest.approx((1 - accept ** (tokens + 1)) / (1 - accept))
    assert expected_tokens(tokens, 1.0) == tokens + 1
    assert expected_tokens(tokens, 0.0) == 1


def test_expected_tokens_are_what_trials_give() -> None:
    """Ten thousand steps of four tokens, each accepted with 0.6 until one is not, and one token more."""
    accepted = np.random.default_rng(7).random((10_000, 4)) < 0.6
    given_tokens = 1 + np.cumprod(accepted, axis=1).sum(axis=1)
    assert given_tokens.mean() == pytest.approx(expected_tokens(4, 0.6), rel=0.02)


def test_a_draft_pays_from_where_both_take_as_long() -> None:
    found = Steps(plain=1.0, draft=0.1, look=1.1)
    least = pays_from(found, 4)
    assert least is not None
    assert tpot(found, 4, least) == pytest.approx(1.0)
    assert tpot(found, 4, least + 0.05) < 1 < tpot(found, 4, least - 0.05)


def test_a_draft_as_slow_as_the_model_never_pays() -> None:
    assert pays_from(Steps(plain=1.0, draft=1.0, look=1.5), 4) is None


def test_times_and_rates_may_be_arrays() -> None:
    found = Steps(np.array([1.0, 2.0]), np.array([0.1, 0.2]), np.array([1.1, 2.2]))
    assert tpot(found, 4, np.array([0.5, 0.5])) == pytest.approx([0.774193548, 1.548387097])


def test_a_draft_takes_memory_of_the_device_and_of_the_context() -> None:
    plain = run("llama-3.1-8b", on="24GB", context=8192).result
    told = run("llama-3.1-8b", on="24GB", context=8192, draft="llama-3.2-1b", accept=0.7).result
    held = told["speculative"]["memory"]["total"]
    assert told["capacity"] == pytest.approx(plain["capacity"] - held.high, abs=1)
    assert told["memory"]["total"].value == plain["memory"]["total"].value
    assert told["max_context"].value < plain["max_context"].value
    assert "draft" in told["limit"]
    assert told["speculative"]["tpot"] is None


def test_a_small_draft_makes_a_large_model_faster_alone_and_slower_in_a_crowd() -> None:
    speedups = []
    for batch in (1, 512):
        told = run("llama-3.1-70b", on="h200x4", engine="vllm", batch=batch, draft="llama-3.2-1b", accept=0.6)
        speedups.append(told.result["speculative"]["speedup"].value)
    assert speedups[0] > 1.5
    assert speedups[1] < speedups[0]


def test_layers_for_multi_token_prediction_are_a_draft() -> None:
    small = {**DEEPSEEK_V3, "num_hidden_layers": 4, "n_routed_experts": 16, "dtype": "bfloat16"}
    model = identify(Inventory("v3", "config", "hf", configuration={**small, "num_nextn_predict_layers": 1}))
    chosen = setting(model=model, place=locate("h200x2"), engine="vllm", kv="bf16")
    asked = Asked(draft="mtp", draft_tokens=1, accept=0.85)
    told = speculation(chosen, draft_of(chosen, asked), "mtp")
    assert told is not None
    assert told["expected_tokens"].value == pytest.approx(1.85)
    assert told["memory"] is None
    inputs = told["tpot"].why.inputs
    assert 0 < inputs["draft_s"] < inputs["plain_s"]
