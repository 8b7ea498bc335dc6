"""Falcon 1: q, k, v in one matrix, one KV head (7B) or grouped (40B, 180B), attention and MLP side by side."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.names import GGML, fused
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def _kv_heads(config: Config, heads: int, *, grouped: bool) -> int:
    """With the new architecture as `num_kv_heads` says; before it one (`multi_query`) or as many as heads.

    Source: transformers 5.23, models/falcon/modeling_falcon.py, FalconAttention: the old code path does not
    read `num_kv_heads` for the shape of the matrix.
    """
    if grouped:
        return config.integer("num_kv_heads", default=heads)
    return 1 if config.switch("multi_query", default=True) else heads


def falcon(config: Config) -> Architecture:
    """Norms: one a layer, or two where `parallel_attn` is off or `num_ln_in_parallel_attn` is 2 (the new default)."""
    width = config.integer("n_embed", "hidden_size")
    heads = config.integer("num_attention_heads", "n_head")
    grouped = config.switch("new_decoder_architecture", default=False)
    hidden = config.optional_integer("ffn_hidden_size")
    sizes = Sizes(
        layers=config.layers("num_hidden_layers", "n_layer"),
        width=width,
        heads=heads,
        kv_heads=_kv_heads(config, heads, grouped=grouped),
        head_dim=config.divide(width, heads, "hidden_size / num_attention_heads"),
        hidden=4 * width if hidden is None else hidden,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=2048),
    )
    biased = config.switch("bias", default=False)
    parallel = config.switch("parallel_attn", default=True)
    norms = config.optional_integer("num_ln_in_parallel_attn") or (2 if grouped else 1)
    norm = Norm(width, bias=True)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        layer = [part("parallel_norm" if parallel and norms == 2 else "attention_norm", norm, i)]
        layer.append(part("attention", attention, i))
        if not parallel:
            layer.append(part("mlp_norm", norm, i))
        elif norms == 2:
            layer.append(part("parallel_mlp_norm", norm, i))
        layer.append(part("mlp", Mlp(width, sizes.hidden, up_bias=biased, down_bias=biased), i))
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, "Falcon", width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_QKV = ("attention.q", "attention.k", "attention.v")
_CLASS = "https://github.com/huggingface/transformers/blob/main/src/transformers/models/falcon/modeling_falcon.py"

FALCON = Family(
    id="falcon",
    model_types=("falcon",),
    build=falcon,
    names={
        "hf": {
            "embedding": "transformer.word_embeddings",
            "attention_norm": "transformer.h.{layer}.input_layernorm",
            "parallel_norm": "transformer.h.{layer}.ln_attn",
            "parallel_mlp_norm": "transformer.h.{layer}.ln_mlp",
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
        "ggml": {
            **fused(GGML, "blk.{layer}.attn_qkv", *_QKV),
            "parallel_norm": "blk.{layer}.attn_norm_2",
            "parallel_mlp_norm": "blk.{layer}.attn_norm",
        },
    },
    prefixes=("transformer.",),
    sources=("https://arxiv.org/abs/2311.16867",),
    ignored={"falcon.num_kv_heads": _CLASS},
)
