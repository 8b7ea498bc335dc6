"""What a training step keeps between its forward and its backward pass: the sum over the parts, by layer and type.

The parts say what they keep (`PartKind.keeps`) and under which conditions; here a way of training chooses among the
conditions and divides by its layout. A kind that does not say what it keeps makes the sum unknown, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from weigh import parts
from weigh.numbers import Number, chosen, rounded_up
from weigh.types import Condition, Kept, Model, Pass

SOURCE = "arXiv 2205.05198; saved tensors of the classes in transformers 5.23"

_BYTES = {"statistic": 4, "mask": 1, "index": 8}


@dataclass(frozen=True, slots=True)
class Step:
    """How a step is computed, as far as what it keeps depends on it."""

    value_bytes: int = 2
    """Of an activation: 2 for 16 bit."""
    attention: Literal["scores", "flash", "recomputed"] = "flash"
    """Scores written to memory, never written (a flash kernel), or written and computed again (selective)."""
    fused: bool = True
    """Elementwise steps run in one kernel with their neighbours; plain PyTorch runs them one by one."""
    dropout: bool = False
    tensor: Number = 1
    """Degree of tensor parallelism."""
    sequence: Number = False
    """Sequence parallelism: what tensor parallelism leaves whole is divided as well."""

    @property
    def conditions(self) -> frozenset[Condition]:
        """Those of a Kept that hold."""
        chosen: list[Condition] = [] if self.attention == "recomputed" else [self.attention]
        chosen += [] if self.fused else ["eager"]
        return frozenset([*chosen, "dropout"] if self.dropout else chosen)


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes that one step keeps on one device of a tensor-parallel group, before any pipeline."""

    by_layer: Mapping[int | None, Mapping[str, int]]
    """Layer (None = outside of them) to bytes by type: activation, statistic, mask, index."""
    unknown: tuple[str, ...]
    """Addresses of the parts that do not say what they keep, or not in this way of training."""

    @property
    def known_bytes(self) -> int:
        """Of the parts that say it."""
        return sum(sum(kinds.values()) for kinds in self.by_layer.values())

    @property
    def total_bytes(self) -> int | None:
        """Of all parts; None where one does not say it."""
        return None if self.unknown else self.known_bytes


def kept_bytes(kept: Kept, step: Step) -> Number | None:
    """Bytes of one Kept on one device: values x bytes of its type / degree that divides it; 0 where not kept.

    None where the part does not know. Heads and hidden values divide by the degree of tensor parallelism, whole rows
    only with sequence parallelism.
    Source: arXiv 2205.05198. Rounded up where it does not divide.
    """
    if not step.conditions.issuperset(kept.only):
        return 0
    if kept.values is None:
        return None
    each = step.value_bytes if kept.kind == "activation" else _BYTES[kept.kind]
    degree = step.tensor if kept.split == "tensor" else chosen(step.sequence, step.tensor, 1)
    return rounded_up(kept.values * each, degree)


def activations(model: Model, work: Pass, step: Step) -> Activations:
    """Bytes kept by layer and type, and the parts of which it is not known.

    Sum over the parts of what each keeps; an array that several parts share (what an encoder gave, the tokens) counts
    once, outside the layers. With the classic layer in 16 bit: 34 s b h + 5 a s^2 b bytes beside the norms' statistics.
    Source: `SOURCE`. Ignores: elementwise products between parts (scales of a layer, gates of lanes), caps of scores,
    tables of rotations; that two blocks which read one norm (parallel attention) share their input, which counts twice.
    Of models of images nothing is known: the norms between their layers do not tell their places.
    """
    held: dict[int | None, dict[str, int]] = {}
    shared: dict[str, tuple[str, int]] = {}
    unknown = []
    for address, layer, kept in _kept(model, work):
        sized = [(entry, kept_bytes(entry, step)) for entry in kept or ()]
        if kept is None or any(size is None for _, size in sized):
            unknown.append(address)
        for entry, size in sized:
            if size is None:
                continue
            if entry.shared:
                shared[entry.name] = (entry.kind, max(size, shared.get(entry.name, ("", 0))[1]))
            elif size:
                kinds = held.setdefault(layer, {})
                kinds[entry.kind] = kinds.get(entry.kind, 0) + size
    for kind, size in shared.values():
        outside = held.setdefault(None, {})
        outside[kind] = outside.get(kind, 0) + size
    return Activations(held, tuple(unknown))


def _kept(model: Model, work: Pass) -> Iterator[tuple[str, int | None, tuple[Kept, ...] | None]]:
    images = "vocabulary" not in model.dimensions
    for part in model.parts:
        yield part.address, part.layer, None if images else parts.keeps(part, work)
