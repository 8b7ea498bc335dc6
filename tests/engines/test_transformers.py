"""What PyTorch gave out to transformers, keyed in from docs/transformers-memory.md's runs, against the formulas.

Measured with `benchmarks/transformers_memory.py`: transformers 5.23.0, torch 2.13.0 on a CPU; bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.transformers_memory import MODELS, dense
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.engines.transformers import cannot_read, peaks, refuses, value_bytes
from weigh.families.identify import identify
from weigh.types import Inventory, Model, WeighError

MIB = 2**20
ROOT = Path(__file__).parents[2]
CLASSES = {"qwen2": "Qwen2ForCausalLM", "gemma2": "Gemma2ForCausalLM", "mixtral": "MixtralForCausalLM",
           "mistral": "MistralForCausalLM", "gpt2": "GPT2LMHeadModel", "falcon_mamba": "FalconMambaForCausalLM",
           "deepseek_v3": "DeepseekV3ForCausalLM"}  # fmt: skip
TIED = frozenset({"gemma2", "gpt2", "falcon_mamba"})


def small(name: str) -> Model:
    sizes = {"architectures": [CLASSES[name]], "dtype": "float32", "tie_word_embeddings": name in TIED, **MODELS[name]}
    return identify(Inventory(name, "config", "hf", configuration=sizes))


def on(model: Model, device: str = "8GB", **more: Any) -> Setting:
    return setting(model=model, place=locate(device), engine="transformers", **more)


def run(name: str, prompt: int, steps: int, codec: str = "f32", batch: int = 1) -> Setting:
    asked: dict[str, Any] = {"prompt": prompt, "output": steps, "context": prompt + steps}
    return on(small(name), kv=codec, batch=batch, **asked)


@pytest.mark.parametrize(
    ("name", "weights", "state"),
    [
        ("qwen2", 81_819_648, 1_056_768),
        # Two of four layers keep 128 of 258 rows: views of 127, and a count of 8 bytes each.
        ("gemma2", 65_046_528, 790_544 - 2 * 8),
        ("mistral", 81_807_360, 524_320 - 4 * 8),
        ("mixtral", 346_114_048, 1_056_768),
        ("gpt2", 69_316_608 + 1024 * 512 * 4, 4_227_072),
        # Latent rows of 128 + 32 values, not the keys and values of 8 heads.
        ("deepseek_v3", 97_066_080, 660_480),
        # The convolution keeps its whole kernel of 4.
        ("falcon_mamba", 43_902_976, 327_680),
    ],
)
def test_weights_and_cache_after_256_tokens_and_two_steps(name: str, weights: int, state: int) -> None:
    needed = run(name, 256, 2).needed()
    assert needed.state.value == state
    assert needed.weights.value == pytest.approx(weights, rel=0.0005)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("qwen2", 8_001_544),
        ("mistral", 8_067_128),
        ("mixtral", 16_941_144),
        ("gpt2", 15_734_820),
        ("gemma2", 10_623_024),
        ("deepseek_v3", 11_903_004),
        ("falcon_mamba", 61_771_808),
    ],
)
def test_the_most_that_is_held_beside_the_weights(name: str, peak: int) -> None:
    needed = run(name, 256, 2).needed()
    ours = needed.state.value + needed.activations.value
    assert ours == pytest.approx(peak, rel=0.05)
    assert needed.state.value + needed.activations.low < peak < needed.state.value + needed.activations.high


def test_long_generations_are_decided_by_one_layer_that_grows() -> None:
    """Qwen 2's sizes, 16 tokens in and 400 out: the keys of one layer twice, and the logits of the step before."""
    one = run("qwen2", 16, 400)
    needed = one.needed()
    assert needed.state.value == 1_703_936
    assert needed.state.value + needed.activations.value == pytest.approx(1_965_856, rel=0.02)
    assert peaks(one.job).step == 416 * 2 * 64 * 4 + 8192 * 4


def test_a_long_prompt_takes_more_than_a_long_context() -> None:
    model = load("llama-3.1-8b")
    assert on(model, prompt=4000, context=4096, output=96).needed().total.value > (
        on(model, prompt=100, context=4096).needed().total.value + 400 * MIB
    )


def test_written_scores_grow_with_the_square_of_the_prompt() -> None:
    """Gemma 2 caps its scores, which no kernel does; Gemma does not."""

    def live(name: str, prompt: int) -> int:
        return peaks(on(load(name), prompt=prompt, context=8192).job).prompt

    assert live("gemma-2-2b", 8000) > 3 * live("gemma-2-2b", 4000)
    assert live("gemma-2b", 8000) == pytest.approx(2 * live("gemma-2b", 4000), rel=0.01)


