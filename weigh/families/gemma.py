"""Gemma 1 to 3 (text): heads wider than width / heads, tied head, from Gemma 2 on norms on both sides of a block."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, rope_sizes, windows
from weigh.families.llama import pre_norm_layer
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family

STEMS = {"gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3", "vaultgemma": "VaultGemma"}
CONTEXT = {"gemma": 8192, "gemma2": 8192, "gemma3_text": 131072, "vaultgemma": 8192}


def _window_rule(config: Config, kind: str, layers: int) -> list[int | None]:
    """Gemma 2 slides in every other layer, Gemma 3 in all but each sixth; Gemma 1 never.

    A window is of 4,096 tokens unless written down.
    """
    if kind == "gemma":
        return [None] * layers
    pattern = (
        2
        if kind in ("gemma2", "vaultgemma")
        else config.integer("sliding_window_pattern", "_sliding_window_pattern", default=6)
    )
    return windows(config, layers, [(i + 1) % pattern != 0 for i in range(layers)], default=4096)


def _stem(config: Config, kind: str) -> str:
    """The text-only classes of Gemma 3 are called Gemma3Text..., but for Gemma3ForCausalLM."""
    text = kind == "gemma3_text" and (config.architecture() or "").startswith("Gemma3Text")
    return "Gemma3Text" if text else STEMS[kind]


def gemma(config: Config) -> Architecture:
    """gemma, gemma2, gemma3_text and vaultgemma, a Gemma 2 without the norms behind its blocks. Heads of 256
    unless written down.

    Gemma 3 with `use_bidirectional_attention` is an encoder, whose windows reach half as far to either side.
    Source: transformers 5.23, {configuration,modeling}_{gemma,gemma2,gemma3}.py.
    """
    kind = str(config.values["model_type"])
    sizes = rope_sizes(config, context=CONTEXT[kind], kv_heads=16 if kind == "gemma" else 4, head_dim=256)
    biased = config.switch("attention_bias", default=False)
    window = _window_rule(config, kind, sizes.layers)
    if kind != "gemma3_text":
        config.expect("use_bidirectional_attention", value=False, default=False)
    both_ways = config.switch("use_bidirectional_attention", default=False)
    if both_ways:
        window = [None if size is None else size // 2 + 1 for size in window]
    normed = sizes.head_dim if kind == "gemma3_text" else 0
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = []
    for i in range(sizes.layers):
        attention = grouped_attention(
            sizes,
            window=window[i],
            causal=not both_ways,
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            o_bias=biased,
            q_norm=normed,
            k_norm=normed,
        )
        layer = pre_norm_layer(sizes, i, attention, mlp)
        if kind not in ("gemma", "vaultgemma"):
            layer.insert(2, part("attention_post_norm", Norm(sizes.width), i))
            layer.append(part("mlp_post_norm", Norm(sizes.width), i))
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, _stem(config, kind), sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


GEMMA = Family(
    id="gemma",
    model_types=("gemma",),
    build=gemma,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2403.08295",),
)

GEMMA2 = Family(
    id="gemma2",
    model_types=("gemma2", "gemma3_text"),
    build=gemma,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_post_norm": "model.layers.{layer}.post_attention_layernorm",
            "mlp_norm": "model.layers.{layer}.pre_feedforward_layernorm",
            "mlp_post_norm": "model.layers.{layer}.post_feedforward_layernorm",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2408.00118", "https://arxiv.org/abs/2503.19786"),
)

VAULTGEMMA = Family(
    id="vaultgemma",
    model_types=("vaultgemma",),
    build=gemma,
    names={"hf": GEMMA2.names["hf"]},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2510.15001",),
)
