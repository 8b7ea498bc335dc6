"""The graph that llama.cpp builds for a decoder, told from the tensors that its layers have.

llama.cpp has one graph builder per architecture, but nearly all of them put the same pieces together, and which
pieces a layer has shows in its tensors: norms of queries and keys, biases, joined query-key-value matrices, gates,
experts. What does not show (scaled queries, soft caps, layer norms without bias) is in `TRAITS`. To support an
architecture that differs only there, add a row; `EXACT` names those that were compared with llama.cpp.

Source: llama.cpp as packed in xllamacpp 2026.10.11549: src/llama-graph.cpp, src/llama-kv-cache.cpp and
src/models/<architecture>.cpp of those in `EXACT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from weigh.engines.llama_cpp.allocator import Array, Graph, apply, given, like, matmul, store, view, weight
from weigh.engines.llama_cpp.blocks import Shape, experts, feed_forward, linear, norm
from weigh.numbers import Number
from weigh.once import once


@dataclass(frozen=True, slots=True)
class Traits:
    """What an architecture does that its tensors do not show."""

    scaled_queries: bool = False
    """Queries are scaled before attention instead of inside it."""
    scaled_embedding: Literal["", "all", "tokens"] = ""
    """All rows by one factor, or each row by a factor of its own (given as input)."""
    rotary: bool = True
    layer_norm: bool = False
    """Mean and variance; a norm with a bias is one in any case."""
    attention_cap: bool = False
    """Scores pass through a scaled tanh, where flash attention is off."""
    final_cap: bool = False
    """So do the logits."""
    norms_expert_weights: bool = True
    bare_norms: bool = False
    """Norms have no weights, so that no tensor tells of them."""
    rotary_step: int = 0
    """Every so many layers one is not rotated."""
    parallel: Literal["", "own norm", "feed-forward first", "attention first"] = ""
    """The feed-forward block beside attention: after a norm of its own, or on attention's and added so."""


TRAITS: Mapping[str, Traits] = {
    "gemma": Traits(scaled_embedding="all", scaled_queries=True),
    "gemma2": Traits(scaled_embedding="all", scaled_queries=True, attention_cap=True, final_cap=True),
    "gemma3": Traits(scaled_embedding="tokens", scaled_queries=True),
    "phi3": Traits(scaled_queries=True),
    "gpt2": Traits(rotary=False, layer_norm=True),
    "starcoder": Traits(rotary=False, layer_norm=True),
    "starcoder2": Traits(layer_norm=True),
    "bloom": Traits(rotary=False, layer_norm=True),
    "mpt": Traits(rotary=False, layer_norm=True),
    "gptneox": Traits(layer_norm=True, parallel="own norm"),
    "falcon": Traits(layer_norm=True, parallel="feed-forward first"),
    "phi2": Traits(layer_norm=True, scaled_queries=True, parallel="attention first"),
    "olmo": Traits(layer_norm=True, bare_norms=True),
    "smollm3": Traits(rotary_step=4),
    "qwen2moe": Traits(norms_expert_weights=False),
}
"""By ggml architecture; every other one has the defaults."""

EXACT = frozenset(
    {
        "bloom", "falcon", "gemma", "gemma2", "gemma3", "gpt2", "gptneox", "llama", "olmo", "olmo2", "phi2", "phi3",
        "qwen2", "qwen2moe", "qwen3", "qwen3moe", "smollm3", "starcoder2",
    }
)  # fmt: skip
"""Architectures whose predicted compute buffer was found equal to llama.cpp's."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer as its attention and its tensors describe it."""

    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    tensors: Mapping[str, Shape]
    """Name without `blk.N.`, such as `attn_q.weight`, to shape with the outputs first."""
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder in llama.cpp's terms."""

    architecture: str
    layers: tuple[Layer, ...]
    width: int
    vocabulary: int
    tensors: Mapping[str, Shape]
    """Those outside the layers: `token_embd.weight`, `output.bias`, ..."""
    experts_used: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One reserved graph."""

    tokens: Number
    """Of the micro-batch, all sequences together."""
    streams: Number
    """Separate caches: the number of sequences, or 1 where they share one."""
    outputs: Number
    """Tokens whose logits are wanted."""
    cells: Number
    """Of the full cache, a stream."""
    window_cells: Number
    flash: bool
    rotate_keys: int = 0
    """Size of the rotation applied to keys (and queries) before they are quantized; 0 = none."""
    rotate_values: int = 0


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Arrays written before each run, shared by all layers; indexed by whether the layer has a window."""

    positions: Array
    key_places: tuple[Array, Array]
    value_places: tuple[Array, Array]
    masks: tuple[Array, Array]
    rotate_keys: tuple[Array | None, Array | None]
    rotate_values: tuple[Array | None, Array | None]


