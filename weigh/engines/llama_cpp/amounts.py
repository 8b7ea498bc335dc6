"""What a step of llama.cpp on a CPU does, as amounts of a few kinds of work that `weigh bench` times.

A name is a kind of work, with the codec where it depends on one: `read q4_k` (bytes of weights), `multiply q4_k` (FLOPs
of products), `row` (of the matrices that a token alone multiplies), `values` (numbers that a prompt moves into and out
of matrices), `tensor` (operations to start), `vocabulary` (logits to sample from), `step`; and of attention `score`
(FLOPs over the cells of the cache), for a prompt `soften` (scores), for a token alone `fetch` (bytes of the cells). To
tell more kinds apart, add a name here: the profile, its fit and the prediction know no names.

Everything but the model may be NumPy arrays. Source: llama.cpp as packed in xllamacpp 2026.10.11549,
src/llama-graph.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from weigh.codecs import by_id
from weigh.engines.llama_cpp.buffers import CELLS
from weigh.engines.llama_cpp.decoder import Decoder, Layer
from weigh.types import Tensor

MICRO_BATCH = 512
"""Tokens of a prompt that llama.cpp takes at once by default (`--ubatch-size`)."""

Number: TypeAlias = Any
Amounts: TypeAlias = dict[str, Number]


@dataclass(frozen=True, slots=True)
class Cache:
    """How keys and values are kept and attended to."""

    codec: str = "f16"
    flash: bool = True
    window: int | None = None
    """Of the layers that have one."""

    def kind(self, *, alone: bool) -> str:
        """Name of the kernel: one token alone has another than a stretch of them."""
        how = "flash" if self.flash else "plain"
        return f"{how} {self.codec} {'one' if alone else 'many'}"


def decode_amounts(decoder: Decoder, tensors: Iterable[Tensor], cache: Cache, past: Number, batch: Number) -> Amounts:
    """One token of each of `batch` sequences, each behind `past` others."""
    found = _weights(decoder, tensors, tokens=batch, last=batch, steps=1)
    # What goes into and out of a matrix is nothing beside the matrix, but each row is a product of its own.
    del found["values"]
    _attend(found, decoder, cache, cells=past + 1, queries=batch, alone=True)
    return found


def prompt_amounts(
    decoder: Decoder,
    tensors: Iterable[Tensor],
    cache: Cache,
    tokens: Number,
    past: Number = 0,
    batch: Number = 1,
    micro_batch: int = MICRO_BATCH,
) -> Amounts:
    """A prompt of so many tokens of each sequence behind `past` others, in micro-batches; logits of the last one.

    Behind attention the last layer goes on with the last token alone. A token attends to those before it; without
    flash attention to every cell in use, masked or not, so to all that the micro-batch has at its end.
    """
    steps = -(-tokens * batch // micro_batch)
    found = _weights(decoder, tensors, tokens=tokens * batch, last=steps, steps=steps)
    del found["row"]
    mean = past + (tokens + 1) / 2
    if not cache.flash:
        # All cells up to the end of each micro-batch, rounded up to whole hundreds of cells.
        mean = past + tokens * (1 + batch / steps) / 2 + CELLS / 2
    _attend(found, decoder, cache, cells=mean, queries=tokens * batch, alone=False)
    return found


def _weights(decoder: Decoder, tensors: Iterable[Tensor], *, tokens: Number, last: Number, steps: Number) -> Amounts:
    """Matrices read and multiplied, over `tokens` tokens; of the last layer's feed-forward and the head over `last`."""
    codecs = {tensor.name: tensor.codec for tensor in tensors}
    final = len(decoder.layers) - 1
    found: Amounts = {
        "step": steps,
        "tensor": 0,
        "vocabulary": decoder.vocabulary * (last / steps),
        "values": 0,
        "row": 0,
    }
    for number, layer in enumerate(decoder.layers):
        found["tensor"] += len(layer.tensors) * steps
        for name, shape in layer.tensors.items():
            if len(shape) < 2:
                continue
            rows = last if number == final and name.startswith("ffn_") else tokens
            codec = codecs.get(f"blk.{number}.{name}", "f16")
            _matrix(found, codec, shape, rows, steps, used=decoder.experts_used if "_exps" in name else 0)
    head = "output.weight" if "output.weight" in decoder.tensors else "token_embd.weight"
    if head in decoder.tensors:
        _matrix(found, codecs.get(head, "f16"), decoder.tensors[head], last, steps)
    return found


def _matrix(found: Amounts, codec: str, shape: tuple[int, ...], rows: Number, steps: Number, used: int = 0) -> None:
    """One matrix over `rows` tokens, or `used` of the experts that it stacks."""
    kind = by_id(codec)
    size = prod(shape[-2:])
    experts = shape[0] if used else 1
    # Tokens choose their experts independently, about.
    awake = experts * (1 - (1 - used / experts) ** (rows / steps)) if used else 1
    each = used or 1
    found[f"read {codec}"] = found.get(f"read {codec}", 0) + awake * size / kind.block * kind.block_bytes * steps
    found[f"multiply {codec}"] = found.get(f"multiply {codec}", 0) + 2 * each * size * rows
    found["values"] += each * sum(shape[-2:]) * rows
    found["row"] += each * shape[-2] * rows


def _attend(found: Amounts, decoder: Decoder, cache: Cache, *, cells: Number, queries: Number, alone: bool) -> None:
    """Scores and mixed values: 2 FLOPs for each value of a key and of a value, a head, a query and a cell."""
    kind = cache.kind(alone=alone)
    bits = by_id(cache.codec).bits
    scores: Number = 0
    flops: Number = 0
    fetched: Number = 0
    for layer in decoder.layers:
        seen = _seen(layer, cache, cells)
        width = layer.key_width + layer.value_width
        scores += layer.heads * seen * queries
        flops += 2 * layer.heads * width * seen * queries
        fetched += layer.kv_heads * width * bits / 8 * seen * queries
    found[f"score {kind}"] = flops
    if alone:
        found[f"fetch {kind}"] = fetched
    else:
        found[f"soften {kind}"] = scores


def _seen(layer: Layer, cache: Cache, cells: Number) -> Number:
    """Cells that a query of this layer looks at."""
    if not layer.windowed or cache.window is None:
        return cells
    return cells - (cells > cache.window) * (cells - cache.window)
