"""UNets of diffusers: Stable Diffusion's with text, the one of images alone, and the ControlNet that steers them.

A token is an image and one step of denoising. Paths of parts are what diffusers calls their tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.denoiser import only_class, times, understood
from weigh.families.names import DIFFUSERS
from weigh.families.unet_blocks import STAGES, WORDS, Builder, Stage, halved, in_step, side_of, staged
from weigh.parts import Applied, Conv, Embedding, Linear, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

_PLAIN: dict[str, Any] = {
    "reverse_transformer_layers_per_block": None,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "time_embedding_type": "positional",
    "attention_type": "default",
    "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "attention_bias": None,
    "resnet_time_scale_shift": "default",
}
"""What is understood of the keys that change what the UNet holds: their documented defaults."""

MIDDLE = "UNetMidBlock2DCrossAttn"


def _conditions(config: Config, base: int, time: int) -> Iterator[Part]:
    """What is added to the embedding of time: a class, sizes and a pooled text (SDXL), the strength of guidance."""
    guidance = config.optional_integer("time_cond_proj_dim")
    if guidance is not None:
        yield part("time_embedding.cond_proj", Linear(guidance, base))
    if config.values.get("encoder_hid_dim_type") is not None or config.values.get("encoder_hid_dim") is not None:
        config.choice("encoder_hid_dim_type", ("text_proj",), default="text_proj")
        words = config.integer("cross_attention_dim")
        # The ControlNet's class holds it, and is given the text as it comes out of the UNet's.
        per = "token" if config.values["model_type"] == "UNet2DConditionModel" else "never"
        matrix = Linear(config.integer("encoder_hid_dim"), words, bias=True)
        yield part("encoder_hid_proj", Applied(matrix, per, WORDS))
    kind = config.values.get("class_embed_type")
    if kind is None and config.values.get("num_class_embeds") is not None:
        yield part("class_embedding", Embedding(config.integer("num_class_embeds"), time, role="other"))
    elif kind is not None:
        config.choice("class_embed_type", ("timestep", "identity", "projection"))
        if kind != "identity":
            width = base if kind == "timestep" else config.integer("projection_class_embeddings_input_dim")
            yield from times("class_embedding", width, time)
    if config.values.get("addition_embed_type") is not None:
        config.choice("addition_embed_type", ("text_time",))
        config.integer("addition_time_embed_dim")
        yield from times("add_embedding", config.integer("projection_class_embeddings_input_dim"), time)


def _only_text(config: Config, stages: int) -> tuple[bool, ...]:
    """Of each stage: one switch for all, or a list. The middle is spared."""
    value = config.values.get("only_cross_attention")
    if not isinstance(value, list | tuple):
        return (config.switch("only_cross_attention", default=False),) * stages
    if any(not isinstance(item, bool) for item in value):
        raise config.variant("only_cross_attention", "true, false or a list of them", value)
    return tuple(in_step(config, "only_cross_attention", value, stages))


def _stages(config: Config, size: tuple[int, int]) -> list[Stage]:
    """The stages on the way down."""
    widths = config.integers("block_out_channels", minimum=1)
    count = len(widths)
    in_step(config, "block_out_channels", widths, count)
    layers = staged(config, "layers_per_block", count, 2)
    heads = staged(config, "attention_head_dim", count, 8)
    words = staged(config, "cross_attention_dim", count, None)
    depths = staged(config, "transformer_layers_per_block", count, 1)
    only = _only_text(config, count)
    if sum(layers) > config.limits.layers or sum(depths) > config.limits.layers:
        raise WeighError("more layers in all stages than the limit", rule="CONFIG-RANGE", path=config.source or None)
    for width, number in zip(widths, heads, strict=True):
        config.divide(width, number, "block_out_channels / attention_head_dim")
    attends = _attending(config, "Down", count)
    points = [halved(size, i) for i in range(count)]
    each = zip(widths, points, layers, attends, heads, depths, words, only, strict=True)
    return [Stage(*sizes) for sizes in each]


def _attending(config: Config, way: str, stages: int) -> tuple[bool, ...]:
    """Whether the stages of one way have transformers; by default all of four but the narrowest."""
    crossed, plain = f"CrossAttn{way}Block2D", f"{way}Block2D"
    key = f"{way.lower()}_block_types"
    kinds = config.words(key, (crossed, plain))
    usual = (True, True, True, False) if way == "Down" else (False, True, True, True)
    return tuple(in_step(config, key, usual if kinds is None else [kind == crossed for kind in kinds], stages))


def unet(config: Config) -> Architecture:
    """Blocks of residual convolutions and transformers, down to the narrowest image and up again beside the way down.

    `attention_head_dim` is the number of heads: diffusers kept the wrong name. The image has `sample_size` (64) points
    a side; the text 77 tokens, whose keys and values are made anew in each step.
    Source: diffusers 0.42, models/unets/unet_2d_condition.py and unet_2d_blocks.py.
    """
    understood(config, _PLAIN)
    only_class(config)
    config.integer("norm_num_groups", default=32)
    size = side_of(config, 64)
    down = _stages(config, size)
    up = [
        replace(stage, attends=attends)
        for stage, attends in zip(down[::-1], _attending(config, "Up", len(down)), strict=True)
    ]
    width = down[0].width
    time = config.integer("time_embedding_dim", default=4 * width)
    points = size[0] * size[1]
    build = Builder(time, linear=config.switch("use_linear_projection", default=False))
    parts = list(_entrance(config, "in_channels", config.integer("conv_in_kernel", default=3), width, points, time))
    parts += _conditions(config, width, time)
    parts += build.down(down)
    if not config.is_null("mid_block_type"):
        config.choice("mid_block_type", (MIDDLE,), default=MIDDLE)
        parts += build.middle(_narrowest(down))
    parts += build.up(up, down)
    outputs = config.integer("out_channels", default=4)
    kernel = config.integer("conv_out_kernel", default=3)
    parts.append(part("conv_norm_out", Norm(width, bias=True)))
    parts.append(part("conv_out", Conv(width, outputs, kernel, points, bias=True)))
    return _finished(config, parts, build, down, outputs)


def _narrowest(down: Sequence[Stage]) -> Stage:
    """The middle is as the last stage, whether or not that attends."""
    last = down[-1]
    return Stage(last.width, last.points, 2, True, last.heads, last.depth, last.words)


def _entrance(
    config: Config, key: str, kernel: int, width: int, points: int, time: int, default: int = 4
) -> Iterator[Part]:
    channels = config.integer(key, default=default)
    yield part("conv_in", Conv(channels, width, kernel, points, bias=True, input_gradient=False))
    yield from times("time_embedding", width, time)


def _finished(
    config: Config, parts: Iterable[Part], build: Builder, stages: Sequence[Stage], outputs: int
) -> Architecture:
    dimensions = {"layers": build.index, "width": stages[-1].width, "stages": len(stages), "channels": outputs}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


_ALONE: dict[str, Any] = {
    "time_embedding_type": "positional",
    "downsample_type": "conv",
    "upsample_type": "conv",
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "addition_embed_type": None,
    "time_cond_proj_dim": None,
}


def unet_alone(config: Config) -> Architecture:
    """The UNet that is given no text: attention of the image alone, in the stages named and in the middle.

    `attention_head_dim` (8) is here the size of a head; null stands for one head.
    Source: diffusers 0.42, models/unets/unet_2d.py.
    """
    understood(config, _ALONE)
    only_class(config)
    widths = config.integers("block_out_channels", minimum=1)
    count = len(widths)
    in_step(config, "block_out_channels", widths, count)
    layers = config.integer("layers_per_block", default=2, maximum=config.limits.layers)
    config.integer("norm_num_groups", default=32)
    size = side_of(config, 32)
    down, up = (_alone(config, way, widths, layers, size) for way in ("Down", "Up"))
    time = config.integer("time_embedding_dim", default=4 * widths[0])
    shifted = config.choice("resnet_time_scale_shift", ("default", "scale_shift"), default="default") == "scale_shift"
    build = Builder(time, linear=False, scaled=shifted)
    points = size[0] * size[1]
    parts = list(_entrance(config, "in_channels", 3, widths[0], points, time, default=3))
    if config.values.get("class_embed_type") is not None:
        config.choice("class_embed_type", ("timestep", "identity"))
    parts += _conditions(config, widths[0], time)
    parts += build.down(down)
    if not config.is_null("mid_block_type"):
        config.choice("mid_block_type", ("UNetMidBlock2D",), default="UNetMidBlock2D")
        attends = config.switch("add_attention", default=True)
        # The class gives this attention no norm where the time also multiplies, unless its groups are written down.
        normed = not shifted or config.optional_integer("attn_norm_num_groups") is not None
        parts += build.middle(replace(down[-1], attends=True, normed=normed), attends=attends)
    parts += build.up(up[::-1], down)
    outputs = config.integer("out_channels", default=3)
    parts.append(part("conv_norm_out", Norm(widths[0], bias=True)))
    parts.append(part("conv_out", Conv(widths[0], outputs, 3, points, bias=True)))
    return _finished(config, parts, build, down, outputs)


def _alone(config: Config, way: str, widths: Sequence[int], layers: int, size: tuple[int, int]) -> list[Stage]:
    """The stages of one way, from the widest image to the narrowest."""
    attending = f"Attn{way}Block2D"
    key = f"{way.lower()}_block_types"
    usual = (False, True, True, True) if way == "Down" else (True, True, True, False)
    kinds = config.words(key, (attending, f"{way}Block2D"))
    attends = in_step(config, key, usual if kinds is None else [kind == attending for kind in kinds], len(widths))
    found = []
    for i, (width, looks) in enumerate(zip(widths, attends if way == "Down" else attends[::-1], strict=True)):
        head = width if config.is_null("attention_head_dim") else config.integer("attention_head_dim", default=8)
        heads = config.divide(width, head, "block_out_channels / attention_head_dim")
        found.append(Stage(width, halved(size, i), layers, looks, heads))
    return found


STRIPES = (16, 32, 96, 256)
"""Channels of the convolutions that bring the control image to the size of the latent: the class's default."""


