"""Translates GGUF metadata into the Hugging Face configuration keys of the same model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def translate(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """STUB."""
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        return None
    g = lambda key: metadata.get(f"{arch}.{key}")
    return {
        "model_type": arch, "architectures": ["LlamaForCausalLM"],
        "hidden_size": g("embedding_length"), "num_hidden_layers": g("block_count"),
        "num_attention_heads": g("attention.head_count"), "num_key_value_heads": g("attention.head_count_kv"),
        "intermediate_size": g("feed_forward_length"), "vocab_size": g("vocab_size"),
        "max_position_embeddings": g("context_length"), "tie_word_embeddings": "output.weight" not in shapes,
    }
