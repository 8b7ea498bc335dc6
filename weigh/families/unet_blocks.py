"""Blocks of the UNets and autoencoders of diffusers: residual convolutions, attention in between, stages, their order.

Paths of parts are what diffusers calls their tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from weigh.families.config import Config
from weigh.families.encoder import both_ways
from weigh.parts import Applied, Conv, CrossAttention, Linear, Mlp, Norm, part
from weigh.types import Part, WeighError

WORDS = 77
"""Tokens of the text that the UNet looks at, for FLOPs: those of its text tower, arXiv 2103.00020."""

STAGES = 64
"""More stages than any image can be halved in."""

D = TypeVar("D")


def staged(config: Config, key: str, stages: int, default: int | None) -> tuple[int, ...]:
    """One whole number for all stages, or a list of one for each."""
    value = config.values.get(key)
    if not isinstance(value, list | tuple):
        one = config.integer(key, maximum=2**20) if default is None else config.integer(key, default=default)
        return (one,) * stages
    return in_step(config, key, config.integers(key, minimum=1), stages)


def in_step(config: Config, key: str, found: Sequence[D], stages: int) -> tuple[D, ...]:
    """The list, which must be as long as `block_out_channels`."""
    if len(found) != stages or not 0 < stages <= STAGES:
        raise WeighError(
            f"`{key}` has {len(found)} stages, `block_out_channels` {stages}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    return tuple(found)


def side_of(config: Config, default: int) -> tuple[int, int]:
    """Height and width of the image: `sample_size` is one number for both, or a list of the two."""
    if isinstance(config.values.get("sample_size"), list | tuple):
        pair = config.integers("sample_size", minimum=1)
        if len(pair) != 2:
            raise config.variant("sample_size", "one number, or height and width", list(pair))
        return pair[0], pair[1]
    side = config.integer("sample_size", default=default)
    return side, side


def halved(size: tuple[int, int], times: int) -> int:
    """Points of the image after `times` convolutions of stride two with padding, each of which rounds up."""
    height, width = size
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height * width


@dataclass(frozen=True, slots=True)
class Residual:
    """A block of two convolutions: norm, convolution, the time added, norm, convolution, and a way around."""

    inputs: int
    outputs: int
    points: int
    time: int
    """Width of the embedding of time; 0 = there is none."""
    scaled: bool = False
    """The time also multiplies."""

    def parts(self, path: str, index: int | None) -> Iterator[Part]:
        """Source: diffusers 0.42, models/resnet.py, ResnetBlock2D."""
        inputs, outputs, points = self.inputs, self.outputs, self.points
        yield part(f"{path}.norm1", Norm(inputs, bias=True), index)
        yield part(f"{path}.conv1", Conv(inputs, outputs, 3, points, bias=True), index)
        if self.time:
            shifts = Linear(self.time, outputs * (2 if self.scaled else 1), bias=True)
            yield part(f"{path}.time_emb_proj", shifts, index)
        yield part(f"{path}.norm2", Norm(outputs, bias=True), index)
        yield part(f"{path}.conv2", Conv(outputs, outputs, 3, points, bias=True), index)
        if inputs != outputs:
            yield part(f"{path}.conv_shortcut", Conv(inputs, outputs, 1, points, bias=True), index)


def plain_attention(
    path: str, width: int, heads: int, points: int, index: int | None, *, normed: bool = True
) -> Iterator[Part]:
    """Norm and attention among the points of an image, with biases everywhere."""
    if normed:
        yield part(f"{path}.group_norm", Norm(width, bias=True), index)
    yield part(path, Applied(both_ways(width, heads, width // heads), "token", points), index)


@dataclass(frozen=True, slots=True)
class Stage:
    """One resolution: how wide, how deep, and what stands beside its convolutions."""

    width: int
    points: int
    layers: int
    attends: bool
    """Transformers that look at the text; without text plain attention."""
    heads: int
    depth: int = 1
    """Blocks of each transformer."""
    words: int = 0
    """Width of the text; 0 = there is none."""
    only_text: bool = False
    """The first attention of each block also looks at the text."""
    normed: bool = True
    """A norm stands before the attention of an image alone."""


class Builder:
    """Layers of a UNet, numbered in the order in which they run."""

    def __init__(self, time: int, *, linear: bool, scaled: bool = False) -> None:
        self.time = time
        self.linear = linear
        self.scaled = scaled
        self.index = 0

    def layer(self, path: str, number: int, inputs: int, stage: Stage, *, attends: bool) -> Iterator[Part]:
        """A residual block, and behind it the transformer or attention."""
        index = self.index
        self.index += 1
        residual = Residual(inputs, stage.width, stage.points, self.time, self.scaled)
        yield from residual.parts(f"{path}.resnets.{number}", index)
        if not attends:
            return
        attention = f"{path}.attentions.{number}"
        if stage.words:
            yield from self._transformer(attention, stage, index)
        else:
            yield from plain_attention(attention, stage.width, stage.heads, stage.points, index, normed=stage.normed)

    def _transformer(self, path: str, stage: Stage, index: int) -> Iterator[Part]:
        """In, blocks of attention among points, attention to the text and a gated block, and out."""
        width, points, heads = stage.width, stage.points, stage.heads
        size = width // heads
        turn: Any = Conv(width, width, 1, points, bias=True)
        if self.linear:
            turn = Applied(Linear(width, width, bias=True, role="conv"), "token", points)
        text = CrossAttention(width, stage.words, heads, size, size, o_bias=True, source=WORDS)
        among = text if stage.only_text else both_ways(width, heads, size, q_bias=False, k_bias=False, v_bias=False)
        mlp = Mlp(width, 4 * width, gated=True, up_bias=True, down_bias=True)
        norm = Norm(width, bias=True)
        yield part(f"{path}.norm", norm, index)
        yield part(f"{path}.proj_in", turn, index)
        for block in range(stage.depth):
            stem = f"{path}.transformer_blocks.{block}"
            yield part(f"{stem}.norm1", norm, index)
            yield part(f"{stem}.attn1", Applied(among, "token", points), index)
            yield part(f"{stem}.norm2", norm, index)
            yield part(f"{stem}.attn2", Applied(text, "token", points), index)
            yield part(f"{stem}.norm3", norm, index)
            yield part(f"{stem}.ff", Applied(mlp, "token", points), index)
        yield part(f"{path}.proj_out", turn, index)

    def down(self, stages: Sequence[Stage]) -> Iterator[Part]:
        """To the narrowest image."""
        for i, stage in enumerate(stages):
            path = f"down_blocks.{i}"
            for j in range(stage.layers):
                inputs = stages[max(i - 1, 0)].width if j == 0 else stage.width
                yield from self.layer(path, j, inputs, stage, attends=stage.attends)
            if i < len(stages) - 1:
                half = Conv(stage.width, stage.width, 3, stages[i + 1].points, bias=True)
                yield part(f"{path}.downsamplers.0.conv", half, self.index - 1)

    def middle(self, stage: Stage, *, attends: bool = True) -> Iterator[Part]:
        """Two layers at the narrowest, attention in the first."""
        yield from self.layer("mid_block", 0, stage.width, stage, attends=attends)
        yield from self.layer("mid_block", 1, stage.width, stage, attends=False)

    def up(self, stages: Sequence[Stage], narrow: Sequence[Stage]) -> Iterator[Part]:
        """One layer more than on the way down (`narrow`); each also reads what the layer across gave."""
        for i, stage in enumerate(stages):
            path = f"up_blocks.{i}"
            across = stages[min(i + 1, len(stages) - 1)].width
            layers = narrow[len(stages) - 1 - i].layers
            for j in range(layers + 1):
                own = stages[max(i - 1, 0)].width if j == 0 else stage.width
                skip = across if j == layers else stage.width
                yield from self.layer(path, j, own + skip, stage, attends=stage.attends)
            if i < len(stages) - 1:
                twice = Conv(stage.width, stage.width, 3, stages[i + 1].points, bias=True)
                yield part(f"{path}.upsamplers.0.conv", twice, self.index - 1)
