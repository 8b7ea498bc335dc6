"""Transformers kin to ViT: DeiT, ViT-MSN, the audio spectrogram transformer, BEiT, DINOv3. A token is an image.

Paths of parts are those of `vit.py` where the layers are ViT's.
"""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, number
from weigh.families.vit import attention_of, dimensions_of, image, names_behind
from weigh.parts import Applied, Array, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

CLASSES = {
    "deit": ("DeiTForImageClassification", "DeiTForImageClassificationWithTeacher", "DeiTModel"),
    "vit_msn": ("ViTMSNForImageClassification", "ViTMSNModel"),
    "audio-spectrogram-transformer": ("ASTForAudioClassification", "ASTModel"),
}


def kin(config: Config) -> Architecture:
    """ViT's layers; DeiT and AST have a second token beside that of the class, and AST patches that overlap.

    Source: transformers 5.23, modeling files of deit, vit_msn and audio_spectrogram_transformer.
    """
    kind = str(config.values["model_type"])
    names = CLASSES[kind]
    name = class_of(config, names, default=names[0], what="the classifier")
    attention = attention_of(config)
    width = attention.width
    hidden = config.integer("intermediate_size")
    count, conv = _sound(config) if kind == "audio-spectrogram-transformer" else image(config, 16)
    tokens = 1 if kind == "vit_msn" else 2
    places = count + tokens
    norm = Norm(width, bias=True)
    parts = [part("class_token", Array((1, 1, width)))]
    if tokens == 2:
        parts.append(part("distillation_token", Array((1, 1, width))))
    parts.append(part("position", Array((1, places, width), role="position")))
    parts.append(part("patches", conv))
    mlp = Mlp(width, hidden, up_bias=True, down_bias=True)
    for i in range(config.layers("num_hidden_layers")):
        parts.append(part("attention_norm", norm, i))
        parts.append(part("attention", Applied(attention, "token", places), i))
        parts.append(part("mlp_norm", norm, i))
        parts.append(part("mlp", Applied(mlp, "token", places), i))
    parts.append(part("final_norm", norm))
    labels = Linear(width, config.labels(), bias=True, role="head")
    if name == "DeiTModel":
        pooled = config.integer("pooler_output_size", default=width)
        parts.append(part("pooler", Linear(width, pooled, bias=True)))
    elif name == "DeiTForImageClassificationWithTeacher":
        parts.append(part("cls_classifier", labels))
        parts.append(part("distillation_classifier", labels))
    elif name == "ASTForAudioClassification":
        parts.append(part("classifier.layernorm", norm))
        parts.append(part("classifier.dense", labels))
    elif name == names[0]:
        parts.append(part("classifier", labels))
    dimensions = dimensions_of(config, attention, hidden, places)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _sound(config: Config) -> tuple[int, Conv]:
    """Patches of a spectrogram of `num_mel_bins` x `max_length`, every 10 bins and frames unless written down."""
    patch = config.integer("patch_size", default=16)
    bins = config.integer("num_mel_bins", default=128, minimum=patch)
    frames = config.integer("max_length", default=1024, minimum=patch)
    high = (bins - patch) // config.integer("frequency_stride", default=10) + 1
    long = (frames - patch) // config.integer("time_stride", default=10) + 1
    width = config.integer("hidden_size")
    return high * long, Conv(1, width, patch, high * long, bias=True, input_gradient=False)


BEIT_CLASSES = ("BeitForImageClassification", "BeitModel")


