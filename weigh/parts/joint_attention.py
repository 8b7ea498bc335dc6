"""Attention over two streams at once: an image and its text, each with matrices of its own, in one softmax."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class JointAttention:
    """`places` of the first stream, of `width` values; each token of a pass has inputs of its own."""

    width: int
    heads: int
    head_dim: int
    places: int
    added_width: int = 0
    """Width of the second stream; 0 = it has no matrices: the first is both, one behind the other."""
    added_places: int = 0
    bias: bool = False
    o_bias: bool = False
    added_bias: bool = False
    added_o_bias: bool = False
    norm: int = 0
    """Length of the gains that normalise queries and keys of the first stream, or 0."""
    added_norm: int = 0
    out: bool = True
    """False: no matrix stands behind the first stream; another one takes what it gives."""
    added_out: bool = True


def slots(part: JointAttention) -> tuple[Slot, ...]:
    """q, k, v (heads x head size, width) and o (width, heads x head size) of each stream, biases and norms."""
    inner = part.heads * part.head_dim
    held = list(_stream("", part.width, inner, part.bias, part.o_bias, part.norm, out=part.out))
    if part.added_width:
        biases = (part.added_bias, part.added_o_bias)
        held += _stream("add_", part.added_width, inner, *biases, part.added_norm, out=part.added_out)
    return tuple(held)


def _stream(prefix: str, width: int, inner: int, bias: bool, o_bias: bool, norm: int, *, out: bool) -> tuple[Slot, ...]:
    roles = {x: f"attention_{x}" for x in "qkvo"}
    held = [Slot(f"{prefix}{x}.weight", (inner, width), roles[x]) for x in "qkv"]
    if out:
        held.append(Slot(f"{prefix}o.weight", (width, inner), roles["o"]))
    if bias:
        held += [Slot(f"{prefix}{x}.bias", (inner,), roles[x]) for x in "qkv"]
    if o_bias and out:
        held.append(Slot(f"{prefix}o.bias", (width,), roles["o"]))
    if norm:
        held += [Slot(f"{prefix}{x}_norm.weight", (norm,), "norm") for x in "qk"]
    return tuple(held)


def forward(part: JointAttention, step: Pass) -> int:
    """Projections 2mn a place of their stream, and scores and weighted sum 4 h d for each pair of places of both.

    Source: arXiv 2403.03206, section 4 (the two modalities are joined for the attention operation alone).
    """
    inner = part.heads * part.head_dim
    products = part.places * part.width * inner * (3 + part.out)
    if part.added_width:
        products += part.added_places * part.added_width * inner * (3 + part.added_out)
    both = part.places + (part.added_places if part.added_width else 0)
    return 2 * (products + 2 * both * both * inner) * step.tokens * step.batch


def backward(part: JointAttention, step: Pass) -> int:
    """Each product has two gradients of its own size."""
    return 2 * forward(part, step)


def remembers(_part: JointAttention) -> tuple[State, ...]:
    """Nothing: each image is seen whole."""
    return ()


JOINT_ATTENTION = PartKind(
    id="joint_attention",
    dimensions=JointAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://arxiv.org/abs/2403.03206",
    example=JointAttention(
        width=8, heads=2, head_dim=3, places=4, added_width=6, added_places=5, bias=True, o_bias=True, norm=3
    ),
)
