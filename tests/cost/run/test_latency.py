"""Time by roofline: what a step reads, the slower of memory and compute, and no time where a number is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.compute import decode_flops, forward_flops, prompt_pass
from weigh.cost.run.latency import Latency, latency
from weigh.engines.rates import rates
from weigh.types import Device


@cache
def chosen(name: str, on: str = "rtx-4090", **options: object) -> Setting:
    return setting(model=load(name), place=locate(on), **options)  # type: ignore[arg-type]


def timed(given_setting: Setting, device: Device | None = None) -> Latency:
    job = given_setting.job if device is None else replace(given_setting.job, device=device)
    return latency(job, given_setting.engine, given_setting.loaded.holdings)


# ---------------------------------------------------------------------------------------------- no guesses


def test_without_a_bandwidth_there_is_no_time_per_token() -> None:
    job = chosen("llama-3.1-8b")
    found = timed(job, replace(job.device, memory_bandwidth=None))
    assert found.tpot is None
    assert found.tokens_per_second is None
    assert found.ttft is not None
    assert found.bound["decode"] == "unknown"


def test_without_a_peak_there_is_no_time_to_first_token() -> None:
    job = chosen("llama-3.1-8b")
    found = timed(job, replace(job.device, peak={}))
    assert found.ttft is None
    assert found.tpot is not None


def test_a_size_gives_no_times() -> None:
    found = timed(chosen("gpt2", "8GB"))
    assert found.ttft is None
    assert found.tpot is None


def test_an_encoder_has_no_time_per_token() -> None:
    found = timed(chosen("bert-base"))
    assert found.ttft is not None
    assert found.tpot is None
    assert found.tokens_per_second is None


# ----------------------------------------------------------------------------------------------- roofline


def test_a_decode_step_by_hand() -> None:
    """Llama 3.1 8B in 16 bits on a card of 1,008 GB/s: 15.0 GB of weights and 75.5 MB of keys and values."""
    job = chosen("llama-3.1-8b", weights="bf16")
    found = timed(job).tpot
    reached = rates("llama.cpp", job.device)
    assert found is not None
    assert reached is not None
    # Of the token table one row of 4,096 numbers is read; llama.cpp keeps the norms in 32 bits.
    weights = 2 * (8_030_261_248 - 128_256 * 4096 + 4096 + 65 * 4096)
    state = 32 * 2 * 8 * 128 * 2 * (512 + 64)
    assert found.why.inputs["weight_bytes"] == weights
    assert found.why.inputs["state_bytes"] == state
    # A layer has 4 + 3 matrices, 2 norms and a state; before and behind lie table, norm and head.
    assert found.why.inputs["kernels"] == 32 * 10 + 3
    norms = 4 * 65 * 4096
    moved = (weights - norms + state) / reached.bytes_per_s("bf16") + norms / reached.bytes_per_s("f32")
    value = moved + 323 * reached.kernel_s + reached.step_s
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value * reached.decode.low, value * reached.decode.high))


def test_a_prefill_is_at_least_its_compute() -> None:
    job = chosen("llama-3.1-8b", weights="bf16")
    found = timed(job).ttft
    reached = rates("llama.cpp", job.device)
    assert found is not None
    assert reached is not None
    flops = forward_flops(job.model, prompt_pass(job.model, job.job.workload))
    least = flops / reached.flop_per_s("bf16")
    assert least < found.value < 1.2 * least


def test_a_small_model_on_a_card_is_bound_by_its_kernels_and_not_by_its_bytes() -> None:
    # SmolLM2 135M in Q8_0 on an RTX 3060: 1.46 ms a token, as users of github.com/AlexsJones/llmfit measured;
    # its bytes alone would take 0.4 ms.
    found = timed(chosen("smollm2-135m", "rtx-3060-12gb", weights="q8_0"))
    assert found.tpot is not None
    assert found.bound["decode"] == "launch"
    assert 1.2e-3 < found.tpot.value < 3e-3


@pytest.mark.parametrize("on", ["rtx-4090", "h100", "m1-max", "rtx-a6000", "raspberry-pi-5", "dgx-spark"])
@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "mixtral-8x7b"])
def test_the_ends_are_in_order_and_the_roofline_sums_to_the_time(name: str, on: str) -> None:
    found = timed(chosen(name, on))
    assert found.tpot is not None
    for figure in (found.ttft, found.tpot):
        if figure is None:
            continue
        assert 0 < figure.low <= figure.value <= figure.high
        assert figure.unit == "s"
    for phase, figure in (("prefill", found.ttft), ("decode", found.tpot)):
        if figure is not None:
            assert sum(row["seconds"] for row in found.roofline[phase]) == pytest.approx(figure.value)
            for total in ("flops", "weight_bytes"):
                assert figure.why.inputs[total] >= 0


def test_tokens_a_second_are_the_inverse_with_its_ends_turned_round() -> None:
    found = timed(chosen("llama-3.1-8b", batch=4))
    assert found.tpot is not None
    assert found.tokens_per_second is not None
    assert found.tokens_per_second.value == pytest.approx(4 / found.tpot.value)
    assert found.tokens_per_second.low == pytest.approx(4 / found.tpot.high)
    assert found.tokens_per_second.high == pytest.approx(4 / found.tpot.low)


def test_sequences_share_the_reading_of_the_weights() -> None:
    one, eight = timed(chosen("llama-3.1-8b")), timed(chosen("llama-3.1-8b", batch=8))
    assert one.tpot is not None
    assert eight.tpot is not None
    assert one.tpot.value < eight.tpot.value < 1.2 * one.tpot.value
    assert eight.tpot.why.inputs["flops"] == pytest.approx(
        8 * decode_flops(chosen("llama-3.1-8b").model, chosen("llama-3.1-8b").job.workload)
    )


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gemma-3-1b"])
def test_room_that_is_not_used_takes_no_time(name: str) -> None:
    """A step reads the state of the tokens that are there, windows included, not of the room made for them."""
    short, long = timed(chosen(name, context=1024)), timed(chosen(name, context=32_768))
    assert short.tpot is not None
    assert long.tpot is not None
    assert short.tpot.value == long.tpot.value


def test_prefill_of_one_token_is_bound_by_memory_and_of_many_by_compute() -> None:
    assert timed(chosen("llama-3.1-8b", prompt=1)).bound["prefill"] == "memory"
    assert timed(chosen("llama-3.1-8b", prompt=2048)).bound["prefill"] == "compute"
