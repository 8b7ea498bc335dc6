"""What the networks of diffusers share: their class, the embedding of time, a block of two matrices at each patch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from weigh.families.config import Config
from weigh.families.encoder import class_of
from weigh.parts import Applied, Linear, Mlp, part
from weigh.types import Architecture, Part

TIMES = 256
"""Values that a time is spread over before the first matrix of a transformer: diffusers, models/embeddings.py."""


def only_class(config: Config) -> None:
    """diffusers writes the class as `_class_name`, and no `architectures`."""
    name = str(config.values["model_type"])
    if config.values.get("_class_name") != name or "architectures" in config.values:
        class_of(config, (name,), default=name, what=name)


def understood(config: Config, plain: dict[str, Any]) -> None:
    """Refuse every key whose value is neither that of `plain` nor null: it changes what the class holds."""
    for key, value in plain.items():
        if config.values.get(key) not in (value, None):
            raise config.variant(key, repr(value), config.values[key])


def times(path: str, inputs: int, outputs: int, *, numbers: int = 1) -> Iterator[Part]:
    """Two matrices that make an embedding of a time, or of `numbers` treated like one."""
    yield part(f"{path}.linear_1", Applied(Linear(inputs, outputs, bias=True), times=numbers))
    yield part(f"{path}.linear_2", Applied(Linear(outputs, outputs, bias=True), times=numbers))


def block(width: int, places: int, *, hidden: int = 0, gated: bool = False, bias: bool = True) -> Applied:
    """A feed-forward block at each place of an image; four times as wide inside unless told otherwise."""
    mlp = Mlp(width, hidden or 4 * width, gated=gated, up_bias=bias, down_bias=bias)
    return Applied(mlp, "token", places)


def at(inputs: int, outputs: int, places: int, *, bias: bool = True, role: str = "other") -> Applied:
    """A matrix at each place of an image, or at each word of its text."""
    return Applied(Linear(inputs, outputs, bias=bias, role=role), "token", places)


def heads_of(config: Config) -> tuple[int, int, int]:
    """Heads, the size of each, and the width of all."""
    heads = config.integer("num_attention_heads")
    size = config.integer("attention_head_dim")
    return heads, size, heads * size


def finished(config: Config, parts: Iterable[Part], dimensions: Mapping[str, int]) -> Architecture:
    """The parts, and what the configuration left out."""
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))
