"""What moves the time of a step, and what follows from it; nothing is told of devices that state too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from weigh.commands.source import load
from weigh.cost.train.compute import model_flops, passes, work
from weigh.cost.train.efficiency import efficiencies
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.model_states import ModelStates
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.step import GOODPUT, goodput, mfu, run, step
from weigh.cost.train.terms import TERMS, links, loads, peak, terms
from weigh.devices import find
from weigh.types import Figure, WeighError, Why

A100 = find("a100").device
BF16 = find_precision("bf16")
MODEL = load("gpt-3-175b")
MODEL = load("gpt-3-175b")
GPT = Layout(tp=8, pp=16, dp=8, recompute="full")
STEP = Training(1536, 2048)


def seconds(layout: Layout, training: Training = STEP, on: str = "a100", name: str = "gpt-3-175b") -> Figure:
    return step(load(name), layout, training, find(on).device, find_optimizer("adamw"), BF16)


def test_work_of_a_sequence_is_its_products_and_its_pairs() -> None:
    model, s = load("gpt-3-175b"), 2048
    found = work(model, s)
    layers, h = 96, 12_288
    assert found.matrices == pytest.approx(24 * layers * s * h * h, rel=1e-3)
    assert found.pairs == pytest.approx(4 * layers * h * s * s / 2, rel=1e-3)
    assert found.head == 2 * s * h * 50_257


def test_model_flops_are_about_six_a_parameter_and_token() -> None:
    flops = model_flops(load("llama-3.1-8b"), Training(1, 128)).value
    assert flops / 128 == pytest.approx(6 * (8.03e9 - 128_256 * 4096), rel=0.01)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout(), (3, 3)),
        (Layout(recompute="selective"), (3, 4)),
        (Layout(recompute="full"), (4, 4)),
        (Layout(recompute="full", recompute_every=2), (3.5, 3.5)),
        (Layout(flash_attention=True), (3, 3.5)),
        (Layout(flash_attention=True, recompute="full"), (4, 4.5)),
    ],
)
def test_passes(layout: Layout, expected: tuple[float, float]) -> None:
    assert passes(layout) == expected


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (replace(GPT, recompute="selective"), GPT),
        (replace(GPT, interleave=2, schedule="interleaved"), GPT),
        (replace(GPT, schedule="zero-bubble"), GPT),
        (GPT, replace(GPT, tp=16, pp=8)),
        (replace(GPT, flash_attention=True), GPT),
    ],
)
def test_what_is_faster_is_told_to_be_faster(better: Layout, worse: Layout) -> None:
    assert seconds(better).value < seconds(worse).value


def test_a_batch_twice_as_large_takes_less_than_twice_as_long() -> None:
    small, large = seconds(GPT, Training(128, 2048)).value, seconds(GPT, Training(256, 2048)).value
    assert small < large < 2 * small


def test_the_interval_is_wider_where_the_device_was_not_measured() -> None:
    measured, other = seconds(GPT), seconds(GPT, on="h200")
    assert (measured.basis, other.basis) == ("derived", "assumed")
    assert other.high / other.value > measured.high / measured.value > 1 > measured.low / measured.value
    assert other.value < measured.value


def test_every_term_is_there_and_none_is_negative() -> None:
    model = load("gpt-3-175b")
    found = terms(model, GPT, STEP, A100, BF16, loads(model, GPT, ModelStates(0, 0, 0, 10**9), BF16))
    assert set(found) == set(TERMS)
    assert all(set(one.coefficients) == set(TERMS) for one in efficiencies())
    assert min(found.values()) >= 0


def test_a_device_that_states_too_little_has_no_time() -> None:
    with pytest.raises(WeighError) as caught:
        seconds(GPT, on="8GB")
    assert caught.value.rule == "TRAIN-DEVICE"
    alone = replace(A100, link_bandwidth=None, host_bandwidth=None)
    assert links(alone) is None
    for ask in (
        lambda: terms(MODEL, GPT, STEP, alone, BF16, loads(MODEL, GPT, ModelStates(0, 0, 0, 10**9), BF16)),
        lambda: peak(A100, find_precision("fp8")),
    ):
        with pytest.raises(WeighError, match="not known"):
            ask()


def test_links_are_one_direction_and_a_ring_uses_every_adapter() -> None:
    wires = links(A100)
    assert (wires.near, wires.far) == (300e9, 25e9)
    assert wires.ring(1) == 25e9
    assert wires.ring(8) == 200e9
    assert wires.ring(16) == wires.near


def test_days_money_and_energy_by_hand() -> None:
    cluster, one = find("a100x1024"), Figure(10, 8, 12.5, "s", "derived", Why("given"))
    bare = run(300e9, STEP, cluster, one)
    assert bare.steps == -int(-300e9 // (1536 * 2048)) == 95_368
    assert bare.days.value == 95_368 * 10 / 86_400
    assert bare.usd is not None
    assert bare.usd.value == pytest.approx(bare.days.value * 24 * 1024 * 1.79)
    assert bare.joules is not None
    assert bare.joules.value == pytest.approx(bare.days.value * 86_400 * 1024 * 400 * 0.85)
    planned = run(300e9, STEP, cluster, one, goodput())
    assert planned.days.value == pytest.approx(bare.days.value / GOODPUT[1])
    assert planned.days.high == pytest.approx(bare.days.high / GOODPUT[0])
    assert planned.days.low == pytest.approx(bare.days.low / GOODPUT[2])
    assert planned.days.basis == "assumed"


def test_nothing_is_made_up_where_price_and_power_are_not_known() -> None:
    cluster = find("a100x8")
    silent = replace(cluster, device=replace(cluster.device, rental_usd_per_hour=None, power_w=None))
    found = run(1e9, STEP, silent, Figure(1, 1, 1, "s", "derived", Why("given")))
    assert found.usd is None
    assert found.joules is None


def test_utilisation_is_model_flops_over_peak() -> None:
    one = Figure(50.0, 40.0, 60.0, "s", "derived", Why("given"))
    found = mfu(load("gpt-3-175b"), STEP, find("a100x1024"), BF16, one)
    flops = model_flops(load("gpt-3-175b"), STEP).value
    assert found.value == flops / (50 * 1024 * 312e12)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("text", ["device = 'x'", "low = 1\nhigh = 1\n[coefficients]\nproducts = 1.0"])
def test_a_file_that_lacks_terms_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "efficiency.toml"
    file.write_text(text)
    with pytest.raises(WeighError) as caught:
        efficiencies(file)
    assert caught.value.rule == "TRAIN-EFFICIENCY"
