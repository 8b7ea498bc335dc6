"""BART, its kin for translation and summaries, and Whisper: an encoder of text or sound and a decoder, with biases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weigh.families.config import Config
from weigh.families.encoder import class_of, sizes_of
from weigh.parts import Applied, Array, Attention, Conv, CrossAttention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def _encoder_layer(i: int, attention: Attention, mlp: Mlp, positions: int) -> Iterator[Part]:
    """Attention to both sides and a block, each with its norm; it runs when a sequence begins."""
    path, norm = f"encoder.{i}.", Applied(Norm(attention.width, bias=True), "sequence", positions)
    yield part(path + "attention", Applied(attention, "sequence", positions), i)
    yield part(path + "attention_norm", norm, i)
    yield part(path + "mlp", Applied(mlp, "sequence", positions), i)
    yield part(path + "mlp_norm", norm, i)


def _decoder_layer(i: int, number: int, attention: Attention, cross: CrossAttention, mlp: Mlp) -> Iterator[Part]:
    """Causal attention, attention to the encoder, a block, each with its norm."""
    path, norm = f"decoder.{i}.", Norm(attention.width, bias=True)
    yield part(path + "attention", attention, number)
    yield part(path + "attention_norm", norm, number)
    yield part(path + "cross", cross, number)
    yield part(path + "cross_norm", norm, number)
    yield part(path + "mlp", mlp, number)
    yield part(path + "mlp_norm", norm, number)


def _both_sides(config: Config, width: int, *, k_bias: bool, source: int | None) -> tuple[list[Part], list[Part]]:
    """The layers of the encoder and of the decoder; numbers run through, those of the encoder first."""
    biases: dict[str, Any] = {"q_bias": True, "k_bias": k_bias, "v_bias": True, "o_bias": True}
    front, behind = _layers(config)
    heads = config.integer("encoder_attention_heads")
    size = config.divide(width, heads, "d_model / encoder_attention_heads")
    attention = Attention(width, heads, heads, size, size, causal=False, **biases)
    mlp = Mlp(width, config.integer("encoder_ffn_dim"), up_bias=True, down_bias=True)
    encoder = [p for i in range(front) for p in _encoder_layer(i, attention, mlp, source or 0)]
    heads = config.integer("decoder_attention_heads")
    size = config.divide(width, heads, "d_model / decoder_attention_heads")
    attention = Attention(width, heads, heads, size, size, **biases)
    cross = CrossAttention(width, width, heads, size, size, source=source, **biases)
    mlp = Mlp(width, config.integer("decoder_ffn_dim"), up_bias=True, down_bias=True)
    decoder = [p for i in range(behind) for p in _decoder_layer(i, front + i, attention, cross, mlp)]
    return encoder, decoder


def _layers(config: Config) -> tuple[int, int]:
    return config.layers("encoder_layers"), config.layers("decoder_layers")


def _dimensions(config: Config, width: int, vocabulary: int, context: int) -> dict[str, int]:
    front, behind = _layers(config)
    heads = config.integer("decoder_attention_heads")
    hidden = config.integer("decoder_ffn_dim")
    found = sizes_of(front + behind, width, heads, width // heads, hidden, vocabulary, context)
    return found | {"encoder_layers": front, "decoder_layers": behind}


@dataclass(frozen=True, slots=True)
class Kin:
    """How a type differs from BART in what it holds."""

    classes: tuple[str, ...]
    """The first is taken where none is named."""
    spare: int = 0
    """Rows of the table of positions beyond `max_position_embeddings`."""
    sinusoids: str = ""
    """Positions are not trained: kept as a `table`, or `computed`."""
    embedding_norm: bool = False
    final_norm: bool = False
    head_bias: bool = True
    """A buffer of zeros stands beside the head."""


def _classes(stem: str, *endings: str) -> tuple[str, ...]:
    return tuple(stem + ending for ending in ("ForConditionalGeneration", "Model", *endings))


KINDS = {
    "bart": Kin(_classes("Bart", "ForSequenceClassification"), spare=2, embedding_norm=True),
    "mbart": Kin(_classes("MBart", "ForSequenceClassification"), spare=2, embedding_norm=True, final_norm=True),
    "plbart": Kin(_classes("PLBart"), spare=2, embedding_norm=True),
    "blenderbot-small": Kin(_classes("BlenderbotSmall"), embedding_norm=True),
    "blenderbot": Kin(_classes("Blenderbot"), final_norm=True),
    "pegasus": Kin(_classes("Pegasus"), sinusoids="table", final_norm=True),
    "marian": Kin(("MarianMTModel", "MarianModel"), sinusoids="table"),
    "m2m_100": Kin(_classes("M2M100"), sinusoids="computed", final_norm=True, head_bias=False),
}


def bart(config: Config) -> Architecture:
    """Learned positions, or sinusoids that are not trained; norms behind each block or before it hold the same.

    In a pass both sides have as many tokens. The bias of the head is a buffer of zeros.
    Source: transformers 5.23, modeling files of the types in `KINDS`.
    """
    kind = str(config.values["model_type"])
    kin = KINDS[kind]
    width = config.integer("d_model")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings")
    config.expect("share_encoder_decoder_embeddings", value=True, default=True)
    if config.values.get("decoder_vocab_size") not in (None, vocabulary):
        raise config.variant(
            "decoder_vocab_size", f"{vocabulary}, as `vocab_size`", config.values["decoder_vocab_size"]
        )
    name = class_of(config, kin.classes, default=kin.classes[0], what="the model for conditional generation")
    encoder, decoder = _both_sides(config, width, k_bias=True, source=None)
    tied = "embedding.weight" if config.switch("tie_word_embeddings", default=True) else ""
    table = Array((vocabulary, width), role="embedding", tied=tied)
    positions = Embedding(context + kin.spare, width, role="position", frozen=bool(kin.sinusoids))
    norm = Norm(width, bias=True)
    parts = [part("embedding", Embedding(vocabulary, width))]
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        parts.append(part(f"{side}.embedding", table))
        if kin.sinusoids != "computed":
            parts.append(part(f"{side}.position", positions))
        if kin.embedding_norm:
            parts.append(part(f"{side}.embedding_norm", norm))
        parts += layers
        if kin.final_norm:
            parts.append(part(f"{side}.final_norm", norm))
    if name.endswith("ForSequenceClassification"):
        out = Linear(width, _answers(config), bias=True, role="head", positions="one")
        parts.append(part("classifier_dense", Linear(width, width, bias=True, positions="one")))
        parts.append(part("classifier_out", out))
    elif name == kin.classes[0]:
        if kin.head_bias:
            parts.append(part("head_bias", Array((1, vocabulary), role="buffer")))
        parts.append(part("head", Linear(width, vocabulary, role="head", tied=tied, positions="outputs")))
    dimensions = _dimensions(config, width, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _answers(config: Config) -> int:
    """Labels of a classifier: BART's class has three unless they are written down, the others two."""
    named = config.values.get("id2label") or config.values.get("num_labels")
    return 3 if named is None and config.values["model_type"] == "bart" else config.labels()


