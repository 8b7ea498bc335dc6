"""The form in which an engine loads a model: the file as it is, or the one that a recipe would make."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from weigh.commands.source import load
from weigh.cost.loading import ALIGNMENT, Loaded, loaded
from weigh.cost.params import count
from weigh.engines.llama_cpp import LLAMA_CPP
from weigh.families.identify import identify
from weigh.types import Inventory, Piece, Tensor, WeighError

SAMPLE = Path(__file__).parents[2] / "samples" / "tiny-lm.Q8_0.gguf"


@cache
def form(name: str, weights: str | None) -> Loaded:
    return loaded(load(name), weights, LLAMA_CPP)


def test_what_is_not_understood_is_refused_with_the_models_own_reason() -> None:
    stored = (Tensor("w", (2,), "f32", (Piece("x", 0, 8),)),)
    model = identify(Inventory("x", "safetensors", "hf", stored, {"model_type": "nonesuch"}))
    assert model.refusal is not None
    with pytest.raises(WeighError) as refused:
        loaded(model, "q8_0", LLAMA_CPP)
    assert refused.value is model.refusal


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(WeighError) as refused:
        form("gpt2", "q4_km")
    assert refused.value.rule == "RECIPE-UNKNOWN"


def test_a_file_of_the_engines_own_kind_is_loaded_as_it_is() -> None:
    held = form(str(SAMPLE), None)
    assert held.as_stored
    assert held.weights == "as stored"
    assert held.tensors == load(str(SAMPLE)).inventory.tensors
    assert held.kept_wider == {}


def test_a_form_that_is_asked_for_replaces_that_of_the_file() -> None:
    held = form(str(SAMPLE), "f16")
    assert not held.as_stored
    assert {tensor.codec for tensor in held.tensors} == {"f16", "f32"}


def test_a_configuration_is_converted_without_a_change_of_codec() -> None:
    held = form("llama-3.1-8b", None)
    assert held.weights == "as configured (bf16)"
    assert {tensor.codec for tensor in held.tensors if len(tensor.shape) > 1} == {"bf16"}
    assert "blk.0.attn_q.weight" in {tensor.name for tensor in held.tensors}


@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "mixtral-8x7b", "gemma-3-1b", "falcon-7b", "bloom-560m"])
@pytest.mark.parametrize("weights", ["f16", "q8_0", "q4_k_m"])
def test_planned_tensors_lie_one_behind_the_other_and_hold_the_whole_model(name: str, weights: str) -> None:
    held = form(name, weights)
    end = 0
    for tensor in held.tensors:
        piece = tensor.pieces[0]
        assert piece.offset % ALIGNMENT == 0
        assert end <= piece.offset < end + ALIGNMENT
        end = piece.offset + piece.nbytes
    shared = sum(share.parameters or 0 for holding in held.holdings for share in holding.shares)
    assert shared == count(load(name)).total
    assert not [holding for holding in held.holdings if holding.shares[0].role == "unknown"]


def test_a_form_of_another_runtime_is_named_as_such() -> None:
    assert form("llama-3.1-8b", "gptq_int4").foreign == "vllm"
    assert form("llama-3.1-8b", "q4_k_m").foreign == ""


def test_the_mix_tells_what_it_keeps_wider_and_why() -> None:
    kept = form("llama-3.1-8b", "q4_k_m").kept_wider
    assert len(kept) == 1 + 16 + 16
    assert kept["output.weight"].startswith("q6_k: ")
    assert set(kept) == {tensor.name for tensor in form("llama-3.1-8b", "q4_k_m").tensors if tensor.codec == "q6_k"}


def test_where_most_of_the_mix_falls_back_the_fallback_is_what_is_wider() -> None:
    """SmolLM2 is 576 wide, no multiple of 256: only the matrices of the MLP's other side can be Q4_K."""
    held = form("smollm2-135m", "q4_k_m")
    narrow = {tensor.name for tensor in held.tensors if tensor.codec == "q4_k"}
    matrices = {tensor.name for tensor in held.tensors if len(tensor.shape) > 1}
    assert set(held.kept_wider) == matrices - narrow
    assert 0 < len(narrow) < len(matrices) / 2


def test_scales_that_do_not_divide_evenly_make_no_wider_codec() -> None:
    held = form("llama-3.1-8b", "gptq_int4")
    codecs = {tensor.name: tensor.codec for tensor in held.tensors}
    grouped = {name for name, codec in codecs.items() if codec not in ("f16", "bf16", "f32")}
    bits = {8 * tensor.nbytes / (tensor.parameters or 1) for tensor in held.tensors if tensor.name in grouped}
    assert len(bits) > 1
    assert grouped
    assert not grouped & set(held.kept_wider)


@pytest.mark.parametrize("weights", ["f32", "q8_0"])
def test_one_codec_for_every_matrix_keeps_nothing_wider(weights: str) -> None:
    assert form("llama-3.1-8b", weights).kept_wider == {}
