"""StableLM and Persimmon: layer norms with biases, rotary positions over a part of each head."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, multi_head_sizes, rope_sizes
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def stablelm(config: Config) -> Architecture:
    """StableLM: gated MLP without biases, biases of q, k and v by `use_qkv_bias`.

    With `use_parallel_residual` attention and MLP share one norm. With `qk_layernorm` each head of q and k has a gain
    of its own. KV heads left out are 32. Source: transformers 5.23, {configuration,modeling}_stablelm.py.
    """
    sizes = rope_sizes(config, context=4096, kv_heads=32, reads_head_dim=False)
    biased = config.switch("use_qkv_bias", default=False)
    normed = sizes.head_dim if config.switch("qk_layernorm", default=False) else 0
    parallel = config.switch("use_parallel_residual", default=False)
    norm = Norm(sizes.width, bias=True)
    attention = grouped_attention(
        sizes, q_bias=biased, k_bias=biased, v_bias=biased, q_norm=normed, k_norm=normed, qk_norm_apart=bool(normed)
    )
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        layer = [part("attention_norm", norm, i), part("attention", attention, i)]
        if not parallel:
            layer.append(part("mlp_norm", norm, i))
        layers.append([*layer, part("mlp", Mlp(sizes.width, sizes.hidden, gated=True), i)])
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "StableLm", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


def persimmon(config: Config) -> Architecture:
    """Persimmon: as many KV heads as heads, biases everywhere but in the head, norms of q and k unless switched off.

    Source: transformers 5.23, {configuration,modeling}_persimmon.py.
    """
    sizes = multi_head_sizes(config, context=16384)
    normed = sizes.head_dim if config.switch("qk_layernorm", default=True) else 0
    attention = grouped_attention(
        sizes,
        q_bias=True,
        k_bias=True,
        v_bias=True,
        o_bias=True,
        q_norm=normed,
        k_norm=normed,
        qk_norm_bias=bool(normed),
    )
    norm = Norm(sizes.width, bias=True)
    mlp = Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Persimmon", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_LAYER = "model.layers.{layer}."
_CLASSES = "https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models"

STABLELM = Family(
    id="stablelm",
    model_types=("stablelm",),
    build=stablelm,
    names={
        "hf": {
            **LLAMA_HF,
            # One tensor a head: `{expert}` stands for its number.
            "attention.q_norm": _LAYER + "self_attn.q_layernorm.norms.{expert}",
            "attention.k_norm": _LAYER + "self_attn.k_layernorm.norms.{expert}",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2402.17834",),
    ignored={"stablelm.head_dim": f"{_CLASSES}/stablelm/modeling_stablelm.py"},
)

PERSIMMON = Family(
    id="persimmon",
    model_types=("persimmon",),
    build=persimmon,
    names={
        "hf": {
            **LLAMA_HF,
            **dict.fromkeys(("attention.q", "attention.k", "attention.v"), _LAYER + "self_attn.query_key_value"),
            "attention.o": _LAYER + "self_attn.dense",
            "attention.q_norm": _LAYER + "self_attn.q_layernorm",
            "attention.k_norm": _LAYER + "self_attn.k_layernorm",
            "mlp.up": _LAYER + "mlp.dense_h_to_4h",
            "mlp.down": _LAYER + "mlp.dense_4h_to_h",
            "final_norm": "model.final_layernorm",
        },
    },
    prefixes=("model.",),
    sources=("https://www.adept.ai/blog/persimmon-8b",),
    ignored=dict.fromkeys(
        ("persimmon.head_dim", "persimmon.num_key_value_heads"), f"{_CLASSES}/persimmon/modeling_persimmon.py"
    ),
)
