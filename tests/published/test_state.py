"""What others measured or worked out of caches and weight buffers, against ours. Every row names its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from weigh import parts
from weigh.commands.setting import locate, setting
from weigh.commands.source import load
from weigh.families.identify import identify
from weigh.types import Inventory, Model, State

MIB, GIB = 2**20, 2**30


def gemma_3(layers: int, width: int, hidden: int, heads: int, kv_heads: int, head_dim: int) -> Model:
    """Sizes: config.json of google/gemma-3-4b-it and -27b-it, `text_config`."""
    configuration: dict[str, Any] = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "tie_word_embeddings": True,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": 131_072,
        "vocab_size": 262_208,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "dtype": "bfloat16",
    }
    return identify(Inventory("gemma-3", "config", "hf", configuration=configuration))


def model(name: str) -> Model:
    if name == "gemma-3-4b":
        return gemma_3(34, 2560, 10_240, 8, 4, 256)
    if name == "gemma-3-27b":
        return gemma_3(62, 5376, 21_504, 32, 16, 128)
    return load(name)


def kept(name: str) -> list[State]:
    return [state for part in model(name).parts if (state := parts.remembers(part)) is not None]


def state_bytes(states: list[State], tokens: int, bytes_per_value: float) -> float:
    """Keys and values of each layer for the tokens that it can still attend to, without any engine's padding."""
    return sum(
        state.heads * (state.key_width + state.value_width) * min(tokens, state.window or tokens) * bytes_per_value
        for state in states
    )


@dataclass(frozen=True)
class Row:
    name: str
    tokens: int
    published: float
    """Bytes, of 16-bit keys and values."""
    digit: float
    """What the last digit printed is worth, in bytes."""
    source: str
    full_only: bool = False
    """Of the layers that attend to everything."""


ROWS = (
    # 10 of 62 layers keep all tokens, the others 1,024: the naive formula gave 81.38.
    Row("gemma-3-27b", 131_072, 10.41 * GIB, 0.01 * GIB, "https://github.com/unslothai/unsloth/pull/4757"),
    # Heads of 128, which is not width / heads: the naive formula gave 2.19.
    Row("qwen3-0.6b", 40_960, 4.38 * GIB, 0.01 * GIB, "https://github.com/unslothai/unsloth/pull/4757"),
    Row("gemma-3-4b", 131_072, 2560 * MIB, MIB, "https://github.com/ollama/ollama/pull/17037", full_only=True),
    Row("qwen2.5-32b", 16_384, 4096 * MIB, MIB, "https://github.com/ggml-org/llama.cpp/issues/11861"),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_state_of_a_model(row: Row) -> None:
    states = [state for state in kept(row.name) if not row.full_only or state.window is None]
    assert state_bytes(states, row.tokens, 2) == pytest.approx(row.published, abs=row.digit / 2 * 1.001)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.full_only], ids=lambda row: row.name)
def test_llama_cpp_keeps_that_and_the_padding_of_its_windows(row: Row) -> None:
    one = setting(model=model(row.name), place=locate("8GB"), context=row.tokens)
    ours = one.engine.state(one.job).value
    bare = state_bytes(kept(row.name), row.tokens, 2)
    # A window has room for a micro-batch of 512 tokens more.
    windows = [state for state in kept(row.name) if state.window is not None]
    assert ours - bare == state_bytes(windows, 512, 2)


def test_the_weights_that_llama_cpp_puts_on_a_card() -> None:
    """A 32B of Qwen2's kind in Q4_K_M: CUDA0 18508.35 MiB, CPU_Mapped 417.66 MiB (the token table).

    https://github.com/ggml-org/llama.cpp/issues/11861
    """
    one = setting(model=load("qwen2.5-32b"), place=locate("a100"), weights="q4_k_m", context=16_384)
    assert one.needed().weights.value / MIB == pytest.approx(18508.35, abs=0.005)
    table = next(tensor for tensor in one.job.tensors if tensor.name == "token_embd.weight")
    assert table.nbytes / MIB == pytest.approx(417.66, abs=0.005)


def test_the_tokens_that_vllm_finds_room_for() -> None:
    """Qwen3-235B-A22B over 4 cards: 178,880 tokens in 8.11 GiB of cache on each, each with a quarter of the heads.

    https://github.com/vllm-project/vllm/issues/21348. The cache is cut into blocks of 16 tokens for all layers at
    once, so a little stays over.
    """
    a_token = state_bytes(kept("qwen3-235b-a22b"), 1, 2) / 4
    assert 0.98 * 8.11 * GIB < 178_880 * a_token <= 8.115 * GIB