REPLAYED = 2
"""Layers of equal rounds that are replayed at least: from the second or third on the allocator finds the same free
places as a round, or two rounds, before."""


@once()
def shortened(decoder: Decoder) -> Decoder:
    """The decoder with fewer rounds of equal layers, and the same compute buffer.

    What a round of layers does to the buffer depends on the free places that it finds, and after a few rounds these
    repeat, so that further rounds reach no new peak. Rounds are taken out in twos, for places may alternate.
    Off by: 0 for every decoder that was compared (tests/engines/test_llama_cpp_short.py).
    """
    step = TRAITS.get(decoder.architecture, Traits()).rotary_step
    kinds = [_kind(layer, number, step) for number, layer in enumerate(decoder.layers)]
    layers = list(decoder.layers)
    start = 0
    while start < len(kinds):
        period, rounds = _rounds(kinds, start)
        spare = (rounds - _kept(period)) // 2 * 2 * period
        if spare > 0:
            del layers[start : start + spare], kinds[start : start + spare]
            start += (rounds * period) - spare
        else:
            start += 1
    return replace(decoder, layers=tuple(layers))


def _kind(layer: Layer, number: int, step: int) -> tuple[object, ...]:
    """What layers must share to be equal."""
    shapes = tuple(sorted(layer.tensors.items()))
    rotated = not (step and (number + 1) % step == 0)
    return (layer.heads, layer.kv_heads, layer.key_width, layer.value_width, layer.windowed, rotated, shapes)


