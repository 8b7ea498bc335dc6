"""Who holds what: what cannot be spread is refused by name, and every share is worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.test_experts import DEEPSEEK_V3
from weigh import parts
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.memory import spread
from weigh.cost.run.shares import shares
from weigh.cost.run.split import Split, even, split, with_output
from weigh.engines import find
from weigh.families.identify import identify
from weigh.types import Inventory, Model, WeighError

VLLM, LLAMA_CPP = find("vllm"), find("llama.cpp")

SMALL = {**DEEPSEEK_V3, "num_hidden_layers": 4, "n_routed_experts": 16, "dtype": "bfloat16"}


def on(model: Model | str, device: str, engine: str = "vllm", **more: Any) -> Setting:
    held = load(model) if isinstance(model, str) else model
    return setting(model=held, place=locate(device), engine=engine, **more)


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "devices", "rule", "hint"),
    [
        ("tp=3", 3, "LAYOUT-HEADS", "tp may be 1, 2, 4, 8"),
        ("tp=2", 4, "LAYOUT-DEVICES", "dp=2"),
        ("tp=3,pp=2", 4, "LAYOUT-DEVICES", "pp=4"),
        ("pp=33", 33, "LAYOUT-LAYERS", "at most 32"),
        ("pp=0", 1, "LAYOUT-DEGREE", ""),
        ("tp=2,ep=2", 2, "LAYOUT-EXPERTS", "leave ep out"),
        ("ep=2", 1, "LAYOUT-EXPERTS", "say tp"),
        ("tp=4,ep=2", 4, "LAYOUT-EXPERTS", "ep=4"),
        ("tp=2,cp=2", 4, "LAYOUT-WORDS", "tp, pp, ep and dp"),
        ("tp=2,zero=1", 2, "LAYOUT-WORDS", "tp, pp, ep and dp"),
        ("tp=2,tp=2", 4, "LAYOUT-WORDS", "known"),
        ("two", 2, "LAYOUT-WORDS", "known"),
        ("tp=2x", 2, "LAYOUT-WORDS", "as in tp=8,pp=2"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_what_could(words: str, devices: int, rule: str, hint: str) -> None:
    with pytest.raises(WeighError) as refused:
        split(load("llama-3.1-8b"), VLLM, devices, words)
    assert refused.value.rule == rule
    assert refused.value.exit_code == 2
    assert hint in refused.value.hint


def test_blocks_and_experts_that_do_not_divide_are_named() -> None:
    odd = load("mixtral-8x7b")
    odd = replace(odd, dimensions={**odd.dimensions, "experts": 6, "hidden": 14_338, "expert_hidden": 14_338})
    with pytest.raises(WeighError, match="14,338 hidden values of a block do not divide by tp = 4"):
        split(odd, VLLM, 4, "tp=4")
    with pytest.raises(WeighError, match="6 experts do not divide by ep = 4"):
        split(replace(odd, dimensions={**odd.dimensions, "hidden": 14_336}), VLLM, 4, "tp=4,ep=4")


def test_an_engine_that_deals_out_layers_does_not_divide_them() -> None:
    with pytest.raises(WeighError) as refused:
        split(load("llama-3.1-8b"), LLAMA_CPP, 2, "tp=2")
    assert refused.value.rule == "LAYOUT-ENGINE"
    assert "pp=2" in refused.value.hint


def test_layers_stay_with_a_host_only_under_llama_cpp_and_beside_an_accelerator() -> None:
    for engine, device, number, rule in (
        ("vllm", "h100", 4, "OFFLOAD-ENGINE"),
        ("llama.cpp", "rtx-4090", 33, "OFFLOAD-LAYERS"),
        ("llama.cpp", "24GB", 4, "OFFLOAD-DEVICE"),
        ("llama.cpp", "ryzen-9-7950x", 4, "OFFLOAD-DEVICE"),
    ):
        with pytest.raises(WeighError) as refused:
            on("llama-3.1-8b", device, engine, offload=number)
        assert refused.value.rule == rule
        assert refused.value.hint


# ------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("model", "engine", "devices", "chosen"),
    [
        ("llama-3.1-8b", "vllm", 4, "tp=4"),
        ("llama-3.1-8b", "vllm", 16, "tp=8,pp=2"),
        ("llama-3.1-8b", "vllm", 6, "tp=2,pp=3"),
        ("llama-3.1-8b", "vllm", 3, "pp=3"),
        ("gemma-3-1b", "vllm", 8, "tp=4,pp=2"),
        ("llama-3.1-8b", "llama.cpp", 4, "pp=4"),
        ("llama-3.1-8b", "transformers", 2, "pp=2"),
    ],
)
def test_without_a_layout_the_engine_s_own_is_taken(model: str, engine: str, devices: int, chosen: str) -> None:
    found = split(load(model), find(engine), devices)
    assert (found.words, found.devices, found.chosen) == (chosen, devices, True)


# -------------------------------------------------------------------------------------------------- who has what


def test_layers_that_do_not_divide_go_to_stages_before_the_last() -> None:
    """The examples of vLLM's own test of `get_pp_indices`, and 61 layers."""
    told = {(5, 3): [2, 2, 1], (22, 4): [5, 6, 6, 5], (61, 2): [31, 30], (61, 4): [15, 15, 16, 15], (3, 2): [2, 1]}
    for (layers, stages), expected in told.items():
        assert [len(run) for run in even(layers, stages)] == expected


