"""Decoders with experts in every layer: OLMoE, Granite MoE, Phi-3.5 MoE, MiniMax M2, gpt-oss.

What other families with experts share is here too: a layer around a mixture, and the end of the model behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
from weigh.families.names import GGML, LLAMA_HF, fused
from weigh.parts import Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

Feed = Mlp | Moe

STACKED = ("moe.experts.gate", "moe.experts.up")


def sparse_layer(index: int, norm: Norm, attention: Any, feed: Feed) -> list[Part]:
    """Norm, attention, norm, and the feed-forward block of this layer: dense or of experts."""
    return [
        part("attention_norm", norm, index),
        part("attention", attention, index),
        part("mlp_norm", norm, index),
        part("moe" if isinstance(feed, Moe) else "mlp", feed, index),
    ]


def finish(
    config: Config,
    sizes: Sizes,
    layers: Sequence[Sequence[Part]],
    moe: Moe,
    stem: str,
    *,
    norm: Norm | None = None,
    tied: bool = False,
    bias: bool = False,
    after: Sequence[Part] = (),
    **more: int,
) -> Architecture:
    """Final norm and head behind the layers; `tied` is the default of `tie_word_embeddings`, `bias` that of the head.

    Layers for multi-token prediction, which the classes leave out, are announced as `mtp_layers`, so that they are
    known in files that hold them.
    """
    tied = config.switch("tie_word_embeddings", default=tied)
    ahead = config.optional_integer("num_nextn_predict_layers", "num_mtp_layers", "num_mtp_modules", minimum=0)
    whole = assemble(
        config,
        sizes,
        layers,
        head=head(config, stem, sizes.width, sizes.vocabulary, tied=tied, bias=bias),
        final_norm=norm or Norm(sizes.width),
        after=after,
        experts=moe.experts,
        experts_used=moe.used,
        expert_hidden=moe.hidden,
    )
    return replace(whole, dimensions={**whole.dimensions, **more, **({"mtp_layers": ahead} if ahead else {})})


def biases(
    config: Config, *, default: bool = False, output: bool = True, key: str = "attention_bias"
) -> dict[str, bool]:
    """Biases of q, k, v by one switch, and of the output unless the class gives it none."""
    biased = config.switch(key, default=default)
    return {"q_bias": biased, "k_bias": biased, "v_bias": biased, "o_bias": biased and output}


def olmoe(config: Config) -> Architecture:
    """Norms over whole queries and keys, their lengths from the width whatever `head_dim` says."""
    sizes = rope_sizes(config, context=4096)
    experts = config.integer("num_experts", "num_local_experts")
    moe = Moe(sizes.width, sizes.hidden, experts, experts_used(config, experts, default=8))
    share = config.divide(sizes.width, sizes.heads, "hidden_size / num_attention_heads")
    attention = grouped_attention(sizes, **biases(config), q_norm=sizes.width, k_norm=share * sizes.kv_heads)
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "Olmoe")


def granite_moe(config: Config) -> Architecture:
    """Llama's attention; the experts of a layer lie in one tensor, gate and up together.

    granitemoeshared has a block that always runs beside them, where `shared_intermediate_size` is not 0.
    """
    kind = str(config.values["model_type"])
    sizes = rope_sizes(config)
    experts = config.integer("num_local_experts", "num_experts")
    shared = 0
    if kind == "granitemoeshared":
        shared = config.integer("shared_intermediate_size", default=0, minimum=0)
    moe = Moe(sizes.width, sizes.hidden, experts, experts_used(config, experts, default=2), shared_hidden=shared)
    attention = grouped_attention(sizes, **biases(config))
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "GraniteMoe" if kind == "granitemoe" else "GraniteMoeShared")


def phimoe(config: Config) -> Architecture:
    """Layer norms with biases; 8 KV heads unless written down; a head with a bias where `lm_head_bias` says so."""
    sizes = rope_sizes(config, context=131072, kv_heads=8)
    experts = config.integer("num_local_experts", "num_experts")
    moe = Moe(sizes.width, sizes.hidden, experts, experts_used(config, experts, default=2))
    norm = Norm(sizes.width, bias=True)
    attention = grouped_attention(sizes, **biases(config), window=window_size(config, None))
    layers = [sparse_layer(i, norm, attention, moe) for i in range(sizes.layers)]
    biased = config.switch("lm_head_bias", default=False)
    return finish(config, sizes, layers, moe, "Phimoe", norm=norm, bias=biased)


def minimax_m2(config: Config) -> Architecture:
    """Heads of 128 and 8 KV heads unless written down; norms over whole queries and keys; a correction bias."""
    sizes = rope_sizes(config, context=196608, kv_heads=8, head_dim=128)
    experts = config.integer("num_local_experts", "num_experts")
    used = experts_used(config, experts, default=8)
    moe = Moe(sizes.width, sizes.hidden, experts, used, correction="buffer")
    attention = grouped_attention(sizes, q_norm=sizes.heads * sizes.head_dim, k_norm=sizes.kv_heads * sizes.head_dim)
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "MiniMaxM2")


def gpt_oss(config: Config) -> Architecture:
    """Every other layer slides, the first one does; sinks; biases in attention, router and experts.

    Heads of 64 and 8 KV heads unless written down, a window of 128.
    """
    null = config.is_null("head_dim")
    sizes = rope_sizes(config, context=131072, kv_heads=8, head_dim=None if null else 64)
    experts = config.integer("num_local_experts", "num_experts")
    used = experts_used(config, experts, default=4)
    moe = Moe(sizes.width, sizes.hidden, experts, used, router_bias=True, expert_bias=True)
    window = windows(config, sizes.layers, [i % 2 == 0 for i in range(sizes.layers)], default=128)
    bias = biases(config, default=True)
    layers = [
        sparse_layer(i, Norm(sizes.width), grouped_attention(sizes, **bias, sinks=True, window=window[i]), moe)
        for i in range(sizes.layers)
    ]
    return finish(config, sizes, layers, moe, "GptOss")


EXPERTS_HF = {
    **LLAMA_HF,
    "moe.router": "model.layers.{layer}.mlp.gate",
    "moe.correction.bias": "model.layers.{layer}.mlp.gate.e_score_correction_bias",
    "moe.experts.gate": "model.layers.{layer}.mlp.experts.{expert}.gate_proj",
    "moe.experts.up": "model.layers.{layer}.mlp.experts.{expert}.up_proj",
    "moe.experts.down": "model.layers.{layer}.mlp.experts.{expert}.down_proj",
    "moe.shared.gate": "model.layers.{layer}.mlp.shared_experts.gate_proj",
    "moe.shared.up": "model.layers.{layer}.mlp.shared_experts.up_proj",
    "moe.shared.down": "model.layers.{layer}.mlp.shared_experts.down_proj",
}
"""Names that most classes with experts took over."""

BLOCK_HF = {
    **LLAMA_HF,
    "moe.router": "model.layers.{layer}.block_sparse_moe.gate",
    "moe.correction.bias": "model.layers.{layer}.block_sparse_moe.e_score_correction_bias",
    "moe.experts.gate": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1",
    "moe.experts.up": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3",
    "moe.experts.down": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2",
}
"""Mixtral's names."""

