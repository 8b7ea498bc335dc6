"""Kimi Linear: Kimi delta attention in most layers, latent attention in the rest, experts in all but the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, head
from weigh.families.deepseek import LATENT_HF
from weigh.families.glm_moe import MLP_TYPES, per_layer
from weigh.parts import KimiDelta, LatentAttention, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family

MIXERS = ("linear_attention", "full_attention")


def _mixers(config: Config, listed: Mapping[str, Any], layers: int) -> list[str]:
    """`layer_types`; else the layers that `linear_attn_config` numbers from 1 on; else every fourth is latent."""
    kinds = per_layer(config, "layer_types", MIXERS, layers)
    if kinds is not None:
        return list(kinds)
    if "full_attn_layers" not in listed or "kda_layers" not in listed:
        return [MIXERS[i > 0 and i % 4 == 0] for i in range(layers)]
    inner = Config(listed, config.source, limits=config.limits)
    full = inner.integers("full_attn_layers", minimum=1)
    linear = inner.integers("kda_layers", minimum=1)
    if sorted((*full, *linear)) != list(range(1, layers + 1)):
        raise config.variant("linear_attn_config", f"each of the layers 1 to {layers} once", dict(listed))
    return [MIXERS[i + 1 in full] for i in range(layers)]


def kimi_linear(config: Config) -> Architecture:
    """Keys of released configurations (`linear_attn_config`, `num_experts_per_token`, ...) and those of the class.

    Source: transformers 5.23, {configuration,modeling}_kimi_linear.py.
    """
    heads = config.integer("num_attention_heads")
    rope = config.integer("qk_rope_head_dim")
    width = config.integer("hidden_size")
    sizes = Sizes(
        layers=config.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.integer("qk_nope_head_dim") + rope,
        hidden=config.integer("intermediate_size"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("model_max_length", "max_position_embeddings", default=1048576),
    )
    listed = config.values.get("linear_attn_config") or {}
    if not isinstance(listed, Mapping):
        raise config.variant("linear_attn_config", "a section of keys", listed)
    mixers = _mixers(config, listed, sizes.layers)
    inner = Config({**config.values, **listed}, config.source, limits=config.limits)
    inner.assumed = config.assumed
    delta = KimiDelta(
        width,
        heads=inner.integer("num_heads" if "num_heads" in listed else "linear_num_heads"),
        head_dim=inner.integer("head_dim" if "head_dim" in listed else "linear_head_dim"),
        kernel=inner.integer(
            "short_conv_kernel_size" if "short_conv_kernel_size" in listed else "linear_conv_kernel_dim", default=4
        ),
    )
    latent = LatentAttention(
        width=width,
        heads=heads,
        nope_dim=sizes.head_dim - rope,
        rope_dim=rope,
        value_dim=config.integer("v_head_dim"),
        kv_rank=config.integer("kv_lora_rank"),
        q_rank=config.optional_integer("q_lora_rank") or 0,
        bias=config.switch("attention_bias", default=False),
    )
    experts = config.integer("num_experts", "num_local_experts")
    hidden = config.integer("moe_intermediate_size")
    used = experts_used(config, experts, default=8, key="num_experts_per_token", other="num_experts_per_tok")
    shared = config.integer("num_shared_experts", "n_shared_experts", default=1) * hidden
    moe = Moe(width, hidden, experts, used, shared_hidden=shared, correction="buffer")
    dense = config.integer("first_k_dense_replace", default=1, minimum=0)
    kinds = per_layer(config, "mlp_layer_types", MLP_TYPES, sizes.layers)
    sparse = [kind == "sparse" for kind in kinds] if kinds else [i >= dense for i in range(sizes.layers)]
    mlp = Mlp(width, sizes.hidden, gated=True)
    norm = Norm(width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", latent, i) if mixers[i] == "full_attention" else part("delta", delta, i),
            part("mlp_norm", norm, i),
            part("moe", moe, i) if sparse[i] else part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    # The class names no tensors to tie, whatever `tie_word_embeddings` says.
    behind = head(config, "KimiLinear", width, sizes.vocabulary, tied=False)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=norm,
        experts=experts,
        experts_used=used,
        expert_hidden=hidden,
        latent_rank=latent.kv_rank,
    )


_MIXER = "model.layers.{layer}.self_attn."
_FEED = "model.layers.{layer}.block_sparse_moe."

KIMI_LINEAR = Family(
    id="kimi_linear",
    model_types=("kimi_linear",),
    build=kimi_linear,
    names={
        "hf": {
            **{key: name.replace(".mlp.", ".block_sparse_moe.") for key, name in LATENT_HF.items()},
            **{
                f"moe.experts.{name}": f"{_FEED}experts.{{expert}}.{stored}"
                for name, stored in (("gate", "w1"), ("up", "w3"), ("down", "w2"))
            },
            **{f"delta.{name}": f"{_MIXER}{name}_proj" for name in "qkvo"},
            **{f"delta.{name}_conv": f"{_MIXER}{name}_conv1d" for name in "qkv"},
            "delta.forget_a": _MIXER + "f_a_proj",
            "delta.forget_b": _MIXER + "f_b_proj",
            "delta.gate_a": _MIXER + "g_a_proj",
            "delta.gate_b": _MIXER + "g_b_proj",
            "delta.a.weight": _MIXER + "A_log",
            "delta.dt.bias": _MIXER + "dt_bias",
            "delta.beta": _MIXER + "b_proj",
            "delta.norm": _MIXER + "o_norm",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2510.26692",),
)
