"""State to the byte in three engines, each by its own rules, counted by hand from the sizes of models.

The rules are those of the sources that `weigh/engines/` names: llama.cpp pads to 256 cells and keeps recurrences in
float32; vLLM counts pages of 16 tokens and shares one size of page between kinds of layers; transformers keeps exact
tokens, the whole kernel of a convolution, and recurrences in float32.
"""

from __future__ import annotations

import pytest

from tests.published.test_state import model
from weigh.commands.setting import locate, setting

TOKENS = 8192
MIB = 2**20
RECURRENT = 48 * 128 * 128
"""Values of one delta-rule layer of Qwen3.5-27B."""
ROW = 2 * 16 * 128 + 48 * 128
"""Inputs of its convolution: queries and keys of 16 heads, values of 48."""


def kept(name: str, engine: str, context: int = TOKENS, batch: int = 1) -> float:
    one = setting(
        model=model(name), place=locate("h100"), engine=engine, weights="bf16", context=context, batch=batch,
        prompt=128, output=64,
    )  # fmt: skip
    return one.engine.state(one.job).value


PAGE = 25 * 16 * 4096
"""A recurrent state in 16 bit, 1,634,304 bytes, in whole pages of 16 tokens x 2 x 4 heads x 256 x 2 bytes."""

ROWS = (
    # Latent rows of 512 + 64 values in 61 layers, and no values beside them.
    ("deepseek-v3", "llama.cpp", 61 * 576 * 2 * TOKENS),
    ("deepseek-v3", "vllm", 61 * 576 * 2 * TOKENS),
    ("deepseek-v3", "transformers", 61 * 576 * 2 * TOKENS),
    # Half of 24 layers with a window of 128; llama.cpp makes room for a micro-batch of 512 beside it, vLLM for the
    # 8,192 tokens in flight and one page, transformers for the window.
    ("gpt-oss-20b", "llama.cpp", 12 * 2048 * (TOKENS + 768)),
    ("gpt-oss-20b", "vllm", 12 * 16 * 2048 * (512 + 513)),
    ("gpt-oss-20b", "transformers", 12 * 2048 * (TOKENS + 128)),
    # 10 of 62 layers see everything, 52 a window of 1,024.
    ("gemma-3-27b", "llama.cpp", 8192 * (10 * TOKENS + 52 * 1536)),
    ("gemma-3-27b", "transformers", 8192 * (10 * TOKENS + 52 * 1024)),
    # 16 of 64 layers attend, 48 keep a recurrence and three (transformers: four) rows of a convolution.
    ("qwen3.5-27b", "llama.cpp", 16 * 4096 * TOKENS + 48 * (RECURRENT + 3 * ROW) * 4),
    ("qwen3.5-27b", "vllm", 16 * PAGE * 21 + 48 * PAGE),
    ("qwen3.5-27b", "transformers", 16 * 4096 * TOKENS + 48 * (RECURRENT * 4 + 4 * ROW * 2)),
)


@pytest.mark.parametrize(("name", "engine", "size"), ROWS, ids=lambda value: str(value))
def test_every_engine_keeps_what_its_rules_say(name: str, engine: str, size: int) -> None:
    assert kept(name, engine) == size


def test_three_sequences_of_a_hybrid_as_llama_cpp_logs_them() -> None:
    """R (f32) 16.88 MiB and S (f32) 432.00 MiB for 3 sequences: ggml-org/llama.cpp#23792."""
    convolution, recurrence = (48 * values * 4 * 3 / MIB for values in (3 * ROW, RECURRENT))
    assert (round(convolution, 2), recurrence) == (16.88, 432.0)
    attention = 16 * 4096 * 256 * 3
    assert kept("qwen3.5-27b", "llama.cpp", context=256, batch=3) - attention == (16.875 + 432) * MIB


def test_a_hybrid_at_its_full_context_as_a_mended_calculator_has_it() -> None:
    """16.0 GiB at 262,144 tokens (unslothai/unsloth#4757) are its keys and values; the recurrence is beside them."""
    fixed = 48 * (RECURRENT * 4 + 4 * ROW * 2)
    assert kept("qwen3.5-27b", "transformers", context=262_144) - fixed == 16 * 2**30
