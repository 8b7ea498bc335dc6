"""DeBERTa v2 and v3: BERT with relative positions that attend beside the content."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, masked_head, sizes_of
from weigh.parts import Conv, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CLASSES = tuple(
    "DebertaV2" + ending
    for ending in (
        "Model",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    )
)


def deberta(config: Config) -> Architecture:
    """Tables of `embedding_size` (the width unless written down), layers, one table of relative positions for all.

    FLOPs leave out the scores between content and relative positions, as much again for each of `c2p` and `p2c` as the
    scores of content. Source: transformers 5.23, models/deberta_v2/modeling_deberta_v2.py.
    """
    width = config.integer("hidden_size")
    narrow = config.integer("embedding_size", default=width)
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    if config.values.get("attention_head_size") is not None:
        config.expect("attention_head_size", value=head_dim, default=head_dim)
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings")
    parts = [part("embedding", Embedding(vocabulary, narrow))]
    if config.switch("position_biased_input", default=True):
        parts.append(part("position", Embedding(context, narrow, role="position")))
    types = config.integer("type_vocab_size", default=0, minimum=0)
    if types:
        parts.append(part("token_type", Embedding(types, narrow, role="other")))
    if narrow != width:
        parts.append(part("project_in", Linear(narrow, width)))
    parts.append(part("embedding_norm", Norm(width, bias=True)))
    kinds = _attended_positions(config)
    for i in range(layers):
        parts.append(part("attention", both_ways(width, heads, head_dim), i))
        for kind in kinds:
            parts.append(part(f"position_{kind}", Linear(width, width, bias=True, role=f"attention_{kind}"), i))
        parts.append(part("attention_post_norm", Norm(width, bias=True), i))
        parts.append(part("mlp", Mlp(width, hidden, up_bias=True, down_bias=True), i))
        parts.append(part("mlp_post_norm", Norm(width, bias=True), i))
    parts += _beside(config, width, context)
    parts += _behind(config, width, narrow, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _attended_positions(config: Config) -> list[str]:
    """`k` and `q` where positions have matrices of their own, which they do not if `share_att_key`."""
    if not config.switch("relative_attention", default=False) or config.switch("share_att_key", default=False):
        return []
    written = config.values.get("pos_att_type") or []
    if isinstance(written, str):
        written = [word.strip() for word in written.lower().split("|")]
    if not isinstance(written, list | tuple) or any(word not in ("c2p", "p2c") for word in written):
        raise WeighError(
            "the configuration's `pos_att_type` should be c2p, p2c or both",
            rule="CONFIG-VARIANT",
            path=config.source or None,
            where="key pos_att_type",
        )
    return [kind for kind, word in (("k", "c2p"), ("q", "p2c")) if word in written]


def _beside(config: Config, width: int, context: int) -> Iterator[Part]:
    """The table of relative positions (twice as long as they reach), its norm, and the convolution of some models."""
    if config.switch("relative_attention", default=False):
        reach = config.integer("max_relative_positions", default=-1, minimum=-(2**40))
        buckets = config.integer("position_buckets", default=-1, minimum=-(2**40))
        reach = buckets if buckets > 0 else reach if reach > 0 else context
        yield part("relative_position", Embedding(2 * reach, width, role="position"))
    words = config.values.get("norm_rel_ebd", "none")
    if not isinstance(words, str):
        config.expect("norm_rel_ebd", value="none", default="none")
    elif "layer_norm" in [word.strip() for word in words.lower().split("|")]:
        yield part("relative_norm", Norm(width, bias=True))
    kernel = config.integer("conv_kernel_size", default=0, minimum=0)
    if kernel:
        groups = config.integer("conv_groups", default=1)
        config.divide(width, groups, "hidden_size / conv_groups")
        yield part("conv", Conv(width, width, kernel, 1, groups, bias=True, extent=(kernel,)))
        yield part("conv_norm", Norm(width, bias=True))


def _behind(config: Config, width: int, narrow: int, vocabulary: int) -> list[Part]:
    """Head of the class."""
    suffix = class_of(config, CLASSES, default="DebertaV2Model", what="the bare encoder").removeprefix("DebertaV2")
    if suffix == "Model":
        config.switch("tie_word_embeddings", default=True)
        return []
    if suffix == "ForMaskedLM":
        config.expect("legacy", value=True, default=True)
        return masked_head(config, width, narrow, vocabulary)
    labels = config.labels()
    if suffix == "ForSequenceClassification":
        pooled = config.integer("pooler_hidden_size", default=width)
        return [
            part("pooler", Linear(pooled, pooled, bias=True, positions="one")),
            part("classifier", Linear(pooled, labels, bias=True, role="head", positions="one")),
        ]
    path = "qa_outputs" if suffix == "ForQuestionAnswering" else "classifier"
    return [part(path, Linear(width, labels, bias=True, role="head"))]


_LAYER = "deberta.encoder.layer.{layer}."

DEBERTA = Family(
    id="deberta",
    model_types=("deberta-v2",),
    build=deberta,
    names={
        "hf": {
            "embedding": "deberta.embeddings.word_embeddings",
            "position": "deberta.embeddings.position_embeddings",
            "token_type": "deberta.embeddings.token_type_embeddings",
            "project_in": "deberta.embeddings.embed_proj",
            "embedding_norm": "deberta.embeddings.LayerNorm",
            "attention.q": _LAYER + "attention.self.query_proj",
            "attention.k": _LAYER + "attention.self.key_proj",
            "attention.v": _LAYER + "attention.self.value_proj",
            "attention.o": _LAYER + "attention.output.dense",
            "position_q": _LAYER + "attention.self.pos_query_proj",
            "position_k": _LAYER + "attention.self.pos_key_proj",
            "attention_post_norm": _LAYER + "attention.output.LayerNorm",
            "mlp.up": _LAYER + "intermediate.dense",
            "mlp.down": _LAYER + "output.dense",
            "mlp_post_norm": _LAYER + "output.LayerNorm",
            "relative_position": "deberta.encoder.rel_embeddings",
            "relative_norm": "deberta.encoder.LayerNorm",
            "conv": "deberta.encoder.conv.conv",
            "conv_norm": "deberta.encoder.conv.LayerNorm",
            "transform": "cls.predictions.transform.dense",
            "transform_norm": "cls.predictions.transform.LayerNorm",
            "head_bias": "cls.predictions",
            "head": "cls.predictions.decoder",
            "pooler": "pooler.dense",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
    },
    prefixes=("deberta.",),
    sources=("https://arxiv.org/abs/2006.03654",),
)
