"""The advice is tried: what it names fits for certain, and nothing milder on its list does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from weigh.commands import advice as room
from weigh.commands import cost
from weigh.commands.advice import CHANGES, Change, advice
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.memory import fits

WORDS = re.compile(r"--(weights|kv|context) (\S+)")


def chosen(name: str, on: str, **options: Any) -> Setting:
    return setting(model=load(name), place=locate(on), **options)


def advised(name: str, on: str, **options: Any) -> str:
    one = chosen(name, on, **options)
    needed = one.needed()
    return advice(one, needed, fits(needed.total, one.place.capacity))


def applied(options: dict[str, Any], words: str) -> dict[str, Any]:
    changes = {name: int(value) if name == "context" else value for name, value in WORDS.findall(words)}
    assert changes
    return {**options, **changes}


TIGHT: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("llama-3.1-8b", "10GB", {}, "--weights q8_0"),
    ("llama-3.1-8b", "8GB", {}, "--weights q6_k"),
    ("llama-3.1-8b", "6GB", {}, "--weights q4_k_m"),
    ("llama-3.1-8b", "9GB", {"weights": "q4_k_m", "context": 32_768}, "--kv q8_0"),
    ("llama-3.1-8b", "16GB", {"weights": "q4_k_m", "context": 131_072}, "--kv q8_0"),
    ("llama-3.1-8b", "12GB", {"weights": "q4_k_m", "kv": "q8_0", "context": 131_072}, "--context"),
    ("llama-3.1-8b", "24GB", {"batch": 64, "context": 8192}, "--weights q4_k_m --kv q8_0 --context"),
    ("mixtral-8x7b", "24GB", {}, "--weights q3_k_m"),
)


@pytest.mark.parametrize(("name", "on", "options", "said"), TIGHT)
def test_the_advice_holds_when_it_is_followed(name: str, on: str, options: dict[str, Any], said: str) -> None:
    words = advised(name, on, **options)
    assert f"with {said}" in words
    followed = cost.run(name, on=on, **applied(options, words)).result
    assert followed["fits"] == "yes"


def test_where_nothing_would_help_the_harshest_change_and_its_need_are_named() -> None:
    words = advised("llama-3.1-8b", "3GB")
    assert words.startswith("even with --weights q2_k --kv q8_0 --context 640 it needs ")
    followed = cost.run("llama-3.1-8b", on="3GB", **applied({}, words)).result
    assert followed["fits"] == "no"


def test_a_context_is_never_advised_that_is_shorter_than_what_goes_in_and_out() -> None:
    words = advised("llama-3.1-8b", "5GB", prompt=3000, output=1000, weights="q4_k_m")
    assert all(int(value) >= 4000 for name, value in WORDS.findall(words) if name == "context")


def test_weights_that_would_not_get_smaller_are_not_advised() -> None:
    words = advised("llama-3.1-8b", "4GB", weights="q3_k_m")
    assert not {"q8_0", "q6_k", "q5_k_m", "q4_k_m"} & {
        value for name, value in WORDS.findall(words) if name == "weights"
    }


def test_what_would_only_perhaps_fit_is_not_advised() -> None:
    one = chosen("llama-3.1-8b", "rtx-4090")
    eight_bits = chosen("llama-3.1-8b", "rtx-4090", weights="q8_0").needed().total
    assert eight_bits.low < eight_bits.value < eight_bits.high
    tight = replace(one, place=replace(one.place, capacity=eight_bits.value))
    assert "with --weights q6_k it" in advice(tight, tight.needed(), "no")
    roomy = replace(one, place=replace(one.place, capacity=eight_bits.high))
    assert "with --weights q8_0 it" in advice(roomy, roomy.needed(), "no")


def test_every_change_that_is_tried_makes_the_weights_the_cache_or_the_context_smaller() -> None:
    one = chosen("llama-3.1-8b", "4GB", weights="q4_k_m", kv="q8_0")
    held = sum(tensor.nbytes for tensor in one.job.tensors)
    tried = list(room._tried(one))
    assert [words for _, words in tried if "--kv" in words] == []
    for job, words in tried:
        assert ("--weights" in words) == (sum(tensor.nbytes for tensor in job.tensors) < held)
    assert {words.split()[1] for _, words in tried if words.startswith("--weights")} == {"q3_k_m", "q2_k"}


def test_what_keeps_no_cache_is_not_told_to_quantize_it() -> None:
    words = advised("bert-large", "100MB")
    assert "--kv" not in words
    assert "--context" not in words


def test_what_fits_is_told_how_much_it_takes() -> None:
    high = chosen("gpt2", "8GB").needed().total.high
    assert advised("gpt2", "8GB") == f"it takes at most {100 * high / 8e9:.1f} % of the memory"


def test_without_a_capacity_a_size_is_asked_for() -> None:
    assert "16GB" in advised("gpt2", "epyc-9654")


def test_changes_go_from_the_mildest_to_the_harshest() -> None:
    assert len(set(CHANGES)) == len(CHANGES)
    assert CHANGES[0] == Change("q8_0")
    below_four_bits = [change.weights in ("q3_k_m", "q2_k") for change in CHANGES]
    assert below_four_bits == sorted(below_four_bits)
