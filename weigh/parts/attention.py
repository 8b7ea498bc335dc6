"""Softmax attention: multi-head, grouped, multi-query, over everything or a sliding window.

What it remembers is the KV cache: one key and one value row a KV head and token, of the last `window` tokens
where there is a window. How many rows an engine really allocates for that is the engine's matter
(`engines/`): a window may be padded to pages or ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from weigh.types import Kept, PartKind, Pass, Slot, State


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
    head_gate: bool = False
    """The gate has one value a head."""
    differential: bool = False
    """Every head reads two values a key, its own and that of a head in the other half, and the halves are subtracted
    by a weight that four vectors of `key_dim` make."""
    outputs: int = 0
    """Values of what it gives; 0 = as many as it reads (`width`)."""
    top: int = 0
    """Tokens that a token attends to at most, picked by an indexer beside it; all are kept. 0 = all."""


def slots(part: Attention) -> tuple[Slot, ...]:
    """q, k, v as (heads x head size, width), o as (width, heads x value size); biases and norms if present."""
    query = part.heads * part.key_dim
    key = part.kv_heads * part.key_dim
    value = part.kv_heads * part.value_dim
    gate = part.heads if part.head_gate else part.heads * part.value_dim
    gated = (("gate", (gate, part.width), "attention_q", part.q_bias),) if part.gate else ()
    keys = (("k", (key, part.width), "attention_k", part.k_bias),)
    values = (("v", (value, part.width), "attention_v", part.v_bias),)
    matrices = (
        ("q", (query, part.width), "attention_q", part.q_bias),
        *gated,
        *(() if part.shared_with else keys),
        *(() if part.shared_with or part.values_are_keys else values),
        ("o", (part.outputs or part.width, part.heads * part.value_dim), "attention_o", part.o_bias),
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
    if part.differential:
        held += [Slot(f"lambda_{name}.weight", (part.key_dim,), "other") for name in ("q1", "k1", "q2", "k2")]
    return tuple(held)


def attended(part: Attention, step: Pass) -> int:
    """Pairs (new token, token that it attends to) in one sequence.

    Causal: token number p + i sees min(p + i, window) tokens, with an indexer min(p + i, top); summed over i = 1..n
    without rounding.
    In chunks: the token number t (from 0) sees t mod chunk + 1 tokens.
    Not causal: every token sees all p + n, or those before it as above and min(n - i, window - 1) behind it.
    """
    n, past = step.tokens, step.past
    if part.chunked and part.window is not None:
        return _up_to(part.window, past + n) - _up_to(part.window, past)
    if part.top and part.causal:
        fewest = part.top if part.window is None else min(part.top, part.window)
        return attended(replace(part, window=fewest, top=0), step)
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

    Differential attention sums two values a pair.
    Causal attention is summed exactly: kernels that compute the masked half as well do up to twice as much.
    Source: arXiv 2001.08361, section 2.1, with the causal half left out.
    """
    query_side = part.heads * part.key_dim
    key_side = part.kv_heads * (part.key_dim + (0 if part.values_are_keys else part.value_dim))
    if part.shared_with:
        key_side = 0
    gate = (part.heads if part.head_gate else part.heads * part.value_dim) if part.gate else 0
    output = (part.outputs or part.width) * part.heads * part.value_dim
    projections = 2 * step.tokens * (part.width * (query_side + key_side + gate) + output)
    read = 2 * part.value_dim if part.differential else part.value_dim
    scores = 2 * attended(part, step) * part.heads * (part.key_dim + read)
    return step.batch * (projections + scores)


def backward(part: Attention, step: Pass) -> int:
    """Each product has two gradients of its own size: both operands of the scores depend on the input."""
    return 2 * forward(part, step)


def remembers(part: Attention) -> tuple[State, ...]:
    """A key and a value row a KV head and token; an encoder remembers nothing."""
    if not part.causal:
        return ()
    return (State("kv", part.key_dim, part.value_dim, part.kv_heads, part.window, part.shared_with),)