def controlnet(config: Config) -> Architecture:
    """The way down and the middle of the UNet, and a convolution of 1 x 1 behind each of their layers.

    The latent has 64 points a side, which the configuration does not say; the control image eight times as many.
    Source: diffusers 0.42, models/controlnets/controlnet.py.
    """
    understood(config, {**_PLAIN, "mid_block_type": MIDDLE, "global_pool_conditions": False})
    understood(config, dict.fromkeys(("time_cond_proj_dim", "time_embedding_dim", "conv_in_kernel")))
    only_class(config)
    size = (64, 64)
    points = size[0] * size[1]
    down = _stages(config, size)
    width = down[0].width
    build = Builder(4 * width, linear=config.switch("use_linear_projection", default=False))
    parts = list(_entrance(config, "in_channels", 3, width, points, 4 * width))
    parts += _conditions(config, width, 4 * width)
    parts += _control_image(config, width, size)
    parts += build.down(down)
    parts += build.middle(_narrowest(down))
    behind = [(width, points)]
    for i, stage in enumerate(down):
        behind += [(stage.width, stage.points)] * stage.layers
        if i < len(down) - 1:
            behind.append((stage.width, down[i + 1].points))
    for i, (channels, places) in enumerate(behind):
        parts.append(part(f"controlnet_down_blocks.{i}", Conv(channels, channels, 1, places, bias=True)))
    last = down[-1]
    parts.append(part("controlnet_mid_block", Conv(last.width, last.width, 1, last.points, bias=True)))
    return _finished(config, parts, build, down, last.width)


