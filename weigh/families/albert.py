"""ALBERT: a narrow token table, and layers that share one set of weights or a few."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, masked_head, sizes_of
from weigh.parts import Applied, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

CLASSES = tuple(
    "Albert" + ending
    for ending in (
        "Model",
        "ForPreTraining",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
    )
)


def albert(config: Config) -> Architecture:
    """Tables of `embedding_size`, a projection to `hidden_size`, then groups of layers.

    Layer i of `num_hidden_layers` uses group floor(i x groups / layers), and runs all `inner_group_num` layers of it.
    Source: transformers 5.23, models/albert/modeling_albert.py, AlbertTransformer.
    """
    width = config.integer("hidden_size")
    narrow = config.integer("embedding_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings")
    groups = config.integer("num_hidden_groups", default=1, maximum=config.limits.layers)
    inside = config.integer("inner_group_num", default=1, maximum=config.limits.layers)
    types = config.integer("type_vocab_size", default=2)
    parts = [
        part("embedding", Embedding(vocabulary, narrow)),
        part("position", Embedding(context, narrow, role="position")),
        part("token_type", Embedding(types, narrow, role="other")),
        part("embedding_norm", Norm(narrow, bias=True)),
        part("project_in", Linear(narrow, width, bias=True)),
    ]
    for index in range(groups * inside):
        group, inner = divmod(index, inside)
        runs = sum(1 for i in range(layers) if i * groups // layers == group)
        for name, layer in (
            ("attention", both_ways(width, heads, head_dim)),
            ("attention_post_norm", Norm(width, bias=True)),
            ("mlp", Mlp(width, hidden, up_bias=True, down_bias=True)),
            ("mlp_post_norm", Norm(width, bias=True)),
        ):
            parts.append(part(f"groups.{group}.layers.{inner}.{name}", Applied(layer, times=runs), index))
    parts += _behind(config, width, narrow, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _behind(config: Config, width: int, narrow: int, vocabulary: int) -> list[Part]:
    """Pooler and head of the class."""
    name = class_of(config, CLASSES, default="AlbertModel", what="the bare encoder with pooler")
    pooler = part("pooler", Linear(width, width, bias=True, positions="one"))
    suffix = name.removeprefix("Albert")
    config.switch("tie_word_embeddings", default=True)
    if suffix == "Model":
        return [pooler]
    words = masked_head(config, width, narrow, vocabulary)
    if suffix == "ForMaskedLM":
        return words
    labels = config.labels()
    if suffix == "ForPreTraining":
        return [pooler, *words, part("pair", Linear(width, labels, bias=True, role="head", positions="one"))]
    if suffix == "ForTokenClassification":
        return [part("classifier", Linear(width, labels, bias=True, role="head"))]
    if suffix == "ForQuestionAnswering":
        return [part("qa_outputs", Linear(width, labels, bias=True, role="head"))]
    outputs = 1 if suffix == "ForMultipleChoice" else labels
    return [pooler, part("classifier", Linear(width, outputs, bias=True, role="head", positions="one"))]


_LAYER = "albert.encoder.albert_layer_groups.{}.albert_layers.{}."

ALBERT = Family(
    id="albert",
    model_types=("albert",),
    build=albert,
    names={
        "hf": {
            "embedding": "albert.embeddings.word_embeddings",
            "position": "albert.embeddings.position_embeddings",
            "token_type": "albert.embeddings.token_type_embeddings",
            "embedding_norm": "albert.embeddings.LayerNorm",
            "project_in": "albert.encoder.embedding_hidden_mapping_in",
            "groups.{}.layers.{}.attention.q": _LAYER + "attention.query",
            "groups.{}.layers.{}.attention.k": _LAYER + "attention.key",
            "groups.{}.layers.{}.attention.v": _LAYER + "attention.value",
            "groups.{}.layers.{}.attention.o": _LAYER + "attention.dense",
            "groups.{}.layers.{}.attention_post_norm": _LAYER + "attention.LayerNorm",
            "groups.{}.layers.{}.mlp.up": _LAYER + "ffn",
            "groups.{}.layers.{}.mlp.down": _LAYER + "ffn_output",
            "groups.{}.layers.{}.mlp_post_norm": _LAYER + "full_layer_layer_norm",
            "pooler": "albert.pooler",
            "transform": "predictions.dense",
            "transform_norm": "predictions.LayerNorm",
            "head_bias": "predictions",
            "head": "predictions.decoder",
            "pair": "sop_classifier.classifier",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
    },
    prefixes=("albert.",),
    sources=("https://arxiv.org/abs/1909.11942",),
)