def test_llama_cpp_counts_the_output_as_a_layer() -> None:
    """33 items over two: floor(i x 2 / 33) is 0 for 17 of them; the last stage has 15 layers and the output."""
    assert [len(run) for run in with_output(32, 2)] == [17, 15]
    assert with_output(32, 1, 8) == [range(8, 32)]
    assert with_output(32, 1, 32) == [range(32, 32)]


@given(st.integers(1, 200), st.integers(1, 16))
def test_every_layer_lies_in_exactly_one_stage(layers: int, stages: int) -> None:
    stages = min(stages, layers)
    for dealt in (even(layers, stages), with_output(layers, stages)):
        assert len(dealt) == stages
        assert [layer for run in dealt for layer in run] == list(range(layers))


def test_a_stage_of_llama_3_1_8b_by_hand() -> None:
    """bf16, tp=2, pp=2: half of 16 layers, half of a table each; gains stay whole."""
    found = shares(*_asked(on("llama-3.1-8b", "h100x4", parallel="tp=2,pp=2", kv="bf16")))
    attention = (4096 * 4096 * 2 + 4096 * 1024 * 2) // 2
    layer = attention + 3 * 4096 * 14_336 // 2 + 2 * 4096
    table = 128_256 * 4096 // 2
    sizes = [sum(tensor.nbytes for tensor in share.job.tensors) for share in found]
    assert sizes == [2 * (16 * layer + table), 2 * (16 * layer + table + 4096)]
    assert [share.devices for share in found] == [2, 2]
    kept = [state for part in found[0].job.model.parts for state in parts.remembers(part)]
    assert {state.heads for state in kept} == {4}
    assert len(kept) == 16


def _asked(chosen: Setting) -> tuple[Any, Split, Any]:
    return chosen.job, chosen.split, chosen.engine


def test_heads_of_keys_are_repeated_when_they_are_fewer_than_the_devices() -> None:
    """8 heads of keys and values over 16 devices: one each, so eight devices' worth of state twice."""
    eight, sixteen = (on("llama-3.1-8b", f"h100x{n}", parallel=f"tp={n}", kv="bf16") for n in (8, 16))
    assert eight.needed().state.value == sixteen.needed().state.value
    assert eight.needed().state.value == on("llama-3.1-8b", "h100", kv="bf16").needed().state.value / 8


def test_latent_rows_are_on_every_device() -> None:
    model = identify(Inventory("deepseek-v3", "config", "hf", configuration=SMALL))
    one, many = (on(model, f"h200x{n}", kv="bf16", parallel=f"tp={n}") for n in (1, 8))
    assert many.needed().state.value == one.needed().state.value > 0
    assert many.needed().weights.value < one.needed().weights.value / 7


