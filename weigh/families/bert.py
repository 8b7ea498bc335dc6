"""BERT-like encoders: BERT, RoBERTa and those that only its name tells apart, DistilBERT; pre-training, task heads."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.encoder import masked_head
from weigh.families.names import GGML
from weigh.parts import Attention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

STEMS = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "data2vec-text": "Data2VecText",
    "distilbert": "DistilBert",
}
LIKE_ROBERTA = ("roberta", "xlm-roberta", "camembert", "data2vec-text")

_TASKS = ("ForMaskedLM", "ForSequenceClassification", "ForMultipleChoice", "ForTokenClassification")
CLASSES = {
    "bert": ("Model", "ForPreTraining", "LMHeadModel", "ForNextSentencePrediction", *_TASKS, "ForQuestionAnswering"),
    **dict.fromkeys(LIKE_ROBERTA, ("Model", "ForCausalLM", *_TASKS, "ForQuestionAnswering")),
    "distilbert": ("Model", *_TASKS, "ForQuestionAnswering"),
}
"""Endings of the class names."""


def bert(config: Config) -> Architecture:
    """Token, position and (not DistilBERT) type tables, norm, layers with norms behind each block, then the head.

    Source: transformers 5.23, modeling files of bert, roberta, xlm_roberta, camembert, data2vec and distilbert.
    """
    kind = str(config.values["model_type"])
    config.expect("add_cross_attention", value=False, default=False)
    width = config.integer("hidden_size", "dim")
    heads = config.integer("num_attention_heads", "n_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size", "hidden_dim")
    layers = config.layers("num_hidden_layers", "n_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings")
    causal = config.switch("is_decoder", default=False)
    attention = Attention(
        width, heads, heads, head_dim, head_dim, q_bias=True, k_bias=True, v_bias=True, o_bias=True, causal=causal
    )
    norm = Norm(width, bias=True)
    frozen = kind == "distilbert" and config.switch("sinusoidal_pos_embds", default=False)
    parts = [
        part("embedding", Embedding(vocabulary, width)),
        part("position", Embedding(context, width, role="position", frozen=frozen)),
    ]
    if kind != "distilbert":
        types = config.integer("type_vocab_size", default=2, minimum=0)
        parts.append(part("token_type", Embedding(types, width, role="other")))
    parts.append(part("embedding_norm", norm))
    for i in range(layers):
        parts.append(part("attention", attention, i))
        parts.append(part("attention_post_norm", norm, i))
        parts.append(part("mlp", Mlp(width, hidden, up_bias=True, down_bias=True), i))
        parts.append(part("mlp_post_norm", norm, i))
    parts += _behind(config, kind, width, vocabulary)
    dimensions = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": head_dim,
        "hidden": hidden,
        "vocabulary": vocabulary,
        "context": context,
    }
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _behind(config: Config, kind: str, width: int, vocabulary: int) -> list[Part]:
    """Pooler and head of the class named first in `architectures`; the bare encoder with pooler if none is named."""
    name = config.architecture()
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the bare encoder with pooler")
        name = STEMS[kind] + "Model"
    suffix = name.removeprefix(STEMS[kind])
    if not name.startswith(STEMS[kind]) or suffix not in CLASSES[kind]:
        raise WeighError(
            f"the class `{name}` is not understood for the model type `{kind}`",
            rule="CONFIG-VARIANT",
            path=config.source or None,
            where="key architectures",
            hint="understood are " + ", ".join(STEMS[kind] + ending for ending in CLASSES[kind]),
        )
    pooler = [part("pooler", Linear(width, width, bias=True, positions="one"))] if kind != "distilbert" else []
    language = masked_head(config, width, width, vocabulary, twice=kind != "distilbert")
    pair = [part("pair", Linear(width, 2, bias=True, role="head", positions="one"))]
    if suffix == "Model":
        return pooler if config.switch("add_pooling_layer", default=True) else []
    if suffix in ("ForMaskedLM", "LMHeadModel", "ForCausalLM"):
        return language
    if suffix == "ForPreTraining":
        return [*pooler, *language, *pair]
    if suffix == "ForNextSentencePrediction":
        return [*pooler, *pair]
    return _classifier(config, kind, suffix, width, pooler)


def _classifier(config: Config, kind: str, suffix: str, width: int, pooler: list[Part]) -> list[Part]:
    """Heads for sequences, tokens, choices and questions."""
    labels = config.labels()
    dense = part("classifier_dense", Linear(width, width, bias=True, positions="one"))
    if suffix == "ForTokenClassification":
        return [part("classifier", Linear(width, labels, bias=True, role="head"))]
    if suffix == "ForQuestionAnswering":
        return [part("qa_outputs", Linear(width, labels, bias=True, role="head"))]
    outputs = 1 if suffix == "ForMultipleChoice" else labels
    out = Linear(width, outputs, bias=True, role="head", positions="one")
    if kind == "bert" or (kind in LIKE_ROBERTA and suffix == "ForMultipleChoice"):
        return [*pooler, part("classifier", out)]
    return [dense, part("classifier_out" if kind in LIKE_ROBERTA else "classifier", out)]


_BERT_LAYER = "bert.encoder.layer.{layer}."
_BERT_NAMES = {
    "embedding": "bert.embeddings.word_embeddings",
    "position": "bert.embeddings.position_embeddings",
    "token_type": "bert.embeddings.token_type_embeddings",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "attention.q": _BERT_LAYER + "attention.self.query",
    "attention.k": _BERT_LAYER + "attention.self.key",
    "attention.v": _BERT_LAYER + "attention.self.value",
    "attention.o": _BERT_LAYER + "attention.output.dense",
    "attention_post_norm": _BERT_LAYER + "attention.output.LayerNorm",
    "mlp.up": _BERT_LAYER + "intermediate.dense",
    "mlp.down": _BERT_LAYER + "output.dense",
    "mlp_post_norm": _BERT_LAYER + "output.LayerNorm",
    "pooler": "bert.pooler.dense",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions.decoder",
    "head_bias": "cls.predictions",
    "pair": "cls.seq_relationship",
    "classifier": "classifier",
    "qa_outputs": "qa_outputs",
}

BERT = Family(
    id="bert",
    model_types=("bert",),
    build=bert,
    names={
        "hf": _BERT_NAMES,
        "ggml": {
            **GGML,
            "attention_post_norm": "blk.{layer}.attn_output_norm",
            "mlp_post_norm": "blk.{layer}.layer_output_norm",
        },
    },
    prefixes=("bert.",),
    sources=("https://arxiv.org/abs/1810.04805",),
)


def _roberta_names(prefix: str) -> dict[str, str]:
    return {
        **{key: stem.replace("bert.", prefix, 1) for key, stem in _BERT_NAMES.items()},
        "transform": "lm_head.dense",
        "transform_norm": "lm_head.layer_norm",
        "head": "lm_head.decoder",
        "head_bias": "lm_head",
        "classifier_dense": "classifier.dense",
        "classifier_out": "classifier.out_proj",
    }


ROBERTA = Family(
    id="roberta",
    model_types=("roberta", "xlm-roberta", "camembert"),
    build=bert,
    names={"hf": _roberta_names("roberta.")},
    prefixes=("roberta.",),
    sources=("https://arxiv.org/abs/1907.11692", "https://arxiv.org/abs/1911.02116"),
)

DATA2VEC_TEXT = Family(
    id="data2vec_text",
    model_types=("data2vec-text",),
    build=bert,
    names={"hf": _roberta_names("data2vec_text.")},
    prefixes=("data2vec_text.",),
    sources=("https://arxiv.org/abs/2202.03555",),
)

_DISTIL_LAYER = "distilbert.transformer.layer.{layer}."

DISTILBERT = Family(
    id="distilbert",
    model_types=("distilbert",),
    build=bert,
    names={
        "hf": {
            "embedding": "distilbert.embeddings.word_embeddings",
            "position": "distilbert.embeddings.position_embeddings",
            "embedding_norm": "distilbert.embeddings.LayerNorm",
            "attention.q": _DISTIL_LAYER + "attention.q_lin",
            "attention.k": _DISTIL_LAYER + "attention.k_lin",
            "attention.v": _DISTIL_LAYER + "attention.v_lin",
            "attention.o": _DISTIL_LAYER + "attention.out_lin",
            "attention_post_norm": _DISTIL_LAYER + "sa_layer_norm",
            "mlp.up": _DISTIL_LAYER + "ffn.lin1",
            "mlp.down": _DISTIL_LAYER + "ffn.lin2",
            "mlp_post_norm": _DISTIL_LAYER + "output_layer_norm",
            "transform": "vocab_transform",
            "transform_norm": "vocab_layer_norm",
            "head": "vocab_projector",
            "classifier_dense": "pre_classifier",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        },
    },
    prefixes=("distilbert.",),
    sources=("https://arxiv.org/abs/1910.01108",),
)
