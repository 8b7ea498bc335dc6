"""ModernBERT: an encoder with rotary positions, gated blocks, and windows in two of three layers."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import LAYER_TYPES
from weigh.families.encoder import both_ways, class_of, sizes_of
from weigh.families.names import GGML, fused
from weigh.parts import Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CLASSES = tuple(
    "ModernBert" + ending
    for ending in (
        "Model",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    )
)


def modernbert(config: Config) -> Architecture:
    """No positions to look up; layer 0 has no norm before its attention, since the table has one behind it.

    A layer that slides sees `local_attention` / 2 (128 / 2) tokens to either side.
    Source: transformers 5.23, models/modernbert/{configuration,modeling}_modernbert.py.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings", default=8192)
    norm = Norm(width, bias=config.switch("norm_bias", default=False))
    biased = config.switch("attention_bias", default=False)
    mlp_biased = config.switch("mlp_bias", default=False)
    window = config.integer("local_attention", default=128) // 2 + 1
    parts = [part("embedding", Embedding(vocabulary, width)), part("embedding_norm", norm)]
    for i, slides in enumerate(_sliding(config, layers)):
        attention = both_ways(
            width,
            heads,
            head_dim,
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            o_bias=biased,
            window=window if slides else None,
        )
        if i:
            parts.append(part("attention_norm", norm, i))
        parts.append(part("attention", attention, i))
        parts.append(part("mlp_norm", norm, i))
        parts.append(part("mlp", Mlp(width, hidden, gated=True, up_bias=mlp_biased, down_bias=mlp_biased), i))
    parts.append(part("final_norm", norm))
    parts += _behind(config, norm, width, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _sliding(config: Config, layers: int) -> list[bool]:
    """`layer_types`, else every `global_attn_every_n_layers`-th layer attends to all."""
    types = config.words("layer_types", LAYER_TYPES)
    if types is None:
        every = config.integer("global_attn_every_n_layers", default=3)
        return [i % every != 0 for i in range(layers)]
    if len(types) < layers:
        raise WeighError(
            f"`layer_types` names {len(types)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    return [kind == "sliding_attention" for kind in types[:layers]]


def _behind(config: Config, norm: Norm, width: int, vocabulary: int) -> list[Part]:
    """Head of the class: all but the bare encoder have a square matrix and a norm before it."""
    suffix = class_of(config, CLASSES, default="ModernBertModel", what="the bare encoder").removeprefix("ModernBert")
    tied = config.switch("tie_word_embeddings", default=True)
    if suffix == "Model":
        return []
    dense = Linear(width, width, bias=config.switch("classifier_bias", default=False), positions="outputs")
    before = [part("transform", dense), part("transform_norm", norm)]
    if suffix == "ForMaskedLM":
        head = Linear(
            width,
            vocabulary,
            bias=config.switch("decoder_bias", default=True),
            role="head",
            tied="embedding.weight" if tied else "",
            positions="outputs",
        )
        return [*before, part("head", head)]
    places = "one" if suffix == "ForSequenceClassification" else "all"
    return [*before, part("classifier", Linear(width, config.labels(), bias=True, role="head", positions=places))]


_LAYER = "model.layers.{layer}."

MODERNBERT = Family(
    id="modernbert",
    model_types=("modernbert",),
    build=modernbert,
    names={
        "hf": {
            **fused({}, _LAYER + "attn.Wqkv", "attention.q", "attention.k", "attention.v"),
            **fused({}, _LAYER + "mlp.Wi", "mlp.gate", "mlp.up"),
            "embedding": "model.embeddings.tok_embeddings",
            "embedding_norm": "model.embeddings.norm",
            "attention_norm": _LAYER + "attn_norm",
            "attention.o": _LAYER + "attn.Wo",
            "mlp_norm": _LAYER + "mlp_norm",
            "mlp.down": _LAYER + "mlp.Wo",
            "final_norm": "model.final_norm",
            "transform": "head.dense",
            "transform_norm": "head.norm",
            "head": "decoder",
            "classifier": "classifier",
        },
        "ggml": {
            **fused(GGML, "blk.{layer}.attn_qkv", "attention.q", "attention.k", "attention.v"),
            **fused({}, "blk.{layer}.ffn_up", "mlp.gate", "mlp.up"),
            "transform": "cls",
            "transform_norm": "cls.norm",
            "classifier": "cls.output",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2412.13663",),
)
