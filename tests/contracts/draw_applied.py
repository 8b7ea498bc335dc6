"""Layers that wrap others or look at another sequence: draws, and their work counted again, for `test_parts.py`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weigh.parts import Applied, Array, Attention, CrossAttention, JointAttention, Linear, Mlp, Norm
from weigh.types import Pass, State

few = st.integers(1, 6)
flag = st.booleans()

_attentions = st.builds(
    Attention, few, st.just(2), st.just(2), few, few, flag, flag, window=st.none() | st.integers(1, 9), causal=flag
)
_inner = st.one_of(
    _attentions,
    st.builds(Linear, few, few, flag, positions=st.sampled_from(["all", "one"])),
    st.builds(Mlp, few, few, flag, flag, flag),
    st.builds(Norm, few, flag, flag, flag),
)
DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "array": st.builds(Array, st.lists(few, max_size=3).map(tuple), st.sampled_from(["other", "position", "buffer"])),
    "cross_attention": st.builds(
        CrossAttention, few, few, few, few, few, flag, flag, flag, flag, source=st.none() | st.integers(1, 9)
    ),
    "joint_attention": st.builds(
        JointAttention, few, few, few, few, st.integers(0, 5), few, flag, flag, flag, flag, few, few, flag, flag
    ),
    "applied": st.builds(
        Applied,
        _inner,
        st.sampled_from(["pass", "token", "sequence", "image", "never"]),
        st.integers(0, 5),
        st.integers(1, 3),
        st.sampled_from(["", "vision", "audio"]),
        st.sampled_from(["", "layers.2.attention"]),
    ),
}


def seen(part: Applied, step: Pass) -> list[Pass]:
    """The passes that the inner layer sees, one for each input."""
    if part.per == "pass":
        return [step] * part.times
    places = part.positions or (step.tokens if step.source is None else step.source)
    inputs = {"token": step.tokens, "sequence": int(step.past == 0), "image": step.images, "never": 0}[part.per]
    return [Pass(places, 0, step.batch, places)] * (inputs * part.times)


def crossed(part: CrossAttention, step: Pass) -> int:
    """Multiply-adds of one sequence: q and o for new tokens, k and v for the source at first, then the pairs."""
    told = step.past + step.tokens if step.source is None else step.source
    places = part.source or told
    inner = part.heads * part.key_dim + part.heads * part.value_dim
    new = step.tokens * part.width * inner
    source = 0 if step.past else places * part.source_width * inner
    return new + source + step.tokens * places * inner


def joined(part: JointAttention, step: Pass) -> int:
    """Multiply-adds of one sequence: the matrices of each stream at its places, and every place with every other."""
    inner = part.heads * part.head_dim
    streams = [(part.width, part.places, part.out)]
    if part.added_width:
        streams.append((part.added_width, part.added_places, part.added_out))
    products = sum((3 + int(out)) * width * inner * places for width, places, out in streams)
    together = sum(places for _, places, _ in streams)
    return step.tokens * (products + 2 * inner * together**2)


def remembered(part: Any) -> tuple[State, ...]:
    """A row a head and place of the source; what an inner layer keeps of the tokens of every pass."""
    if isinstance(part, CrossAttention):
        return (State("cross", part.key_dim, part.value_dim, part.heads, part.source),)
    if isinstance(part, Applied) and part.per == "pass" and isinstance(part.inner, Attention) and part.inner.causal:
        return (State("kv", part.inner.key_dim, part.inner.value_dim, part.inner.kv_heads, part.inner.window),)
    return ()
