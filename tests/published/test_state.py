"""What others measured or worked out of caches and weight buffers, against ours. Every row names its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.families.test_experts import DEEPSEEK_V3
from tests.families.test_recurrent import QWEN35_27B
from weigh import parts
from weigh.commands.setting import locate, setting
from weigh.commands.source import load
from weigh.engines.llama_cpp.buffers import Settings
from weigh.engines.llama_cpp.buffers import state_bytes as buffer_bytes
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


ELSEWHERE: dict[str, dict[str, Any]] = {
    "deepseek-v3": DEEPSEEK_V3,
    "qwen3.5-27b": QWEN35_27B,
    "gpt-oss-20b": {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "vocab_size": 201_088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 24,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
    },
}


def model(name: str) -> Model:
    if name == "gemma-3-4b":
        return gemma_3(34, 2560, 10_240, 8, 4, 256)
    if name in ELSEWHERE:
        return identify(Inventory(name, "config", "hf", configuration=ELSEWHERE[name]))
    if name == "gemma-3-27b":
        return gemma_3(62, 5376, 21_504, 32, 16, 128)
    return load(name)


def kept(name: str) -> list[State]:
    return [state for part in model(name).parts for state in parts.remembers(part)]


def state_bytes(states: list[State], tokens: int, bytes_per_value: float) -> float:
    """Keys and values of each layer for the tokens that it can still attend to, without any engine's padding."""
    return sum(state.values(tokens) * bytes_per_value for state in states)


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


@dataclass(frozen=True)
class Factor:
    """How far off a calculator is that takes every layer for the same kind and every head for width / heads."""

    name: str
    tokens: int
    layer: int
    """Values a token and layer that it takes."""
    factor: float


FACTORS = (
    # hf-vram-calc 1.0: 2 x kv_heads x width / heads in every layer.
    Factor("deepseek-v3", 8192, 2 * 128 * 7168 // 128, 24.9),
    Factor("qwen3-0.6b", 8192, 2 * 8 * 1024 // 16, 0.50),
    # llmfit 1.1: every layer keeps all tokens.
    Factor("gemma-3-27b", 32_768, 2 * 16 * 128, 5.3),
    Factor("gpt-oss-20b", 32_768, 2 * 8 * 64, 2.0),
)


@pytest.mark.parametrize("row", FACTORS, ids=lambda row: row.name)
def test_how_far_off_the_calculators_are_that_take_one_layer_for_all(row: Factor) -> None:
    """Both were run, against a sum over the layers by hand. Here the sum is ours."""
    known = model(row.name)
    theirs = known.dimensions["layers"] * row.layer * row.tokens
    digits = 1 if row.factor >= 1 else 2
    assert round(theirs / state_bytes(kept(row.name), row.tokens, 1), digits) == row.factor


def test_deepseek_v3_keeps_short_rows_and_not_its_keys_and_values() -> None:
    """61 layers x (512 + 64) values: 8.58 GiB at 128 k tokens, 10.72 GiB at 160 k as llama.cpp ran it, 16 bit.

    https://provide.ai/the-exact-kv-cache-usage-of-deepseek-v4/. For every head it would be 128 x (192 + 128) values.
    """
    states = kept("deepseek-v3")
    assert state_bytes(states, 1, 2) == 61 * 1152 == 70_272
    for tokens, published in ((128 * 1024, 8.58), (160 * 1024, 10.72), (1024 * 1024, 68.63)):
        assert state_bytes(states, tokens, 2) / GIB == pytest.approx(published, abs=0.00501)
    expanded = [state.expands for state in states if state.expands is not None]
    assert len(expanded) == len(states)
    assert state_bytes(expanded, 1, 2) == 61 * 128 * (192 + 128) * 2


@pytest.mark.parametrize(("name", "kibibytes"), [("gpt2-xl", 300), ("llama-3-8b", 128)])
def test_a_token_of_dense_and_grouped_heads(name: str, kibibytes: int) -> None:
    """In 16 bit, beside 69 KiB of DeepSeek-V3: https://ai-paper-delta.vercel.app/en/papers/hn_47558733."""
    assert state_bytes(kept(name), 1, 2) == kibibytes * 1024
    assert round(state_bytes(kept("deepseek-v3"), 1, 2) / 1024) == 69


def test_a_hybrid_of_27_billion_keeps_149_6_mib_whatever_the_context() -> None:
    """48 layers of 48 x 128 x 128 values and 3 rows of 10,240, in float32 as llama.cpp keeps them.

    144 MiB + 5.6 MiB: https://github.com/ggml-org/llama.cpp/issues/23792.
    """
    states = [state for state in kept("qwen3.5-27b") if state.kind != "kv"]
    inputs, held = (sum(s.values(1) for s in states if s.kind == kind) * 4 for kind in ("conv", "recurrent"))
    assert held == 144 * MIB
    assert inputs == 48 * 3 * 10_240 * 4
    assert (inputs + held) / MIB == pytest.approx(149.6, abs=0.05)
    assert state_bytes(states, 1, 4) == state_bytes(states, 100_000, 4) == buffer_bytes(states, Settings())


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
