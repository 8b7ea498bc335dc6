"""Swin: attention within windows of an image, at half the side and twice the width from stage to stage."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.convnext import stages_in_step
from weigh.families.encoder import both_ways, class_of, number
from weigh.parts import Applied, Array, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CLASSES = ("SwinForImageClassification", "SwinModel")


def swin(config: Config) -> Architecture:
    """Patches, stages of blocks with a table of (2 window - 1)^2 biases a head, merging of 2 x 2 between stages.

    A token is an image. The index of the table is a buffer that is not stored.
    Source: transformers 5.23, models/swin/{configuration,modeling}_swin.py.
    """
    first = config.integer("embed_dim")
    depths = config.integers("depths", minimum=1)
    heads = config.integers("num_heads", minimum=1)
    stages_in_step(config, len(depths), num_heads=len(heads))
    if sum(depths) > config.limits.layers or len(depths) > 64:
        raise WeighError("`depths` adds up to more layers than the limit", rule="CONFIG-RANGE", path=config.source)
    patch = config.integer("patch_size", default=4)
    side = config.integer("image_size", default=224, minimum=patch) // patch
    channels = config.integer("num_channels", default=3)
    name = class_of(config, CLASSES, default=CLASSES[0], what="the image classifier")
    parts = [
        part("patches", Conv(channels, first, patch, side * side, bias=True, input_gradient=False)),
        part("patches_norm", Norm(first, bias=True)),
    ]
    if config.switch("use_absolute_embeddings", default=False):
        parts.append(part("position", Array((1, side * side, first), role="position")))
    index = 0
    width = first
    for stage, depth in enumerate(depths):
        width = first * 2**stage
        for block in range(depth):
            parts += _block(config, f"stages.{stage}.blocks.{block}.", index, width, heads[stage], side)
            index += 1
        if stage < len(depths) - 1:
            side = (side + 1) // 2
            merge = Linear(4 * width, 2 * width, role="other")
            parts.append(part(f"stages.{stage}.merge_norm", Norm(4 * width, bias=True), index - 1))
            parts.append(part(f"stages.{stage}.merge", Applied(merge, "token", side * side), index - 1))
    parts.append(part("final_norm", Norm(width, bias=True)))
    if name == "SwinForImageClassification":
        parts.append(part("classifier", Linear(width, config.labels(), bias=True, role="head")))
    dimensions = {"layers": sum(depths), "width": width, "stages": len(depths), "channels": channels}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _block(config: Config, path: str, index: int, width: int, heads: int, side: int) -> Iterator[Part]:
    """Norm, attention within windows, norm, block. An image that a window covers is one window of its own side."""
    window = config.integer("window_size", default=7)
    biased = config.switch("qkv_bias", default=True)
    head_dim = config.divide(width, heads, "width of the stage / num_heads")
    attention = both_ways(width, heads, head_dim, q_bias=biased, k_bias=biased, v_bias=biased)
    hidden = int(width * number(config, "mlp_ratio", 4.0))
    reach = min(window, side)
    windows = (-(-side // reach)) ** 2
    yield part(path + "attention_norm", Norm(width, bias=True), index)
    yield part(path + "attention", Applied(attention, "token", reach * reach, times=windows), index)
    yield part(path + "positions", Array(((2 * window - 1) ** 2, heads), role="position"), index)
    yield part(path + "mlp_norm", Norm(width, bias=True), index)
    mlp = Mlp(width, hidden, up_bias=True, down_bias=True)
    yield part(path + "mlp", Applied(mlp, "token", side * side), index)


_BLOCK = "swin.encoder.layers.{}.blocks.{}."

SWIN = Family(
    id="swin",
    model_types=("swin",),
    build=swin,
    names={
        "hf": {
            "patches": "swin.embeddings.patch_embeddings.projection",
            "patches_norm": "swin.embeddings.norm",
            "position.weight": "swin.embeddings.position_embeddings",
            "stages.{}.blocks.{}.attention_norm": _BLOCK + "layernorm_before",
            "stages.{}.blocks.{}.attention.q": _BLOCK + "attention.self.query",
            "stages.{}.blocks.{}.attention.k": _BLOCK + "attention.self.key",
            "stages.{}.blocks.{}.attention.v": _BLOCK + "attention.self.value",
            "stages.{}.blocks.{}.attention.o": _BLOCK + "attention.output.dense",
            "stages.{}.blocks.{}.positions.weight": _BLOCK + "attention.self.relative_position_bias_table",
            "stages.{}.blocks.{}.mlp_norm": _BLOCK + "layernorm_after",
            "stages.{}.blocks.{}.mlp.up": _BLOCK + "intermediate.dense",
            "stages.{}.blocks.{}.mlp.down": _BLOCK + "output.dense",
            "stages.{}.merge_norm": "swin.encoder.layers.{}.downsample.norm",
            "stages.{}.merge": "swin.encoder.layers.{}.downsample.reduction",
            "final_norm": "swin.layernorm",
            "classifier": "classifier",
        }
    },
    prefixes=("swin.",),
    sources=("https://arxiv.org/abs/2103.14030",),
)
