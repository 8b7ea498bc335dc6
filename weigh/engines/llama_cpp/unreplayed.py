"""Architectures that llama.cpp runs and whose graph is not replayed here: their compute buffer by its largest terms.

Weights and states follow the same rules as everywhere. A row moves from here into `ARCHITECTURES` once its graph was
compared with llama.cpp's log (docs/llama-cpp-memory.md).

Source: gguf-py/gguf/constants.py of gguf 0.19 (MODEL_ARCH_NAMES) for the names; src/llama-context.cpp for what is
reserved. No figure of this file was compared with a log.
"""

from __future__ import annotations

from functools import reduce

from weigh import parts
from weigh.engines.llama_cpp.buffers import Settings
from weigh.numbers import Number, larger
from weigh.types import Model, Part

UNREPLAYED = {
    "cohere": "command-r",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "falcon_mamba": "mamba",
    "gemma3n_text": "gemma3n",
    "glm4_moe": "glm4moe",
    "gpt_oss": "gpt-oss",
    "gptj": "gptj",
    "kimi_k2": "deepseek2",
    "mamba": "mamba",
    "mamba2": "mamba2",
    "minimax_m2": "minimax-m2",
    "olmoe": "olmoe",
    "phimoe": "phimoe",
    "qwen3_5_text": "qwen35",
    "qwen3_next": "qwen3next",
    "starcoder2": "starcoder2",
}
"""`model_type` to llama.cpp's own name."""

SPREAD = (0.4, 2.5)
"""Ends of the interval, as shares of the value: rules of the replayed graphs without their layout."""
CHUNK = 64
"""Tokens that a delta rule or a state-space layer works on at once."""


def _held(part: Part, settings: Settings) -> Number:
    """Values that one layer's largest step holds, beside the stream."""
    dims, tokens = part.dimensions, settings.tokens
    if part.kind == "mlp":
        return tokens * (2 if dims.gated else 1) * dims.hidden
    if part.kind == "moe":
        return tokens * (dims.used * ((2 if dims.gated else 1) * dims.hidden + dims.width) + dims.experts)
    if part.kind in ("attention", "latent_attention"):
        scores = 0 if settings.flash else dims.heads * tokens * settings.cells
        return tokens * _given(part) + scores
    state = sum(entry.row for entry in parts.remembers(part) if entry.kind == "recurrent")
    return tokens * 2 * _given(part) + 2 * state * settings.sequences + CHUNK * tokens


def _given(part: Part) -> int:
    """Values a token that its matrices give."""
    return sum(slot.shape[0] for slot in parts.slots(part) if len(slot.shape) == 2)


def compute_bytes(model: Model, settings: Settings) -> Number:
    """The compute buffer by its largest terms: 4 x (4 widths x tokens + largest layer + cells x tokens / 2 + logits).

    Float32; the stream with its copies, what the largest layer holds, the mask in 16 bit, logits of one token a
    sequence. Off by: not known; the ends are `SPREAD`.
    """
    small = ("embedding", "linear", "norm", "array", "applied")
    layer = reduce(larger, (_held(part, settings) for part in model.parts if part.kind not in small), 0)
    width = model.dimensions.get("width", 0)
    masked = settings.cells * settings.tokens // 2 if any(part.kind == "attention" for part in model.parts) else 0
    logits = model.dimensions.get("vocabulary", 0) * settings.sequences
    return 4 * (4 * width * settings.tokens + layer + masked + logits)