def _kept(period: int) -> int:
    """Rounds of that many layers that are replayed, or one more where their number is odd."""
    return max(1, -(-REPLAYED // period))


def _rounds(kinds: Sequence[object], start: int) -> tuple[int, int]:
    """The shortest period in which the kinds repeat from there often enough to shorten, and how many rounds it has."""
    left = len(kinds) - start
    for period in range(1, left // 3 + 1):
        same = 0
        while start + same + period < len(kinds) and kinds[start + same] == kinds[start + same + period]:
            same += 1
        rounds = same // period + 1
        if rounds >= _kept(period) + 2:
            return period, rounds
    return 1, 1


def decoder_graph(decoder: Decoder, run: Run) -> Graph:
    """All operations of one forward pass over a micro-batch, in llama.cpp's order."""
    traits = TRAITS.get(decoder.architecture, Traits())
    graph = Graph()
    stream = _embedding(graph, decoder, traits, run)
    inputs = _inputs(decoder, run)
    wanted = given(run.outputs)
    if "position_embd.weight" in decoder.tensors:
        table = weight(decoder.width, decoder.tensors["position_embd.weight"][0])
        stream = like("add", stream, apply("get_rows", (decoder.width, run.tokens), table, inputs.positions))
    stream = _norm(stream, decoder.tensors, "token_embd_norm", traits)
    for number in range(len(decoder.layers)):
        last = number == len(decoder.layers) - 1
        stream = _layer(graph, decoder, number, traits, run, inputs, stream, wanted if last else None)
    stream = _norm(stream, decoder.tensors, "output_norm", traits)
    stream.output = True
    logits = matmul(weight(decoder.width, decoder.vocabulary), stream)
    if "output.bias" in decoder.tensors:
        logits = like("add", logits, weight(decoder.vocabulary))
    if traits.final_cap:
        logits = _cap(logits)
    logits.output = True
    graph.expand(logits)
    return graph


def _embedding(graph: Graph, decoder: Decoder, traits: Traits, run: Run) -> Array:
    """Three ways in (ids, vectors, a mix of both): the graph holds all of them, so that it never changes."""
    table = weight(decoder.width, decoder.vocabulary)
    rows = (decoder.width, run.tokens)
    by_id = graph.expand(apply("get_rows", rows, table, given(run.tokens)))
    mixed = graph.expand(apply("get_rows", rows, table, given(run.tokens)))
    graph.expand(given(*rows))
    copy = like("dup", given(*rows))
    graph.expand(store(copy, mixed, given(run.tokens, item_bytes=8)))
    stream = by_id
    if traits.scaled_embedding == "tokens":
        stream = graph.expand(like("mul", stream, given(1, run.tokens)))
    if traits.scaled_embedding == "all":
        stream = like("scale", stream)
    return stream


def _inputs(decoder: Decoder, run: Run) -> _Inputs:
    widest = max((layer.kv_heads * layer.value_width for layer in decoder.layers), default=0)
    per_value = 1 if run.flash else widest
    """Without flash attention values are stored transposed, so each has a place of its own."""
    each = run.tokens // run.streams
    item = 2 if run.flash else 4
    masks = tuple(given(cells, each, 1, run.streams, item_bytes=item) for cells in (run.cells, run.window_cells))

    def rotation(size: int) -> Array | None:
        return given(size, size) if size else None

    return _Inputs(
        given(run.tokens),
        (given(run.tokens, item_bytes=8), given(run.tokens, item_bytes=8)),
        (given(run.tokens * per_value, item_bytes=8), given(run.tokens * per_value, item_bytes=8)),
        (masks[0], masks[1]),
        (rotation(run.rotate_keys), rotation(run.rotate_keys)),
        (rotation(run.rotate_values), rotation(run.rotate_values)),
    )


def _layer(
    graph: Graph,
    decoder: Decoder,
    number: int,
    traits: Traits,
    run: Run,
    inputs: _Inputs,
    stream: Array,
    wanted: Array | None,
) -> Array:
    layer = decoder.layers[number]
    tensors = layer.tensors
    normed = _norm(stream, tensors, "attn_norm", traits)
    current = _norm(stream, tensors, "attn_norm_2", traits) if "attn_norm_2.weight" in tensors else normed
    rotated = traits.rotary and not (traits.rotary_step and (number + 1) % traits.rotary_step == 0)
    current = _attention(graph, decoder, layer, replace(traits, rotary=rotated), run, inputs, current)
    if wanted is not None:
        rows = (decoder.width, run.outputs)
        current, stream, normed = (apply("get_rows", rows, array, wanted) for array in (current, stream, normed))
    if traits.parallel:
        return _parallel(tensors, traits, stream, normed, current)
    current = _norm(current, tensors, "post_attention_norm", traits)
    stream = like("add", current, stream)
    current = _norm(stream, tensors, "ffn_norm", traits)
    if "ffn_gate_inp.weight" in tensors:
        used, norms = decoder.experts_used, traits.norms_expert_weights
        current = experts(graph, tensors, used, current, norms_weights=norms)
    else:
        current = feed_forward(tensors, current)
    current = _norm(current, tensors, "post_ffw_norm", traits)
    if decoder.architecture == "phi3":
        return like("add", stream, current)
    return like("add", current, stream)


def _parallel(tensors: Mapping[str, Shape], traits: Traits, stream: Array, normed: Array, attended: Array) -> Array:
    if traits.parallel == "own norm":
        current = feed_forward(tensors, _norm(stream, tensors, "ffn_norm", traits))
        return like("add", like("add", current, stream), attended)
    current = feed_forward(tensors, normed)
    first, second = (current, attended) if traits.parallel == "feed-forward first" else (attended, current)
    return like("add", like("add", first, second), stream)


def _norm(current: Array, tensors: Mapping[str, Shape], name: str, traits: Traits) -> Array:
    bare = traits.bare_norms and name in {"attn_norm", "ffn_norm", "output_norm"}
    return norm(current, tensors, name, layer_norm=traits.layer_norm, bare=bare)


def _queries_keys_values(layer: Layer, traits: Traits, current: Array) -> tuple[Array, Array, Array]:
    """Each head apart. Norms over all heads together come before the heads are told apart, others after."""
    tensors, tokens = layer.tensors, current.dims[1]
    shapes = {
        "q": (layer.key_width, layer.heads, tokens),
        "k": (layer.key_width, layer.kv_heads, tokens),
        "v": (layer.value_width, layer.kv_heads, tokens),
    }
    joined = linear(tensors, "attn_qkv", current) if "attn_qkv.weight" in tensors else None
    made = {}
    for part, shape in shapes.items():
        name = f"attn_{part}_norm"
        whole = tensors.get(f"{name}.weight", (0,)) == (shape[0] * shape[1],) and shape[1] > 1
        if joined is not None:
            made[part] = view(joined, *shape, packed=False)
        else:
            flat = linear(tensors, f"attn_{part}", current)
            made[part] = view(_norm(flat, tensors, name, traits) if whole else flat, *shape)
        if not whole:
            made[part] = _norm(made[part], tensors, name, traits)
    return made["q"], made["k"], made["v"]


def _attention(
    graph: Graph, decoder: Decoder, layer: Layer, traits: Traits, run: Run, inputs: _Inputs, current: Array
) -> Array:
    side = int(layer.windowed)
    query, key, value = _queries_keys_values(layer, traits, current)
    if traits.rotary:
        query = like("rope", query, inputs.positions)
        key = like("rope", key, inputs.positions)
    if traits.scaled_queries:
        query = like("scale", query)
    query = _rotated(query, inputs.rotate_keys[side])
    key = _rotated(key, inputs.rotate_keys[side])
    value = _rotated(value, inputs.rotate_values[side])
    windows = any(one.windowed for one in decoder.layers)
    for array in (query, key, value) if windows else (query, value, key):
        graph.expand(array)
    cells = run.window_cells if layer.windowed else run.cells
    keys = weight(layer.kv_heads * layer.key_width, cells, run.streams)
    values = weight(layer.kv_heads * layer.value_width, cells, run.streams)
    _store_kv(graph, run, (keys, key, inputs.key_places[side]), (values, value, inputs.value_places[side]))
    query = view(query, layer.key_width, run.tokens // run.streams, layer.heads, run.streams, packed=False)
    mixed = _mix(layer, traits, run, query, keys, values, inputs.masks[side], cells)
    graph.expand(mixed)
    mixed = _rotated(mixed, inputs.rotate_values[side])
    return linear(layer.tensors, "attn_output", mixed)


def _rotated(current: Array, rotation: Array | None) -> Array:
    """A Hadamard rotation of each head before it is quantized, undone after attention."""
    if rotation is None:
        return current
    size = rotation.dims[0]
    count = 1
    for dim in current.dims:
        count *= dim
    rows = (size, count // size)
    flat = view(current, *rows) if current.packed else apply("cont", rows, current)
    return view(apply("mul_mat", rows, rotation, flat), *current.dims)


def _store_kv(graph: Graph, run: Run, keys: tuple[Array, Array, Array], values: tuple[Array, Array, Array]) -> None:
    cache, new, places = keys
    graph.expand(store(cache, view(new, cache.dims[0], run.tokens, packed=new.packed), places))
    cache, new, places = values
    if not run.flash and not new.packed:
        new = apply("cont", (cache.dims[0], run.tokens), new)
    if not run.flash:
        cache = view(cache, 1, cache.dims[0] * cache.dims[1] * run.streams)
    graph.expand(store(cache, view(new, cache.dims[0], run.tokens, packed=new.packed), places))


def _mix(
    layer: Layer, traits: Traits, run: Run, query: Array, keys: Array, values: Array, mask: Array, cells: int
) -> Array:
    """Attention proper: one operation with flash attention, else scores, softmax, product and a copy into order."""
    each = run.tokens // run.streams
    columns = (layer.value_width * layer.heads, run.tokens)
    if run.flash:
        shape = (layer.value_width, layer.heads, each, run.streams)
        return view(apply("flash_attention", shape, query, view(keys, 1), view(values, 1), mask), *columns)
    scores = apply("mul_mat", (cells, each, layer.heads, run.streams), view(keys, 1), query)
    if traits.attention_cap:
        scores = _cap(scores)
    scores = like("soft_max", scores, mask)
    mixed = apply("mul_mat", (layer.value_width, each, layer.heads, run.streams), view(values, 1), scores)
    return apply("cont", columns, view(mixed, 1, packed=False))


def _cap(scores: Array) -> Array:
    return like("scale", like("unary", like("scale", scores)))
