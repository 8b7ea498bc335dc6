"""Qwen 2 and 3, dense and mixture of experts."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import (
    Sizes,
    assemble,
    experts_used,
    grouped_attention,
    head,
    rope_sizes,
    window_size,
    windows,
)
from weigh.families.llama import pre_norm_layer
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Attention, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

STEMS = {"qwen2": "Qwen2", "qwen3": "Qwen3", "qwen2_moe": "Qwen2Moe", "qwen3_moe": "Qwen3Moe"}


def _sizes(config: Config, kind: str) -> Sizes:
    """Documented defaults: qwen3's head_dim is 128 whatever the width; KV heads 32, 32, 16 and 4."""
    defaults = {"qwen2": 32, "qwen3": 32, "qwen2_moe": 16, "qwen3_moe": 4}
    return rope_sizes(config, context=32768, kv_heads=defaults[kind], head_dim=128 if kind == "qwen3" else None)


def _attention(config: Config, kind: str, sizes: Sizes, window: int | None) -> Attention:
    """Qwen 2 has biases on q, k, v always (its MoE by `qkv_bias`); Qwen 3 normalises each head of q and k instead."""
    if kind in ("qwen2", "qwen2_moe"):
        biased = kind == "qwen2" or config.switch("qkv_bias", default=True)
        return grouped_attention(sizes, window=window, q_bias=biased, k_bias=biased, v_bias=biased)
    biased = config.switch("attention_bias", default=False)
    return grouped_attention(
        sizes,
        window=window,
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        o_bias=biased,
        q_norm=sizes.head_dim,
        k_norm=sizes.head_dim,
    )


def _windows(config: Config, kind: str, layers: int) -> list[int | None]:
    """No window unless `use_sliding_window`; then each class has its own rule for which layers slide.

    A window is of 4,096 tokens unless written down.
    """
    if not config.switch("use_sliding_window", default=False):
        return [None] * layers
    if kind == "qwen3_moe":
        return [window_size(config, 4096)] * layers
    first = config.integer("max_window_layers", default=28, minimum=0)
    if kind == "qwen2_moe":
        return windows(config, layers, [i % 2 == 0 and i < first for i in range(layers)], default=4096)
    return windows(config, layers, [i >= first for i in range(layers)], default=4096)


def qwen(config: Config) -> Architecture:
    """qwen2 and qwen3. Source: transformers 5.23, configuration_{qwen2,qwen3}.py and their modeling files."""
    kind = str(config.values["model_type"])
    sizes = _sizes(config, kind)
    window = _windows(config, kind, sizes.layers)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [pre_norm_layer(sizes, i, _attention(config, kind, sizes, window[i]), mlp) for i in range(sizes.layers)]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


def qwen_moe(config: Config) -> Architecture:
    """qwen2_moe (with a shared expert behind a gate) and qwen3_moe (without).

    A layer is dense where `mlp_only_layers` names it or `decoder_sparse_step` skips it.
    """
    kind = str(config.values["model_type"])
    sizes = _sizes(config, kind)
    window = _windows(config, kind, sizes.layers)
    experts = config.integer("num_experts", "num_local_experts")
    moe = Moe(
        width=sizes.width,
        hidden=config.integer("moe_intermediate_size"),
        experts=experts,
        used=experts_used(config, experts),
        shared_hidden=config.integer("shared_expert_intermediate_size") if kind == "qwen2_moe" else 0,
        shared_gate=kind == "qwen2_moe",
    )
    step = config.integer("decoder_sparse_step", default=1)
    dense = set(config.integers("mlp_only_layers", default=[]))
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        layer = pre_norm_layer(
            sizes, i, _attention(config, kind, sizes, window[i]), Mlp(sizes.width, sizes.hidden, gated=True)
        )
        if i not in dense and (i + 1) % step == 0:
            layer[-1] = part("moe", moe, i)
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=Norm(sizes.width),
        experts=moe.experts,
        experts_used=moe.used,
        expert_hidden=moe.hidden,
    )


QWEN = Family(
    id="qwen",
    model_types=("qwen2", "qwen3"),
    build=qwen,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.", "transformer."),
    sources=("https://arxiv.org/abs/2407.10671", "https://arxiv.org/abs/2505.09388"),
)

_MOE_HF = {
    **LLAMA_HF,
    "moe.router": "model.layers.{layer}.mlp.gate",
    "moe.experts.gate": "model.layers.{layer}.mlp.experts.{expert}.gate_proj",
    "moe.experts.up": "model.layers.{layer}.mlp.experts.{expert}.up_proj",
    "moe.experts.down": "model.layers.{layer}.mlp.experts.{expert}.down_proj",
    "moe.shared.gate": "model.layers.{layer}.mlp.shared_expert.gate_proj",
    "moe.shared.up": "model.layers.{layer}.mlp.shared_expert.up_proj",
    "moe.shared.down": "model.layers.{layer}.mlp.shared_expert.down_proj",
    "moe.shared_gate": "model.layers.{layer}.mlp.shared_expert_gate",
}

QWEN_MOE = Family(
    id="qwen_moe",
    model_types=("qwen2_moe", "qwen3_moe"),
    build=qwen_moe,
    names={"hf": _MOE_HF, "ggml": GGML},
    prefixes=("model.", "transformer."),
    sources=("https://arxiv.org/abs/2407.10671", "https://arxiv.org/abs/2505.09388"),
)
