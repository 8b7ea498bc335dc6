"""Bytes on disk: as the file is, as its header would be, and what a cloud asks for them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from weigh.commands.source import load
from weigh.cost.loading import loaded
from weigh.cost.run.storage import gguf_bytes, keeping, letting_out, safetensors_bytes, stored
from weigh.engines import find
from weigh.prices import StoragePrice
from weigh.types import Figure, Piece, Quoted, Tensor, Why

SAMPLE = Path(__file__).parents[3] / "samples" / "tiny-lm.Q8_0.gguf"
PRICE = Quoted(0.02, "$0.02", "https://example.org", "2026-01-01")


def tensor(name: str, shape: tuple[int, ...], codec: str, nbytes: int) -> Tensor:
    return Tensor(name, shape, codec, (Piece("planned", 0, nbytes),))


def test_a_price_that_is_not_known_gives_no_figure() -> None:
    size = Figure(1e9, 1e9, 1e9, "B", "counted", Why("given"))
    price = StoragePrice("x", "x", None, None)
    assert keeping(size, price, 12) is None
    assert letting_out(size, price) is None


def test_a_file_that_exists_is_as_large_as_it_is() -> None:
    model = load(str(SAMPLE))
    found = stored(model, loaded(model, None, find("llama.cpp")), "ggml")
    assert found.nbytes.value == SAMPLE.stat().st_size
    assert (found.nbytes.basis, found.format) == ("counted", "gguf")


def test_the_size_of_a_real_file_lies_in_the_interval_of_its_plan() -> None:
    model = load(str(SAMPLE))
    vocabulary = model.dimensions["vocabulary"]
    found = gguf_bytes(model.inventory.tensors, vocabulary)
    assert found.low <= SAMPLE.stat().st_size <= found.high


def test_a_safetensors_file_is_counted_to_the_byte(tmp_path: Path) -> None:
    shapes = {"a": [3, 4], "model.layers.0.weight": [5]}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    tensors = []
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
        tensors.append(tensor(name, tuple(shape), "bf16", size))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    found = safetensors_bytes(tuple(tensors))
    assert found.value == path.stat().st_size
    assert found.basis == "counted"


def test_a_codec_with_scales_of_its_own_has_an_interval() -> None:
    found = safetensors_bytes((tensor("w", (128, 128), "q4_k", 9216),))
    assert found.low == found.value < found.high


def test_months_and_downloads_by_hand() -> None:
    size = Figure(5e9, 4e9, 6e9, "B", "derived", Why("given"))
    price = StoragePrice("x", "x", PRICE, PRICE)
    year, once = keeping(size, price, 12), letting_out(size, price)
    assert year is not None
    assert once is not None
    assert (year.low, year.value, year.high) == pytest.approx((0.96, 1.2, 1.44))
    assert once.value == pytest.approx(0.1)