def _control_image(config: Config, width: int, size: tuple[int, int]) -> Iterator[Part]:
    """Pairs of convolutions, the second of each at half the side."""
    channels = config.integers("conditioning_embedding_out_channels", default=STRIPES, minimum=1)
    if not 0 < len(channels) <= STAGES:
        raise config.variant("conditioning_embedding_out_channels", f"1 to {STAGES} numbers", list(channels))
    path = "controlnet_cond_embedding"
    pictures = config.integer("conditioning_channels", default=3)
    points = [size[0] * size[1] * 4 ** (len(channels) - 1 - i) for i in range(len(channels))]
    first = Conv(pictures, channels[0], 3, points[0], bias=True, input_gradient=False)
    yield part(f"{path}.conv_in", first)
    for i, inputs in enumerate(channels[:-1]):
        yield part(f"{path}.blocks.{2 * i}", Conv(inputs, inputs, 3, points[i], bias=True))
        yield part(f"{path}.blocks.{2 * i + 1}", Conv(inputs, channels[i + 1], 3, points[i + 1], bias=True))
    yield part(f"{path}.conv_out", Conv(channels[-1], width, 3, points[-1], bias=True))


UNET = Family(
    id="unet",
    model_types=("UNet2DConditionModel",),
    build=unet,
    names={"hf": DIFFUSERS},
    sources=("https://arxiv.org/abs/2112.10752", "https://arxiv.org/abs/2307.01952"),
)

UNET_ALONE = Family(
    id="unet_alone",
    model_types=("UNet2DModel",),
    build=unet_alone,
    names={"hf": DIFFUSERS},
    sources=("https://arxiv.org/abs/2006.11239",),
)

CONTROLNET = Family(
    id="controlnet",
    model_types=("ControlNetModel",),
    build=controlnet,
    names={"hf": DIFFUSERS},
    sources=("https://arxiv.org/abs/2302.05543",),
)
