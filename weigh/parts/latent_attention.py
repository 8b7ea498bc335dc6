"""Latent attention: keys and values of all heads are expanded from one short row a token, which alone is kept."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.parts.attention import core
from weigh.parts.norm import statistics
from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Dimensions of one layer. A query and a key are `nope_dim` values without position and `rope_dim` with."""

    width: int
    heads: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    kv_rank: int
    """Values of the latent row that keys and values are expanded from."""
    q_rank: int = 0
    """Values of the row that queries are expanded from; 0 = one matrix straight from the stream."""
    bias: bool = False
    """Of the matrices that read the stream (but a q that is not low-rank), and of the output."""
    top: int = 0
    """Tokens that a token attends to at most, picked by an indexer, its own or that of a layer before; 0 = all."""
    index_heads: int = 0
    """Heads of an own indexer; 0 = none."""
    index_dim: int = 0


def slots(part: LatentAttention) -> tuple[Slot, ...]:
    """q (or q_a, its norm, q_b), kv_a, its norm, k and v expanded in one matrix (kv_b), o; the indexer's own."""
    query = part.heads * (part.nope_dim + part.rope_dim)
    if part.q_rank:
        held = [Slot("q_a.weight", (part.q_rank, part.width), "attention_q")]
        if part.bias:
            held.append(Slot("q_a.bias", (part.q_rank,), "attention_q"))
        held.append(Slot("q_a_norm.weight", (part.q_rank,), "norm"))
        held.append(Slot("q_b.weight", (query, part.q_rank), "attention_q"))
    else:
        held = [Slot("q.weight", (query, part.width), "attention_q")]
    held.append(Slot("kv_a.weight", (part.kv_rank + part.rope_dim, part.width), "attention_k"))
    if part.bias:
        held.append(Slot("kv_a.bias", (part.kv_rank + part.rope_dim,), "attention_k"))
    held.append(Slot("kv_a_norm.weight", (part.kv_rank,), "norm"))
    held.append(Slot("k_b.weight", (part.heads * part.nope_dim, part.kv_rank), "attention_k"))
    held.append(Slot("v_b.weight", (part.heads * part.value_dim, part.kv_rank), "attention_v"))
    held.append(Slot("o.weight", (part.width, part.heads * part.value_dim), "attention_o"))
    if part.bias:
        held.append(Slot("o.bias", (part.width,), "attention_o"))
    return (*held, *_indexer(part))


def _indexer(part: LatentAttention) -> tuple[Slot, ...]:
    """Queries from the low-rank row, one key for all heads with a layer norm, and the weight of each head."""
    if not part.index_heads:
        return ()
    source = part.q_rank or part.width
    return (
        Slot("index_q.weight", (part.index_heads * part.index_dim, source), "attention_q"),
        Slot("index_k.weight", (part.index_dim, part.width), "attention_k"),
        Slot("index_k_norm.weight", (part.index_dim,), "norm"),
        Slot("index_k_norm.bias", (part.index_dim,), "norm"),
        Slot("index_weights.weight", (part.index_heads, part.width), "attention_q"),
    )


def seen(part: LatentAttention, step: Pass) -> tuple[int, int]:
    """Pairs (new token, token before or itself) in one sequence: all of them, and those that are attended to.

    Token number p + i sees p + i tokens and attends to min(p + i, top); summed over i = 1..n.
    """
    n, past = step.tokens, step.past
    everything = n * past + n * (n + 1) // 2
    if not part.top:
        return everything, everything
    growing = min(max(part.top - past, 0), n)
    return everything, growing * past + growing * (growing + 1) // 2 + (n - growing) * part.top


def forward(part: LatentAttention, step: Pass) -> int:
    """Every matrix once a token; the attended pairs in the cheaper of two orders of the same products.

    Expanded: keys and values of all tokens, those of the past again from their latent rows (heads x (nope + value) x
    rank each), and then heads x (nope + rope + value) a pair. Absorbed: queries are turned into the latent space and
    the result back, which costs for each new token what expanding its key and value does; then heads x (2 rank + rope)
    a pair, and nothing for the past. The second wins when few tokens follow many.
    Indexer: index_heads x (index_dim + 1) a pair seen, the sum over heads included.
    Source: arXiv 2405.04434, section 2.1; for the indexer transformers 5.23, modeling_deepseek_v32.py.
    """
    matrices = sum(slot.parameters for slot in slots(part) if slot.role != "norm" and len(slot.shape) > 1)
    everything, attended = seen(part, step)
    again = step.past * part.heads * (part.nope_dim + part.value_dim) * part.kv_rank
    expanded = again + attended * part.heads * (part.nope_dim + part.rope_dim + part.value_dim)
    absorbed = attended * part.heads * (2 * part.kv_rank + part.rope_dim)
    scored = everything * part.index_heads * (part.index_dim + 1)
    return 2 * step.batch * (step.tokens * matrices + min(expanded, absorbed) + scored)


def backward(part: LatentAttention, step: Pass) -> int:
    """Each product has two gradients of its own size; the indexer's, which is trained apart, are counted as well."""
    return 2 * forward(part, step)


def remembers(part: LatentAttention) -> tuple[State, ...]:
    """The latent row and the rotated part of the key, once for all heads; and the key of an own indexer."""
    expanded = State("kv", part.nope_dim, part.value_dim, part.heads)
    rotated = State("kv", part.rope_dim, 0, part.heads)
    kept = (State("latent", part.kv_rank, expands=expanded), State("rope", part.rope_dim, expands=rotated))
    return (*kept, State("index", part.index_dim)) if part.index_heads else kept


def keeps(part: LatentAttention, step: Pass) -> tuple[Kept, ...] | None:
    """As attention over expanded keys and values, and the short rows: before their norms and after.

    Run step by step, the values that a flash kernel keeps are columns of one array with the keys' unrotated part.
    Not known where an indexer picks what is attended to: its training differs from this.
    Source: transformers 5.23, models/deepseek_v3/modeling_deepseek_v3.py, with saved tensors counted.
    """
    if part.top:
        return None
    rows = step.tokens * step.batch
    query, value = rows * part.heads * (part.nope_dim + part.rope_dim), rows * part.heads * part.value_dim
    kept = [Kept("input", rows * part.width, split="sequence")]
    for of, rank, beside in (("query", part.q_rank, 0), ("latent", part.kv_rank, part.rope_dim)):
        if rank:
            kept += [
                Kept(f"{of} row before the norm", rows * (rank + beside), split="sequence"),
                Kept(f"{of} row", rows * rank, split="sequence"),
                Kept(f"normalised {of} row", rows * rank, split="sequence", only=("eager",)),
                *statistics(of, rows),
            ]
    joined = Kept("keys beside the values", rows * part.heads * part.nope_dim, only=("flash", "eager"))
    kept += [Kept("queries", query), Kept("keys", query), Kept("values", value), joined]
    kept += core(step, part.heads, step.past + step.tokens, value)
    kept.append(Kept("mask", rows * part.width, "mask", "sequence", ("dropout",)))
    return tuple(entry for entry in kept if entry.values)


LATENT_ATTENTION = PartKind(
    id="latent_attention",
    dimensions=LatentAttention,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("heads",),
    source="https://arxiv.org/abs/2405.04434",
    keeps=keeps,
    example=LatentAttention(
        width=8, heads=2, nope_dim=3, rope_dim=2, value_dim=3, kv_rank=4, q_rank=5, bias=True, top=4, index_heads=2,
        index_dim=3,
    ),
)  # fmt: skip
