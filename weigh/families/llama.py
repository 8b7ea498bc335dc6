"""Llama and its kin: rotary positions, root-mean-square norms, gated MLP, grouped attention.

Model types here differ in biases, norms and windows only: llama, mistral, smollm3, olmo, olmo2, olmo3, phi3.
"""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head, rope_sizes, window_size, windows
from weigh.families.names import GGML, LLAMA_HF, fused
from weigh.parts import Attention, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

STEMS = {
    "llama": "Llama",
    "mistral": "Mistral",
    "smollm3": "SmolLM3",
    "olmo": "Olmo",
}


def pre_norm_layer(sizes: Sizes, index: int, attention: Attention, mlp: Mlp, *, gain: bool = True) -> list[Part]:
    """Norm, attention, norm, MLP: each block reads a normalised residual stream."""
    norm = Norm(sizes.width, weight=gain)
    return [
        part("attention_norm", norm, index),
        part("attention", attention, index),
        part("mlp_norm", norm, index),
        part("mlp", mlp, index),
    ]


def post_norm_layer(sizes: Sizes, index: int, attention: Attention, mlp: Mlp) -> list[Part]:
    """Attention, norm, MLP, norm: what each block adds to the residual stream is normalised."""
    norm = Norm(sizes.width)
    return [
        part("attention", attention, index),
        part("attention_post_norm", norm, index),
        part("mlp", mlp, index),
        part("mlp_post_norm", norm, index),
    ]


def llama(config: Config) -> Architecture:
    """llama, mistral, smollm3 and olmo.

    Defaults: transformers 5.23, configuration_{llama,mistral,smollm3,olmo}.py. Mistral reads no bias keys and
    documents 8 KV heads; SmolLM3 documents 4 and ties the head; OLMo's norms have no gain.
    """
    kind = str(config.values["model_type"])
    context = {"mistral": 131072, "smollm3": 32768}.get(kind, 2048)
    sizes = rope_sizes(config, context=context, kv_heads={"mistral": 8, "smollm3": 4}.get(kind))
    biased = kind != "mistral" and config.switch("attention_bias", default=False)
    mlp_biased = kind in ("llama", "smollm3") and config.switch("mlp_bias", default=False)
    window = _windows(config, kind, sizes)
    bias = {"q_bias": biased, "k_bias": biased, "v_bias": biased, "o_bias": biased}
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=mlp_biased, down_bias=mlp_biased)
    layers = [
        pre_norm_layer(sizes, i, grouped_attention(sizes, window=window[i], **bias), mlp, gain=kind != "olmo")
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=kind == "smollm3")
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width, weight=kind != "olmo"))


def _windows(config: Config, kind: str, sizes: Sizes) -> list[int | None]:
    """Mistral slides in every layer unless `sliding_window` is null; SmolLM3 where `use_sliding_window` says so."""
    if kind == "mistral":
        return [window_size(config, 4096)] * sizes.layers
    if kind == "smollm3" and config.switch("use_sliding_window", default=False):
        interval = config.integer("no_rope_layer_interval", default=4)
        rotary = config.integers("no_rope_layers", default=[int((i + 1) % interval != 0) for i in range(sizes.layers)])
        if len(rotary) < sizes.layers:
            raise WeighError(
                f"`no_rope_layers` names {len(rotary)} layers, `num_hidden_layers` says {sizes.layers}",
                rule="CONFIG-RANGE",
                path=config.source or None,
                where="key no_rope_layers",
            )
        return windows(config, sizes.layers, [not has_rope for has_rope in rotary], default=None)
    return [None] * sizes.layers


def olmo2(config: Config) -> Architecture:
    """olmo2 and olmo3: norms behind attention and MLP instead of before, and on whole queries and keys.

    OLMo 3 slides in all but each fourth layer, over 4,096 tokens unless written down.
    Source: transformers 5.23, {configuration,modeling}_{olmo2,olmo3}.py.
    """
    kind = str(config.values["model_type"])
    sizes = rope_sizes(config)
    window: list[int | None] = [None] * sizes.layers
    if kind == "olmo3":
        window = windows(config, sizes.layers, [(i + 1) % 4 != 0 for i in range(sizes.layers)], default=4096)
    biased = config.switch("attention_bias", default=False)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = []
    for i in range(sizes.layers):
        attention = grouped_attention(
            sizes,
            window=window[i],
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            o_bias=biased,
            q_norm=sizes.heads * sizes.head_dim,
            k_norm=sizes.kv_heads * sizes.head_dim,
        )
        layers.append(post_norm_layer(sizes, i, attention, mlp))
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Olmo3" if kind == "olmo3" else "Olmo2", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


def phi3(config: Config) -> Architecture:
    """Phi-3: Llama's layer with q, k, v in one matrix and gate and up in another."""
    sizes = rope_sizes(config, context=4096)
    window = config.optional_integer("sliding_window")
    attention = grouped_attention(sizes, window=window)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [pre_norm_layer(sizes, i, attention, mlp) for i in range(sizes.layers)]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Phi3", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


LLAMA = Family(
    id="llama",
    model_types=("llama", "mistral", "smollm3", "olmo"),
    build=llama,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.", "transformer."),
    sources=("https://arxiv.org/abs/2302.13971", "https://arxiv.org/abs/2310.06825"),
)

OLMO2 = Family(
    id="olmo2",
    model_types=("olmo2", "olmo3"),
    build=olmo2,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_post_norm": "model.layers.{layer}.post_attention_layernorm",
            "mlp_post_norm": "model.layers.{layer}.post_feedforward_layernorm",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2501.00656",),
)

_QKV = ("attention.q", "attention.k", "attention.v")

PHI3 = Family(
    id="phi3",
    model_types=("phi3",),
    build=phi3,
    names={
        "hf": fused(
            fused(LLAMA_HF, "model.layers.{layer}.self_attn.qkv_proj", *_QKV),
            "model.layers.{layer}.mlp.gate_up_proj",
            "mlp.gate",
            "mlp.up",
        ),
        "ggml": fused(fused(GGML, "blk.{layer}.attn_qkv", *_QKV), "blk.{layer}.ffn_up", "mlp.gate", "mlp.up"),
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2404.14219",),
)
