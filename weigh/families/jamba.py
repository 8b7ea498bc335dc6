"""Hybrids whose layers are attention or state space, or both, and a feed-forward block: Jamba, Bamba, Falcon-H1."""

from __future__ import annotations

from dataclasses import replace

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, grouped_attention, head, rope_sizes
from weigh.families.mamba import mixer2_names, mixer_names, step_rank
from weigh.families.names import LLAMA_HF
from weigh.parts import Mamba, Mamba2, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CONTEXT = 262144


def _every(config: Config, what: str, period: int, offset: int, layers: int) -> list[bool]:
    """Whether layer i is the offset-th of its period. Source: transformers 5.23, configuration_jamba.py."""
    every = config.integer(f"{what}_layer_period", default=period)
    first = config.integer(f"{what}_layer_offset", default=offset, minimum=0)
    if first >= every:
        raise WeighError(
            f"`{what}_layer_offset` is {first:,}, not below `{what}_layer_period`, {every:,}",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where=f"key {what}_layer_offset",
        )
    return [i % every == first for i in range(layers)]


def _layer(sizes: Sizes, index: int, mixer: Part, feed: Mlp | Moe) -> list[Part]:
    return [
        part("attention_norm", Norm(sizes.width), index),
        mixer,
        part("mlp_norm", Norm(sizes.width), index),
        part("moe" if isinstance(feed, Moe) else "mlp", feed, index),
    ]


def jamba(config: Config) -> Architecture:
    """jamba: Mamba-1 with norms inside, attention in one layer of eight, experts in one of two.

    One expert is a plain feed-forward block. Source: transformers 5.23, configuration_jamba.py, modeling_jamba.py.
    """
    sizes = rope_sizes(config, context=CONTEXT, kv_heads=8)
    mixer = Mamba(
        width=sizes.width,
        inner=config.integer("mamba_expand", default=2) * sizes.width,
        state=config.integer("mamba_d_state", default=16),
        rank=step_rank(config, "mamba_dt_rank", sizes.width),
        kernel=config.integer("mamba_d_conv", default=4),
        conv_bias=config.switch("mamba_conv_bias", default=True),
        bias=config.switch("mamba_proj_bias", default=False),
        norms=True,
    )
    experts = config.integer("num_experts", "num_local_experts")
    used = experts_used(config, experts, default=2)
    dense = Mlp(sizes.width, sizes.hidden, gated=True)
    sparse = Moe(sizes.width, sizes.hidden, experts, used)
    attends = _every(config, "attn", 8, 4, sizes.layers)
    routes = _every(config, "expert", 2, 1, sizes.layers)
    attention = grouped_attention(sizes)
    layers = [
        _layer(
            sizes,
            i,
            part("attention", attention, i) if attends[i] else part("mamba", mixer, i),
            sparse if routes[i] and experts > 1 else dense,
        )
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Jamba", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=Norm(sizes.width),
        experts=experts,
        experts_used=used,
        state=mixer.state,
    )


def mamba2_mixer(config: Config, width: int, *, inner: int | None = None) -> Mamba2:
    """Mamba-2 under the keys that Bamba introduced, which have the same defaults in all types that read them.

    `mamba_d_head` may be `auto`: inner width / heads, which it has to be in any case. The inner width is expand x
    width unless the type has another rule.
    """
    if inner is None:
        inner = config.integer("mamba_expand", default=2) * width
    count = config.integer("mamba_n_heads", default=128)
    size = config.divide(inner, count, "inner width of the state-space layers / mamba_n_heads")
    if config.values.get("mamba_d_head") not in (None, "auto") and config.integer("mamba_d_head") != size:
        raise WeighError(
            f"`mamba_d_head` is not {size:,}, the inner width / mamba_n_heads",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where="key mamba_d_head",
        )
    return Mamba2(
        width=width,
        heads=count,
        head_dim=size,
        groups=config.integer("mamba_n_groups", default=1),
        state=config.integer("mamba_d_state", default=256),
        kernel=config.integer("mamba_d_conv", default=4),
        conv_bias=config.switch("mamba_conv_bias", default=True),
        bias=config.switch("mamba_proj_bias", default=False),
    )


def bamba(config: Config) -> Architecture:
    """bamba: Mamba-2, attention in the layers that `attn_layer_indices` names.

    Source: transformers 5.23, configuration_bamba.py, modeling_bamba.py.
    """
    sizes = rope_sizes(config, context=CONTEXT, kv_heads=8)
    mixer = mamba2_mixer(config, sizes.width)
    attends = set(config.integers("attn_layer_indices", default=[]))
    biased = config.switch("attention_bias", default=False)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    mlp_biased = config.switch("mlp_bias", default=False)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=mlp_biased, down_bias=mlp_biased)
    layers = [
        _layer(sizes, i, part("attention", attention, i) if i in attends else part("mamba", mixer, i), mlp)
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Bamba", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width), state=mixer.state)


def falcon_h1(config: Config) -> Architecture:
    """falcon_h1: attention and Mamba-2 side by side in every layer, on one norm; a gain inside where asked for.

    Source: transformers 5.23, configuration_falcon_h1.py, modeling_falcon_h1.py.
    """
    sizes = rope_sizes(config, context=8192, kv_heads=8)
    inner = None if config.is_null("mamba_d_ssm") else config.integer("mamba_d_ssm", default=1024)
    mixer = replace(
        mamba2_mixer(config, sizes.width, inner=inner),
        norm=config.switch("mamba_rms_norm", default=False),
        out_bias=config.switch("projectors_bias", default=False),
    )
    biased = config.switch("attention_bias", default=False)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    mlp_biased = config.switch("mlp_bias", default=False)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=mlp_biased, down_bias=mlp_biased)
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        norm, *rest = _layer(sizes, i, part("mamba", mixer, i), mlp)
        layers.append([norm, part("attention", attention, i), *rest])
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "FalconH1", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width), state=mixer.state)


_FEED = "model.layers.{layer}.feed_forward"
_HF = {
    **LLAMA_HF,
    "mlp_norm": "model.layers.{layer}.pre_ff_layernorm",
    "mlp.gate": f"{_FEED}.gate_proj",
    "mlp.up": f"{_FEED}.up_proj",
    "mlp.down": f"{_FEED}.down_proj",
    "moe.router": f"{_FEED}.router",
    "moe.experts.gate": f"{_FEED}.experts.{{expert}}.gate_proj",
    "moe.experts.up": f"{_FEED}.experts.{{expert}}.up_proj",
    "moe.experts.down": f"{_FEED}.experts.{{expert}}.down_proj",
    "final_norm": "model.final_layernorm",
}
_MIXER = "model.layers.{layer}.mamba"

JAMBA = Family(
    id="jamba",
    model_types=("jamba",),
    build=jamba,
    names={"hf": {**_HF, **mixer_names("mamba", _MIXER)}},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2403.19887",),
)

BAMBA = Family(
    id="bamba",
    model_types=("bamba",),
    build=bamba,
    names={"hf": {**_HF, **mixer2_names("mamba", _MIXER)}},
    prefixes=("model.",),
    sources=("https://huggingface.co/blog/bamba",),
)

FALCON_H1 = Family(
    id="falcon_h1",
    model_types=("falcon_h1",),
    build=falcon_h1,
    names={"hf": {**_HF, **mixer2_names("mamba", _MIXER)}},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2507.22448",),
)
