"""What a step reads and computes, part by part: groups of equal parts, and that they sum to the whole model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.compute import decode_flops, forward_flops, prompt_pass
from weigh.cost.run.load import Load, Weights, decode_loads, groups, prefill_loads
from weigh.families.identify import identify
from weigh.types import NOT_COUNTED, Inventory, Pass

MODELS = ("gpt2", "llama-3.1-8b", "gemma-3-1b", "mixtral-8x7b", "qwen3-0.6b", "bert-base")


@cache
def chosen(name: str, weights: str | None = None) -> Setting:
    return setting(model=load(name), place=locate("8GB"), engine="transformers", weights=weights)


def decoded(name: str, *, prompt: int = 100, output: int = 20, batch: int = 1) -> tuple[Load, ...]:
    one = chosen(name)
    gathered = groups(one.model, one.loaded.holdings)
    return decode_loads(gathered, prompt=prompt, output=output, batch=batch, codec="f16", source=prompt)


def whole(loads: tuple[Load, ...], what: str) -> float:
    if what == "weights":
        return float(sum(load.count * sum(load.weight_bytes.values()) for load in loads))
    return float(sum(load.count * getattr(load, what) for load in loads))


# ---------------------------------------------------------------------------------------------- weights


def test_of_a_table_a_step_reads_one_row_a_token_and_never_more_than_the_table() -> None:
    table = Weights("f16", 8000, rows=100)
    assert table.read(1) == 80
    assert table.read(50) == 4000
    assert table.read(1000) == 8000


def test_experts_are_read_as_often_as_some_token_needs_them() -> None:
    experts = Weights("f16", 8000, chance=0.25)
    assert experts.read(1) == pytest.approx(2000)
    assert experts.read(2) == pytest.approx(8000 * (1 - 0.75**2))
    assert experts.read(1000) == pytest.approx(8000)


def test_a_tied_head_reads_the_whole_table_and_the_look_up_a_row() -> None:
    named = {load.name: load for load in decoded("gpt2")}
    assert sum(named["head"].weight_bytes.values()) == 4 * 50_257 * 768
    assert sum(named["embedding"].weight_bytes.values()) == pytest.approx(4 * 768)


def test_a_head_of_its_own_leaves_the_table_to_the_look_up() -> None:
    named = {load.name: load for load in decoded("llama-3.1-8b")}
    assert sum(named["head"].weight_bytes.values()) == 2 * 128_256 * 4096
    assert sum(named["embedding"].weight_bytes.values()) == pytest.approx(2 * 4096)


def test_an_encoder_beside_the_decoder_is_read_once_and_not_every_token() -> None:
    configuration = {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        **{"d_model": 16, "num_heads": 2, "d_kv": 8, "d_ff": 32, "num_layers": 2, "vocab_size": 50},
    }
    model = identify(Inventory("memory", "config", "hf", configuration=configuration))
    gathered = groups(model, ())
    every = decode_loads(gathered, prompt=8, output=4, batch=1, codec="f16", source=8)
    first = prefill_loads(gathered, Pass(8, source=8), codec="f16")
    assert 0 < sum(load.count for load in every) < sum(load.count for load in first)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_more_sequences_never_read_less_and_never_more_than_everything(one: int, more: int) -> None:
    everything = sum(holding.tensor.nbytes for holding in chosen("mixtral-8x7b").loaded.holdings)
    few, many = sorted((one, more))
    less, all_of_it = (whole(decoded("mixtral-8x7b", batch=size), "weights") for size in (few, many))
    assert 0 < less <= all_of_it <= everything * (1 + 1e-12)


# ---------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize("name", MODELS)
def test_groups_hold_every_byte_once(name: str) -> None:
    one = chosen(name)
    gathered = groups(one.model, one.loaded.holdings)
    held = sum(share.nbytes for h in one.loaded.holdings for share in h.shares if share.role not in NOT_COUNTED)
    # A tied head counts the table a second time.
    head = sum(array.nbytes for group in gathered if group.name == "head" for array in group.weights)
    table = sum(array.nbytes for group in gathered if group.name == "embedding" for array in group.weights)
    found = sum(group.count * array.nbytes for group in gathered for array in group.weights)
    assert found == held + (head if head == table and found != held else 0)


def test_equal_layers_are_one_group_and_layers_of_another_codec_are_another() -> None:
    plain = chosen("llama-3.1-8b")
    mixed = setting(model=load("llama-3.1-8b"), place=locate("8GB"), weights="q4_k_m")
    assert [g.count for g in groups(plain.model, plain.loaded.holdings) if g.name == "mlp"] == [32]
    apart = [g for g in groups(mixed.model, mixed.loaded.holdings) if g.name == "mlp"]
    assert sorted(g.count for g in apart) == [16, 16]
    assert sorted(layer for g in apart for layer in g.layers if layer is not None) == list(range(32))


# ------------------------------------------------------------------------------------------------ loads


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bert-base"])
def test_decode_loads_sum_to_the_flops_of_the_model(name: str) -> None:
    one = chosen(name)
    work = replace(one.job.workload, prompt=100, output=20, batch=3)
    assert whole(decoded(name, batch=3), "flops") == pytest.approx(3 * decode_flops(one.model, work))


@pytest.mark.parametrize("most", [16, 64, 10_000])
@pytest.mark.parametrize("name", MODELS)
def test_stretches_of_a_prompt_read_the_weights_again_and_compute_the_same(name: str, most: int) -> None:
    one = chosen(name)
    gathered = groups(one.model, one.loaded.holdings)
    step = prompt_pass(one.model, replace(one.job.workload, prompt=100, batch=2))
    found = prefill_loads(gathered, step, codec="f16", most=most)
    at_once = prefill_loads(gathered, step, codec="f16")
    assert whole(found, "flops") == forward_flops(one.model, step)
    times = -(-200 // min(most, 200))
    assert whole(found, "kernels") == times * whole(at_once, "kernels")
    mlp, once = (next(load for load in some if load.name.startswith("mlp")) for some in (found, at_once))
    assert sum(mlp.weight_bytes.values()) == pytest.approx(times * sum(once.weight_bytes.values()))


def test_a_window_ends_the_reading_of_the_state() -> None:
    short, long = (whole(decoded("gemma-3-1b", prompt=prompt), "state_bytes") for prompt in (10_000, 20_000))
    assert short < long < 2 * short
