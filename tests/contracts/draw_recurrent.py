"""Random layers that keep a state of fixed size, their work beside the matrices, and what they remember."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weigh.parts import ChannelMix, GatedDeltaNet, LightningAttention, Mamba, Mamba2, RgLru, TimeMix
from weigh.types import Pass, State

few = st.integers(1, 6)
flag = st.booleans()


@st.composite
def _rg_lrus(draw: st.DrawFn) -> RgLru:
    heads = draw(few)
    return RgLru(draw(few), heads * draw(few), heads, draw(few))


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "mamba": st.builds(Mamba, few, few, few, few, few, flag, flag, flag),
    "mamba2": st.builds(Mamba2, few, few, few, few, few, few, flag, flag, flag),
    "gated_delta_net": st.builds(GatedDeltaNet, few, few, few, few, few, few),
    "lightning_attention": st.builds(LightningAttention, few, few, few, few),
    "rg_lru": _rg_lrus(),
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
    if isinstance(part, LightningAttention):
        return [(part.head_dim, part.head_dim)] * (2 * part.heads)
    return []


def beside_matrices(part: Any, step: Pass) -> int:
    """Multiply-adds of the recurrence over a pass of one sequence."""
    return step.tokens * sum(rows * columns for rows, columns in products(part))


def remembered(part: Any) -> State:
    """Rows of the convolution or the token before, and the state, value by value."""
    if isinstance(part, Mamba):
        return _kept(part.kernel, part.inner, part.inner * part.state)
    if isinstance(part, Mamba2):
        inner = part.heads * part.head_dim
        return _kept(part.kernel, inner + 2 * part.groups * part.state, inner * part.state)
    if isinstance(part, GatedDeltaNet):
        channels = 2 * part.key_heads * part.key_dim + part.value_heads * part.value_dim
        return _kept(part.kernel, channels, part.value_heads * part.key_dim * part.value_dim)
    if isinstance(part, LightningAttention):
        return State("recurrent", 0, part.heads * part.head_dim * part.head_dim, 1)
    if isinstance(part, RgLru):
        return _kept(part.kernel, part.inner, part.inner)
    return State("recurrent", part.width, 3 * part.inner if isinstance(part, TimeMix) else 0, 1)


def _kept(kernel: int, channels: int, state: int) -> State:
    return State("recurrent", (kernel - 1) * channels, state, 1)
