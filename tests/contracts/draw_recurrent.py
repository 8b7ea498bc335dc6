"""Random layers that keep a state of fixed size, their work beside the matrices, and what they remember."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weigh.parts import (
    ChannelMix,
    GatedDeltaNet,
    KimiDelta,
    LightningAttention,
    Mamba,
    Mamba2,
    Mlstm,
    RgLru,
    ShortConv,
    TimeMix,
)
from weigh.types import Pass, State

few = st.integers(1, 6)
flag = st.booleans()


@st.composite
def _rg_lrus(draw: st.DrawFn) -> RgLru:
    heads = draw(few)
    return RgLru(draw(few), heads * draw(few), heads, draw(few))


@st.composite
def _mlstms(draw: st.DrawFn) -> Mlstm:
    heads = draw(few)
    return Mlstm(draw(few), heads, heads * draw(few), heads * draw(few), draw(flag))


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "mamba": st.builds(Mamba, few, few, few, few, few, flag, flag, flag),
    "mamba2": st.builds(Mamba2, few, few, few, few, few, few, flag, flag, flag),
    "gated_delta_net": st.builds(GatedDeltaNet, few, few, few, few, few, few),
    "lightning_attention": st.builds(LightningAttention, few, few, few, few),
    "rg_lru": _rg_lrus(),
    "mlstm": _mlstms(),
    "short_conv": st.builds(ShortConv, few, few, flag),
    "kimi_delta": st.builds(KimiDelta, few, few, few, few),
    "time_mix": st.builds(TimeMix, few, few),
    "channel_mix": st.builds(ChannelMix, few, few),
}

ELEMENTWISE = frozenset({"a.weight", "mix_key.weight", "mix_value.weight", "mix_receptance.weight"})
"""Keys of arrays with several axes that no product runs over."""


def products(part: Any) -> list[tuple[int, int]]:
    """The rank-one products of the recurrence for one token: (rows, columns) of each, head by head."""
    if isinstance(part, Mamba):
        return [(1, part.state)] * (2 * part.inner)
    if isinstance(part, Mamba2):
        return [(part.head_dim, part.state)] * (2 * part.heads)
    if isinstance(part, GatedDeltaNet):
        return [(part.key_dim, part.value_dim)] * (3 * part.value_heads)
    if isinstance(part, KimiDelta):
        return [(part.head_dim, part.head_dim)] * (3 * part.heads)
    if isinstance(part, LightningAttention):
        return [(part.head_dim, part.head_dim)] * (2 * part.heads)
    if isinstance(part, Mlstm):
        return [(part.queries // part.heads, part.values // part.heads)] * (2 * part.heads)
    return []


def beside_matrices(part: Any, step: Pass) -> int:
    """Multiply-adds of the recurrence over a pass of one sequence."""
    return step.tokens * sum(rows * columns for rows, columns in products(part))


def remembered(part: Any) -> tuple[State, ...]:
    """Rows of the convolution or the token before, and the state, head by head."""
    if isinstance(part, Mamba):
        return _kept(part.kernel, part.inner, part.state, part.inner)
    if isinstance(part, Mamba2):
        inner = part.heads * part.head_dim
        return _kept(part.kernel, inner + 2 * part.groups * part.state, part.head_dim * part.state, part.heads)
    if isinstance(part, GatedDeltaNet):
        channels = 2 * part.key_heads * part.key_dim + part.value_heads * part.value_dim
        return _kept(part.kernel, channels, part.key_dim * part.value_dim, part.value_heads)
    if isinstance(part, LightningAttention):
        return (State("recurrent", part.head_dim * part.head_dim, 0, part.heads),)
    if isinstance(part, Mlstm):
        query, value = part.queries // part.heads, part.values // part.heads
        return tuple(State("recurrent", width, 0, part.heads) for width in (query * value, query, 1))
    if isinstance(part, KimiDelta):
        return _kept(part.kernel, 3 * part.heads * part.head_dim, part.head_dim**2, part.heads)
    if isinstance(part, ShortConv):
        return (State("conv", part.width, rows=part.kernel - 1),)
    if isinstance(part, RgLru):
        return _kept(part.kernel, part.inner, 1, part.inner)
    before = (State("shift", part.width),)
    return (*before, State("recurrent", 3, 0, part.inner)) if isinstance(part, TimeMix) else before


def _kept(kernel: int, channels: int, state: int, heads: int) -> tuple[State, ...]:
    return State("conv", channels, rows=kernel - 1), State("recurrent", state, 0, heads)
