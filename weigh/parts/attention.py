"""Softmax attention: multi-head, grouped, multi-query, over everything or a sliding window.

What it remembers is the KV cache: one key and one value row a KV head and token, of the last `window` tokens
where there is a window. How many rows an engine really allocates for that is the engine's matter
(`engines/`): a window may be padded to pages or ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from weigh.types import PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Attention:
    """Dimensions of one attention layer. Head sizes are in values, `window` in tokens."""

    width: int
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    q_bias: bool = False
    k_bias: bool = False
    v_bias: bool = False
    o_bias: bool = False
    q_norm: int = 0
    """Length of the gain that normalises queries: key_dim (each head alone), heads x key_dim (all), or 0."""
    k_norm: int = 0
    qk_norm_bias: bool = False
    qk_norm_apart: bool = False
    """Each head has a gain of its own: (heads, length) instead of (length)."""
    window: int | None = None
    """A token attends to itself and the window - 1 tokens before it, and behind it if not causal; None = to all."""
    causal: bool = True
    chunked: bool = False
    """The window is a chunk: a token attends back to where its stretch of `window` tokens begins."""
    sinks: bool = False
    """Each head has a learned score that takes part in the softmax and stands for no token."""
    shared_with: str = ""
    """Address of the part whose keys and values it uses: it has no matrices for them, and keeps nothing itself."""
    values_are_keys: bool = False
    """There is no matrix for values: they are what that for keys gives."""
    gate: bool = False
    """A matrix of the queries' inputs scales the output by a sigmoid; it has a bias where the queries have one."""


def slots(part: Attention) -> tuple[Slot, ...]:
    """q, k, v as (heads x head size, width), o as (width, heads x value size); biases and norms if present."""
    query = part.heads * part.key_dim
    key = part.kv_heads * part.key_dim
    value = part.kv_heads * part.value_dim
    gated = (("gate", (part.heads * part.value_dim, part.width), "attention_q", part.q_bias),) if part.gate else ()
    keys = (("k", (key, part.width), "attention_k", part.k_bias),)
    values = (("v", (value, part.width), "attention_v", part.v_bias),)
    matrices = (
        ("q", (query, part.width), "attention_q", part.q_bias),
        *gated,
        *(() if part.shared_with else keys),
        *(() if part.shared_with or part.values_are_keys else values),
        ("o", (part.width, part.heads * part.value_dim), "attention_o", part.o_bias),
    )
    held = [Slot(f"{name}.weight", shape, role) for name, shape, role, _ in matrices]
    held += [Slot(f"{name}.bias", shape[:1], role) for name, shape, role, bias in matrices if bias]
    for name, heads, length in (("q_norm", part.heads, part.q_norm), ("k_norm", part.kv_heads, part.k_norm)):
        shape = (heads, length) if part.qk_norm_apart else (length,)
        if name == "k_norm" and part.shared_with:
            continue
        if length:
            held.append(Slot(f"{name}.weight", shape, "norm"))
        if length and part.qk_norm_bias:
            held.append(Slot(f"{name}.bias", shape, "norm"))
    if part.sinks:
        held.append(Slot("sinks.weight", (part.heads,), "other"))
    return tuple(held)


def attended(part: Attention, step: Pass) -> int:
    """Pairs (new token, token that it attends to) in one sequence.

    Causal: token number p + i sees min(p + i, window) tokens; summed over i = 1..n without rounding.
    In chunks: the token number t (from 0) sees t mod chunk + 1 tokens.
    Not causal: every token sees all p + n, or those before it as above and min(n - i, window - 1) behind it.
    """
    n, past = step.tokens, step.past
    if part.chunked and part.window is not None:
        return _up_to(part.window, past + n) - _up_to(part.window, past)
    if part.window is None:
        return n * past + n * (n + 1) // 2 if part.causal else n * (past + n)
    growing = min(max(part.window - past, 0), n)
    before = growing * past + growing * (growing + 1) // 2 + (n - growing) * part.window
    if part.causal:
        return before
    reach = part.window - 1
    shrinking = min(reach, n)
    return before + (n - shrinking) * reach + shrinking * (shrinking - 1) // 2


def _up_to(chunk: int, tokens: int) -> int:
    """Pairs of the first `tokens` tokens where each sees its own chunk up to itself: whole chunks and the last."""
    whole, rest = divmod(tokens, chunk)
    return whole * (chunk * (chunk + 1) // 2) + rest * (rest + 1) // 2


def forward(part: Attention, step: Pass) -> int:
    """Projections 2mn a token, and scores and weighted sum 2 x heads x (key + value size) an attended pair.

    Causal attention is summed exactly: kernels that compute the masked half as well do up to twice as much.
    Source: arXiv 2001.08361, section 2.1, with the causal half left out.
    """
    query_side = part.heads * (part.key_dim + part.value_dim)
    key_side = part.kv_heads * (part.key_dim + (0 if part.values_are_keys else part.value_dim))
    if part.shared_with:
        key_side = 0
    gate = part.heads * part.value_dim if part.gate else 0
    projections = 2 * step.tokens * part.width * (query_side + key_side + gate)
    scores = 2 * attended(part, step) * query_side
    return step.batch * (projections + scores)


def backward(part: Attention, step: Pass) -> int:
    """Each product has two gradients of its own size: both operands of the scores depend on the input."""
    return 2 * forward(part, step)


def remembers(part: Attention) -> State | None:
    """A key and a value row a KV head and token; an encoder remembers nothing."""
    if not part.causal:
        return None
    return State("kv", part.key_dim, part.value_dim, part.kv_heads, part.window, part.shared_with)


ATTENTION = PartKind(
    id="attention",
    dimensions=Attention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    source="https://arxiv.org/abs/2305.13245",
    example=Attention(width=8, heads=4, kv_heads=2, key_dim=3, value_dim=3, q_bias=True, q_norm=3, window=5),
)
