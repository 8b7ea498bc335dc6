"""Autoencoders of diffusers: an image into a latent a fraction of its side, and back.

A token is an image, encoded and decoded. Paths of parts are what diffusers calls their tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weigh.families.config import Config
from weigh.families.denoiser import finished, only_class
from weigh.families.names import DIFFUSERS
from weigh.families.unet_blocks import Residual, in_step, plain_attention, side_of
from weigh.parts import Conv, Norm, part
from weigh.types import Architecture, Family, Part, WeighError


def autoencoder(config: Config) -> Architecture:
    """An encoder and a decoder of residual blocks, with attention at the narrowest, and a convolution of 1 x 1 between.

    The encoder gives a mean and a variance for each channel of the latent.
    Source: diffusers 0.42, models/autoencoders/{autoencoder_kl,vae}.py.
    """
    only_class(config)
    widths = config.integers("block_out_channels", minimum=1)
    in_step(config, "block_out_channels", widths, len(widths))
    for key, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        kinds = config.words(key, (kind,))
        if kinds is None:
            raise WeighError(
                f"the configuration has no `{key}`",
                rule="CONFIG-MISSING",
                path=config.source or None,
                where=f"key {key}",
                hint="there is one for each number in `block_out_channels`",
            )
        in_step(config, key, kinds, len(widths))
    layers = config.integer("layers_per_block", default=1, maximum=config.limits.layers)
    config.integer("norm_num_groups", default=32)
    latent = config.integer("latent_channels", default=4)
    size = side_of(config, 32)
    points = [max(size[0] >> i, 1) * max(size[1] >> i, 1) for i in range(len(widths))]
    attends = config.switch("mid_block_add_attention", default=True)
    inward = config.integer("in_channels", default=3)
    outputs = config.integer("out_channels", default=3)
    parts = list(_encoder(widths, points, layers, inward, 2 * latent, attends=attends))
    if config.switch("use_quant_conv", default=True):
        parts.append(part("quant_conv", Conv(2 * latent, 2 * latent, 1, points[-1], bias=True)))
    if config.switch("use_post_quant_conv", default=True):
        parts.append(part("post_quant_conv", Conv(latent, latent, 1, points[-1], bias=True)))
    parts += _decoder(widths[::-1], points[::-1], layers + 1, latent, outputs, attends=attends)
    dimensions = {"stages": len(widths), "width": widths[-1], "channels": latent}
    return finished(config, parts, dimensions)


def _encoder(
    widths: Sequence[int], points: Sequence[int], layers: int, inputs: int, outputs: int, *, attends: bool
) -> Iterator[Part]:
    first = Conv(inputs, widths[0], 3, points[0], bias=True, input_gradient=False)
    yield part("encoder.conv_in", first)
    for i, width in enumerate(widths):
        for j in range(layers):
            before = widths[max(i - 1, 0)] if j == 0 else width
            yield from Residual(before, width, points[i], 0).parts(f"encoder.down_blocks.{i}.resnets.{j}", None)
        if i < len(widths) - 1:
            half = Conv(width, width, 3, points[i + 1], bias=True)
            yield part(f"encoder.down_blocks.{i}.downsamplers.0.conv", half)
    yield from _middle("encoder", widths[-1], points[-1], attends=attends)
    yield part("encoder.conv_norm_out", Norm(widths[-1], bias=True))
    yield part("encoder.conv_out", Conv(widths[-1], outputs, 3, points[-1], bias=True))


def _decoder(
    widths: Sequence[int], points: Sequence[int], layers: int, inputs: int, outputs: int, *, attends: bool
) -> Iterator[Part]:
    yield part("decoder.conv_in", Conv(inputs, widths[0], 3, points[0], bias=True))
    yield from _middle("decoder", widths[0], points[0], attends=attends)
    for i, width in enumerate(widths):
        for j in range(layers):
            before = widths[max(i - 1, 0)] if j == 0 else width
            yield from Residual(before, width, points[i], 0).parts(f"decoder.up_blocks.{i}.resnets.{j}", None)
        if i < len(widths) - 1:
            twice = Conv(width, width, 3, points[i + 1], bias=True)
            yield part(f"decoder.up_blocks.{i}.upsamplers.0.conv", twice)
    yield part("decoder.conv_norm_out", Norm(widths[-1], bias=True))
    yield part("decoder.conv_out", Conv(widths[-1], outputs, 3, points[-1], bias=True))


def _middle(side: str, width: int, points: int, *, attends: bool) -> Iterator[Part]:
    """Two residual blocks; between them attention of one head."""
    yield from Residual(width, width, points, 0).parts(f"{side}.mid_block.resnets.0", None)
    if attends:
        yield from plain_attention(f"{side}.mid_block.attentions.0", width, 1, points, None)
    yield from Residual(width, width, points, 0).parts(f"{side}.mid_block.resnets.1", None)


SIDE = 512
"""Side of the image for FLOPs of the tiny autoencoder, whose configuration holds none: its tile, in the class."""


def tiny(config: Config) -> Architecture:
    """Blocks of three convolutions; tensors are numbered in the order in which the layers stand, activations included.

    Source: diffusers 0.42, models/autoencoders/{autoencoder_tiny,vae}.py.
    """
    only_class(config)
    down = config.integers("encoder_block_out_channels", minimum=1)
    up = config.integers("decoder_block_out_channels", minimum=1)
    depths = config.integers("num_encoder_blocks", default=(1, 3, 3, 3))
    heights = config.integers("num_decoder_blocks", default=(3, 3, 3, 1))
    for key, found, widths in (("num_encoder_blocks", depths, down), ("num_decoder_blocks", heights, up)):
        in_step(config, key, found, len(widths))
    if len(set(down)) > 1 or len(set(up)) > 1:
        raise config.variant("block_out_channels", "one width for all stages, as the class adds no shortcuts", down)
    if sum(depths) + sum(heights) > config.limits.layers:
        raise WeighError("more blocks than the limit of layers", rule="CONFIG-RANGE", path=config.source or None)
    scale = config.integer("upsampling_scaling_factor", default=2, maximum=64)
    latent = config.integer("latent_channels", default=4)
    inputs = config.integer("in_channels", default=3)
    outputs = config.integer("out_channels", default=3)
    parts = list(_tiny_encoder(down[0], depths, inputs, latent))
    side = max(SIDE >> (len(down) - 1), 1)
    parts += _tiny_decoder(up[0], heights, (latent, outputs), side, scale)
    return finished(config, parts, {"stages": len(down), "width": down[0], "channels": latent})


def _block(path: str, width: int, points: int) -> Iterator[Part]:
    for i in (0, 2, 4):
        yield part(f"{path}.conv.{i}", Conv(width, width, 3, points, bias=True))


def _tiny_encoder(width: int, blocks: Sequence[int], inputs: int, latent: int) -> Iterator[Part]:
    number = 0
    points = SIDE * SIDE
    for i, count in enumerate(blocks):
        points = max(SIDE >> i, 1) ** 2
        first = Conv(inputs, width, 3, points, bias=True, input_gradient=False)
        half = Conv(width, width, 3, points)
        yield part(f"encoder.layers.{number}", half if i else first)
        for j in range(count):
            yield from _block(f"encoder.layers.{number + 1 + j}", width, points)
        number += 1 + count
    yield part(f"encoder.layers.{number}", Conv(width, latent, 3, points, bias=True))


def _tiny_decoder(
    width: int, blocks: Sequence[int], channels: tuple[int, int], side: int, scale: int
) -> Iterator[Part]:
    """The first layer and its activation, then of each stage: blocks, a widening of the image, a convolution."""
    latent, outputs = channels
    yield part("decoder.layers.0", Conv(latent, width, 3, side * side, bias=True))
    number = 2
    for i, count in enumerate(blocks):
        last = i == len(blocks) - 1
        for j in range(count):
            yield from _block(f"decoder.layers.{number + j}", width, side * side)
        number += count + (0 if last else 1)
        side *= 1 if last else scale
        yield part(f"decoder.layers.{number}", Conv(width, outputs if last else width, 3, side * side, bias=last))
        number += 1


AUTOENCODER_KL = Family(
    id="autoencoder_kl",
    model_types=("AutoencoderKL",),
    build=autoencoder,
    names={"hf": DIFFUSERS},
    sources=("https://arxiv.org/abs/2112.10752",),
)

AUTOENCODER_TINY = Family(
    id="autoencoder_tiny",
    model_types=("AutoencoderTiny",),
    build=tiny,
    names={"hf": DIFFUSERS},
    sources=("https://github.com/madebyollin/taesd",),
)
