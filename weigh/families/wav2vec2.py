"""wav2vec 2.0: convolutions over the samples of a sound, positions by a convolution, an encoder. A token is a frame."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, number, sizes_of
from weigh.parts import Array, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CLASSES = ("Wav2Vec2Model", "Wav2Vec2ForCTC", "Wav2Vec2ForSequenceClassification")


def wav2vec2(config: Config) -> Architecture:
    """Source: transformers 5.23, models/wav2vec2/{configuration,modeling}_wav2vec2.py.

    The weight of the convolution for positions is held as a direction and a length for each of its places.
    """
    config.expect("add_adapter", value=False, default=False)
    if config.values.get("adapter_attn_dim") is not None:
        config.expect("adapter_attn_dim", value=None, default=None)
    name = class_of(config, CLASSES, default=CLASSES[0], what="the bare encoder")
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    front, features = _features(config)
    parts = list(front)
    if number(config, "mask_time_prob", 0.05) > 0 or number(config, "mask_feature_prob", 0.0) > 0:
        parts.append(part("mask_token", Array((width,))))
    parts.append(part("features_norm", Norm(features, bias=True)))
    parts.append(part("features", Linear(features, width, bias=True)))
    places = config.integer("num_conv_pos_embeddings", default=128)
    groups = config.integer("num_conv_pos_embedding_groups", default=16)
    config.divide(width, groups, "hidden_size / num_conv_pos_embedding_groups")
    parts.append(part("position_length", Array((1, 1, places), role="conv")))
    parts.append(part("position", Conv(width, width, places, 1, groups, bias=True, extent=(places,))))
    parts.append(part("embedding_norm", Norm(width, bias=True)))
    for i in range(layers):
        parts.append(part("attention", both_ways(width, heads, head_dim), i))
        parts.append(part("attention_norm", Norm(width, bias=True), i))
        parts.append(part("mlp", Mlp(width, hidden, up_bias=True, down_bias=True), i))
        parts.append(part("mlp_norm", Norm(width, bias=True), i))
    parts += _behind(config, name, width, layers, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _features(config: Config) -> tuple[list[Part], int]:
    """The convolutions over samples, and the channels of the last.

    With `feat_extract_norm` group the first has a norm, with layer all. Layer j runs for each frame as often as the
    strides behind it multiply to. Documented defaults: seven layers of 512, strides 5 and six times 2, kernels 10,
    four times 3, twice 2.
    """
    channels = config.integers("conv_dim", default=[512] * 7, minimum=1)
    strides = config.integers("conv_stride", default=[5, *[2] * 6], minimum=1)
    kernels = config.integers("conv_kernel", default=[10, *[3] * 4, 2, 2], minimum=1)
    if not len(channels) == len(strides) == len(kernels) or not channels or len(channels) > 64:
        raise WeighError(
            "`conv_dim`, `conv_stride` and `conv_kernel` name different numbers of layers, none, or too many",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    biased = config.switch("conv_bias", default=False)
    every = config.choice("feat_extract_norm", ("group", "layer"), default="group") == "layer"

    def layers() -> Iterator[Part]:
        for j, outputs in enumerate(channels):
            inputs = channels[j - 1] if j else 1
            runs = prod(strides[j + 1 :])
            conv = Conv(inputs, outputs, kernels[j], runs, bias=biased, input_gradient=j > 0, extent=(kernels[j],))
            yield part(f"samples.{j}.conv", conv)
            if every or j == 0:
                yield part(f"samples.{j}.norm", Norm(outputs, bias=True))

    return list(layers()), channels[-1]


def _behind(config: Config, name: str, width: int, layers: int, vocabulary: int) -> list[Part]:
    """The head that reads letters, or the classifier of whole recordings."""
    if name == "Wav2Vec2ForCTC":
        return [part("head", Linear(width, vocabulary, bias=True, role="head"))]
    if name == "Wav2Vec2ForSequenceClassification":
        inner = config.integer("classifier_proj_size", default=256)
        parts = [
            part("projector", Linear(width, inner, bias=True)),
            part("classifier", Linear(inner, config.labels(), bias=True, role="head", positions="one")),
        ]
        if config.switch("use_weighted_layer_sum", default=False):
            parts.insert(0, part("layer_weights", Array((layers + 1,))))
        return parts
    return []


_LAYER = "wav2vec2.encoder.layers.{layer}."
_POSITION = "wav2vec2.encoder.pos_conv_embed.conv."

WAV2VEC2 = Family(
    id="wav2vec2",
    model_types=("wav2vec2",),
    build=wav2vec2,
    names={
        "hf": {
            "mask_token.weight": "wav2vec2.masked_spec_embed",
            "samples.{}.conv": "wav2vec2.feature_extractor.conv_layers.{}.conv",
            "samples.{}.norm": "wav2vec2.feature_extractor.conv_layers.{}.layer_norm",
            "features_norm": "wav2vec2.feature_projection.layer_norm",
            "features": "wav2vec2.feature_projection.projection",
            "position_length.weight": _POSITION + "parametrizations.weight.original0",
            "position.weight": _POSITION + "parametrizations.weight.original1",
            "position.bias": _POSITION + "bias",
            "embedding_norm": "wav2vec2.encoder.layer_norm",
            **{f"attention.{x}": f"{_LAYER}attention.{x}_proj" for x in "qkv"},
            "attention.o": _LAYER + "attention.out_proj",
            "attention_norm": _LAYER + "layer_norm",
            "mlp.up": _LAYER + "feed_forward.intermediate_dense",
            "mlp.down": _LAYER + "feed_forward.output_dense",
            "mlp_norm": _LAYER + "final_layer_norm",
            "head": "lm_head",
            "projector": "projector",
            "classifier": "classifier",
            "layer_weights.weight": "layer_weights",
        }
    },
    prefixes=("wav2vec2.",),
    sources=("https://arxiv.org/abs/2006.11477",),
)
