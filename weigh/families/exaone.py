"""EXAONE 4: norms behind attention and MLP as in OLMo 2 and on each head of q and k; three of four layers slide."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, rope_sizes, windows
from weigh.families.llama import post_norm_layer
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Mlp, Norm
from weigh.types import Architecture, Family


def _windows(config: Config, layers: int) -> list[int | None]:
    """`layer_types`, else all but each `sliding_window_pattern`-th layer slide; none where the window is null."""
    if config.is_null("sliding_window"):
        return windows(config, layers, [False] * layers, default=None)
    sliding = [False] * layers
    if config.values.get("layer_types") is None:
        pattern = config.integer("sliding_window_pattern", default=4)
        sliding = [(i + 1) % pattern != 0 for i in range(layers)]
    return windows(config, layers, sliding, default=4096)


def exaone4(config: Config) -> Architecture:
    """No biases; KV heads left out are 32. Source: transformers 5.23, {configuration,modeling}_exaone4.py."""
    sizes = rope_sizes(config, kv_heads=32)
    window = _windows(config, sizes.layers)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [
        post_norm_layer(
            sizes,
            i,
            grouped_attention(sizes, window=window[i], q_norm=sizes.head_dim, k_norm=sizes.head_dim),
            mlp,
        )
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Exaone4", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


EXAONE4 = Family(
    id="exaone4",
    model_types=("exaone4",),
    build=exaone4,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_post_norm": "model.layers.{layer}.post_attention_layernorm",
            "mlp_post_norm": "model.layers.{layer}.post_feedforward_layernorm",
        },
        "ggml": GGML,
    },
    prefixes=("model.", "transformer."),
    sources=("https://arxiv.org/abs/2507.11407",),
)
