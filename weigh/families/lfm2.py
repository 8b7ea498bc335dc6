"""LFM2: short convolutions between gates in most layers, attention in the rest; experts in the larger ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, grouped_attention, head, rope_sizes
from weigh.families.encoder import number
from weigh.families.experts import Feed
from weigh.families.glm_moe import per_layer
from weigh.families.names import LLAMA_HF
from weigh.parts import Mlp, Moe, Norm, ShortConv, part
from weigh.types import Architecture, Family

MIXERS = ("conv", "full_attention")
STEMS = {"lfm2": "Lfm2", "lfm2_moe": "Lfm2Moe"}


def _sizes(config: Config, kind: str) -> Sizes:
    """LFM2 rounds two thirds of what is written down, unless `block_auto_adjust_ff_dim` is off."""
    sizes = rope_sizes(config, context=128_000, kv_heads=8, hidden_keys=("block_ff_dim", "intermediate_size"))
    if kind == "lfm2_moe" or not config.switch("block_auto_adjust_ff_dim", default=True):
        return sizes
    hidden = int(2 * sizes.hidden / 3)
    if not config.is_null("block_ffn_dim_multiplier"):
        step = config.integer("block_multiple_of", default=256)
        hidden = int(number(config, "block_ffn_dim_multiplier", default=1.0) * hidden)
        hidden = -(-hidden // step) * step
    return replace(sizes, hidden=hidden)


def _mixers(config: Config, kind: str, layers: int) -> list[str]:
    """`layer_types`; without them LFM2 attends in the layers of `full_attn_idxs`, or in all."""
    listed = per_layer(config, "layer_types", MIXERS, layers)
    if listed is not None:
        return list(listed)
    if kind == "lfm2_moe":
        raise config.missing("layer_types")
    attends = set(config.integers("full_attn_idxs", default=list(range(layers))))
    return [MIXERS[i in attends] for i in range(layers)]


def lfm2(config: Config) -> Architecture:
    """lfm2 and lfm2_moe, whose first layers, two unless written down, are dense. The head is tied unless written down.

    Source: transformers 5.23, models/{lfm2,lfm2_moe}/{configuration,modeling}_*.py.
    """
    kind = str(config.values["model_type"])
    sizes = _sizes(config, kind)
    mixers = _mixers(config, kind, sizes.layers)
    kernel = config.integer("conv_L_cache", default=3)
    conv = ShortConv(sizes.width, kernel, bias=config.switch("conv_bias", default=False))
    attention = grouped_attention(sizes, q_norm=sizes.head_dim, k_norm=sizes.head_dim)
    dense = Mlp(sizes.width, sizes.hidden, gated=True)
    feeds: list[Feed] = [dense] * sizes.layers
    routed: dict[str, Any] = {}
    if kind == "lfm2_moe":
        experts = config.integer("num_experts", "num_local_experts")
        hidden = config.integer("moe_intermediate_size")
        used = experts_used(config, experts, default=4)
        corrected = "buffer" if config.switch("use_expert_bias", default=True) else ""
        moe = Moe(sizes.width, hidden, experts, used, correction=corrected)
        first = config.integer("num_dense_layers", default=2, minimum=0)
        feeds = [dense if i < first else moe for i in range(sizes.layers)]
        routed = {"experts": experts, "experts_used": used, "expert_hidden": hidden}
    norm = Norm(sizes.width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("conv", conv, i) if mixers[i] == "conv" else part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("moe" if isinstance(feeds[i], Moe) else "mlp", feeds[i], i),
        ]
        for i in range(sizes.layers)
    ]
    # The released key wins over the usual one.
    key = "tie_word_embeddings" if config.values.get("tie_embedding") is None else "tie_embedding"
    tied = config.switch(key, default=True)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm, **routed)


_LAYER = "model.layers.{layer}."

LFM2 = Family(
    id="lfm2",
    model_types=("lfm2", "lfm2_moe"),
    build=lfm2,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_norm": _LAYER + "operator_norm",
            "attention.o": _LAYER + "self_attn.out_proj",
            "attention.q_norm": _LAYER + "self_attn.q_layernorm",
            "attention.k_norm": _LAYER + "self_attn.k_layernorm",
            "conv.in": _LAYER + "conv.in_proj",
            "conv.conv": _LAYER + "conv.conv",
            "conv.out": _LAYER + "conv.out_proj",
            "mlp_norm": _LAYER + "ffn_norm",
            "mlp.gate": _LAYER + "feed_forward.w1",
            "mlp.up": _LAYER + "feed_forward.w3",
            "mlp.down": _LAYER + "feed_forward.w2",
            "moe.router": _LAYER + "feed_forward.gate",
            "moe.correction.bias": _LAYER + "feed_forward.expert_bias",
            "moe.experts.gate": _LAYER + "feed_forward.experts.{expert}.w1",
            "moe.experts.up": _LAYER + "feed_forward.experts.{expert}.w3",
            "moe.experts.down": _LAYER + "feed_forward.experts.{expert}.w2",
            "final_norm": "model.embedding_norm",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2511.23404",),
)