WHISPER_CLASSES = ("WhisperForConditionalGeneration", "WhisperModel")


def whisper(config: Config) -> Architecture:
    """Two convolutions halve the frames to `max_source_positions` (1,500, half a minute) before the encoder.

    Keys have no bias. The encoder's positions are sinusoids that the class does not train.
    Source: transformers 5.23, models/whisper/{configuration,modeling}_whisper.py.
    """
    width = config.integer("d_model")
    vocabulary = config.integer("vocab_size")
    bins = config.integer("num_mel_bins", default=80)
    source = config.integer("max_source_positions", default=1500)
    context = config.integer("max_target_positions", default=448)
    name = class_of(config, WHISPER_CLASSES, default=WHISPER_CLASSES[0], what="the model for conditional generation")
    encoder, decoder = _both_sides(config, width, k_bias=False, source=source)
    first = Conv(bins, width, 3, 2 * source, bias=True, input_gradient=False, extent=(3,))
    second = Conv(width, width, 3, source, bias=True, extent=(3,))
    norm = Norm(width, bias=True)
    tied = "embedding.weight" if config.switch("tie_word_embeddings", default=True) else ""
    parts = [
        part("embedding", Embedding(vocabulary, width)),
        part("encoder.conv1", Applied(first, "sequence", 1)),
        part("encoder.conv2", Applied(second, "sequence", 1)),
        part("encoder.position", Embedding(source, width, role="position", frozen=True)),
        *encoder,
        part("encoder.final_norm", Applied(norm, "sequence", source)),
        part("decoder.position", Embedding(context, width, role="position")),
        *decoder,
        part("decoder.final_norm", norm),
    ]
    if name == "WhisperForConditionalGeneration":
        parts.append(part("head", Linear(width, vocabulary, role="head", tied=tied, positions="outputs")))
    dimensions = _dimensions(config, width, vocabulary, context)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _names() -> dict[str, str]:
    """Names that both types share."""
    found = {}
    for side in ("encoder", "decoder"):
        layer = f"model.{side}.layers.{{}}."
        blocks = {"attention": "self_attn", "cross": "encoder_attn"}
        for block, stem in blocks.items():
            for ours, theirs in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "out_proj")):
                found[f"{side}.{{}}.{block}.{ours}"] = f"{layer}{stem}.{theirs}"
            found[f"{side}.{{}}.{block}_norm"] = f"{layer}{stem}_layer_norm"
        found[f"{side}.{{}}.mlp.up"] = layer + "fc1"
        found[f"{side}.{{}}.mlp.down"] = layer + "fc2"
        found[f"{side}.{{}}.mlp_norm"] = layer + "final_layer_norm"
        found[f"{side}.position"] = f"model.{side}.embed_positions"
        found[f"{side}.embedding.weight"] = f"model.{side}.embed_tokens.weight"
        found[f"{side}.embedding_norm"] = f"model.{side}.layernorm_embedding"
        found[f"{side}.final_norm"] = f"model.{side}.layer_norm"
    return found


BART = Family(
    id="bart",
    model_types=tuple(KINDS),
    build=bart,
    names={
        "hf": {
            **_names(),
            "embedding": "model.shared",
            "head": "lm_head",
            "head_bias.weight": "final_logits_bias",
            "classifier_dense": "classification_head.dense",
            "classifier_out": "classification_head.out_proj",
        }
    },
    prefixes=("model.",),
    sources=(
        "https://arxiv.org/abs/1910.13461",
        "https://arxiv.org/abs/2001.08210",
        "https://arxiv.org/abs/1912.08777",
        "https://arxiv.org/abs/2010.11125",
    ),
)

WHISPER = Family(
    id="whisper",
    model_types=("whisper",),
    build=whisper,
    names={
        "hf": {
            **_names(),
            "embedding": "model.decoder.embed_tokens",
            "encoder.conv1": "model.encoder.conv1",
            "encoder.conv2": "model.encoder.conv2",
            "head": "proj_out",
        }
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2212.04356",),
)
