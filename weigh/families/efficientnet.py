"""EfficientNet: blocks that widen, filter each channel alone, weigh the channels and narrow. A token is an image."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from weigh.families.config import Config
from weigh.families.convnext import stages_in_step
from weigh.families.encoder import class_of, number
from weigh.parts import Conv, Linear, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

CLASSES = ("EfficientNetForImageClassification", "EfficientNetModel")


def efficientnet(config: Config) -> Architecture:
    """Stages of the smallest net, widened by one coefficient and repeated by the other; layers are numbered through.

    Where the side is odd a stride of two drops a row, unless `depthwise_padding` names the block.
    Source: transformers 5.23, models/efficientnet/{configuration,modeling}_efficientnet.py.
    """
    name = class_of(config, CLASSES, default=CLASSES[0], what="the image classifier")
    inputs = config.integers("in_channels", minimum=1)
    outputs = config.integers("out_channels", minimum=1)
    repeats = _repeats(config)
    kernels = config.integers("kernel_sizes", minimum=1)
    strides = config.integers("strides", minimum=1)
    widened = config.integers("expand_ratios", minimum=1)
    lists = {"in_channels": inputs, "out_channels": outputs, "kernel_sizes": kernels, "strides": strides}
    stages_in_step(
        config, len(repeats), expand_ratios=len(widened), **{key: len(found) for key, found in lists.items()}
    )
    padded = config.integers("depthwise_padding", default=())
    squeezed = number(config, "squeeze_expansion_ratio", 0.25)
    side = config.integer("image_size", default=600, minimum=2) // 2
    channels = config.integer("num_channels", default=3)
    width = _rounded(config, 32)
    parts = list(
        _conv_norm("embeddings", "convolution", "batchnorm", Conv(channels, width, 3, side**2, input_gradient=False))
    )
    index = 0
    for stage, times in enumerate(repeats):
        wide = _rounded(config, outputs[stage])
        for j in range(times):
            width = _rounded(config, inputs[stage]) if j == 0 else wide
            before, stride = side, strides[stage] if j == 0 else 1
            if stride == 2:
                side = max((side + 1) // 2 if index in padded else side // 2, 1)
            elif stride != 1:
                raise config.variant("strides", "1 or 2 a stage", stride)
            hidden = width * widened[stage]
            narrow = max(1, int(width * squeezed))
            sizes = (width, hidden, narrow, wide)
            parts += _block(f"encoder.blocks.{index}", index, sizes, kernels[stage], (before**2, side**2))
            index += 1
    top = config.integer("hidden_dim")
    if _rounded(config, 1280) != top:
        raise config.variant("hidden_dim", f"{_rounded(config, 1280)}, as the last convolution gives", top)
    parts += _conv_norm("encoder", "top_conv", "top_bn", Conv(wide, top, 1, side**2))
    if name == CLASSES[0]:
        parts.append(part("classifier", Linear(top, config.labels(), bias=True, role="head")))
    dimensions = {"layers": index, "width": top, "stages": len(repeats), "channels": channels}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _repeats(config: Config) -> tuple[int, ...]:
    """Blocks of each stage, rounded up."""
    listed = config.integers("num_block_repeats", minimum=1)
    depth = number(config, "depth_coefficient", 3.1)
    found = tuple(ceil(depth * count) for count in listed)
    if sum(found) > config.limits.layers or not all(found):
        raise WeighError(
            "`num_block_repeats` x `depth_coefficient` are no blocks, or more than the limit of layers",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    return found


def _rounded(config: Config, channels: int) -> int:
    """Channels times the coefficient, to the nearest multiple of the divisor that is not 10 % below."""
    divisor = config.integer("depth_divisor", default=8)
    wanted = channels * number(config, "width_coefficient", 2.0)
    nearest = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * wanted else nearest


def _block(
    path: str, index: int, sizes: tuple[int, int, int, int], kernel: int, points: tuple[int, int]
) -> Iterator[Part]:
    """Sizes are those that come in, inside, of the squeeze, and that go out; points before and behind the stride."""
    width, hidden, narrow, wide = sizes
    if hidden != width:
        widen = Conv(width, hidden, 1, points[0])
        yield from _conv_norm(f"{path}.expansion", "expand_conv", "expand_bn", widen, index)
    alone = Conv(hidden, hidden, kernel, points[1], hidden)
    yield from _conv_norm(f"{path}.depthwise_conv", "depthwise_conv", "depthwise_norm", alone, index)
    yield part(f"{path}.squeeze_excite.reduce", Conv(hidden, narrow, 1, 1, bias=True), index)
    yield part(f"{path}.squeeze_excite.expand", Conv(narrow, hidden, 1, 1, bias=True), index)
    back = Conv(hidden, wide, 1, points[1])
    yield from _conv_norm(f"{path}.projection", "project_conv", "project_bn", back, index)


def _conv_norm(path: str, conv: str, norm: str, sizes: Conv, index: int | None = None) -> Iterator[Part]:
    yield part(f"{path}.{conv}", sizes, index)
    yield part(f"{path}.{norm}", Norm(sizes.outputs, bias=True, running=True), index)


EFFICIENTNET = Family(
    id="efficientnet",
    model_types=("efficientnet",),
    build=efficientnet,
    names={"hf": {"*": "efficientnet.{path}", "classifier": "classifier"}},
    prefixes=("efficientnet.",),
    sources=("https://arxiv.org/abs/1905.11946",),
)
