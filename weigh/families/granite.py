"""Granite, Helium and Seed-OSS: Llama's layer with other switches, and rescaled embeddings and residuals in Granite."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head, rope_sizes
from weigh.families.llama import pre_norm_layer
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Mlp, Norm
from weigh.types import Architecture, Family, WeighError

STEMS = {"granite": "Granite", "helium": "Helium", "seed_oss": "SeedOss"}


def _sizes(config: Config, kind: str) -> Sizes:
    """Documented defaults: Helium has 20 KV heads of 128 values, Seed-OSS 8 of 128 (width / heads where that is null).

    Helium's output matrix is square, so its heads have to span the width.
    """
    if kind == "granite":
        return rope_sizes(config)
    if kind == "seed_oss":
        size = None if config.is_null("head_dim") else 128
        return rope_sizes(config, context=524288, kv_heads=8, head_dim=size)
    sizes = rope_sizes(config, context=4096, kv_heads=20, head_dim=128)
    if sizes.heads * sizes.head_dim != sizes.width:
        raise WeighError(
            f"`head_dim` {sizes.head_dim:,} times `num_attention_heads` {sizes.heads:,} is not `hidden_size`",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where="key head_dim",
        )
    return sizes


def granite(config: Config) -> Architecture:
    """granite, helium and seed_oss.

    One switch for the biases of q, k and v, on by default in Seed-OSS only; the output's is Granite's same switch,
    Seed-OSS's own `attention_out_bias`, and missing in Helium.
    Source: transformers 5.23, {configuration,modeling}_{granite,helium,seed_oss}.py.
    """
    kind = str(config.values["model_type"])
    sizes = _sizes(config, kind)
    biased = config.switch("attention_bias", default=kind == "seed_oss")
    out_biased = kind == "granite" and biased
    if kind == "seed_oss":
        out_biased = config.switch("attention_out_bias", default=False)
    mlp_biased = config.switch("mlp_bias", default=False)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=out_biased)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=mlp_biased, down_bias=mlp_biased)
    layers = [pre_norm_layer(sizes, i, attention, mlp) for i in range(sizes.layers)]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


GRANITE = Family(
    id="granite",
    model_types=("granite",),
    build=granite,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2405.04324",),
)

HELIUM = Family(
    id="helium",
    model_types=("helium",),
    build=granite,
    names={"hf": LLAMA_HF},
    prefixes=("model.",),
    sources=("https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/helium",),
)

SEED_OSS = Family(
    id="seed_oss",
    model_types=("seed_oss",),
    build=granite,
    names={"hf": LLAMA_HF, "ggml": {**GGML, "mlp_norm": "blk.{layer}.post_attention_norm"}},
    prefixes=("model.", "transformer."),
    sources=("https://github.com/ByteDance-Seed/seed-oss",),
)
