"""The weigh-in: one answer that holds the inventory, the cost, the contexts and the forms, and agrees with `cost`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from weigh.commands import cost, show, summary
from weigh.report.answer import Answer
from weigh.types import WeighError

SAMPLE = str(Path(__file__).parents[2] / "samples" / "tiny-lm.Q8_0.gguf")


@cache
def weighed(name: str, **options: Any) -> Answer:
    return summary.run(name, **{"on": "8GB", **options})


def file_with(path: Path, name: str, shape: list[int], config: dict[str, Any] | None) -> str:
    size = 4
    for axis in shape:
        size *= axis
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return str(path)


# --------------------------------------------------------------------------------------------------- failures


def test_what_does_not_exist_is_an_error_of_its_own_code() -> None:
    with pytest.raises(WeighError) as refused:
        summary.run("no-such-model", on="8GB")
    assert (refused.value.rule, refused.value.exit_code) == ("MODEL-UNKNOWN", 4)


def test_an_unknown_architecture_is_told_and_counted_all_the_same(tmp_path: Path) -> None:
    answer = summary.run(file_with(tmp_path, "w", [3, 5], {"model_type": "nonesuch"}), on="8GB")
    assert answer.result["refused"]["rule"] == "ARCH-UNKNOWN"
    assert answer.result["inventory"]["parameters"]["total"] == 15
    assert answer.result["cost"]["memory"]["weights"].value == 60
    assert answer.result["cost"]["memory"]["total"] is None


def test_a_file_that_contradicts_its_configuration_has_no_memory(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 8, "n_layer": 1, "n_head": 2,
        "n_positions": 16, "vocab_size": 32,
    }  # fmt: skip
    answer = summary.run(file_with(tmp_path, "transformer.wte.weight", [31, 8], config), on="8GB")
    assert answer.result["refused"]["rule"] == "MODEL-CONTRADICTION"
    assert answer.result["inventory"]["parameters"]["total"] == 31 * 8


def test_what_no_engine_runs_keeps_its_flops() -> None:
    answer = weighed("resnet-50")
    assert answer.result["refused"]["rule"] == "ENGINE-UNSUPPORTED"
    assert answer.result["cost"]["compute"]["prefill_flops"].value > 0


def test_options_reach_the_engine() -> None:
    with pytest.raises(WeighError) as refused:
        weighed("gpt2", kv="q9_9")
    assert refused.value.rule == "KV-CODEC"


# ---------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt2", "bert-base", SAMPLE])
def test_it_agrees_with_show_and_with_cost(name: str) -> None:
    answer = weighed(name)
    assert answer.result["inventory"] == show.run(name).result
    assert answer.result["cost"] == cost.run(name, on="8GB").result
    assert answer.inputs == cost.run(name, on="8GB").inputs


@pytest.mark.parametrize(
    ("name", "contexts"),
    [("llama-3.1-8b", [512, 4096, 131_072]), ("gpt2", [512, 1024]), ("bert-base", [512]), (SAMPLE, [256])],
)
def test_contexts_go_from_short_to_the_longest_that_it_was_trained_for(name: str, contexts: list[int]) -> None:
    rows = weighed(name).result["contexts"]
    assert [row["context"] for row in rows] == contexts
    totals = [row["total"].value for row in rows]
    assert totals == sorted(totals)


def test_the_context_that_was_asked_for_is_among_them() -> None:
    assert 7000 in [row["context"] for row in weighed("llama-3.1-8b", context=7000).result["contexts"]]


def test_a_row_is_the_cost_at_its_context() -> None:
    row = weighed("llama-3.1-8b").result["contexts"][-1]
    there = cost.run("llama-3.1-8b", on="8GB", context=131_072).result
    for name in ("weights", "state", "activations", "overhead", "total"):
        assert row[name] == there["memory"][name]
    assert row["fits"] == there["fits"]


def test_a_form_is_the_cost_with_those_weights() -> None:
    rows = weighed("llama-3.1-8b").result["forms"]
    assert [row["weights"] for row in rows] == list(summary.STORED_AS)
    sizes = [row["bytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for row in rows:
        there = cost.run("llama-3.1-8b", on="8GB", weights=row["weights"]).result
        assert row["total"] == there["memory"]["total"]
        assert row["fits"] == there["fits"]
        assert row["kept_wider"] == len(there["kept_wider"])


def test_no_warning_is_told_twice() -> None:
    answer = weighed("gpt2")
    assert len(set(answer.warnings)) == len(answer.warnings)


def test_hashes_are_there_where_they_were_asked_for() -> None:
    assert "sha256" not in weighed(SAMPLE).result["inventory"]
    digest = summary.run(SAMPLE, on="8GB", hashes=True).result["inventory"]["sha256"]
    assert [len(value) for value in digest.values()] == [64]
