"""What others' logs say that one device of several holds, against ours. Every row names its page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weigh.commands.setting import locate, setting
from weigh.commands.source import load
from weigh.cost.memory import spread
from weigh.families.identify import identify
from weigh.types import Inventory, Piece, Tensor

GIB = 2**30


def test_weights_of_llama_3_1_405b_in_8_bit_on_each_of_eight_devices() -> None:
    """`Loading model weights took 57.7520 GB` (of 2^30 bytes), github.com/vllm-project/vllm/issues/6746, July 2024.

    The checkpoint keeps attention, tables and the blocks of the first and the last layer in bf16, and the first
    release had 16 heads of keys and values; both are read off the sum, so the row is no proof of either.
    Scales of the rows are left out, 0.06 GiB.
    """
    configuration = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16_384, "dtype": "bfloat16",
        "intermediate_size": 53_248, "num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 16,
        "vocab_size": 128_256, "max_position_embeddings": 131_072, "tie_word_embeddings": False,
    }  # fmt: skip
    model = identify(Inventory("llama-3.1-405b-fp8", "config", "hf", configuration=configuration))
    chosen = setting(model=model, place=locate("h100x8"), engine="vllm", kv="bf16")

    def in_8_bit(tensor: Tensor) -> Tensor:
        inside = ".mlp." in tensor.name and not any(f".layers.{n}." in tensor.name for n in (0, 125))
        half = Piece("planned", 0, tensor.nbytes // 2)
        return replace(tensor, codec="f8_e4m3", pieces=(half,)) if inside else tensor

    job = replace(chosen.job, tensors=tuple(in_8_bit(tensor) for tensor in chosen.job.tensors))
    held = spread(job, chosen.engine, chosen.split).fullest.weights.value
    assert chosen.split.words == "tp=8"
    assert held / GIB == pytest.approx(57.752, rel=0.002)


def test_pages_of_qwen3_235b_on_each_of_four_devices() -> None:
    """178,880 tokens in 8.11 GiB a device, github.com/vllm-project/vllm/issues/21348: ours is 1.1 % less."""
    model = load("qwen3-235b-a22b")
    chosen = setting(model=model, place=locate("h100x4"), engine="vllm", kv="bf16", context=178_880)
    assert chosen.needed().state.value == 178_880 * 94 * 1 * (128 + 128) * 2
    assert chosen.needed().state.value / GIB == pytest.approx(8.11, rel=0.012)
