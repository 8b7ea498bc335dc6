"""Encoders kin to BERT that differ in what they know of places: MPNet, Longformer, LayoutLM, ESM, Nomic BERT.

A kin is a row of `KINDS`: paths of parts are what transformers calls their tensors, behind the model's own prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, masked_head, sizes_of
from weigh.families.names import GGML, fused
from weigh.parts import Applied, Array, Attention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

TASKS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")


@dataclass(frozen=True, slots=True)
class Kin:
    """How a model differs from BERT in what it holds."""

    stem: str
    """What the names of its classes begin with."""
    classes: tuple[str, ...]
    attention_norm: str = "attention.output.LayerNorm"
    mlp_norm: str = "output.LayerNorm"
    layer: str = "encoder.layer"
    types: int = 0
    """Rows of the table of token types where the configuration names none; 0 = it has no such table."""
    dense: bool = True
    """A matrix stands before the one that classifies a sequence; else the pooler does."""
    pooled: tuple[str, ...] = ("Model",)
    """Classes that have the pooler."""
    twice: bool = True
    """The head for masked words holds its bias under two names."""


KINDS = {
    "mpnet": Kin("MPNet", (*TASKS, "ForQuestionAnswering"), attention_norm="attention.LayerNorm"),
    "longformer": Kin("Longformer", (*TASKS, "ForQuestionAnswering"), types=2),
    "layoutlm": Kin(
        "LayoutLM", (*TASKS, "ForQuestionAnswering"), types=2, dense=False, pooled=(*TASKS, "ForQuestionAnswering")
    ),
    "esm": Kin("Esm", TASKS, attention_norm="attention.LayerNorm", mlp_norm="LayerNorm", twice=False),
    "nomic_bert": Kin(
        "NomicBert",
        TASKS,
        attention_norm="post_attention_layernorm",
        mlp_norm="post_mlp_layernorm",
        layer="layers",
        types=2,
        dense=False,
        pooled=("ForSequenceClassification",),
    ),
}


def masked(config: Config) -> Architecture:
    """Tables, norm, layers with a norm for each block, then the head of the class.

    Source: transformers 5.23, modeling files of the types in `KINDS`.
    """
    kind = str(config.values["model_type"])
    kin = KINDS[kind]
    config.expect("add_cross_attention", value=False, default=False)
    if config.values.get("is_decoder"):
        raise config.variant("is_decoder", "false", config.values["is_decoder"])
    names = tuple(kin.stem + ending for ending in kin.classes)
    suffix = class_of(config, names, default=names[0], what="the bare encoder").removeprefix(kin.stem)
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    norm = Norm(width, bias=True)
    attention = both_ways(width, heads, head_dim)
    if kind == "nomic_bert":
        attention = _without_biases(config, width, heads, head_dim)
    gated = kind == "nomic_bert"
    mlp = Mlp(width, hidden, gated=gated, up_bias=not gated, down_bias=not gated)
    parts = [part("embedding", Embedding(vocabulary, width)), *_tables(config, kind, kin, width, heads)]
    windows = _windows(config, layers) if kind == "longformer" else [None] * layers
    for i in range(layers):
        path = f"{kin.layer}.{i}"
        parts.append(part(f"{path}.attention", replace(attention, window=windows[i]), i))
        if kind == "longformer":
            parts += _global(f"{path}.attention.self", width, i)
        parts.append(part(f"{path}.{kin.attention_norm}", norm, i))
        parts.append(part(path, mlp, i))
        parts.append(part(f"{path}.{kin.mlp_norm}", norm, i))
    if kind == "esm":
        parts.append(part("encoder.emb_layer_norm_after", norm))
        contacts = Linear(layers * heads, 1, bias=True)
        parts.append(part("contact_head.regression", Applied(contacts, "never")))
    parts += _behind(config, kin, suffix, width, vocabulary)
    context = config.integer("max_position_embeddings")
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _without_biases(config: Config, width: int, heads: int, head_dim: int) -> Attention:
    """Nomic BERT turns queries and keys by their places; `head_dim` and KV heads may be written down."""
    size = config.integer("head_dim", default=head_dim)
    return Attention(width, heads, heads, size, size, causal=False)


def _tables(config: Config, kind: str, kin: Kin, width: int, heads: int) -> Iterator[Part]:
    """What is added to the table of tokens, and the norm behind it."""
    context = config.integer("max_position_embeddings")
    learned = kind != "nomic_bert"
    if kind == "esm":
        learned = config.choice("position_embedding_type", ("absolute", "rotary"), default="absolute") == "absolute"
        if not learned:
            yield part("rotary_embeddings.inv_freq", Array((width // heads // 2,), role="buffer"))
    if learned:
        yield part("embeddings.position_embeddings", Embedding(context, width, role="position"))
    if kind == "layoutlm":
        rows = config.integer("max_2d_position_embeddings", default=1024)
        for axis in "xyhw":
            yield part(f"embeddings.{axis}_position_embeddings", Embedding(rows, width, role="position"))
    if kin.types:
        types = config.integer("type_vocab_size", default=kin.types, minimum=0)
        yield part("embeddings.token_type_embeddings", Embedding(types, width, role="other"))
    if kind != "esm":
        yield part("embeddings.LayerNorm", Norm(width, bias=True))
    elif config.switch("emb_layer_norm_before", default=False):
        yield part("embeddings.layer_norm", Norm(width, bias=True))
    if kind == "mpnet":
        buckets = config.integer("relative_attention_num_buckets", default=32)
        yield part("encoder.relative_attention_bias", Embedding(buckets, heads, role="position"))


def _windows(config: Config, layers: int) -> list[int | None]:
    """Longformer: half of `attention_window` to each side, one number for all layers or a list."""
    value = config.values.get("attention_window")
    if isinstance(value, list | tuple):
        found = config.integers("attention_window", minimum=2)
        if len(found) != layers:
            raise WeighError(
                f"`attention_window` names {len(found)} layers, `num_hidden_layers` {layers}",
                rule="CONFIG-RANGE",
                path=config.source or None,
            )
    else:
        found = (config.integer("attention_window", default=512, minimum=2),) * layers
    return [size // 2 + 1 for size in found]


def _global(path: str, width: int, layer: int) -> Iterator[Part]:
    """Matrices of their own for the tokens that attend to everything: the first one, if the text is to be classified.

    Its query is one; all tokens have keys and values for it. The scores of that one query are left out of the FLOPs.
    """
    for name, role, positions in (("query", "q", "one"), ("key", "k", "all"), ("value", "v", "all")):
        matrix = Linear(width, width, bias=True, role=f"attention_{role}", positions=positions)
        yield part(f"{path}.{name}_global", matrix, layer)


def _behind(config: Config, kin: Kin, suffix: str, width: int, vocabulary: int) -> list[Part]:
    """Pooler and head of the class."""
    language = masked_head(config, width, width, vocabulary, twice=kin.twice)
    if not kin.twice:
        language.append(part("head_bias", Embedding(1, vocabulary, role="head", bias=True)))
        language = [replace_bias(each) for each in language]
    parts: list[Part] = []
    if suffix in kin.pooled and config.switch("add_pooling_layer", default=True):
        parts.append(part("pooler", Linear(width, width, bias=True, positions="one")))
    labels = config.labels()
    if suffix == "ForMaskedLM":
        return parts + language
    if suffix == "ForSequenceClassification":
        out = Linear(width, labels, bias=True, role="head", positions="one")
        if not kin.dense:
            return [*parts, part("classifier", out)]
        dense = Linear(width, width, bias=True, positions="one")
        return [*parts, part("classifier.dense", dense), part("classifier.out_proj", out)]
    if suffix == "ForTokenClassification":
        return [*parts, part("classifier", Linear(width, labels, bias=True, role="head"))]
    if suffix == "ForQuestionAnswering":
        return [*parts, part("qa_outputs", Linear(width, labels, bias=True, role="head"))]
    return parts


def replace_bias(each: Part) -> Part:
    """ESM keeps the bias of its head beside the matrix."""
    return replace(each, dimensions=replace(each.dimensions, bias=False)) if each.path == "head" else each


def _names(prefix: str, *, head: str = "lm_head", norm: str = "layer_norm") -> dict[str, str]:
    """Names behind `prefix`; `{path}` is the path of the part."""
    return {
        "*": prefix + "{path}",
        "embedding": prefix + "embeddings.word_embeddings",
        **{f"*.{x}": f"{prefix}{{path}}.self.{word}" for x, word in zip("qkv", ("query", "key", "value"), strict=True)},
        "*.o": prefix + "{path}.output.dense",
        "*.up": prefix + "{path}.intermediate.dense",
        "*.down": prefix + "{path}.output.dense",
        "pooler": prefix + "pooler.dense",
        "transform": f"{head}.dense" if head == "lm_head" else f"{head}.transform.dense",
        "transform_norm": f"{head}.{norm}" if head == "lm_head" else f"{head}.transform.{norm}",
        "head": f"{head}.decoder",
        "head_bias": head,
        "classifier": "classifier",
        "classifier.dense": "classifier.dense",
        "classifier.out_proj": "classifier.out_proj",
        "qa_outputs": "qa_outputs",
    }


def _kin(model_type: str, names: dict[str, str], source: str) -> Family:
    return Family(model_type, (model_type,), masked, {"hf": names}, (source,), (f"{model_type}.",))


MPNET = _kin(
    "mpnet",
    {**_names("mpnet."), **{f"*.{x}": f"mpnet.{{path}}.attn.{x}" for x in "qkvo"}},
    "https://arxiv.org/abs/2004.09297",
)
LONGFORMER = _kin("longformer", _names("longformer."), "https://arxiv.org/abs/2004.05150")
LAYOUTLM = _kin(
    "layoutlm", _names("layoutlm.", head="cls.predictions", norm="LayerNorm"), "https://arxiv.org/abs/1912.13318"
)
ESM = _kin(
    "esm",
    {**_names("esm."), "rotary_embeddings.inv_freq.weight": "esm.rotary_embeddings.inv_freq"},
    "https://doi.org/10.1126/science.ade2574",
)
_NOMIC = "nomic_bert.encoder.layers.{}."
_BLOCK = "blk.{layer}."
NOMIC_BERT = Family(
    id="nomic_bert",
    model_types=("nomic_bert",),
    build=masked,
    names={
        "hf": {
            **_names("nomic_bert.", head="cls.predictions"),
            **fused({}, _NOMIC + "attn.Wqkv", *(f"layers.{{}}.attention.{x}" for x in "qkv")),
            "layers.{}.attention.o": _NOMIC + "attn.out_proj",
            "layers.{}.up": _NOMIC + "mlp.fc11",
            "layers.{}.gate": _NOMIC + "mlp.fc12",
            "layers.{}.down": _NOMIC + "mlp.fc2",
            "layers.{}.post_attention_layernorm": _NOMIC + "norm1",
            "layers.{}.post_mlp_layernorm": _NOMIC + "norm2",
            "embeddings.LayerNorm": "nomic_bert.emb_ln",
        },
        "ggml": {
            **GGML,
            **fused({}, _BLOCK + "attn_qkv", *(f"layers.{{}}.attention.{x}" for x in "qkv")),
            "layers.{}.attention.o": _BLOCK + "attn_output",
            **{f"layers.{{}}.{x}": f"{_BLOCK}ffn_{x}" for x in ("gate", "up", "down")},
            "layers.{}.post_attention_layernorm": _BLOCK + "attn_output_norm",
            "layers.{}.post_mlp_layernorm": _BLOCK + "layer_output_norm",
            "embeddings.LayerNorm": GGML["embedding_norm"],
            "embeddings.token_type_embeddings": GGML["token_type"],
        },
    },
    sources=("https://arxiv.org/abs/2402.01613",),
    prefixes=("nomic_bert.",),
)
