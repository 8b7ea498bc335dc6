"""GPT-1 and GPT-2, and what was built like them (GPT-3, Megatron): learned positions, biases everywhere, tied head."""

from __future__ import annotations

from dataclasses import replace

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.names import GGML, fused
from weigh.parts import Embedding, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

STEMS = {"gpt2": "GPT2", "openai-gpt": "OpenAIGPT", "gpt_bigcode": "GPTBigCode"}


def gpt_sizes(config: Config) -> Sizes:
    """Sizes under the keys of GPT-2 and GPT-J; `n_inner` is four times the width unless written down."""
    width = config.integer("n_embd", "hidden_size")
    heads = config.integer("n_head", "num_attention_heads")
    hidden = config.optional_integer("n_inner")
    return Sizes(
        layers=config.layers("n_layer", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "n_embd / n_head"),
        hidden=4 * width if hidden is None else hidden,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("n_positions", "max_position_embeddings"),
    )


def gpt2(config: Config) -> Architecture:
    """gpt2, openai-gpt, which normalises behind each block and has no final norm, and gpt_bigcode (StarCoder).

    All heads of gpt_bigcode share one of keys and values, unless `multi_query` is off.

    Source: transformers 5.23, models/gpt2 and models/openai, modeling files.
    """
    kind = str(config.values["model_type"])
    config.expect("add_cross_attention", value=False, default=False)
    sizes = gpt_sizes(config)
    if kind == "gpt_bigcode" and config.switch("multi_query", default=True):
        sizes = replace(sizes, kv_heads=1)
    attention = grouped_attention(sizes, q_bias=True, k_bias=True, v_bias=True, o_bias=True)
    norm = Norm(sizes.width, bias=True)
    mlp = Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True)
    layers: list[list[Part]] = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    return assemble(
        config,
        sizes,
        layers,
        before=[part("position", Embedding(sizes.context, sizes.width, role="position"))],
        head=head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied),
        final_norm=None if kind == "openai-gpt" else norm,
    )


_QKV = ("attention.q", "attention.k", "attention.v")
_BLOCK = {
    **dict.fromkeys(_QKV, "transformer.h.{layer}.attn.c_attn^T"),
    "attention.o": "transformer.h.{layer}.attn.c_proj^T",
    "attention_norm": "transformer.h.{layer}.ln_1",
    "mlp_norm": "transformer.h.{layer}.ln_2",
    "mlp.up": "transformer.h.{layer}.mlp.c_fc^T",
    "mlp.down": "transformer.h.{layer}.mlp.c_proj^T",
    "head": "lm_head",
    "score": "score",
    "classifier": "classifier",
    "qa_outputs": "qa_outputs",
}

GPT2 = Family(
    id="gpt2",
    model_types=("gpt2",),
    build=gpt2,
    names={
        "hf": {
            **_BLOCK,
            "embedding": "transformer.wte",
            "position": "transformer.wpe",
            "final_norm": "transformer.ln_f",
        },
        "ggml": fused(GGML, "blk.{layer}.attn_qkv", *_QKV),
    },
    prefixes=("transformer.",),
    sources=("https://github.com/openai/gpt-2", "https://arxiv.org/abs/2005.14165"),
)

GPT1 = Family(
    id="gpt1",
    model_types=("openai-gpt",),
    build=gpt2,
    names={
        "hf": {**_BLOCK, "embedding": "transformer.tokens_embed", "position": "transformer.positions_embed"},
    },
    prefixes=("transformer.",),
    sources=("https://github.com/openai/finetune-transformer-lm",),
)

GPT_BIGCODE = Family(
    id="gpt_bigcode",
    model_types=("gpt_bigcode",),
    build=gpt2,
    names={
        "hf": {key: stem.removesuffix("^T") for key, stem in GPT2.names["hf"].items()},
        "ggml": GPT2.names["ggml"],
    },
    prefixes=("transformer.",),
    sources=("https://arxiv.org/abs/2305.06161",),
)
