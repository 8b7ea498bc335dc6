"""wav2vec 2.0: convolutions over the samples of a sound, positions by a convolution, an encoder. A token is a frame."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, number, sizes_of
from weigh.parts import Applied, Array, Conv, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

STEMS = {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeechSat",
    "wavlm": "WavLM",
}
CLASSES = ("Model", "ForCTC", "ForSequenceClassification")
"""Endings of the class names."""


def wav2vec2(config: Config) -> Architecture:
    """Samples, frames, positions by a wide convolution, layers. WavLM also biases its scores by distance, gated.

    The weight of the convolution for positions is held as a direction and a length for each of its places.
    Source: transformers 5.23, modeling files of the types in `STEMS`.
    """
    config.expect("add_adapter", value=False, default=False)
    if config.values.get("adapter_attn_dim") is not None:
        config.expect("adapter_attn_dim", value=None, default=None)
    kind = str(config.values["model_type"])
    config.expect("conv_pos_batch_norm", value=False, default=False)
    names = tuple(STEMS[kind] + ending for ending in CLASSES)
    name = class_of(config, names, default=names[0], what="the bare encoder").removeprefix(STEMS[kind])
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    front, features = _features(config)
    parts = list(front)
    masked = number(config, "mask_time_prob", 0.05) > 0 or number(config, "mask_feature_prob", 0.0) > 0
    if masked or kind == "unispeech-sat":
        parts.append(part("mask_token", Array((width,))))
    if kind != "hubert" or config.switch("feat_proj_layer_norm", default=True):
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
        if kind == "wavlm":
            parts += _distances(config, heads, head_dim, i)
        parts.append(part("attention_norm", Norm(width, bias=True), i))
        parts.append(part("mlp", Mlp(width, hidden, up_bias=True, down_bias=True), i))
        parts.append(part("mlp_norm", Norm(width, bias=True), i))
    parts += _behind(config, name, width, layers, vocabulary)
    dimensions = sizes_of(layers, width, heads, head_dim, hidden, vocabulary)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _distances(config: Config, heads: int, head_dim: int, layer: int) -> Iterator[Part]:
    """WavLM: a gate of each head's distances, made from its query; the first layer holds the table for all."""
    yield part("gate_scale", Array((1, heads, 1, 1)), layer)
    yield part("gate", Applied(Linear(head_dim, 8, bias=True), times=heads), layer)
    if layer == 0:
        rows = config.integer("num_buckets", default=320)
        yield part("distances", Embedding(rows, heads, role="position"), layer)


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
    if name == "ForCTC":
        return [part("head", Linear(width, vocabulary, bias=True, role="head"))]
    if name == "ForSequenceClassification":
        inner = config.integer("classifier_proj_size", default=256)
        parts = [
            part("projector", Linear(width, inner, bias=True)),
            part("classifier", Linear(inner, config.labels(), bias=True, role="head", positions="one")),
        ]
        if config.switch("use_weighted_layer_sum", default=False):
            parts.insert(0, part("layer_weights", Array((layers + 1,))))
        return parts
    return []


def _names(prefix: str) -> dict[str, str]:
    layer = prefix + "encoder.layers.{layer}."
    position = prefix + "encoder.pos_conv_embed.conv."
    return {
        "mask_token.weight": prefix + "masked_spec_embed",
        "samples.{}.conv": prefix + "feature_extractor.conv_layers.{}.conv",
        "samples.{}.norm": prefix + "feature_extractor.conv_layers.{}.layer_norm",
        "features_norm": prefix + "feature_projection.layer_norm",
        "features": prefix + "feature_projection.projection",
        "position_length.weight": position + "parametrizations.weight.original0",
        "position.weight": position + "parametrizations.weight.original1",
        "position.bias": position + "bias",
        "embedding_norm": prefix + "encoder.layer_norm",
        **{f"attention.{x}": f"{layer}attention.{x}_proj" for x in "qkv"},
        "attention.o": layer + "attention.out_proj",
        "gate_scale.weight": layer + "attention.gru_rel_pos_const",
        "gate": layer + "attention.gru_rel_pos_linear",
        "distances": layer + "attention.rel_attn_embed",
        "attention_norm": layer + "layer_norm",
        "mlp.up": layer + "feed_forward.intermediate_dense",
        "mlp.down": layer + "feed_forward.output_dense",
        "mlp_norm": layer + "final_layer_norm",
        "head": "lm_head",
        "projector": "projector",
        "classifier": "classifier",
        "layer_weights.weight": "layer_weights",
    }


def _family(model_type: str, source: str) -> Family:
    prefix = model_type.replace("-", "_") + "."
    return Family(prefix[:-1], (model_type,), wav2vec2, {"hf": _names(prefix)}, (source,), (prefix,))


WAV2VEC2 = _family("wav2vec2", "https://arxiv.org/abs/2006.11477")
HUBERT = _family("hubert", "https://arxiv.org/abs/2106.07447")
UNISPEECH = _family("unispeech", "https://arxiv.org/abs/2101.07597")
UNISPEECH_SAT = _family("unispeech-sat", "https://arxiv.org/abs/2110.05752")
WAVLM = _family("wavlm", "https://arxiv.org/abs/2110.13900")