def test_a_kind_that_nobody_looked_at_is_assumed_with_a_wide_interval() -> None:
    sizes = {"model_type": "rwkv", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "context_length": 64}
    model = identify(Inventory("rwkv", "config", "hf", configuration={**sizes, "architectures": ["RwkvForCausalLM"]}))
    found = on(model).needed().activation_buffers["passes"]
    assert found.basis == "assumed"
    assert "time_mix" in found.why.inputs["note"]
    assert found.low < 0.6 * found.value < 1.4 * found.value < found.high


def test_models_of_images_and_tensor_processors_are_refused() -> None:
    eight = locate("8GB").cluster.device
    for refused in (refuses(load("resnet-50"), eight), refuses(load("gpt2"), replace(eight, kind="tpu"))):
        assert isinstance(refused, WeighError)
        assert refused.rule == "ENGINE-UNSUPPORTED"


def test_activations_are_as_wide_as_the_weights() -> None:
    assert value_bytes(on(load("gpt2")).job) == 4
    assert value_bytes(on(load("gpt2"), weights="bf16").job) == 2
    # Weights in 4 bit are multiplied in the type of the cache.
    assert value_bytes(on(load("llama-3.1-8b"), weights="bnb_nf4", kv="f32").job) == 4


QWEN3_8B = ((1, 15_947), (6144, 16_811), (14_336, 17_963), (30_720, 20_267))
"""Tokens in to MiB after 2,048 more, BF16 on one H20.

https://github.com/QwenLM/Qwen3/blob/main/docs/source/getting_started/speed_benchmark.md
"""


@pytest.mark.parametrize(("prompt", "published"), QWEN3_8B)
def test_weights_and_cache_of_qwen3_8b_as_published(prompt: int, published: int) -> None:
    """36 MiB more than weights and cache, whatever the prompt."""
    needed = on(load("qwen3-8b"), "h100", prompt=prompt, output=2048, context=prompt + 2048, kv="bf16").needed()
    assert published - (needed.weights.value + needed.state.value) / MIB == pytest.approx(36, abs=1)


@pytest.mark.oracle
def test_one_run_in_transformers_itself() -> None:
    """Sizes that were not looked at when the formulas were written: five heads, three layers, a prompt of 70."""
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    sizes = dense("llama", hidden_size=320, intermediate_size=832, num_hidden_layers=3, num_attention_heads=5,
                  num_key_value_heads=1)  # fmt: skip
    order = {"configuration": sizes, "dtype": "float32", "attention": "sdpa", "batch": 3, "prompt": 70, "steps": 2}
    child = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/transformers_child.py"), json.dumps(order)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    said = json.loads(child.stdout.splitlines()[-1])
    config = {**sizes, "architectures": ["LlamaForCausalLM"]}
    model = identify(Inventory("llama", "config", "hf", configuration=config))
    needed = on(model, weights="f32", kv="f32", batch=3, prompt=70, output=2, context=72).needed()
    assert needed.state.value == said["state"]
    assert needed.weights.value == pytest.approx(said["weights"], rel=0.001)
    assert needed.state.value + needed.activations.value == pytest.approx(said["peak"], rel=0.02)


@pytest.mark.parametrize(
    ("codec", "runs", "refused"),
    [("bnb_nf4", "rtx-4090", "m4-max"), ("fp8_block128", "h100", "a100"), ("q4_k", "", "rtx-4090"), ("f32", "8GB", "")],
)
def test_codecs_by_device(codec: str, runs: str, refused: str) -> None:
    if runs:
        assert cannot_read(codec, locate(runs).cluster.device) == ""
    if refused:
        assert cannot_read(codec, locate(refused).cluster.device)


def test_the_cache_is_in_the_type_that_the_model_computes_in() -> None:
    """GPT-2's file is in float32; Llama's norms are in bf16 beside matrices in four bits."""
    assert on(load("gpt2")).job.workload.state_codec == "f32"
    assert on(load("llama-3.1-8b")).job.workload.state_codec == "bf16"
    assert on(load("llama-3.1-8b"), weights="bnb_nf4").job.workload.state_codec == "bf16"
    assert on(load("gpt2"), kv="f16").needed().state.value * 2 == on(load("gpt2")).needed().state.value
