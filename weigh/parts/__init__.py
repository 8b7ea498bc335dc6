"""Kinds of layer: what each holds, computes, remembers and keeps for the backward pass.

To add one: write `parts/<kind>.py` with a frozen record of dimensions and a PartKind at its foot, and name it in
`KINDS` (docs/add-a-part.md). Families compose parts; engines turn what they remember into bytes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.parts.applied import APPLIED, Applied
from weigh.parts.array import ARRAY, Array
from weigh.parts.attention import ATTENTION, Attention
from weigh.parts.block_indexer import BLOCK_INDEXER, BlockIndexer
from weigh.parts.compressor import COMPRESSOR, Compressor
from weigh.parts.conv import CONV, Conv
from weigh.parts.cross_attention import CROSS_ATTENTION, CrossAttention
from weigh.parts.embedding import EMBEDDING, Embedding
from weigh.parts.gated_delta_net import GATED_DELTA_NET, GatedDeltaNet
from weigh.parts.hyper_connection import HYPER_CONNECTION, HyperConnection
from weigh.parts.joint_attention import JOINT_ATTENTION, JointAttention
from weigh.parts.kimi_delta import KIMI_DELTA, KimiDelta
from weigh.parts.latent_attention import LATENT_ATTENTION, LatentAttention
from weigh.parts.lightning_attention import LIGHTNING_ATTENTION, LightningAttention
from weigh.parts.linear import LINEAR, Linear
from weigh.parts.mamba import MAMBA, Mamba
from weigh.parts.mamba2 import MAMBA2, Mamba2
from weigh.parts.mlp import MLP, Mlp
from weigh.parts.mlstm import MLSTM, Mlstm
from weigh.parts.moe import MOE, Moe
from weigh.parts.norm import NORM, Norm
from weigh.parts.rg_lru import RG_LRU, RgLru
from weigh.parts.rwkv import CHANNEL_MIX, TIME_MIX, ChannelMix, TimeMix
from weigh.parts.shared_attention import SHARED_ATTENTION, SharedAttention
from weigh.parts.short_conv import SHORT_CONV, ShortConv
from weigh.types import Kept, Part, PartKind, Pass, Slot, State

KINDS: tuple[PartKind[Any], ...] = (
    EMBEDDING,
    LINEAR,
    NORM,
    ATTENTION,
    MLP,
    MOE,
    CONV,
    ARRAY,
    CROSS_ATTENTION,
    APPLIED,
    JOINT_ATTENTION,
    LATENT_ATTENTION,
    SHARED_ATTENTION,
    COMPRESSOR,
    HYPER_CONNECTION,
    MAMBA,
    MAMBA2,
    GATED_DELTA_NET,
    LIGHTNING_ATTENTION,
    RG_LRU,
    TIME_MIX,
    CHANNEL_MIX,
    MLSTM,
    SHORT_CONV,
    KIMI_DELTA,
    BLOCK_INDEXER,
)

__all__ = [
    "KINDS",
    "Applied",
    "Array",
    "Attention",
    "BlockIndexer",
    "ChannelMix",
    "Compressor",
    "Conv",
    "CrossAttention",
    "Embedding",
    "GatedDeltaNet",
    "HyperConnection",
    "JointAttention",
    "KimiDelta",
    "LatentAttention",
    "LightningAttention",
    "Linear",
    "Mamba",
    "Mamba2",
    "Mlp",
    "Mlstm",
    "Moe",
    "Norm",
    "RgLru",
    "SharedAttention",
    "ShortConv",
    "TimeMix",
    "backward",
    "cut",
    "forward",
    "keeps",
    "part",
    "remembers",
    "slots",
]

_BY_ID = {kind.id: kind for kind in KINDS}
_BY_DIMENSIONS = {kind.dimensions: kind for kind in KINDS}


def part(path: str, dimensions: Any, layer: int | None = None) -> Part:
    """A Part of the kind that the dimensions belong to."""
    return Part(_BY_DIMENSIONS[type(dimensions)].id, path, dimensions, layer)


def cut(part: Part, degree: int) -> Part:
    """The part as one device of `degree` holds it: the dimensions that its kind divides, rounded up.

    Rounding up repeats what is fewer than the devices (heads of keys and values: one a device). Tables and matrices
    outside of attention and blocks are divided where they belong to the vocabulary.
    Source: arXiv 1909.08053, section 3; vllm/model_executor/layers/{linear,vocab_parallel_embedding}.py.
    """
    if degree == 1:
        return part
    dims = part.dimensions
    if isinstance(dims, Applied):
        if dims.role == "mtp" or dims.per == "pass":
            inner = cut(Part(_BY_DIMENSIONS[type(dims.inner)].id, part.path, dims.inner), degree)
            return replace(part, dimensions=replace(dims, inner=inner.dimensions))
        return part
    if getattr(dims, "role", "embedding") not in ("embedding", "head"):
        return part
    sizes = {name: -(-getattr(dims, name) // degree) for name in _BY_ID[part.kind].divides}
    return replace(part, dimensions=replace(dims, **sizes)) if sizes else part


def slots(part: Part) -> tuple[Slot, ...]:
    """The arrays that the part holds."""
    return _BY_ID[part.kind].slots(part.dimensions)


def forward(part: Part, step: Pass) -> int:
    """FLOPs of one forward pass through the part."""
    return _BY_ID[part.kind].forward(part.dimensions, step)


def backward(part: Part, step: Pass) -> int:
    """FLOPs of the backward pass through the part."""
    return _BY_ID[part.kind].backward(part.dimensions, step)


def remembers(part: Part) -> tuple[State, ...]:
    """What the part keeps of the tokens that it has seen, one State for each array that engines store apart."""
    return _BY_ID[part.kind].remembers(part.dimensions)


def keeps(part: Part, step: Pass) -> tuple[Kept, ...] | None:
    """Activations that the pass keeps until its backward pass; None = not known for this part, never nothing."""
    kind = _BY_ID[part.kind]
    return None if kind.keeps is None else kind.keeps(part.dimensions, step)
