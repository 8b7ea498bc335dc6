"""Storage: bytes of the file in each form, and what a cloud asks for keeping it and for letting it out.

Tensors are exact (recipes plan every one of them). Of a file that does not exist yet the header is exact as far as it
lists tensors; a GGUF file also holds the tokenizer, whose size is estimated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from weigh.codecs import by_id
from weigh.cost.loading import ALIGNMENT, Loaded
from weigh.once import once
from weigh.prices import StoragePrice
from weigh.types import Figure, Model, Quoted, Tensor, Why, counted

GB = 1e9

_A_TOKEN = (20.5, 36.0, 62.0)
"""Bytes of a GGUF header a token of the vocabulary: its text, score and type; with a byte-pair vocabulary the merges.
Measured on the 16 vocabularies that come with llama.cpp: 20.6 to 22.6 without merges, 35.0 to 48.3 with about one a
token, 61.0 for Llama 3, which has more than two; SmolLM2 has 36.0."""
_METADATA = (500, 2_000, 20_000)
"""Bytes of the other keys, a chat template among them. Assumed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The file or files of one form."""

    weights: str
    format: str
    nbytes: Figure


def stored(model: Model, held: Loaded, dialect: str) -> Stored:
    """Bytes on disk of the form that is loaded: of a file that exists all of its files, else planned + header.

    Sidecars of a planned file (configuration, tokenizer of a safetensors folder) are left out.
    """
    if held.as_stored and model.inventory.files:
        size = sum(nbytes for _, nbytes in model.inventory.files)
        how = counted(size, "B", "files of the model, as they are", files=len(model.inventory.files))
        return Stored(held.weights, model.inventory.format, how)
    if dialect == "ggml":
        return Stored(held.weights, "gguf", gguf_bytes(held.tensors, model.dimensions.get("vocabulary", 0)))
    return Stored(held.weights, "safetensors", safetensors_bytes(held.tensors))


@once()
def gguf_bytes(tensors: tuple[Tensor, ...], vocabulary: int) -> Figure:
    """A GGUF file of these tensors: data, each aligned to 32 bytes, and the header.

    header = 24 + sum over tensors of (8 + name + 4 + 8 x axes + 4 + 8) + metadata. Only the metadata (tokenizer, chat
    template, general keys) is estimated: `_A_TOKEN` x vocabulary + `_METADATA`.
    Source: ggml-org/ggml, docs/gguf.md (layout). Off by: the metadata; under 0.5 % of a file of a billion parameters.
    """
    data = sum(_up(tensor.nbytes, ALIGNMENT) for tensor in tensors)
    entries = 24 + sum(8 + len(tensor.name.encode()) + 4 + 8 * len(tensor.shape) + 4 + 8 for tensor in tensors)
    low, value, high = (
        data + _up(entries + round(each * vocabulary) + keys, ALIGNMENT)
        for each, keys in zip(_A_TOKEN, _METADATA, strict=True)
    )
    inputs = {"data": data, "tensor_entries": entries, "vocabulary": vocabulary, "bytes_a_token": list(_A_TOKEN)}
    why = Why("data + tensor_entries + bytes_a_token x vocabulary + other metadata", inputs, "ggml docs/gguf.md")
    return Figure(value, low, high, "B", "derived", why)


@once()
def safetensors_bytes(tensors: tuple[Tensor, ...]) -> Figure:
    """A safetensors file of these tensors: 8 + the header, padded to 8, + the data without gaps.

    The header is written as the library writes it: compact JSON with `{"__metadata__": {"format": "pt"}}`. In several
    shards each has its own, a few kB more. Codecs with scales of their own hold several tensors for one, counted here
    as one entry: then the interval allows for three.
    Source: huggingface/safetensors, README.md (format).
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset, several = 0, 0
    for tensor in tensors:
        dtype = by_id(tensor.codec).safetensors if not tensor.codec.startswith("unknown:") else None
        several += dtype is None
        end = offset + tensor.nbytes
        header[tensor.name] = {"dtype": dtype or "I32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = _up(len(json.dumps(header, separators=(",", ":")).encode()), 8)
    size = 8 + text + offset
    if not several:
        return counted(size, "B", "8 + header + data", "huggingface/safetensors README.md", header=text, data=offset)
    more = 2 * several * 120
    inputs = {"header": text, "data": offset, "tensors_with_scales": several}
    why = Why("8 + header + data; up to 2 x 120 more a tensor with scales of its own", inputs)
    return Figure(size, size, size + more, "B", "derived", why)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def keeping(size: Figure, price: StoragePrice, months: float) -> Figure | None:
    """USD of keeping the file for so many months: bytes / 10^9 x usd_per_gb_month x months; None without a price.

    Ignores: free allowances, requests, lower prices of further tiers, and clouds that count in GiB (7 % less).
    """
    return _charged(size, price.usd_per_gb_month, months, "bytes / 1e9 x usd_per_gb_month x months")


def letting_out(size: Figure, price: StoragePrice) -> Figure | None:
    """USD of one download of the file to the internet; None without a price."""
    return _charged(size, price.usd_per_gb_out, 1, "bytes / 1e9 x usd_per_gb_out")


def _charged(size: Figure, price: Quoted | None, times: float, formula: str) -> Figure | None:
    if price is None:
        return None
    value, low, high = (end / GB * price.value * times for end in (size.value, size.low, size.high))
    inputs = {"bytes": size.value, "usd_per_gb": price.value, "says": price.says, "read": price.read}
    if times != 1:
        inputs["months"] = times
    return Figure(value, low, high, "USD", "derived", Why(formula, inputs, price.source))
