"""The words of a command line: what is given stands, what is left out goes by the model, what cannot be is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weigh.commands.setting import Setting, at_context, inputs, locate, setting
from weigh.commands.source import load
from weigh.types import WeighError

SAMPLE = str(Path(__file__).parents[2] / "samples" / "tiny-lm.Q8_0.gguf")


def chosen(name: str, on: str = "8GB", **options: Any) -> Setting:
    return setting(model=load(name), place=locate(on), **options)


def asked(name: str, **options: Any) -> tuple[int, int, int]:
    work = chosen(name, **options).job.workload
    return work.prompt, work.output, work.context


# --------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("options", "rule", "code"),
    [
        ({"kv": "q9_9"}, "KV-CODEC", 2),
        ({"kv": "q4_k"}, "KV-CODEC", 2),
        ({"engine": "llama"}, "ENGINE-UNKNOWN", 2),
        ({"weights": "q4_km"}, "RECIPE-UNKNOWN", 2),
        ({"context": 100}, "CONTEXT-SHORT", 2),
        ({"context": 639}, "CONTEXT-SHORT", 2),
        ({"context": 64, "prompt": 64, "output": 1}, "CONTEXT-SHORT", 2),
    ],
)
def test_what_cannot_be_is_an_error_with_a_hint(options: dict[str, Any], rule: str, code: int) -> None:
    with pytest.raises(WeighError) as refused:
        chosen("gpt2", **options)
    assert (refused.value.rule, refused.value.exit_code) == (rule, code)
    assert refused.value.hint


def test_an_encoder_is_not_given_more_than_there_is_room_for() -> None:
    with pytest.raises(WeighError) as refused:
        chosen("bert-base", context=100, prompt=101)
    assert refused.value.rule == "CONTEXT-SHORT"


def test_an_unknown_device_is_an_error_of_its_own_code() -> None:
    with pytest.raises(WeighError) as refused:
        locate("h1000")
    assert (refused.value.rule, refused.value.exit_code) == ("DEVICE-UNKNOWN", 4)


# --------------------------------------------------------------------------------------------------- defaults


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("llama-3.1-8b", {}, (512, 128, 4096)),
        ("gpt2", {}, (512, 128, 1024)),
        (SAMPLE, {}, (205, 51, 256)),
        ("gpt2", {"prompt": 1000, "output": 500}, (1000, 500, 1500)),
        ("gpt2", {"context": 640}, (512, 128, 640)),
        ("gpt2", {"context": 5000}, (512, 128, 5000)),
        ("gpt2", {"prompt": 2000}, (2000, 128, 2128)),
        ("llama-3.1-8b", {"prompt": 8000}, (8000, 128, 8128)),
        ("bert-base", {}, (512, 0, 512)),
        ("bert-base", {"prompt": 100}, (100, 0, 100)),
        ("bert-base", {"context": 512}, (512, 0, 512)),
    ],
)
def test_what_is_left_out_goes_by_the_model(name: str, options: dict[str, Any], meant: tuple[int, int, int]) -> None:
    assert asked(name, **options) == meant


def test_the_cache_codec_is_known_in_any_case() -> None:
    assert chosen("gpt2", kv="Q8_0").job.workload.state_codec == "q8_0"


def test_the_inputs_are_told_as_they_were_understood() -> None:
    told = inputs(chosen("gpt2", "h100x8", batch=4, weights="Q8_0"), "gpt2")
    assert told == {
        "model": "gpt2",
        "on": "h100-sxm-80gb",
        "devices": 8,
        "parallel": "pp=8",
        "engine": "llama.cpp",
        "weights": "Q8_0",
        "kv": "f16",
        "kv_chosen_by": "engine",
        "context": 1024,
        "batch": 4,
        "prompt": 512,
        "output": 128,
    }


def test_another_context_changes_nothing_else() -> None:
    one = chosen("gpt2")
    other = at_context(one, 256)
    assert other.job.workload.context == 256
    assert at_context(other, 1024) == one


# --------------------------------------------------------------------------------------------------- devices


def test_several_devices_have_the_memory_of_all() -> None:
    one, eight = locate("h100"), locate("h100x8")
    assert one.capacity is not None
    assert eight.capacity == 8 * one.capacity
    assert eight.limit.endswith(" x 8")


def test_a_size_is_its_own_limit() -> None:
    assert locate("8GB").capacity == 8e9
    assert locate("8GiB").capacity == 8 * 2**30


def test_a_processor_without_memory_of_its_own_has_no_limit() -> None:
    place = locate("epyc-9654")
    assert place.capacity is None
    assert "no memory" in place.limit


def test_this_machine_is_what_is_free_now() -> None:
    place = locate(" This ")
    assert place.capacity is not None
    assert place.capacity > 0
    assert "free" in place.limit
    assert place.cluster.count == 1


def test_needed_is_that_of_the_device_that_holds_the_most() -> None:
    one, two = chosen("llama-3.1-8b", "h100"), chosen("llama-3.1-8b", "h100x2")
    assert two.needed().overhead.value == one.needed().overhead.value
    assert 0.5 < two.needed().weights.value / one.needed().weights.value < 0.55
    assert two.capacity == one.capacity
    assert one.needed(two.job) == one.needed()