def beit(config: Config) -> Architecture:
    """Keys without a bias, a scale behind each block, and tables of biases by distance instead of positions.

    A table has a row for each step between two patches, and three for the class token. With mean pooling the norm
    stands in the pooler instead of behind the layers.
    Source: transformers 5.23, models/beit/modeling_beit.py.
    """
    name = class_of(config, BEIT_CLASSES, default=BEIT_CLASSES[0], what="the image classifier")
    plain = attention_of(config)
    width, heads = plain.width, plain.heads
    hidden = config.integer("intermediate_size")
    count, conv = image(config, 16)
    side = config.integer("image_size", default=224) // config.integer("patch_size", default=16)
    table = Array(((2 * side - 1) ** 2 + 3, heads), role="position")
    places = count + 1
    norm = Norm(width, bias=True)
    parts = [part("class_token", Array((1, 1, width)))]
    if config.switch("use_mask_token", default=False):
        parts.append(part("mask_token", Array((1, 1, width))))
    if config.switch("use_absolute_position_embeddings", default=False):
        parts.append(part("position", Array((1, places, width), role="position")))
    parts.append(part("patches", conv))
    if config.switch("use_shared_relative_position_bias", default=False):
        parts.append(part("distances", table))
    own = config.switch("use_relative_position_bias", default=False)
    scaled = number(config, "layer_scale_init_value", 0.1) > 0
    attention = both_ways(width, heads, plain.key_dim, k_bias=False)
    for i in range(config.layers("num_hidden_layers")):
        parts.append(part("attention_norm", norm, i))
        parts.append(part("attention", Applied(attention, "token", places), i))
        if own:
            parts.append(part("attention.distances", table, i))
        parts.append(part("mlp_norm", norm, i))
        parts.append(part("mlp", Applied(Mlp(width, hidden, up_bias=True, down_bias=True), "token", places), i))
        if scaled:
            parts.append(part("attention_scale", Array((width,)), i))
            parts.append(part("mlp_scale", Array((width,)), i))
    pooled = config.switch("use_mean_pooling", default=True)
    if not (pooled and name == "BeitModel" and config.values.get("add_pooling_layer") is False):
        parts.append(part("pooler_norm" if pooled else "final_norm", norm))
    if name == "BeitForImageClassification":
        parts.append(part("classifier", Linear(width, config.labels(), bias=True, role="head")))
    dimensions = dimensions_of(config, plain, hidden, places)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def dinov3(config: Config) -> Architecture:
    """Positions by turning queries and keys; a bias for each of the four matrices by its own switch; register tokens.

    Source: transformers 5.23, models/dinov3_vit/modeling_dinov3_vit.py.
    """
    class_of(config, ("DINOv3ViTModel",), default="DINOv3ViTModel", what="the bare encoder")
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    count, conv = image(config, 16)
    registers = config.integer("num_register_tokens", default=0, minimum=0)
    places = count + 1 + registers
    attention = both_ways(
        width,
        heads,
        head_dim,
        q_bias=config.switch("query_bias", default=True),
        k_bias=config.switch("key_bias", default=False),
        v_bias=config.switch("value_bias", default=True),
        o_bias=config.switch("proj_bias", default=True),
    )
    biased = config.switch("mlp_bias", default=True)
    mlp = Mlp(width, hidden, config.switch("use_gated_mlp", default=False), up_bias=biased, down_bias=biased)
    parts = list(_tokens(width, registers))
    parts.append(part("embeddings.patch_embeddings", conv))
    for i in range(config.layers("num_hidden_layers")):
        path, norm = f"layer.{i}", Norm(width, bias=True)
        parts.append(part(f"{path}.norm1", norm, i))
        parts.append(part(f"{path}.attention", Applied(attention, "token", places), i))
        parts.append(part(f"{path}.layer_scale1", Array((width,)), i))
        parts.append(part(f"{path}.norm2", norm, i))
        parts.append(part(f"{path}.mlp", Applied(mlp, "token", places), i))
        parts.append(part(f"{path}.layer_scale2", Array((width,)), i))
    parts.append(part("norm", Norm(width, bias=True)))
    dimensions = dimensions_of(config, attention, hidden, places)
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _tokens(width: int, registers: int) -> Iterator[Part]:
    yield part("embeddings.cls_token", Array((1, 1, width)))
    yield part("embeddings.mask_token", Array((1, 1, width)))
    yield part("embeddings.register_tokens", Array((1, registers, width)))


def _vit_names(stem: str) -> dict[str, str]:
    layer = stem + "encoder.layer.{layer}."
    return {
        **names_behind(stem),
        "distillation_token.weight": stem + "embeddings.distillation_token",
        "attention_norm": layer + "layernorm_before",
        "mlp_norm": layer + "layernorm_after",
        "mlp.up": layer + "intermediate.dense",
        "mlp.down": layer + "output.dense",
        **{name: name for name in ("cls_classifier", "distillation_classifier")},
        **{f"classifier.{name}": f"classifier.{name}" for name in ("layernorm", "dense")},
    }


DEIT = Family("deit", ("deit",), kin, {"hf": _vit_names("deit.")}, ("https://arxiv.org/abs/2012.12877",), ("deit.",))
VIT_MSN = Family(
    "vit_msn", ("vit_msn",), kin, {"hf": _vit_names("vit.")}, ("https://arxiv.org/abs/2204.07141",), ("vit.",)
)
AST = Family(
    id="audio_spectrogram_transformer",
    model_types=("audio-spectrogram-transformer",),
    build=kin,
    names={"hf": _vit_names("audio_spectrogram_transformer.")},
    prefixes=("audio_spectrogram_transformer.",),
    sources=("https://arxiv.org/abs/2104.01778",),
)

_BEIT_LAYER = "beit.encoder.layer.{layer}."
_DISTANCES = "relative_position_bias.relative_position_bias_table"

BEIT = Family(
    id="beit",
    model_types=("beit",),
    build=beit,
    names={
        "hf": {
            **_vit_names("beit."),
            "attention_scale.weight": _BEIT_LAYER + "lambda_1",
            "mlp_scale.weight": _BEIT_LAYER + "lambda_2",
            "attention.distances.weight": f"{_BEIT_LAYER}attention.attention.{_DISTANCES}",
            "distances.weight": f"beit.encoder.{_DISTANCES}",
            "pooler_norm": "beit.pooler.layernorm",
        }
    },
    prefixes=("beit.",),
    sources=("https://arxiv.org/abs/2106.08254",),
)

DINOV3 = Family(
    id="dinov3",
    model_types=("dinov3_vit",),
    build=dinov3,
    names={
        "hf": {
            "*": "{path}",
            **{
                f"embeddings.{name}.weight": f"embeddings.{name}"
                for name in ("cls_token", "mask_token", "register_tokens")
            },
            **{f"layer.{{}}.layer_scale{n}.weight": f"layer.{{}}.layer_scale{n}.lambda1" for n in (1, 2)},
            **{f"*.{x}": f"{{path}}.{x}_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")},
        }
    },
    sources=("https://arxiv.org/abs/2508.10104",),
)
