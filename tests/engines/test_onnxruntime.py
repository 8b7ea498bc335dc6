"""What ONNX Runtime's process held, keyed in from docs/onnxruntime-memory.md's runs, against the formulas.

Measured with `benchmarks/onnxruntime_memory.py`: onnxruntime 1.32.0 on a CPU; bytes of the resident process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from weigh.commands.cost import run
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.engines.onnxruntime import cannot_read, loads_as, own_cache, refuses
from weigh.families.identify import identify
from weigh.types import Inventory, WeighError

MIB = 2**20


def on(model: str, device: str = "64GB", **more: Any) -> Setting:
    return setting(model=load(model), place=locate(device), engine="onnxruntime", **more)


def test_a_latent_row_and_a_tensor_processor_are_refused() -> None:
    eight = locate("8GB").cluster.device
    config = {
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": 64, "hidden_size": 8,
        "num_hidden_layers": 2, "state_size": 4, "conv_kernel": 4, "expand": 2, "time_step_rank": 1,
    }  # fmt: skip
    mamba = identify(Inventory("mamba", "config", "hf", configuration=config))
    for refused in (refuses(mamba, eight), refuses(load("gpt2"), replace(eight, kind="tpu"))):
        assert isinstance(refused, WeighError)
        assert refused.rule == "ENGINE-UNSUPPORTED"


def test_a_codec_without_kernels_is_refused_and_the_weights_are_told_all_the_same() -> None:
    answer = run("llama-3.1-8b", on="8GB", engine="onnxruntime", weights="q4_k_m")
    assert answer.refusal is not None
    assert answer.refusal.rule == "ENGINE-CODEC"
    assert "q4_k" in answer.refusal.message
    assert answer.result["memory"]["weights"].value > 0


def test_a_processor_takes_bf16_as_float32_and_a_card_as_it_is() -> None:
    eight, h100 = locate("8GB").cluster.device, locate("h100").cluster.device
    assert cannot_read("bf16", eight)
    assert (loads_as("bf16", eight), loads_as("bf16", h100)) == ("f32", "bf16")
    # Vectors stay as they are in every recipe.
    card = on("llama-3.1-8b", "h100").needed().weights.value
    assert on("llama-3.1-8b").needed().weights.value == pytest.approx(2 * card, rel=1e-4)
    assert own_cache(on("llama-3.1-8b").job.tensors, eight) == "f32"
    assert on("llama-3.1-8b", "h100").job.workload.state_codec == "bf16"


@pytest.mark.parametrize(
    ("model", "batch", "prompt", "held", "two_requests"),
    [
        # Held by code and weights once trimmed, and what two requests added.
        ("resnet-50", 1, None, 108.8, 13.6),
        ("resnet-50", 8, None, 108.7, 105.6),
        ("resnet-50", 32, None, 108.7, 420.8),
        ("bert-base", 1, 512, 428.6, 106.3),
        ("bert-base", 4, 128, 428.6, 58.2),
    ],
)
def test_weights_and_two_requests(model: str, batch: int, prompt: int | None, held: float, two_requests: float) -> None:
    needed = on(model, batch=batch, prompt=prompt).needed()
    assert needed.weights.value / MIB + 11 == pytest.approx(held, rel=0.005)
    arena = needed.activation_buffers["arena"]
    assert arena.basis == "derived"
    assert arena.low / MIB < two_requests < arena.high / MIB
    assert arena.value / MIB == pytest.approx(two_requests, rel=0.12)


def test_what_loading_leaves_is_inside_the_overhead() -> None:
    """ResNet-50: 164 MB more than code and weights until the C library gives it back."""
    overhead = on("resnet-50").needed().overhead
    assert overhead.low < 48e6 + 13e6 + 164e6 < overhead.high


def test_matrices_in_f16_become_float32_on_a_processor_and_tables_do_not() -> None:
    """BERT in f16: 388.0 MiB held by code and weights."""
    needed = on("bert-base", weights="f16").needed()
    assert needed.weights.value / MIB + 13 == pytest.approx(388.0, rel=0.01)
    assert on("bert-base", "h100", weights="f16").needed().weights.value < 0.6 * needed.weights.value


def test_a_tied_head_has_a_packed_copy_of_the_table() -> None:
    buffers = on("gpt2").needed().activation_buffers
    assert buffers["packed_table"].value == 50_257 * 768 * 4
    assert "packed_table" not in on("gpt2", "h100").needed().activation_buffers
    assert "packed_table" not in on("llama-3.1-8b").needed().activation_buffers


def test_a_fused_export_has_one_cache_of_the_whole_context_and_others_write_a_second() -> None:
    llama = on("llama-3.1-8b", context=4096)
    assert llama.needed().state.value == 32 * 2 * 8 * 128 * 4096 * 4
    assert "present" not in llama.needed().activation_buffers
    gpt2 = on("gpt2", context=1024).needed()
    assert gpt2.activation_buffers["present"].value == gpt2.state.value == 12 * 2 * 768 * 1024 * 4


def test_windows_are_kept_with_sixteen_rows_more_on_a_processor() -> None:
    """Gemma 3 1B: 22 of 26 layers with a window of 512."""
    row = 2 * 1 * 256
    short = on("gemma-3-1b", context=8192).needed().state.value
    assert short == (4 * 8192 + 22 * (512 + 16)) * row * 4
    assert on("gemma-3-1b", "h100", context=8192).needed().state.value == (4 * 8192 + 22 * 512) * row * 2


def test_a_model_of_images_takes_one_image_unless_told() -> None:
    told = run("resnet-50", on="64GB", engine="onnxruntime").result["compute"]["prefill_flops"]
    assert told.value == pytest.approx(8.2e9, rel=0.01)
