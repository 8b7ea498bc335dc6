"""Steps on A100 that were not fitted: Megatron-LM from 22 billion to a trillion parameters, and the larger ones of MPT.

Megatron-LM: table 5 of arXiv 2205.05198, as calculon/llm/validation.py in github.com/calculon-ai/calculon gives it;
sizes and layouts are those of test_training_memory.py.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.published.test_training_memory import MEGATRON, Megatron, gpt
from weigh.cost.train.compute import model_flops
from weigh.cost.train.layout import Layout, Recompute, Training
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.step import step
from weigh.devices import find
from weigh.types import Figure

SECONDS = {"22B": (1.42, 1.10), "175B": (18.13, 13.75), "530B": (49.05, 37.83), "1T": (94.42, 71.49)}
"""With whole layers computed again; with sequence parallelism and attention alone computed again."""


def predicted(row: Megatron, *, full: bool) -> Figure:
    layout = replace(row.layout, recompute="full" if full else "selective", sequence_parallel=not full)
    model = gpt(row.width, row.heads, row.layers)
    device, training = find("a100").device, Training(row.batch, 2048)
    return step(model, layout, training, device, find_optimizer("adamw"), find_precision("bf16"))


def errors() -> list[float]:
    pairs = ((row, SECONDS[row.name][i], i == 0) for row in MEGATRON for i in range(2))
    return [predicted(row, full=full).value / seconds - 1 for row, seconds, full in pairs]


def test_steps_of_22_billion_to_a_trillion_are_within_8_percent() -> None:
    assert max(abs(error) for error in errors()) < 0.08


def test_their_mean_error_is_below_4_percent() -> None:
    found = [abs(error) for error in errors()]
    assert sum(found) / len(found) < 0.04


@pytest.mark.parametrize("row", MEGATRON, ids=lambda row: row.name)
def test_the_measured_step_lies_inside_the_interval(row: Megatron) -> None:
    for full, seconds in zip((True, False), SECONDS[row.name], strict=True):
        ours = predicted(row, full=full)
        assert ours.low < seconds < ours.high
        assert ours.basis == "derived"


@pytest.mark.parametrize("row", MEGATRON, ids=lambda row: row.name)
def test_model_flops_are_those_of_the_formula(row: Megatron) -> None:
    """72 B L s h^2 (1 + s / (6 h) + V / (12 h L)), arXiv 2205.05198, appendix A."""
    b, layers, h, s, v = row.batch, row.layers, row.width, 2048, 51_200
    formula = 72 * b * layers * s * h * h * (1 + s / (6 * h) + v / (12 * h * layers))
    assert model_flops(gpt(h, row.heads, layers), Training(b, s)).value == pytest.approx(formula, rel=2e-4)


@dataclass(frozen=True)
class Mpt:
    """Tokens a second and device with FSDP and flash attention, scripts/train/benchmarking/README.md in
    github.com/mosaicml/llm-foundry (Apache-2.0), A100 of 80 GB with 1,600 Gbit/s between nodes."""

    size: str
    devices: int
    sequence: int
    microbatch: int
    batch: int
    full: bool
    """Whether whole layers are computed again."""
    rate: int


SIZES = {"13b": (5120, 40, 40), "30b": (7168, 56, 48), "70b": (8192, 64, 80)}
MPT = (
    Mpt("70b", 64, 2_048, 8, 2048, True, 410),
    Mpt("70b", 32, 2_048, 2, 1024, True, 373),
    Mpt("30b", 8, 8_192, 1, 168, True, 574),
    Mpt("30b", 8, 4_096, 1, 168, True, 814),
    Mpt("30b", 8, 2_048, 3, 504, True, 916),
    Mpt("30b", 8, 1_024, 6, 1008, True, 946),
    Mpt("30b", 8, 512, 12, 2016, True, 967),
    Mpt("13b", 8, 32_768, 1, 24, True, 1016),
    Mpt("13b", 8, 16_384, 3, 72, True, 1431),
    Mpt("13b", 8, 8_192, 5, 120, True, 1795),
    Mpt("13b", 8, 4_096, 10, 240, True, 2060),
    Mpt("13b", 8, 2_048, 2, 48, False, 2262),
    Mpt("13b", 8, 1_024, 40, 960, True, 2330),
)


def mpt_error(row: Mpt) -> float:
    """Ours / theirs - 1, of the seconds."""
    width, heads, layers = SIZES[row.size]
    recompute: Recompute = "full" if row.full else "none"
    layout = Layout(dp=row.devices, zero=3, microbatch=row.microbatch, recompute=recompute, flash_attention=True)
    training = Training(row.batch, row.sequence)
    model, device = gpt(width, heads, layers), find("a100").device
    ours = step(model, layout, training, device, find_optimizer("adamw"), find_precision("bf16"))
    return ours.value * row.devices * row.rate / training.tokens - 1


def test_steps_of_mpt_that_were_held_out_are_within_8_percent_on_average() -> None:
    """Worst: 30 billion at 8,192 tokens, 27 % too short: 39 % utilisation there, against 51 % at 4,096."""
    found = [abs(mpt_error(row)) for row in MPT]
    assert sum(found) / len(found) < 0.08
    assert sorted(found)[len(found) // 2] < 0.06
    assert max(found) < 0.3


def test_no_row_of_these_tables_was_fitted() -> None:
    with (Path(__file__).parents[2] / "weigh/cost/train/efficiency.toml").open("rb") as file:
        fitted = [name for one in tomllib.load(file)["sets"] for name in one["rows"]]
    assert len(fitted) == 173
    assert not [name for name in fitted if name.split(": ")[1].startswith(("13b", "30b", "70b"))]
    assert not [name for name in fitted if "torchtitan" in name or "megatron-a100" in name or "megatron-lm" in name]
