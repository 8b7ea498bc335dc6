"""ELECTRA: BERT with a token table that may be narrower, and a discriminator or generator head."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, sizes_of
from weigh.parts import Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

CLASSES = tuple(
    "Electra" + ending
    for ending in (
        "Model",
        "ForPreTraining",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    )
)


def electra(config: Config) -> Architecture:
    """Tables of `embedding_size` (128 unless written down), a projection where the layers are wider, BERT's layers.

    Source: transformers 5.23, models/electra/{configuration,modeling}_electra.py.
    """
    config.expect("add_cross_attention", value=False, default=False)
    width = config.integer("hidden_size")
    narrow = config.integer("embedding_size", default=128)
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings")
    causal = config.switch("is_decoder", default=False)
    parts = [
        part("embedding", Embedding(vocabulary, narrow)),
        part("position", Embedding(context, narrow, role="position")),
        part("token_type", Embedding(config.integer("type_vocab_size", default=2), narrow, role="other")),
        part("embedding_norm", Norm(narrow, bias=True)),
    ]
    if narrow != width:
        parts.append(part("project_in", Linear(narrow, width, bias=True)))
    for i in range(layers):
        parts.append(part("attention", both_ways(width, heads, head_dim, causal=causal), i))
        parts.append(part("attention_post_norm", Norm(width, bias=True), i))
        parts.append(part("mlp", Mlp(width, hidden, up_bias=True, down_bias=True), i))
        parts.append(part("mlp_post_norm", Norm(width, bias=True), i))
    parts += _behind(config, width, narrow, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _behind(config: Config, width: int, narrow: int, vocabulary: int) -> list[Part]:
    """Head of the class; there is no pooler."""
    suffix = class_of(config, CLASSES, default="ElectraModel", what="the bare encoder").removeprefix("Electra")
    tied = config.switch("tie_word_embeddings", default=True)
    labels = config.labels()
    if suffix == "Model":
        return []
    if suffix == "ForMaskedLM":
        head = Linear(
            narrow,
            vocabulary,
            bias=True,
            role="head",
            tied="embedding.weight" if tied else "",
            positions="outputs",
        )
        return [
            part("transform", Linear(width, narrow, bias=True, positions="outputs")),
            part("transform_norm", Norm(narrow, bias=True)),
            part("head", head),
        ]
    if suffix == "ForPreTraining":
        return [
            part("discriminator_dense", Linear(width, width, bias=True)),
            part("discriminator", Linear(width, 1, bias=True, role="head")),
        ]
    if suffix == "ForSequenceClassification":
        return [
            part("classifier_dense", Linear(width, width, bias=True, positions="one")),
            part("classifier_out", Linear(width, labels, bias=True, role="head", positions="one")),
        ]
    path = "qa_outputs" if suffix == "ForQuestionAnswering" else "classifier"
    return [part(path, Linear(width, labels, bias=True, role="head"))]


_LAYER = "electra.encoder.layer.{layer}."

ELECTRA = Family(
    id="electra",
    model_types=("electra",),
    build=electra,
    names={
        "hf": {
            "embedding": "electra.embeddings.word_embeddings",
            "position": "electra.embeddings.position_embeddings",
            "token_type": "electra.embeddings.token_type_embeddings",
            "embedding_norm": "electra.embeddings.LayerNorm",
            "project_in": "electra.embeddings_project",
            "attention.q": _LAYER + "attention.self.query",
            "attention.k": _LAYER + "attention.self.key",
            "attention.v": _LAYER + "attention.self.value",
            "attention.o": _LAYER + "attention.output.dense",
            "attention_post_norm": _LAYER + "attention.output.LayerNorm",
            "mlp.up": _LAYER + "intermediate.dense",
            "mlp.down": _LAYER + "output.dense",
            "mlp_post_norm": _LAYER + "output.LayerNorm",
            "transform": "generator_predictions.dense",
            "transform_norm": "generator_predictions.LayerNorm",
            "head": "generator_lm_head",
            "discriminator_dense": "discriminator_predictions.dense",
            "discriminator": "discriminator_predictions.dense_prediction",
            "classifier_dense": "classifier.dense",
            "classifier_out": "classifier.out_proj",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
    },
    prefixes=("electra.",),
    sources=("https://arxiv.org/abs/2003.10555",),
)