def test_experts_lie_whole_or_in_slices_with_the_same_bytes() -> None:
    sliced, whole = (on("mixtral-8x7b", "h100x4", parallel=words) for words in ("tp=4", "tp=4,ep=4"))
    assert sliced.needed().weights == whole.needed().weights


def test_a_tied_head_behind_a_pipeline_is_a_second_table() -> None:
    first, last = on("llama-3.2-1b", "h100x2", parallel="pp=2").spread().stages
    table = 128_256 * 2048 * 2
    assert last[1].weights.value - first[1].weights.value == 2 * 2048
    assert sum(needed.weights.value for _, needed in (first, last)) == (
        on("llama-3.2-1b", "h100").needed().weights.value + table
    )


def test_recurrent_states_divide_by_heads() -> None:
    sizes = {"model_type": "mamba", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4}
    config = {**sizes, "architectures": ["MambaForCausalLM"], "conv_kernel": 4, "expand": 2, "time_step_rank": 1}
    model = identify(Inventory("mamba", "config", "hf", configuration={**config, "dtype": "bfloat16"}))
    one, two = (on(model, f"h100x{n}", parallel=f"tp={n}").needed().state.value for n in (1, 2))
    assert two == one / 2


@pytest.mark.parametrize("kind", parts.KINDS, ids=lambda kind: kind.id)
def test_no_device_holds_more_than_all_and_together_they_hold_at_least_all(kind: Any) -> None:
    whole = parts.part("x", kind.example)
    half = parts.cut(whole, 2)
    held = [sum(slot.parameters for slot in parts.slots(part)) for part in (whole, half)]
    assert held[0] <= 2 * held[1] <= 2 * held[0]
    assert parts.cut(whole, 1) is whole


# --------------------------------------------------------------------------------------------- beside the host


def test_what_stays_with_the_host_and_what_goes_to_the_device_is_the_model() -> None:
    """The token table is the host's in any case, and the head the device's."""
    whole = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q4_0")
    parted = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q4_0", offload=8)
    found = parted.spread()
    assert found.host is not None
    names = {tensor.name for tensor in found.host[0].job.tensors}
    assert "token_embd.weight" in names
    assert "blk.7.attn_q.weight" in names
    assert not names & {"blk.8.attn_q.weight", "output.weight", "output_norm.weight"}
    state = found.host[1].state.value + found.fullest.state.value
    assert state == whole.needed().state.value
    assert found.host[1].state.value == state / 4
    on_device = whole.needed().weights.value - found.fullest.weights.value
    table = next(tensor.nbytes for tensor in whole.job.tensors if tensor.name == "token_embd.weight")
    assert found.host[1].weights.value == on_device + table


def test_a_device_has_room_for_the_largest_matrix_that_the_host_lends() -> None:
    parted = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q8_0", offload=1).spread().fullest
    assert parted.activation_buffers["fetched"].value == 4096 * 14_336 * 34 / 32
    whole = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q8_0").needed()
    assert "fetched" not in whole.activation_buffers


def test_all_layers_on_the_host_leave_the_head() -> None:
    found = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q8_0", offload=32).spread()
    assert found.fullest.weights.value == 128_256 * 4096 * 34 / 32 + 4096 * 4
    assert found.fullest.state.value == 0


def test_a_pipeline_of_llama_cpp_keeps_four_copies_of_its_inputs() -> None:
    """512 tokens: 4 x 4096 x 512 x 4 of the stream, and 3 x 4096 x 512 x 2 of the mask."""
    first = on("llama-3.1-8b", "rtx-4090x2", "llama.cpp", weights="q8_0").spread().stages[0][1]
    assert first.activation_buffers["copies"].value == 4 * 4096 * 512 * 4 + 3 * 4096 * 512 * 2


def test_memory_of_all_devices_is_the_sum_over_stages() -> None:
    chosen = on("llama-3.1-8b", "h100x4", parallel="tp=2,pp=2")
    found = spread(chosen.job, chosen.engine, chosen.split)
    assert found.total.value == sum(2 * needed.total.value for _, needed in found.stages)
    assert found.fullest.total.value == max(needed.total.value for _, needed in found.stages)
