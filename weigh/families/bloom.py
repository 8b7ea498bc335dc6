"""BLOOM and MPT: linear position biases (no position table), q, k, v in one matrix, tied head."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.names import GGML, fused
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family


def bloom(config: Config) -> Architecture:
    """BLOOM: a norm on the embedding, biases everywhere, MLP of four times the width.

    Source: transformers 5.23, models/bloom/modeling_bloom.py.
    """
    width = config.integer("n_embed", "hidden_size")
    heads = config.integer("n_head", "num_attention_heads")
    sizes = Sizes(
        layers=config.layers("n_layer", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "hidden_size / n_head"),
        hidden=4 * width,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("seq_length", default=2048),
    )
    norm = Norm(width, bias=True)
    attention = grouped_attention(sizes, q_bias=True, k_bias=True, v_bias=True, o_bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", Mlp(width, sizes.hidden, up_bias=True, down_bias=True), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    return assemble(
        config,
        sizes,
        layers,
        before=[part("embedding_norm", norm)],
        head=head(config, "Bloom", width, sizes.vocabulary, tied=tied),
        final_norm=norm,
    )


def mpt(config: Config) -> Architecture:
    """MPT: no biases at all, MLP of four times the width.

    The class reads neither `learned_pos_emb` nor `expansion_ratio`, `no_bias`, `attn_config.attn_type` or
    `attn_config.qk_ln`: source transformers 5.23, models/mpt/modeling_mpt.py.
    """
    width = config.integer("d_model", "hidden_size")
    heads = config.integer("n_heads", "num_attention_heads")
    sizes = Sizes(
        layers=config.layers("n_layers", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "d_model / n_heads"),
        hidden=4 * width,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_seq_len", default=2048),
    )
    norm = Norm(width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", grouped_attention(sizes), i),
            part("mlp_norm", norm, i),
            part("mlp", Mlp(width, sizes.hidden), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, "Mpt", width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_QKV = ("attention.q", "attention.k", "attention.v")

BLOOM = Family(
    id="bloom",
    model_types=("bloom",),
    build=bloom,
    names={
        "hf": {
            "embedding": "transformer.word_embeddings",
            "embedding_norm": "transformer.word_embeddings_layernorm",
            "attention_norm": "transformer.h.{layer}.input_layernorm",
            **dict.fromkeys(_QKV, "transformer.h.{layer}.self_attention.query_key_value"),
            "attention.o": "transformer.h.{layer}.self_attention.dense",
            "mlp_norm": "transformer.h.{layer}.post_attention_layernorm",
            "mlp.up": "transformer.h.{layer}.mlp.dense_h_to_4h",
            "mlp.down": "transformer.h.{layer}.mlp.dense_4h_to_h",
            "final_norm": "transformer.ln_f",
            "head": "lm_head",
            "score": "score",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
        "ggml": fused(GGML, "blk.{layer}.attn_qkv", *_QKV),
    },
    prefixes=("transformer.",),
    sources=("https://arxiv.org/abs/2211.05100",),
)

_MPT_CLASS = "https://github.com/huggingface/transformers/blob/main/src/transformers/models/mpt/modeling_mpt.py"

MPT = Family(
    id="mpt",
    model_types=("mpt",),
    build=mpt,
    names={
        "hf": {
            "embedding": "transformer.wte",
            "attention_norm": "transformer.blocks.{layer}.norm_1",
            **dict.fromkeys(_QKV, "transformer.blocks.{layer}.attn.Wqkv"),
            "attention.o": "transformer.blocks.{layer}.attn.out_proj",
            "mlp_norm": "transformer.blocks.{layer}.norm_2",
            "mlp.up": "transformer.blocks.{layer}.ffn.up_proj",
            "mlp.down": "transformer.blocks.{layer}.ffn.down_proj",
            "final_norm": "transformer.norm_f",
            "head": "lm_head",
            "score": "score",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
        "ggml": fused(GGML, "blk.{layer}.attn_qkv", *_QKV),
    },
    prefixes=("transformer.",),
    sources=("https://www.databricks.com/blog/mpt-7b",),
    ignored={
        "mpt.learned_pos_emb": _MPT_CLASS,
        "mpt.expansion_ratio": _MPT_CLASS,
        "mpt.no_bias": _MPT_CLASS,
        "mpt.attn_config.attn_type": _MPT_CLASS,
        "mpt.attn_config.qk_ln": _MPT_CLASS,
    },
)