EXPERTS_GGML = {**GGML, "moe.correction": "blk.{layer}.exp_probs_b", "attention.sinks": "blk.{layer}.attn_sinks"}

OLMOE = Family(
    id="olmoe",
    model_types=("olmoe",),
    build=olmoe,
    names={"hf": EXPERTS_HF, "ggml": EXPERTS_GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2409.02060",),
)

GRANITE_MOE = Family(
    id="granitemoe",
    model_types=("granitemoe",),
    build=granite_moe,
    names={
        "hf": {
            **fused(LLAMA_HF, "model.layers.{layer}.block_sparse_moe.input_linear", *STACKED),
            "moe.experts.down": "model.layers.{layer}.block_sparse_moe.output_linear",
            "moe.router": "model.layers.{layer}.block_sparse_moe.router.layer",
        },
        "ggml": EXPERTS_GGML,
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/granitemoe",),
)

GRANITE_MOE_SHARED = Family(
    id="granitemoeshared",
    model_types=("granitemoeshared",),
    build=granite_moe,
    names={
        "hf": {
            **GRANITE_MOE.names["hf"],
            "moe.shared.gate": "model.layers.{layer}.shared_mlp.input_linear",
            "moe.shared.up": "model.layers.{layer}.shared_mlp.input_linear",
            "moe.shared.down": "model.layers.{layer}.shared_mlp.output_linear",
        },
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/granitemoeshared",),
)

PHIMOE = Family(
    id="phimoe",
    model_types=("phimoe",),
    build=phimoe,
    names={"hf": BLOCK_HF, "ggml": EXPERTS_GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2404.14219",),
)

MINIMAX_M2 = Family(
    id="minimax_m2",
    model_types=("minimax_m2",),
    build=minimax_m2,
    names={"hf": BLOCK_HF, "ggml": EXPERTS_GGML},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/minimax_m2",),
)

_GATE_UP = "model.layers.{layer}.mlp.experts.gate_up_proj"

GPT_OSS = Family(
    id="gpt_oss",
    model_types=("gpt_oss",),
    build=gpt_oss,
    names={
        "hf": {
            **LLAMA_HF,
            "attention.sinks.weight": "model.layers.{layer}.self_attn.sinks",
            "moe.router": "model.layers.{layer}.mlp.router",
            **dict.fromkeys([f"{key}.weight" for key in STACKED], f"{_GATE_UP}^T"),
            **dict.fromkeys([f"{key}.bias" for key in STACKED], f"{_GATE_UP}_bias"),
            "moe.experts.down.weight": "model.layers.{layer}.mlp.experts.down_proj^T",
            "moe.experts.down.bias": "model.layers.{layer}.mlp.experts.down_proj_bias",
        },
        "ggml": {**EXPERTS_GGML, "mlp_norm": "blk.{layer}.post_attention_norm"},
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2508.10925",),
)
