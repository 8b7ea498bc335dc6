"""Dimensions of latent and compressed attention, drawn, and their work and memory counted token by token."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from weigh.parts import BlockIndexer, Compressor, HyperConnection, LatentAttention, SharedAttention
from weigh.types import Pass, State

few = st.integers(1, 6)
flag = st.booleans()


@st.composite
def _latent(draw: st.DrawFn) -> LatentAttention:
    indexed = draw(flag)
    return LatentAttention(
        width=draw(few),
        heads=draw(few),
        nope_dim=draw(few),
        rope_dim=draw(few),
        value_dim=draw(few),
        kv_rank=draw(few),
        q_rank=draw(few) if indexed else draw(st.integers(0, 4)),
        bias=draw(flag),
        top=draw(few) if indexed else draw(st.integers(0, 6)),
        index_heads=draw(few) if indexed else 0,
        index_dim=draw(few) if indexed else 0,
    )


@st.composite
def _shared(draw: st.DrawFn) -> SharedAttention:
    groups = draw(st.integers(1, 3))
    return SharedAttention(draw(few), groups * draw(few), draw(few), draw(few), groups, draw(few), draw(few))


@st.composite
def _compressors(draw: st.DrawFn) -> Compressor:
    top = draw(st.integers(0, 4))
    size = few if top else st.just(0)
    return Compressor(draw(few), draw(few), draw(few), draw(few), draw(flag), top, draw(size), draw(size), draw(size))


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "latent_attention": _latent(),
    "block_indexer": st.builds(BlockIndexer, few, few, few),
    "shared_attention": _shared(),
    "compressor": _compressors(),
    "hyper_connection": st.builds(HyperConnection, few, few, flag),
}


def beside_matrices(part: Any, step: Pass) -> int:
    """Multiply-adds of one sequence that are not those of a held matrix applied to a token."""
    places = range(step.past + 1, step.past + step.tokens + 1)
    if isinstance(part, LatentAttention):
        attended = sum(min(place, part.top or place) for place in places)
        again = step.past * part.heads * part.kv_rank * (part.nope_dim + part.value_dim)
        expanded = again + attended * part.heads * (part.nope_dim + part.rope_dim + part.value_dim)
        absorbed = attended * part.heads * (part.kv_rank + part.rope_dim + part.kv_rank)
        return min(expanded, absorbed) + sum(places) * part.index_heads * (part.index_dim + 1)
    if isinstance(part, BlockIndexer):
        return sum(places) * part.heads * part.head_dim
    if isinstance(part, SharedAttention):
        return sum(min(place, part.window) for place in places) * part.heads * 2 * part.head_dim
    if isinstance(part, Compressor):
        rows = [place // part.rate for place in places]
        attended = sum(min(row, part.top or row) for row in rows)
        scored = sum(rows) * part.index_heads * part.index_dim if part.top else 0
        return attended * part.heads * 2 * part.head_dim + scored
    if isinstance(part, HyperConnection) and not part.joins:
        return step.tokens * part.lanes * part.lanes * part.width
    return 0


def remembered(part: Any) -> tuple[State, ...]:
    """What one of these kinds keeps; nothing for all others."""
    if isinstance(part, BlockIndexer):
        return (State("index", part.head_dim),)
    if isinstance(part, LatentAttention):
        row = State("latent", part.kv_rank, expands=State("kv", part.nope_dim, part.value_dim, part.heads))
        rope = State("rope", part.rope_dim, expands=State("kv", part.rope_dim, 0, part.heads))
        return (row, rope, State("index", part.index_dim)) if part.index_heads else (row, rope)
    if isinstance(part, SharedAttention):
        return (State("latent", part.head_dim, 0, 1, part.window),)
    if isinstance(part, Compressor):
        kept: list[State] = []
        for kind, row in (("latent", part.head_dim), ("index", part.index_dim))[: 2 if part.top else 1]:
            columns = (1 + part.overlap) * row
            kept.append(State(kind, row, rate=part.rate))  # type: ignore[arg-type]
            kept.append(State("pending", columns, columns, rows=0, rate=part.rate))
            kept += [State("pending", row, row, rows=part.rate)] * part.overlap
        return tuple(kept)
    return ()
