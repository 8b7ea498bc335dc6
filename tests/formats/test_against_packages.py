"""What the formats' own packages write is read the same: names, shapes, types, places, bytes and metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weigh import formats

gguf = pytest.importorskip("gguf")
safetensors = pytest.importorskip("safetensors")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

RANDOM = np.random.default_rng(7)


def _arrays() -> dict[str, Any]:
    kinds = ["f4", "f2", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
    shapes: list[tuple[int, ...]] = [(2, 3), (5,), (), (4, 1, 2), (0, 3)]
    return {
        f"{kind}.{len(shape)}.{place}": np.asarray(RANDOM.random(shape) * 100).astype(kind)
        for place, shape in enumerate(shapes)
        for kind in kinds
    }


def test_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = _arrays()
    safetensors_numpy.save_file(arrays, path, metadata={"format": "np", "note": "é"})
    inventory = formats.read(path)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    start = len(raw) - max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    assert inventory.metadata == {"format": "np", "note": "é"}
    assert {tensor.name for tensor in inventory.tensors} == set(arrays)
    for tensor in inventory.tensors:
        (piece,) = tensor.pieces
        begin, end = header[tensor.name]["data_offsets"]
        assert (piece.offset, piece.nbytes) == (start + begin, end - begin)
        assert tensor.shape == arrays[tensor.name].shape
        assert raw[piece.offset : piece.offset + piece.nbytes] == arrays[tensor.name].tobytes()


@pytest.mark.parametrize("kind", ["f4", "f2", "f8", "i1", "u1", "i4"])
def test_values_of_safetensors_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    array = (RANDOM.random((3, 4)) * 100).astype(kind)
    safetensors_numpy.save_file({"a": array}, path)
    inventory = formats.read(path)
    assert np.array_equal(formats.values(inventory, inventory.tensors[0]), array.astype(np.float32))


def _written(path: Path, order: Any) -> None:
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    writer.add_block_count(2)
    writer.add_float64("test.f64", -1.5)
    writer.add_int8("test.i8", -3)
    writer.add_bool("test.bool", True)
    writer.add_array("test.per_layer", [4, 8])
    writer.add_string("test.text", "hé\n")
    writer.add_token_list([f"t{number}" for number in range(1000)])
    writer.add_tensor("plain", RANDOM.random((3, 64)).astype(np.float32))
    writer.add_tensor("half", RANDOM.random((2, 1, 5)).astype(np.float16))
    writer.add_tensor("count", np.arange(7, dtype=np.int32))
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q5_1):
        packed = gguf.quantize(RANDOM.random((4, 64)).astype(np.float32), kind)
        writer.add_tensor(f"packed.{kind.name}", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_files(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    _written(path, gguf.GGUFEndian.LITTLE)
    inventory = formats.read(path)
    reader = gguf.GGUFReader(path)
    assert [tensor.name for tensor in inventory.tensors] == [tensor.name for tensor in reader.tensors]
    for ours, theirs in zip(inventory.tensors, reader.tensors, strict=True):
        assert ours.shape == tuple(reversed(theirs.shape.tolist()))
        assert ours.codec == theirs.tensor_type.name.lower()
        assert (ours.pieces[0].offset, ours.nbytes) == (theirs.data_offset, theirs.n_bytes)
        whole_numbers = theirs.tensor_type == gguf.GGMLQuantizationType.I32
        expected = theirs.data if whole_numbers else gguf.dequantize(theirs.data, theirs.tensor_type)
        assert np.array_equal(formats.values(inventory, ours), expected.astype(np.float32).reshape(ours.shape))
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        expected = field.contents()
        if name == "tokenizer.ggml.tokens":
            expected = {"array": "string", "length": 1000}
        assert inventory.metadata[name] == expected


def test_big_endian_gguf_files(tmp_path: Path) -> None:
    for name, order in (("l.gguf", gguf.GGUFEndian.LITTLE), ("b.gguf", gguf.GGUFEndian.BIG)):
        _written(tmp_path / name, order)
    little, big = formats.read(tmp_path / "l.gguf"), formats.read(tmp_path / "b.gguf")
    assert [(t.name, t.shape, t.codec, t.nbytes) for t in little.tensors] == [
        (t.name, t.shape, t.codec, t.nbytes) for t in big.tensors
    ]
    for name in ("test.f64", "test.i8", "test.bool", "test.per_layer", "test.text", "llama.block_count"):
        assert little.metadata[name] == big.metadata[name]
