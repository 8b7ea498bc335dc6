"""`weigh cost --train` from end to end: the names of DESIGN's document, the page, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from weigh.cli import cli
from weigh.commands.train import count_of, run
from weigh.report import training
from weigh.types import Figure, WeighError

GPT = (
    "cost gpt-3-175b --train --on a100x1024 --tokens 300B --batch 1536 --seq 2048 "
    "--parallel tp=8,pp=16,dp=8 --recompute full"
)
LLAMA = (
    "cost llama-3.1-8b --train --on h100x8 --tokens 1T --batch 128 --seq 8192 --parallel dp=8,zero=3 "
    "--flash-attention --recompute full --precision bf16"
)


def said(words: str) -> Any:
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, [*words.split(), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", [GPT, LLAMA])
def test_the_document_has_every_promised_name(words: str) -> None:
    document = said(words)
    result = document["result"]
    assert document["schema"] == "weigh/cost/1"
    figures = [result["memory"][name] for name in ("per_device", "model_states", "activations")]
    figures += [result[name] for name in ("step", "mfu", "days", "usd")]
    for figure in figures:
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["why"]["formula"]
        assert figure["basis"] in ("derived", "assumed")
    promised = {"tp", "pp", "dp", "cp", "ep", "zero", "microbatch", "interleave", "recompute"}
    assert promised <= set(result["layout"])
    assert result["fits"] == "yes"


def test_gpt_3_takes_a_month_on_a_thousand_a100() -> None:
    """8 T P / (n X) = 34 days at X = 140 TFLOP/s of the hardware: arXiv 2104.04473, equation 4."""
    assert said(GPT)["result"]["days"]["value"] == pytest.approx(34, rel=0.08)


def test_left_out_words_have_their_stated_defaults() -> None:
    layout = said("cost gpt2 --train --on a100 --batch 8")["result"]["layout"]
    assert {layout[name] for name in ("tp", "pp", "dp", "cp", "ep", "microbatch", "interleave")} == {1}
    assert (layout["zero"], layout["schedule"], layout["recompute"]) == (0, "1f1b", "none")
    assert not layout["sequence_parallel"]
    assert not layout["flash_attention"]


def test_interleaving_names_its_schedule_and_switches_reach_the_layout() -> None:
    words = "--parallel tp=2,pp=2,interleave=3 --batch 8 --sequence-parallel --microbatch 2 --recompute selective"
    layout = said(f"cost gpt2 --train --on a100x4 {words}")["result"]["layout"]
    assert layout["schedule"] == "interleaved"
    assert layout["sequence_parallel"] is True
    assert (layout["microbatch"], layout["microbatches"], layout["recompute"]) == (2, 4, "selective")


def test_what_is_not_given_is_not_made_up() -> None:
    document = said("cost gpt2 --train --on a100")
    assert document["result"]["days"] is None
    assert document["result"]["usd"] is None
    assert any("--tokens" in warning for warning in document["warnings"])
    assert any("--batch" in warning for warning in document["warnings"])


def test_a_device_of_which_no_speed_is_known_still_has_its_memory() -> None:
    document = said("cost gpt2 --train --on 80GB --batch 1 --tokens 1B")
    assert document["result"]["step"] is None
    assert document["result"]["memory"]["per_device"]["value"] > 0
    assert any("not known" in warning for warning in document["warnings"])


@pytest.mark.parametrize(
    ("words", "rule", "code"),
    [
        ("--on a100x1024", "TRAIN-LAYOUT", 2),
        ("--on a100x1024 --parallel tp=8,pp=16", "LAYOUT-DEVICES", 2),
        ("--on a100x5 --parallel tp=5", "LAYOUT-HEADS", 2),
        ("--on a100x7 --parallel pp=7", "LAYOUT-LAYERS", 2),
        ("--on a100x8 --parallel dp=8 --batch 12", "LAYOUT-BATCH", 2),
        ("--on a100x8 --parallel dp=8,zero=4", "LAYOUT-ZERO", 2),
        ("--on a100x8 --parallel dp=eight", "LAYOUT-WORDS", 2),
        ("--on a100 --tokens many", "TRAIN-TOKENS", 2),
        ("--on a100 --optimizer adamx", "OPTIMIZER-UNKNOWN", 2),
        ("--on a100 --precision int8", "PRECISION-UNKNOWN", 2),
        ("--on a1000", "DEVICE-UNKNOWN", 4),
    ],
)
def test_what_does_not_go_is_refused(words: str, rule: str, code: int) -> None:
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, ["cost", "gpt-3-175b", "--train", *words.split()])
    assert isinstance(done.exception, WeighError)
    assert (done.exception.rule, done.exception.exit_code) == (rule, code)


@pytest.mark.parametrize(
    "words",
    ["cost gpt2 --on a100 --tokens 1B", "cost gpt2 --on a100 --seq 512", "cost gpt2 --train --on a100 --kv q8_0"],
)
def test_options_of_the_other_kind_are_refused(words: str) -> None:
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, words.split())
    assert done.exit_code == 2
    assert "--train" in done.output


def test_a_model_of_images_is_refused() -> None:
    with pytest.raises(WeighError) as caught:
        run("resnet-50", on="a100")
    assert caught.value.rule == "TRAIN-MODEL"


@pytest.mark.parametrize(("words", "count"), [("300B", 3e11), ("2T", 2e12), ("1.5m", 1.5e6), ("1000", 1000)])
def test_counts(words: str, count: float) -> None:
    assert count_of(words) == count


@pytest.mark.parametrize("words", ["", "B", "-1B", "1e12", "0", "3 B B", "1" * 40])
def test_counts_that_are_none(words: str) -> None:
    with pytest.raises(WeighError) as caught:
        count_of(words)
    assert caught.value.rule == "TRAIN-TOKENS"


@pytest.mark.parametrize("why", [False, True])
def test_the_page_tells_memory_time_and_the_layout(why: bool) -> None:
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, [*GPT.split(), *(["--why"] if why else [])])
    assert done.exit_code == 0
    for words in ("tp 8, pp 16, dp 8", "192 microbatches", "model states", "a layer computed again", "goodput"):
        assert words in done.output
    assert ("source:" in done.output) == why


def test_every_figure_of_the_page_is_in_the_answer() -> None:
    answer = run("gpt2", on="a100", batch=4, tokens="1B")
    assert isinstance(answer.result["step"], Figure)
    assert training.layout_words(answer.result["layout"]).startswith("tp 1, pp 1")


def test_require_fit_is_a_gate_of_training_too() -> None:
    words = ["cost", "gpt-3-175b", "--train", "--on", "a100", "--batch", "1", "--require-fit"]
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, words)
    assert isinstance(done.exception, WeighError)
    assert (done.exception.rule, done.exception.exit_code) == ("FIT-REQUIRED", 1)


PLAN = ["cost", "gpt-3-175b", "--train", "--on", "a100x512", "--batch", "512", "--plan"]


def test_a_plan_gives_the_winner_as_the_layout_and_the_others_with_their_reasons() -> None:
    done = CliRunner().invoke(cli, [*PLAN, "--recompute", "full", "--limit", "3", "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)["result"]
    rows = result["plan"]["rows"]
    assert result["layout"] == rows[0]["layout"]
    assert result["layout"]["recompute"] == "full"
    assert [row["step"] for row in rows[:3]] == sorted(row["step"] for row in rows[:3])
    assert rows[0]["step"] == pytest.approx(result["step"]["value"])
    assert all(row["why"] for row in rows[1:])


def test_the_page_of_a_plan_says_why_others_fail() -> None:
    text = CliRunner().invoke(cli, PLAN, catch_exceptions=False).stdout
    assert "Layouts, the fastest of each way to divide the devices" in text
    assert "do not divide the heads" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--limit", "3"], "--limit says how many layouts --plan shows"),
        (["--plan", "--lora", "8"], "--plan searches layouts that train all parameters"),
        (["--plan", "--offload-optimizer"], "--plan searches layouts that train all parameters"),
        (["--plan", "--recompute", "full", "--recompute-every", "2"], "--plan searches layouts"),
    ],
)
def test_what_a_plan_does_not_search_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(WeighError) as refused:
        CliRunner().invoke(cli, ["cost", "gpt2", "--train", "--on", "a100", *words], catch_exceptions=False)
    assert told in refused.value.message
    assert (refused.value.rule, refused.value.exit_code) == ("TRAIN-PLAN", 2)


def test_a_layout_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    words = ["cost", "llama-3.1-8b", "--train", "--on", "8GB", "--emit", "torchrun", "-o", str(tmp_path / "out")]
    with pytest.raises(WeighError) as refused:
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert (refused.value.rule, refused.value.exit_code) == ("LAUNCH-FIT", 1)
    assert not (tmp_path / "out").exists()


def test_the_page_tells_adapters_host_memory_checkpoints_and_carbon() -> None:
    words = ["cost", "llama-3.1-8b", "--train", "--on", "h100x8", "--parallel", "dp=8,zero=2", "--tokens", "1B"]
    more = ["--offload-optimizer", "--checkpoint-gbs", "5", "--failures-per-day", "0.1", "--carbon-intensity", "30"]
    wide = CliRunner(env={"COLUMNS": "160"})
    text = wide.invoke(cli, [*words, "--lora", "16", *more], catch_exceptions=False).stdout
    for told in (
        "What is trained",
        "in the host's memory",
        "Checkpoints",
        "best interval",
        "carbon",
        "waiting for links",
    ):
        assert told in text, told
