"""vLLM's pages by hand from its source, and the lines of its logs that were published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.families.test_experts import DEEPSEEK_V3
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.engines.vllm import BLOCK, Batch, Spec, batch_of, cannot_read, paged_bytes, refuses, specs
from weigh.families.identify import identify
from weigh.types import Inventory, WeighError

GIB = 2**30


def on(model: str, device: str = "h100", **more: object) -> Setting:
    return setting(model=load(model), place=locate(device), engine="vllm", **more)  # type: ignore[arg-type]


def test_a_phone_and_a_model_of_images_are_refused_with_a_reason() -> None:
    phone = replace(locate("8GB").cluster.device, kind="phone", name="a phone")
    for model, device in (("resnet-50", locate("h100").cluster.device), ("llama-3.1-8b", phone)):
        refused = refuses(load(model), device)
        assert isinstance(refused, WeighError)
        assert refused.rule == "ENGINE-UNSUPPORTED"


def test_the_last_page_of_a_sequence_is_partly_empty() -> None:
    kept = {Spec(a_token=100): 3}
    assert paged_bytes(kept, 16, 0, 2048) == 3 * 16 * 100
    assert paged_bytes(kept, 17, 0, 2048) == 3 * 32 * 100


def test_a_window_keeps_what_is_in_flight_and_one_page_more() -> None:
    """cdiv(1023 + 2048, 16) + 1, or of the whole length where that is less."""
    windowed = Spec(a_token=1, window=1024)
    assert windowed.pages(BLOCK, 100_000, 0, 2048) == 192 + 1
    assert windowed.pages(BLOCK, 160, 0, 2048) == 10 + 1


def test_layers_of_two_kinds_share_pages_and_are_padded_to_whole_groups() -> None:
    """Ten full and 22 windowed layers: groups of ten, so the windowed ones take three and are padded to 30."""
    kept = {Spec(a_token=8): 10, Spec(a_token=8, window=512): 22}
    window = -(-(511 + 2048) // 16) + 1
    assert paged_bytes(kept, 8192, 0, 2048) == (10 * 512 + 30 * window) * 128
    # 13 and 12 differ by less than a half: one group of 13 each.
    kept = {Spec(a_token=8): 13, Spec(a_token=8, window=128): 12}
    assert paged_bytes(kept, 160, 0, 2048) == (13 * 10 + 13 * 11) * 128


def test_a_recurrent_state_makes_the_pages_of_attention_long() -> None:
    """A state of 1,000 bytes beside rows of 8: pages of 8 x 16 bytes x 8 = 1,024, so blocks of 128 tokens."""
    kept = {Spec(a_token=8): 4, Spec(a_sequence=1000): 4}
    assert paged_bytes(kept, 129, 0, 2048) == 4 * 2 * 1024 + 4 * 1024


def test_latent_attention_keeps_one_row_a_token() -> None:
    """61 layers of 512 + 64 values."""
    model = identify(Inventory("deepseek-v3", "config", "hf", configuration=DEEPSEEK_V3))
    assert specs(model, "bf16") == {Spec(a_token=1152): 61}
    assert specs(model, "f8_e4m3") == {Spec(a_token=576): 61}


def test_a_narrow_cache_leaves_recurrent_states_in_16_bit() -> None:
    sizes = {"model_type": "mamba", "vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4}
    config = {**sizes, "architectures": ["MambaForCausalLM"], "conv_kernel": 4, "expand": 2, "time_step_rank": 1}
    model = identify(Inventory("mamba", "config", "hf", configuration=config))
    assert specs(model, "f8_e4m3") == specs(model, "f16") == {Spec(a_sequence=(3 * 16 + 4 * 16) * 2): 2}


def test_the_vocabulary_is_padded_to_64_rows() -> None:
    one = on("gpt2")
    held = sum(tensor.nbytes for tensor in one.job.tensors)
    assert one.engine.weights(one.job)["loaded"].value - held == (50_304 - 50_257) * 768 * 2


@pytest.mark.parametrize(
    ("device", "batch"),
    [
        ("h100", Batch(8192, 1024)),
        ("a100", Batch(2048, 256)),
        ("rtx-4090", Batch(2048, 256)),
        ("8GB", Batch(2048, 256)),
    ],
)
def test_a_step_is_larger_on_large_cards_but_not_on_an_a100(device: str, batch: Batch) -> None:
    assert batch_of(locate(device).cluster.device) == batch


def test_the_weights_of_llama_3_8b_as_its_log_has_them() -> None:
    """`model weights take 14.96GiB`, https://github.com/vllm-project/vllm/pull/10511."""
    one = on("llama-3-8b")
    assert one.engine.weights(one.job)["loaded"].value / GIB == pytest.approx(14.96, abs=0.005)


def test_what_the_profiling_run_of_llama_3_8b_took_lies_inside_the_interval() -> None:
    """`PyTorch activation peak memory 1.26GiB`, same page; 8,192 tokens at once."""
    profiled = on("llama-3-8b").needed().activation_buffers["profiled"]
    assert profiled.basis == "assumed"
    assert profiled.low / GIB < 1.26 < profiled.high / GIB


def test_an_encoder_has_neither_pages_nor_logits() -> None:
    """12 layers of 768 whose widest step holds 4 x 768 values before and behind the activation."""
    needed = on("bert-base").needed()
    assert needed.state.value == 0
    assert needed.activation_buffers["profiled"].value == 8192 * (2 * 768 + max(2 * 3072, 2 * 4 * 768)) * 2


@pytest.mark.parametrize(
    ("codec", "runs", "refused"),
    [
        ("bf16", "a100", "t4"),
        ("awq_int4_g128", "t4", "v100-sxm2-16gb"),
        ("int8_channel", "t4", "mi300x"),
        # FP8 is read as weights alone from Turing on, and computed with from Ada on.
        ("fp8_tensor", "t4", "v100-sxm2-16gb"),
        ("fp8_tensor", "mi300x", "gtx-1080-ti"),
        ("q4_k", "rtx-4090", "arc-b580"),
        ("bnb_nf4", "v100-sxm2-16gb", "gtx-1080-ti"),
        ("tq1_0", "", "h100"),
    ],
)
def test_codecs_by_generation(codec: str, runs: str, refused: str) -> None:
    """https://docs.vllm.ai/en/v0.15.1/features/quantization/, "Supported Hardware"."""
    if runs:
        assert cannot_read(codec, locate(runs).cluster.device) == ""
    assert cannot_read(codec, locate(refused).cluster.device)


def test_float32_is_loaded_as_16_bit_unless_asked_for() -> None:
    one = on("gpt2")
    assert one.loaded.weights == "as vllm loads f32 (bf16)"
    assert on("gpt2", weights="f32").needed().weights.value == pytest.approx(2 * one.needed().weights.value, rel=0.002)
    assert on("gpt2", "t4").loaded.weights == "as vllm loads f32 (f16)"


def test_the_cache_is_in_the_models_16_bit_unless_told() -> None:
    assert (on("gpt2").job.workload.state_codec, on("gpt2", weights="f16").job.workload.state_codec) == ("bf16", "f16")
    assert on("gpt2", kv="f8_e4m3").job.workload.state_codec == "f8_e4m3"


def test_a_codec_that_the_card_does_not_run_is_an_error_that_names_it() -> None:
    with pytest.raises(WeighError, match="fp8_channel") as refused:
        on("llama-3.1-8b", "v100-sxm2-16gb", weights="fp8_dynamic")
    assert refused.value.rule == "ENGINE-CODEC"
