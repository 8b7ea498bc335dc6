"""ConvNeXt: stages of blocks with one wide depthwise convolution and two matrices. A token is an image."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import class_of, number
from weigh.parts import Applied, Array, Conv, Linear, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

STEMS = {"convnext": "ConvNext", "convnextv2": "ConvNextV2"}


def convnext(config: Config) -> Architecture:
    """A stem that cuts patches of 4 x 4, four stages each at half the side of the one before, a norm, a classifier.

    Layers are numbered over all stages. The second version has no scales but a norm of the responses inside a block.
    Source: transformers 5.23, modeling files of convnext and convnextv2.
    """
    kind = str(config.values["model_type"])
    widths = config.integers("hidden_sizes", minimum=1)
    depths = config.integers("depths", minimum=1)
    stages_in_step(config, len(depths), hidden_sizes=len(widths))
    if sum(depths) > config.limits.layers:
        raise WeighError("`depths` adds up to more layers than the limit", rule="CONFIG-RANGE", path=config.source)
    patch = config.integer("patch_size", default=4)
    side = config.integer("image_size", default=224, minimum=patch) // patch
    channels = config.integer("num_channels", default=3)
    classes = tuple(STEMS[kind] + ending for ending in ("ForImageClassification", "Model"))
    name = class_of(config, classes, default=classes[0], what="the image classifier")
    second = kind == "convnextv2"
    scaled = not second and number(config, "layer_scale_init_value", 1e-6) > 0
    stem = Conv(channels, widths[0], patch, side * side, bias=True, input_gradient=False)
    parts = [part("patches", stem), part("patches_norm", Norm(widths[0], bias=True))]
    index = 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            side = max(side // 2, 1)
            down = Conv(widths[stage - 1], width, 2, side * side, bias=True)
            parts.append(part(f"stages.{stage}.down_norm", Norm(widths[stage - 1], bias=True), index))
            parts.append(part(f"stages.{stage}.down", down, index))
        for block in range(depth):
            parts += _block(f"stages.{stage}.layers.{block}.", index, width, side * side, scaled=scaled, normed=second)
            index += 1
    parts.append(part("final_norm", Norm(widths[-1], bias=True)))
    if name == classes[0]:
        parts.append(part("classifier", Linear(widths[-1], config.labels(), bias=True, role="head")))
    dimensions = {"layers": sum(depths), "width": widths[-1], "stages": len(depths), "channels": channels}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def stages_in_step(config: Config, stages: int, **others: int) -> None:
    """Refuse lists that name another number of stages than `depths`, or none."""
    for key, length in others.items():
        if length != stages or not stages:
            raise WeighError(
                f"`{key}` has {length} stages, `depths` {stages}", rule="CONFIG-RANGE", path=config.source or None
            )


def _block(path: str, index: int, width: int, positions: int, *, scaled: bool, normed: bool) -> Iterator[Part]:
    """7 x 7 over each channel alone, norm, four times the width and back, a scale."""
    yield part(path + "conv", Conv(width, width, 7, positions, width, bias=True), index)
    yield part(path + "norm", Norm(width, bias=True), index)
    up = Linear(width, 4 * width, bias=True, role="mlp_up")
    down = Linear(4 * width, width, bias=True, role="mlp_down")
    yield part(path + "up", Applied(up, "token", positions), index)
    if normed:
        yield part(path + "responses", Array((1, 1, 1, 4 * width), role="norm"), index)
        yield part(path + "responses_shift", Array((1, 1, 1, 4 * width), role="norm"), index)
    yield part(path + "down", Applied(down, "token", positions), index)
    if scaled:
        yield part(path + "scale", Array((width,)), index)


def _names(stem: str) -> dict[str, str]:
    block = stem + "encoder.stages.{}.layers.{}."
    return {
        "patches": stem + "embeddings.patch_embeddings",
        "patches_norm": stem + "embeddings.layernorm",
        "stages.{}.down_norm": stem + "encoder.stages.{}.downsampling_layer.0",
        "stages.{}.down": stem + "encoder.stages.{}.downsampling_layer.1",
        "stages.{}.layers.{}.conv": block + "dwconv",
        "stages.{}.layers.{}.norm": block + "layernorm",
        "stages.{}.layers.{}.up": block + "pwconv1",
        "stages.{}.layers.{}.responses.weight": block + "grn.weight",
        "stages.{}.layers.{}.responses_shift.weight": block + "grn.bias",
        "stages.{}.layers.{}.down": block + "pwconv2",
        "stages.{}.layers.{}.scale.weight": block + "layer_scale_parameter",
        "final_norm": stem + "layernorm",
        "classifier": "classifier",
    }


def _family(model_type: str, source: str) -> Family:
    prefix = model_type + "."
    return Family(model_type, (model_type,), convnext, {"hf": _names(prefix)}, (source,), (prefix,))


CONVNEXT = _family("convnext", "https://arxiv.org/abs/2201.03545")
CONVNEXT2 = _family("convnextv2", "https://arxiv.org/abs/2301.00808")
