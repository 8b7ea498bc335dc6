"""T5, mT5 and UMT5: an encoder and a decoder with relative positions, one token table for both."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.encoder import class_of, sizes_of
from weigh.parts import Applied, Array, Attention, CrossAttention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

STEMS = {"t5": "T5", "mt5": "MT5", "umt5": "UMT5"}
CLASSES = ("ForConditionalGeneration", "Model", "EncoderModel")
"""Endings of the class names."""


def t5(config: Config) -> Architecture:
    """Layers are numbered through, those of the encoder first, which runs over the source of the pass.

    The first layer of each side holds the biases of relative positions that all of its layers use; in UMT5 each layer
    has its own. The head is always tied: the classes ignore `tie_word_embeddings`.
    Source: transformers 5.23, models/{t5,mt5,umt5}/{configuration,modeling}_{t5,mt5,umt5}.py.
    """
    kind = str(config.values["model_type"])
    every = kind == "umt5"
    width = config.integer("d_model")
    heads = config.integer("num_heads")
    head_dim = config.integer("d_kv", default=64)
    hidden = config.integer("d_ff")
    layers = config.layers("num_layers")
    behind = config.integer("num_decoder_layers", default=layers, maximum=config.limits.layers)
    vocabulary = config.integer("vocab_size")
    buckets = config.integer("relative_attention_num_buckets", default=32)
    names = [STEMS[kind] + ending for ending in CLASSES]
    name = class_of(config, names, default=names[0], what="the model for conditional generation")
    name = name.removeprefix(STEMS[kind])
    relu = config.values.get("feed_forward_proj", "relu") == "relu"
    mlp = Mlp(width, hidden, gated=_gated(config, kind), relu=relu)
    block = "gated_mlp" if mlp.gated else "mlp"
    positions = Embedding(buckets, heads, role="position")
    parts = [part("embedding", Embedding(vocabulary, width))]
    attention = Attention(width, heads, heads, head_dim, head_dim, causal=False)
    norm = Applied(Norm(width), "sequence")
    for i in range(layers):
        path = f"encoder.{i}."
        parts.append(part(path + "attention_norm", norm, i))
        parts.append(part(path + "attention", Applied(attention, "sequence"), i))
        if i == 0 or every:
            parts.append(part(path + "positions", positions, i))
        parts.append(part(path + "mlp_norm", norm, i))
        parts.append(part(path + block, Applied(mlp, "sequence"), i))
    parts.append(part("encoder.final_norm", norm))
    if name != "EncoderModel":
        own = Attention(width, heads, heads, head_dim, head_dim)
        cross = CrossAttention(width, width, heads, head_dim, head_dim)
        for i in range(behind):
            path, number = f"decoder.{i}.", layers + i
            parts.append(part(path + "attention_norm", Norm(width), number))
            parts.append(part(path + "attention", own, number))
            if i == 0 or every:
                parts.append(part(path + "positions", positions, number))
            parts.append(part(path + "cross_norm", Norm(width), number))
            parts.append(part(path + "cross", cross, number))
            parts.append(part(path + "mlp_norm", Norm(width), number))
            parts.append(part(path + block, mlp, number))
        parts.append(part("decoder.final_norm", Norm(width)))
    parts += _tables(name, width, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary)
    dimensions |= {"layers": layers + behind, "encoder_layers": layers, "decoder_layers": behind}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _gated(config: Config, kind: str) -> bool:
    """`feed_forward_proj` is the name of an activation, or `gated-` and it. T5 documents relu, others gated-gelu."""
    written = config.values.get("feed_forward_proj")
    if written is None:
        default = "relu" if kind == "t5" else "gated-gelu"
        config.assumed.append(f"feed_forward_proj = {default!r}")
        return kind != "t5"
    if isinstance(written, str) and 1 <= len(written.split("-")) <= 2:
        first, _, second = written.partition("-")
        if not second or first == "gated":
            return bool(second)
    config.expect("feed_forward_proj", value="relu", default="relu")
    return False


def _tables(name: str, width: int, vocabulary: int) -> list[Part]:
    """The other names of the token table, which some writers store: of each side and of the head."""
    table = Array((vocabulary, width), role="embedding", tied="embedding.weight")
    found = [part("encoder.embedding", table)]
    if name != "EncoderModel":
        found.append(part("decoder.embedding", table))
    if name == "ForConditionalGeneration":
        found.append(part("head", Linear(width, vocabulary, role="head", tied="embedding.weight", positions="outputs")))
    return found


_ENCODER = "encoder.block.{}.layer."
_DECODER = "decoder.block.{}.layer."

T5 = Family(
    id="t5",
    model_types=("t5", "mt5", "umt5"),
    build=t5,
    names={
        "hf": {
            "embedding": "shared",
            "encoder.embedding": "encoder.embed_tokens",
            "decoder.embedding": "decoder.embed_tokens",
            "head": "lm_head",
            "encoder.{}.positions": _ENCODER + "0.SelfAttention.relative_attention_bias",
            "decoder.{}.positions": _DECODER + "0.SelfAttention.relative_attention_bias",
            "encoder.final_norm": "encoder.final_layer_norm",
            "decoder.final_norm": "decoder.final_layer_norm",
            **{f"encoder.{{}}.attention.{x}": f"{_ENCODER}0.SelfAttention.{x}" for x in "qkvo"},
            **{f"decoder.{{}}.attention.{x}": f"{_DECODER}0.SelfAttention.{x}" for x in "qkvo"},
            **{f"decoder.{{}}.cross.{x}": f"{_DECODER}1.EncDecAttention.{x}" for x in "qkvo"},
            "encoder.{}.attention_norm": _ENCODER + "0.layer_norm",
            "decoder.{}.attention_norm": _DECODER + "0.layer_norm",
            "decoder.{}.cross_norm": _DECODER + "1.layer_norm",
            "encoder.{}.mlp_norm": _ENCODER + "1.layer_norm",
            "decoder.{}.mlp_norm": _DECODER + "2.layer_norm",
            "encoder.{}.mlp.down": _ENCODER + "1.DenseReluDense.wo",
            "decoder.{}.mlp.down": _DECODER + "2.DenseReluDense.wo",
            "encoder.{}.mlp.up": _ENCODER + "1.DenseReluDense.wi",
            "decoder.{}.mlp.up": _DECODER + "2.DenseReluDense.wi",
            "encoder.{}.gated_mlp.gate": _ENCODER + "1.DenseReluDense.wi_0",
            "decoder.{}.gated_mlp.gate": _DECODER + "2.DenseReluDense.wi_0",
            "encoder.{}.gated_mlp.up": _ENCODER + "1.DenseReluDense.wi_1",
            "decoder.{}.gated_mlp.up": _DECODER + "2.DenseReluDense.wi_1",
            "encoder.{}.gated_mlp.down": _ENCODER + "1.DenseReluDense.wo",
            "decoder.{}.gated_mlp.down": _DECODER + "2.DenseReluDense.wo",
        },
    },
    sources=("https://arxiv.org/abs/1910.10683",),
    ignored={
        "t5.tie_word_embeddings": "https://github.com/huggingface/transformers/blob/main/src/transformers/models/t5/"
        "configuration_t5.py"
    },
)
