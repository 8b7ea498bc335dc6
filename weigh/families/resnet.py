"""ResNet: a stem, four stages of residual blocks of convolutions and batch norms, a classifier."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.convnext import stages_in_step
from weigh.parts import Conv, Linear, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

IMAGE = 224
"""Side of the image where the configuration names none: that of the ImageNet models in arXiv 1512.03385, table 1."""


def resnet(config: Config) -> Architecture:
    """ResNet in the layout of transformers 5.23, models/resnet/modeling_resnet.py.

    Layers are numbered over all stages. FLOPs depend on the image's side, which the configuration does not
    hold: `image_size`, 224 if absent.
    """
    widths = config.integers("hidden_sizes", minimum=1)
    depths = config.integers("depths", minimum=1)
    stages_in_step(config, len(depths), hidden_sizes=len(widths))
    if sum(depths) > config.limits.layers:
        raise WeighError("`depths` adds up to more layers than the limit", rule="CONFIG-RANGE", path=config.source)
    stem = config.integer("embedding_size")
    side = config.integer("image_size", default=IMAGE)
    side = _halved(side)
    channels = config.integer("num_channels", default=3)
    parts = list(_conv_norm("embedder", None, Conv(channels, stem, 7, side * side, input_gradient=False)))
    side = _halved(side)
    inputs = stem
    index = 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        down = stage > 0 or config.switch("downsample_in_first_stage", default=False)
        for block in range(depth):
            stride = 2 if down and block == 0 else 1
            path = f"stages.{stage}.layers.{block}"
            parts += _block(config, path, index, inputs, width, stride, side, first=block == 0)
            side = _halved(side) if stride == 2 else side
            inputs = width
            index += 1
    name = config.architecture()
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the image classifier")
    if name in (None, "ResNetForImageClassification"):
        parts.append(part("classifier", Linear(inputs, config.labels(), bias=True, role="head")))
    elif name not in ("ResNetModel", "ResNetBackbone"):
        raise WeighError(
            f"the class `{name}` is not understood for the model type `resnet`",
            rule="CONFIG-VARIANT",
            path=config.source or None,
        )
    dimensions = {"layers": sum(depths), "width": widths[-1], "stages": len(depths), "channels": channels}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _halved(side: int) -> int:
    """Side behind a stride of two with `same` padding: rounded up."""
    return (side + 1) // 2


def _block(
    config: Config, path: str, index: int, inputs: int, outputs: int, stride: int, side: int, *, first: bool
) -> Iterator[Part]:
    """One residual block: two 3 x 3 convolutions (basic), or 1 x 1, 3 x 3, 1 x 1 through a quarter of the width."""
    after = _halved(side) if stride == 2 else side
    if inputs != outputs or stride != 1:
        yield from _conv_norm(f"{path}.shortcut", index, Conv(inputs, outputs, 1, after * after))
    if config.choice("layer_type", ("basic", "bottleneck"), default="bottleneck") == "basic":
        yield from _conv_norm(f"{path}.layer.0", index, Conv(inputs, outputs, 3, after * after))
        yield from _conv_norm(f"{path}.layer.1", index, Conv(outputs, outputs, 3, after * after))
        return
    narrow = outputs // 4
    early = first and config.switch("downsample_in_bottleneck", default=False)
    between = after if early else side
    yield from _conv_norm(f"{path}.layer.0", index, Conv(inputs, narrow, 1, between * between))
    yield from _conv_norm(f"{path}.layer.1", index, Conv(narrow, narrow, 3, after * after))
    yield from _conv_norm(f"{path}.layer.2", index, Conv(narrow, outputs, 1, after * after))


def _conv_norm(path: str, index: int | None, conv: Conv) -> Iterator[Part]:
    yield part(f"{path}.convolution", conv, index)
    yield part(f"{path}.normalization", Norm(conv.outputs, bias=True, running=True), index)


_STEM = {f"embedder.{layer}": f"resnet.embedder.embedder.{layer}" for layer in ("convolution", "normalization")}

RESNET = Family(
    id="resnet",
    model_types=("resnet",),
    build=resnet,
    names={"hf": {"classifier": "classifier.1", **_STEM, "*": "resnet.encoder.{path}"}},
    prefixes=("resnet.",),
    sources=("https://arxiv.org/abs/1512.03385",),
)
