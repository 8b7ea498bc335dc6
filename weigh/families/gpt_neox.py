"""GPT-J, GPT-NeoX (Pythia) and Phi: rotary positions, layer norms with biases, attention and MLP side by side."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, multi_head_sizes, rope_sizes
from weigh.families.gpt2 import gpt_sizes
from weigh.families.names import GGML, fused
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family


def gptj(config: Config) -> Architecture:
    """GPT-J: no biases in attention, one norm a layer, a head of its own with a bias.

    Its class for questions has as many outputs as there are labels. Source: transformers 5.23,
    models/gptj/modeling_gptj.py.
    """
    sizes = gpt_sizes(config)
    attention = grouped_attention(sizes)
    layers = [
        [
            part("attention_norm", Norm(sizes.width, bias=True), i),
            part("attention", attention, i),
            part("mlp", Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "GPTJ", sizes.width, sizes.vocabulary, tied=tied, bias=True, answers=None)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width, bias=True))


def gpt_neox(config: Config) -> Architecture:
    """GPT-NeoX: q, k, v in one matrix, biases unless `attention_bias` is off, two norms a layer."""
    sizes = multi_head_sizes(config, context=2048)
    biased = config.switch("attention_bias", default=True)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    norm = Norm(sizes.width, bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "GPTNeoX", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


def phi(config: Config) -> Architecture:
    """Phi 1 to 2: one norm a layer, biases everywhere, the head's too.

    The norm of queries and keys spans hidden_size / heads, even where `head_dim` says otherwise.
    """
    sizes = rope_sizes(config)
    normed = sizes.width // sizes.heads if config.switch("qk_layernorm", default=False) else 0
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
    layers = [
        [
            part("attention_norm", Norm(sizes.width, bias=True), i),
            part("attention", attention, i),
            part("mlp", Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Phi", sizes.width, sizes.vocabulary, tied=tied, bias=True)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width, bias=True))


_QKV = ("attention.q", "attention.k", "attention.v")

GPTJ = Family(
    id="gptj",
    model_types=("gptj",),
    build=gptj,
    names={
        "hf": {
            "embedding": "transformer.wte",
            "attention_norm": "transformer.h.{layer}.ln_1",
            "attention.q": "transformer.h.{layer}.attn.q_proj",
            "attention.k": "transformer.h.{layer}.attn.k_proj",
            "attention.v": "transformer.h.{layer}.attn.v_proj",
            "attention.o": "transformer.h.{layer}.attn.out_proj",
            "mlp.up": "transformer.h.{layer}.mlp.fc_in",
            "mlp.down": "transformer.h.{layer}.mlp.fc_out",
            "final_norm": "transformer.ln_f",
            "head": "lm_head",
            "score": "score",
            "qa_outputs": "qa_outputs",
        },
        "ggml": GGML,
    },
    prefixes=("transformer.",),
    sources=("https://github.com/kingoflolz/mesh-transformer-jax",),
)

GPT_NEOX = Family(
    id="gpt_neox",
    model_types=("gpt_neox",),
    build=gpt_neox,
    names={
        "hf": {
            "embedding": "gpt_neox.embed_in",
            "attention_norm": "gpt_neox.layers.{layer}.input_layernorm",
            **dict.fromkeys(_QKV, "gpt_neox.layers.{layer}.attention.query_key_value"),
            "attention.o": "gpt_neox.layers.{layer}.attention.dense",
            "mlp_norm": "gpt_neox.layers.{layer}.post_attention_layernorm",
            "mlp.up": "gpt_neox.layers.{layer}.mlp.dense_h_to_4h",
            "mlp.down": "gpt_neox.layers.{layer}.mlp.dense_4h_to_h",
            "final_norm": "gpt_neox.final_layer_norm",
            "head": "embed_out",
            "score": "score",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
        "ggml": fused(GGML, "blk.{layer}.attn_qkv", *_QKV),
    },
    prefixes=("gpt_neox.",),
    sources=("https://arxiv.org/abs/2204.06745", "https://arxiv.org/abs/2304.01373"),
)

PHI = Family(
    id="phi",
    model_types=("phi",),
    build=phi,
    names={
        "hf": {
            "embedding": "model.embed_tokens",
            "attention_norm": "model.layers.{layer}.input_layernorm",
            "attention.q": "model.layers.{layer}.self_attn.q_proj",
            "attention.k": "model.layers.{layer}.self_attn.k_proj",
            "attention.v": "model.layers.{layer}.self_attn.v_proj",
            "attention.o": "model.layers.{layer}.self_attn.dense",
            "attention.q_norm": "model.layers.{layer}.self_attn.q_layernorm",
            "attention.k_norm": "model.layers.{layer}.self_attn.k_layernorm",
            "mlp.up": "model.layers.{layer}.mlp.fc1",
            "mlp.down": "model.layers.{layer}.mlp.fc2",
            "final_norm": "model.final_layernorm",
            "head": "lm_head",
            "score": "score",
            "classifier": "score",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2306.11644",),
)