def keeps(part: Attention, step: Pass) -> tuple[Kept, ...] | None:
    """The input of the projections, queries, keys and values, what the products of attention need, and its result.

    For n rows of width h and a heads over s tokens without groups, in 16 bit with dropout, that is 11 n h + 5 a n s
    bytes (arXiv 2205.05198); a flash kernel and selective recomputation drop the second term.
    Heads that share keys: products that write their scores repeat them for every head. A norm of queries or keys
    keeps what it normalises. A gate keeps its factor and the product.
    Ignores: caps of the scores, learned biases of the scores, the tables of rotations, which all layers share.
    Not known for differential attention, a gate a head, and where an indexer picks what is attended to.
    """
    if part.differential or part.top or part.head_gate:
        return None
    rows = step.tokens * step.batch
    queries, context = rows * part.heads * part.key_dim, rows * part.heads * part.value_dim
    lent = 0 if part.shared_with else 1
    keys, values = (rows * part.kv_heads * each for each in (part.key_dim, part.value_dim))
    again = rows * (part.heads - part.kv_heads) * (part.key_dim + part.value_dim)
    if part.shared_with and part.heads != part.kv_heads:
        again = queries + context
    kept = [
        Kept("input", rows * part.width, split="sequence"),
        Kept("queries", queries),
        Kept("keys", keys * lent),
        Kept("values", values * lent),
        Kept("repeated keys and values", again, only=("scores",)),
    ]
    kept += _normed("queries", rows, part.heads, part.q_norm, part)
    kept += _normed("keys", rows, part.kv_heads, part.k_norm * lent, part)
    kept += core(step, part.heads, step.past + step.tokens, context, extra=int(part.sinks))
    if part.gate:
        kept += [Kept("gate", context), Kept("gated", context)]
        # One matrix gives queries and gate: what keeps the queries for their norm keeps the gate beside them.
        kept.append(Kept("gate before its sigmoid", context if part.q_norm else 0, only=("eager",)))
    kept.append(Kept("mask", rows * part.width, "mask", "sequence", ("dropout",)))
    return tuple(entry for entry in kept if entry.values)


def _normed(of: str, rows: int, heads: int, length: int, part: Attention) -> list[Kept]:
    """What a norm of each head or of all keeps beside its output: its input, factors, and the plain class a copy."""
    if not length:
        return []
    values, factors = rows * heads * part.key_dim, rows * (heads if length == part.key_dim else 1)
    kept = [Kept(f"{of} before the norm", values), Kept(f"statistics of {of}", factors, "statistic")]
    return kept if part.qk_norm_bias else [*kept, Kept(f"normalised {of}", values, only=("eager",))]


def core(step: Pass, heads: int, places: int, context: int, *, extra: int = 0) -> list[Kept]:
    """What lies between queries, keys and values, and the output's matrix: its input, and scores or their logarithms.

    Writing scores keeps the softmax of heads x tokens x places, and with dropout its mask and the product of the two;
    a flash kernel keeps one logarithm a head and token instead. `extra` columns of the softmax stand for no token; the
    class that has them also keeps where the largest score of each row was.
    Source: what autograd saves in the classes of transformers 5.23, eager and with torch's kernel on a processor.
    """
    pairs = step.batch * heads * step.tokens * places
    wide = step.batch * heads * step.tokens * (places + extra)
    return [
        Kept("softmax", wide, only=("scores",)),
        Kept("largest", step.batch * heads * step.tokens if extra else 0, "index", only=("scores", "eager")),
        Kept("softmax mask", pairs, "mask", only=("scores", "dropout")),
        Kept("dropped softmax", pairs, only=("scores", "dropout")),
        Kept("logarithms", step.batch * heads * step.tokens, "statistic", only=("flash",)),
        Kept("context", context),
    ]


ATTENTION = PartKind(
    id="attention",
    dimensions=Attention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads", "kv_heads"),
    source="https://arxiv.org/abs/2305.13245",
    keeps=keeps,
    example=Attention(width=8, heads=4, kv_heads=2, key_dim=3, value_dim=3, q_bias=True, q_norm=3, window=5),
)
