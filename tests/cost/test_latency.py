"""Time by roofline: what a step reads, the slower of memory and compute, and no time where a number is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.compute import decode_flops, forward_flops, prompt_pass
from weigh.cost.latency import Latency, latency, weights_read
from weigh.engines.curves import efficiency
from weigh.families.audit import Holding, Share
from weigh.types import Device, Figure, Piece, Tensor


@cache
def chosen(name: str, on: str = "rtx-4090", **options: object) -> Setting:
    return setting(model=load(name), place=locate(on), **options)  # type: ignore[arg-type]


def timed(given_setting: Setting, device: Device | None = None) -> Latency:
    job = given_setting.job if device is None else replace(given_setting.job, device=device)
    return latency(job, given_setting.engine, given_setting.loaded.holdings)


def held(role: str, nbytes: int, *, shape: tuple[int, ...] = (1,), active: float = 1, table: bool = False) -> Holding:
    parameters = 1000
    share = Share(role, 0, parameters, int(parameters * active), nbytes, table=table)
    return Holding(Tensor(role, shape, "f16", (Piece("file", 0, nbytes),)), (share,))


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


# ------------------------------------------------------------------------------------------ what is read


def test_of_the_token_table_a_step_reads_one_row_a_token() -> None:
    separate = (held("embedding", 8000, shape=(100, 10), table=True), held("head", 8000))
    assert weights_read(separate, 1) == 80 + 8000
    assert weights_read(separate, 50) == 4000 + 8000
    assert weights_read(separate, 1000) == 16_000


def test_a_tied_head_reads_the_whole_table() -> None:
    assert weights_read((held("embedding", 8000, shape=(100, 10), table=True),), 1) == 8000


def test_buffers_and_layers_for_multi_token_prediction_are_not_read() -> None:
    assert weights_read((held("buffer", 100), held("mtp", 100), held("head", 1)), 4) == 1


def test_experts_are_read_as_often_as_some_token_needs_them() -> None:
    experts = (held("expert", 8000, active=0.25), held("head", 1))
    assert weights_read(experts, 1) == pytest.approx(2000 + 1)
    assert weights_read(experts, 2) == pytest.approx(8000 * (1 - 0.75**2) + 1)
    assert weights_read(experts, 1000) == pytest.approx(8001)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_more_tokens_never_read_less_and_never_more_than_everything(one: int, more: int) -> None:
    holdings = chosen("mixtral-8x7b", "h100x2").loaded.holdings
    everything = sum(holding.tensor.nbytes for holding in holdings)
    few, many = sorted((one, more))
    assert 0 < weights_read(holdings, few) <= weights_read(holdings, many) <= everything * (1 + 1e-12)


# ----------------------------------------------------------------------------------------------- roofline


def test_a_decode_step_by_hand() -> None:
    """Llama 3.1 8B in 16 bits on a card of 1,008 GB/s: 15.0 GB of weights and 75.5 MB of keys and values."""
    job = chosen("llama-3.1-8b", weights="bf16")
    found = timed(job).tpot
    assert found is not None
    reached = efficiency("llama.cpp", job.device, "decode")
    # 576 tokens take 768 cells; of the token table one row of 4,096 numbers is read.
    weights = 2 * (8_030_261_248 - 128_256 * 4096 + 4096)
    norms = 2 * 65 * 4096
    state = 32 * 2 * 8 * 128 * 2 * 768
    assert found.why.inputs["state_bytes"] == state
    # llama.cpp keeps the norms in 32 bits.
    assert found.why.inputs["weight_bytes"] == weights + norms
    for end, share in (("value", reached.value), ("low", reached.high), ("high", reached.low)):
        assert getattr(found, end) == pytest.approx((weights + norms + state) / 1.008e12 / share)


def test_a_prefill_by_hand() -> None:
    job = chosen("llama-3.1-8b", weights="bf16")
    found = timed(job).ttft
    assert found is not None
    reached = efficiency("llama.cpp", job.device, "prefill")
    flops = forward_flops(job.model, prompt_pass(job.model, job.job.workload))
    peak = job.device.peak["f16"].value
    assert found.value == pytest.approx(flops / peak / reached.value)


def recomputed(figure: Figure, which: int) -> float:
    """The number again, from nothing but its derivation."""
    given_inputs = figure.why.inputs
    traffic = given_inputs["weight_bytes"] + given_inputs.get("state_bytes", 0)
    memory = traffic / given_inputs["bytes_per_s"] / given_inputs["memory_efficiency"][which]
    step = max(memory, given_inputs["flops"] / given_inputs["peak"] / given_inputs["compute_efficiency"][which])
    return step + (2 * given_inputs.get("start_s", 0) if which == 0 else 0)


def test_a_small_model_on_a_card_has_the_measured_time_in_its_interval() -> None:
    # SmolLM2 135M in Q8_0 on an RTX 3060: 1.46 ms a token, as users of github.com/AlexsJones/llmfit measured.
    found = timed(chosen("smollm2-135m", "rtx-3060-12gb", weights="q8_0")).tpot
    assert found is not None
    assert found.low < 1.46e-3 < found.high
    assert found.basis == "assumed"


@pytest.mark.parametrize("on", ["rtx-4090", "h100", "m1-max", "rtx-a6000", "raspberry-pi-5", "dgx-spark"])
@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "mixtral-8x7b"])
def test_the_ends_are_in_order_and_the_derivation_gives_the_number_again(name: str, on: str) -> None:
    found = timed(chosen(name, on))
    assert found.tpot is not None
    for figure in (found.ttft, found.tpot):
        if figure is None:
            continue
        assert 0 < figure.low <= figure.value <= figure.high
        assert figure.unit == "s"
        if {"peak", "bytes_per_s"} <= set(figure.why.inputs):
            assert [recomputed(figure, which) for which in (2, 1, 0)] == pytest.approx(
                [figure.low, figure.value, figure.high]
            )


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
