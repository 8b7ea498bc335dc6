"""ViT and DINOv2: an image cut into patches, and BERT-like layers with norms before each block. A token is an image."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, number, sizes_of
from weigh.families.names import fused
from weigh.parts import Applied, Array, Attention, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family


def image(config: Config, default: int) -> tuple[int, Conv]:
    """Patches of an image of `image_size` (224 unless written down), and the convolution that makes them."""
    patch = config.integer("patch_size", default=default)
    side = config.integer("image_size", default=224, minimum=patch) // patch
    channels = config.integer("num_channels", default=3)
    width = config.integer("hidden_size")
    return side * side, Conv(channels, width, patch, side * side, bias=True, input_gradient=False)


def attention_of(config: Config) -> Attention:
    """Attention among the patches; `qkv_bias` is true unless written down."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    biased = config.switch("qkv_bias", default=True)
    return both_ways(width, heads, head_dim, q_bias=biased, k_bias=biased, v_bias=biased)


def dimensions_of(config: Config, attention: Attention, hidden: int, places: int) -> dict[str, int]:
    """Sizes under our own names."""
    layers = config.layers("num_hidden_layers")
    return sizes_of(layers, attention.width, attention.heads, attention.key_dim, hidden, context=places)


VIT_CLASSES = ("ViTForImageClassification", "ViTModel")


def vit(config: Config) -> Architecture:
    """A class token and a position each for it and the patches; layers; a norm; a pooler or a classifier.

    Source: transformers 5.23, models/vit/{configuration,modeling}_vit.py.
    """
    attention = attention_of(config)
    width = attention.width
    hidden = config.integer("intermediate_size")
    patches, conv = image(config, 16)
    places = patches + 1
    name = class_of(config, VIT_CLASSES, default=VIT_CLASSES[0], what="the image classifier")
    norm = Norm(width, bias=True)
    parts = [
        part("class_token", Array((1, 1, width))),
        part("position", Array((1, places, width), role="position")),
        part("patches", conv),
    ]
    for i in range(config.layers("num_hidden_layers")):
        parts.append(part("attention_norm", norm, i))
        parts.append(part("attention", Applied(attention, "token", places), i))
        parts.append(part("mlp_norm", norm, i))
        parts.append(part("mlp", Applied(Mlp(width, hidden, up_bias=True, down_bias=True), "token", places), i))
    parts.append(part("final_norm", norm))
    if name == "ViTModel":
        pooled = config.integer("pooler_output_size", default=width)
        parts.append(part("pooler", Linear(width, pooled, bias=True)))
    else:
        parts.append(part("classifier", Linear(width, config.labels(), bias=True, role="head")))
    dimensions = dimensions_of(config, attention, hidden, places)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


DINO_STEMS = {"dinov2": "Dinov2", "dinov2_with_registers": "Dinov2WithRegisters"}


