"""TensorRT-LLM's pages by hand from its source, and the lines of its logs that were published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.families.test_experts import DEEPSEEK_V3
from tests.families.test_recurrent import QWEN35_27B
from tests.published.test_state import ELSEWHERE, gemma_3
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.engines.nvidia import capability
from weigh.engines.tensorrt_llm import BLOCK, Pool, cannot_read, pools, recurrent_bytes, refuses
from weigh.families.identify import identify
from weigh.types import Inventory, Model, WeighError

GIB = 2**30


def on(model: str | Model, device: str = "h100", **more: Any) -> Setting:
    known = load(model) if isinstance(model, str) else model
    return setting(model=known, place=locate(device), engine="tensorrt-llm", **more)


@pytest.mark.parametrize(
    ("model", "device", "word"),
    [
        ("llama-3.1-8b", "v100-sxm2-16gb", "8.0"),
        ("llama-3.1-8b", "t4", "8.0"),
        ("llama-3.1-8b", "mi300x", "NVIDIA"),
        ("llama-3.1-8b", "m4-max", "NVIDIA"),
        ("resnet-50", "h100", "text"),
    ],
)
def test_other_cards_old_ones_and_models_of_images_are_refused(model: str, device: str, word: str) -> None:
    refused = refuses(load(model), locate(device).cluster.device)
    assert isinstance(refused, WeighError)
    assert refused.rule == "ENGINE-UNSUPPORTED"
    assert word in refused.message


@pytest.mark.parametrize(
    ("codec", "runs", "refused"),
    [
        ("fp8_tensor", "rtx-4090", "a100"),
        ("fp8_block128", "h100", "l40s"),
        ("nvfp4", "b200", "h100"),
        ("awq_int4_g128", "a100", ""),
        ("q4_k", "", "h100"),
    ],
)
def test_codecs_by_generation(codec: str, runs: str, refused: str) -> None:
    if runs:
        assert cannot_read(codec, locate(runs).cluster.device) == ""
    if refused:
        assert cannot_read(codec, locate(refused).cluster.device)


def test_a_card_that_is_not_in_the_table_is_not_refused_for_its_generation() -> None:
    unknown = replace(locate("h100").cluster.device, id="h900", name="a card to come")
    assert capability(unknown) is None
    assert refuses(load("llama-3.1-8b"), unknown) is None
    assert cannot_read("nvfp4", unknown) == ""


@pytest.mark.parametrize(
    ("model", "codec", "tokens", "published", "source"),
    [
        # A log of its own documentation; 32 layers of 32 heads of 128 in one byte.
        ("llama-2-7b", "f8_e4m3", 259_840, 63.44, "docs/source/reference/memory.md at 7ff5302"),
        # A cache in 16 bit beside weights in INT8.
        ("qwen2.5-0.5b", "f16", 395_776, 4.53, "github.com/NVIDIA/TensorRT-LLM/issues/1188"),
        ("tinyllama-1.1b", "f16", 3_731_744, 78.30, "github.com/triton-inference-server/tutorials/pull/150"),
    ],
)
def test_the_bytes_of_its_pool_as_logs_state_them(
    model: str, codec: str, tokens: int, published: float, source: str
) -> None:
    """`Allocated 63.44 GiB for max tokens in paged KV cache (259840)` and the like."""
    found = pools(tinyllama() if model == "tinyllama-1.1b" else load(model), codec)
    assert sum(pool.a_token * layers for pool, layers in found.items()) * tokens / GIB == pytest.approx(
        published, abs=0.005
    ), source


def tinyllama() -> Model:
    """config.json of TinyLlama/TinyLlama-1.1B-Chat-v1.0."""
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32_000, "hidden_size": 2048,
        "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
    }  # fmt: skip
    return identify(Inventory("tinyllama", "config", "hf", configuration=config))


def test_the_engine_that_its_documentation_loads() -> None:
    """`Loaded engine size: 6695 MiB`: Llama-2-7B in FP8 with a table and a head in 16 bit."""
    assert on("llama-2-7b", weights="fp8").needed().weights.value / 2**20 == pytest.approx(6695, rel=0.01)


def test_the_weights_of_an_fp8_checkpoint_as_its_log_has_them() -> None:
    """`Rank 0 uses 8.46 GB for model weights` (GiB): github.com/NVIDIA/TensorRT-LLM/issues/6294."""
    assert on("llama-3.1-8b", weights="fp8").needed().weights.value / GIB == pytest.approx(8.46, abs=0.01)


def test_the_last_page_of_a_sequence_is_partly_empty() -> None:
    assert Pool(100).pages(32, 0) == 1
    assert Pool(100).pages(33, 0) == 2
    assert on("llama-3.1-8b", context=33, prompt=16, output=16).needed().state.value == 2 * BLOCK * 32 * 2 * 8 * 128 * 2


def test_windows_are_short_only_where_kinds_of_layers_mix() -> None:
    """gpt-oss keeps 128 tokens in every second layer; Mistral's window is in all layers and so is not used."""
    oss = identify(Inventory("gpt-oss-20b", "config", "hf", configuration=ELSEWHERE["gpt-oss-20b"]))
    row = 2 * 8 * 64 * 2
    assert pools(oss, "bf16") == {Pool(row): 12, Pool(row, 128): 12}
    assert on(oss, context=8192).needed().state.value == 12 * row * 8192 + 12 * row * (128 // BLOCK + 1) * BLOCK
    assert set(pools(load("mistral-7b"), "bf16")) == {Pool(2 * 8 * 128 * 2)}
    gemma = gemma_3(34, 2560, 10_240, 8, 4, 256)
    assert on(gemma, context=512, prompt=256).needed().state.value == 34 * 2 * 4 * 256 * 2 * 512


def test_latent_attention_keeps_one_row_a_token() -> None:
    model = identify(Inventory("deepseek-v3", "config", "hf", configuration=DEEPSEEK_V3))
    assert pools(model, "bf16") == {Pool(1152): 61}
    assert pools(model, "f8_e4m3") == {Pool(576): 61}


def test_four_bits_have_a_scale_for_sixteen_values() -> None:
    assert set(pools(load("llama-3.1-8b"), "nvfp4")) == {Pool(2 * 8 * 128 // 2 + 2 * 8 * 128 // 16)}


def test_recurrent_states_are_in_16_bit_unless_the_configuration_says_more() -> None:
    known = identify(Inventory("hybrid", "config", "hf", configuration=QWEN35_27B))
    assert recurrent_bytes(known) == 48 * (48 * 128 * 128 + 3 * 10_240) * 2
    config = {**QWEN35_27B, "mamba_ssm_cache_dtype": "float32"}
    wide = identify(Inventory("hybrid", "config", "hf", configuration=config))
    assert recurrent_bytes(wide) == 48 * (48 * 128 * 128 * 4 + 3 * 10_240 * 2)


def test_the_cache_is_the_models_16_bit_unless_told() -> None:
    assert on("llama-3.1-8b").job.workload.state_codec == "bf16"
    assert on("llama-3.1-8b", kv="f8_e4m3").needed().state.value * 2 == on("llama-3.1-8b").needed().state.value