def dinov2(config: Config) -> Architecture:
    """As ViT, with a token for masked patches, a scale behind each block, and optionally a gated block.

    The gated block is of two thirds of the width of the plain one, rounded up to a multiple of 8; the classifier reads
    the class token beside the mean of the patches. One type has register tokens, which have no positions.
    Source: transformers 5.23, modeling files of dinov2 and dinov2_with_registers.
    """
    attention = attention_of(config)
    width = attention.width
    hidden = int(width * number(config, "mlp_ratio", 4))
    gated = config.switch("use_swiglu_ffn", default=False)
    if gated:
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
    kind = str(config.values["model_type"])
    registered = kind == "dinov2_with_registers"
    patches, conv = image(config, 16 if registered else 14)
    registers = config.integer("num_register_tokens", default=4, minimum=0) if registered else 0
    places = patches + 1 + registers
    classes = tuple(DINO_STEMS[kind] + ending for ending in ("Model", "ForImageClassification"))
    name = class_of(config, classes, default=classes[0], what="the bare encoder")
    norm = Norm(width, bias=True)
    parts = [part("class_token", Array((1, 1, width)))]
    if registered:
        parts.append(part("registers", Array((1, registers, width))))
    if registered or config.switch("use_mask_token", default=True):
        parts.append(part("mask_token", Array((1, width))))
    parts.append(part("position", Array((1, patches + 1, width), role="position")))
    parts.append(part("patches", conv))
    mlp = Mlp(width, hidden, gated=gated, up_bias=True, down_bias=True)
    for i in range(config.layers("num_hidden_layers")):
        parts.append(part("attention_norm", norm, i))
        parts.append(part("attention", Applied(attention, "token", places), i))
        parts.append(part("attention_scale", Array((width,)), i))
        parts.append(part("mlp_norm", norm, i))
        parts.append(part("gated_mlp" if gated else "mlp", Applied(mlp, "token", places), i))
        parts.append(part("mlp_scale", Array((width,)), i))
    parts.append(part("final_norm", norm))
    if name == classes[1]:
        parts.append(part("classifier", Linear(2 * width, config.labels(), bias=True, role="head")))
    dimensions = dimensions_of(config, attention, hidden, places)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def names_behind(stem: str) -> dict[str, str]:
    """Names of what ViT and its kin share; `stem` is what they begin with."""
    layer = stem + "encoder.layer.{layer}."
    return {
        "class_token.weight": stem + "embeddings.cls_token",
        "mask_token.weight": stem + "embeddings.mask_token",
        "position.weight": stem + "embeddings.position_embeddings",
        "patches": stem + "embeddings.patch_embeddings.projection",
        "attention.q": layer + "attention.attention.query",
        "attention.k": layer + "attention.attention.key",
        "attention.v": layer + "attention.attention.value",
        "attention.o": layer + "attention.output.dense",
        "final_norm": stem + "layernorm",
        "pooler": stem + "pooler.dense",
        "classifier": "classifier",
    }


VIT = Family(
    id="vit",
    model_types=("vit",),
    build=vit,
    names={
        "hf": {
            **names_behind("vit."),
            "attention_norm": "vit.encoder.layer.{layer}.layernorm_before",
            "mlp_norm": "vit.encoder.layer.{layer}.layernorm_after",
            "mlp.up": "vit.encoder.layer.{layer}.intermediate.dense",
            "mlp.down": "vit.encoder.layer.{layer}.output.dense",
        }
    },
    prefixes=("vit.",),
    sources=("https://arxiv.org/abs/2010.11929",),
)


def _dino_names(stem: str) -> dict[str, str]:
    layer = stem + "encoder.layer.{layer}."
    return {
        **names_behind(stem),
        **fused({}, layer + "mlp.weights_in", "gated_mlp.gate", "gated_mlp.up"),
        "registers.weight": stem + "embeddings.register_tokens",
        "attention_norm": layer + "norm1",
        "attention_scale.weight": layer + "layer_scale1.lambda1",
        "mlp_norm": layer + "norm2",
        "mlp.up": layer + "mlp.fc1",
        "mlp.down": layer + "mlp.fc2",
        "gated_mlp.down": layer + "mlp.weights_out",
        "mlp_scale.weight": layer + "layer_scale2.lambda1",
    }


DINOV2 = Family(
    id="dinov2",
    model_types=("dinov2",),
    build=dinov2,
    names={"hf": _dino_names("dinov2.")},
    prefixes=("dinov2.",),
    sources=("https://arxiv.org/abs/2304.07193",),
)

DINOV2_REGISTERS = Family(
    id="dinov2_with_registers",
    model_types=("dinov2_with_registers",),
    build=dinov2,
    names={"hf": _dino_names("dinov2_with_registers.")},
    prefixes=("dinov2_with_registers.",),
    sources=("https://arxiv.org/abs/2309.16588",),
    ignored={
        "dinov2_with_registers.use_mask_token": "https://github.com/huggingface/transformers/blob/main/src/transformers/"
        "models/dinov2_with_registers/modeling_dinov2_with_registers.py"
    },
)
