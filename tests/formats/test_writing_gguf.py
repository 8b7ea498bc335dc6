"""GGUF that weigh writes: the bytes of the reference, parts of the usual names, and what is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hostile import craft
from weigh import formats
from weigh.codecs import CODECS
from weigh.formats import gguf_write
from weigh.formats.gguf_write import Encoded, Typed
from weigh.types import NewTensor, WeighError

RANDOM = np.random.default_rng(5)


def _zeros(name: str = "a", shape: tuple[int, ...] = (2,), codec: str = "f32", nbytes: int = 8) -> NewTensor:
    return NewTensor(name, shape, codec, lambda: [bytes(nbytes)])


def _rule(path: Path, tensors: list[NewTensor], metadata: Any = None, most: int | None = None) -> str:
    with pytest.raises(WeighError) as caught:
        gguf_write.write(path, tensors, metadata or {}, most)
    assert caught.value.message
    assert [one.name for one in path.parent.iterdir()] == []
    return caught.value.rule


@pytest.mark.parametrize(
    ("tensors", "rule"),
    [
        ([_zeros("a"), _zeros("a")], "WRITE-TWICE"),
        ([_zeros("a" * 64)], "WRITE-NAME"),
        ([_zeros("é" * 32)], "WRITE-NAME"),
        ([_zeros("a\0b")], "WRITE-NAME"),
        ([_zeros("\ud800")], "WRITE-NAME"),
        ([_zeros(shape=(1, 1, 1, 1, 2))], "WRITE-RANK"),
        ([_zeros(codec="u8", shape=(8,))], "WRITE-CODEC"),
        ([_zeros(codec="unknown:ggml-99")], "WRITE-CODEC"),
        ([_zeros(codec="q8_0", shape=(2, 16), nbytes=34)], "CODEC-BLOCK"),
        ([_zeros(nbytes=7)], "WRITE-BYTES"),
        ([_zeros(nbytes=2_000_000)], "WRITE-BYTES"),
    ],
)
def test_a_tensor_that_cannot_be_written(tensors: list[NewTensor], rule: str, tmp_path: Path) -> None:
    assert _rule(tmp_path / "a.gguf", tensors) == rule


@pytest.mark.parametrize(
    ("metadata", "rule"),
    [
        ({"a": 1}, "WRITE-VALUE"),
        ({"a": 1.5}, "WRITE-VALUE"),
        ({"a": [1]}, "WRITE-VALUE"),
        ({"a": None}, "WRITE-VALUE"),
        ({"a": Typed("u128", 1)}, "WRITE-VALUE"),
        ({"a": Typed("u8", 256)}, "WRITE-VALUE"),
        ({"a": Typed("u8", -1)}, "WRITE-VALUE"),
        ({"a": Typed("u8", 1.5)}, "WRITE-VALUE"),
        ({"a": Typed("u8", True)}, "WRITE-VALUE"),
        ({"a": Typed("bool", 1)}, "WRITE-VALUE"),
        ({"a": Typed("f32", 1e39)}, "WRITE-VALUE"),
        ({"a": Typed("string", 1)}, "WRITE-VALUE"),
        ({"a": Typed("u8", [1, "2"])}, "WRITE-VALUE"),
        ({"a": Typed("u8", [[1], 2])}, "WRITE-VALUE"),
        ({"a": Typed("string", [["a"], "b"])}, "WRITE-VALUE"),
        ({"a": "\ud800"}, "WRITE-NAME"),
        ({"general.alignment": Typed("u32", 24)}, "WRITE-VALUE"),
        ({"general.alignment": Typed("u32", 0)}, "WRITE-VALUE"),
        ({"general.alignment": Typed("u64", 32)}, "WRITE-VALUE"),
        ({"split.count": Typed("u16", 3)}, "WRITE-KEY"),
        ({"a" * 65536: "x"}, "WRITE-KEY"),
    ],
)
def test_a_value_that_cannot_be_written(metadata: Any, rule: str, tmp_path: Path) -> None:
    assert _rule(tmp_path / "a.gguf", [_zeros()], metadata) == rule


def test_another_suffix(tmp_path: Path) -> None:
    assert _rule(tmp_path / "a.bin", [_zeros()]) == "WRITE-SUFFIX"


VALUES: dict[str, Any] = {
    "t.u8": Typed("u8", 200), "t.i8": Typed("i8", -3), "t.u16": Typed("u16", 60000), "t.i16": Typed("i16", -3),
    "t.u32": Typed("u32", 2**32 - 1), "t.i32": Typed("i32", -(2**31)), "t.u64": Typed("u64", 2**64 - 1),
    "t.i64": Typed("i64", -(2**63)), "t.f32": Typed("f32", 0.1), "t.f64": Typed("f64", 0.1),
    "t.nan": Typed("f32", float("nan")), "t.yes": True, "t.no": Typed("bool", False), "t.text": "hé\n",
    "t.u8s": Typed("u8", [1, 2, 3]), "t.f32s": Typed("f32", [0.5, -1.0]), "t.bools": Typed("bool", [True, False]),
    "t.texts": Typed("string", ["a", "", "é"]), "t.i64s": Typed("i64", (-1, 2**40)),
}  # fmt: skip


def _packed(gguf: Any) -> dict[str, tuple[tuple[int, ...], str, bytes, Any]]:
    """Name to shape, codec, bytes and the ggml type."""
    kinds = gguf.GGMLQuantizationType
    tensors: dict[str, tuple[tuple[int, ...], str, bytes, Any]] = {}
    for number, shape in enumerate([(3, 64), (2, 1, 5), (7,), (2, 2, 2, 2)]):
        tensors[f"f32.{number}"] = (shape, "f32", RANDOM.random(shape).astype("<f4").tobytes(), kinds.F32)
        tensors[f"i16.{number}"] = (shape, "i16", RANDOM.integers(0, 99, shape).astype("<i2").tobytes(), kinds.I16)
    for codec in CODECS:
        if codec.block == 1 or codec.ggml_type not in list(kinds):
            continue
        # The package gives q8_1 another size than ggml does.
        if gguf.GGML_QUANT_SIZES[kinds(codec.ggml_type)] == (codec.block, codec.block_bytes):
            nbytes = 3 * 2 * codec.block_bytes
            tensors[codec.id] = ((3, 2 * codec.block), codec.id, RANDOM.bytes(nbytes), kinds(codec.ggml_type))
    return tensors


def _by_the_package(
    gguf: Any, path: Path, tensors: Any, values: dict[str, Any], alignment: int | None, most: int
) -> None:
    writer = gguf.GGUFWriter(path, "llama", split_max_size=most)
    kinds = {"u8": 0, "i8": 1, "u16": 2, "i16": 3, "u32": 4, "i32": 5, "f32": 6, "bool": 7, "string": 8, "u64": 10,
             "i64": 11, "f64": 12}  # fmt: skip
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    for key, value in values.items():
        typed = value if isinstance(value, Typed) else Typed("bool" if isinstance(value, bool) else "string", value)
        kind = gguf.GGUFValueType(kinds[typed.kind])
        if isinstance(typed.value, list | tuple):
            writer.add_key_value(key, typed.value, gguf.GGUFValueType.ARRAY, kind)
        else:
            writer.add_key_value(key, typed.value, kind)
    for name, (shape, _, raw, kind) in tensors.items():
        if name.startswith(("f32.", "i16.")):
            writer.add_tensor(name, np.frombuffer(raw, dtype={"F32": "<f4", "I16": "<i2"}[kind.name]).reshape(shape))
        else:
            writer.add_tensor(name, np.frombuffer(raw, dtype=np.uint8).reshape(shape[0], -1), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _new(tensors: Any) -> list[NewTensor]:
    def content(raw: bytes) -> Callable[[], list[bytes]]:
        return lambda: [raw[:5], raw[5:]]

    return [NewTensor(name, shape, codec, content(raw)) for name, (shape, codec, raw, _) in tensors.items()]


@pytest.mark.parametrize("alignment", [None, 8, 32, 256])
def test_the_bytes_are_those_of_the_package(alignment: int | None, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    tensors = _packed(gguf)
    _by_the_package(gguf, tmp_path / "theirs.gguf", tensors, VALUES, alignment, 0)
    aligned = {} if alignment is None else {"general.alignment": Typed("u32", alignment)}
    metadata = {"general.architecture": "llama", **aligned, **VALUES}
    assert gguf_write.write(tmp_path / "ours.gguf", _new(tensors), metadata) == (tmp_path / "ours.gguf",)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()
    inventory = formats.read(tmp_path / "ours.gguf")
    assert inventory.warnings == ()
    raw = (tmp_path / "ours.gguf").read_bytes()
    for tensor in inventory.tensors:
        (piece,) = tensor.pieces
        shape, codec, data, _ = tensors[tensor.name]
        assert (tensor.shape, tensor.codec) == (shape, codec)
        assert raw[piece.offset : piece.offset + piece.nbytes] == data


def test_the_parts_are_those_of_the_package(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    tensors = _packed(gguf)
    for most in (300, 1000, 5000):
        ours, theirs = tmp_path / f"o{most}", tmp_path / f"t{most}"
        ours.mkdir()
        theirs.mkdir()
        _by_the_package(gguf, theirs / "m.gguf", tensors, VALUES, None, most)
        *parts, manifest = gguf_write.write(
            ours / "m.gguf", _new(tensors), {"general.architecture": "llama", **VALUES}, most
        )
        assert manifest.name == "m.weigh-manifest.json"
        assert {path.name: path.read_bytes() for path in parts} == {
            path.name: path.read_bytes() for path in theirs.iterdir()
        }
        inventory = formats.read(ours)
        assert [tensor.name for tensor in inventory.tensors] == list(tensors)
        assert formats.verify(inventory) == tuple(path.name for path in parts)


def test_every_value_is_read_back(tmp_path: Path) -> None:
    nested = {"t.nested": Typed("u8", [[1, 2], [3]]), "t.empty": Typed("string", [])}
    gguf_write.write(tmp_path / "a.gguf", [_zeros()], {**VALUES, **nested})
    found = formats.read(tmp_path / "a.gguf").metadata
    for key, value in VALUES.items():
        expected = value.value if isinstance(value, Typed) else value
        if key == "t.f32":
            assert found[key] == struct.unpack("<f", struct.pack("<f", 0.1))[0]
        elif key == "t.nan":
            assert found[key] != found[key]
        else:
            assert found[key] == (list(expected) if isinstance(expected, tuple) else expected)
    assert found["t.nested"] == {"array": "array", "length": 2}
    assert found["t.empty"] == []


def test_metadata_are_taken_over_byte_for_byte(tmp_path: Path) -> None:
    """Also arrays that the reader only steps over, and arrays of arrays."""
    long = Typed("string", [f"token {number}" for number in range(5000)])
    values = {**VALUES, "t.long": long, "t.nested": Typed("f32", [[[1.0]], [[], [2.0]]])}
    gguf_write.write(tmp_path / "a.gguf", [_zeros()], values)
    settings = gguf_write.settings(tmp_path, "a.gguf", formats.DEFAULTS)
    assert list(settings) == list(values)
    assert all(isinstance(value, Encoded) for value in settings.values())
    gguf_write.write(tmp_path / "b.gguf", [_zeros()], settings)
    assert (tmp_path / "b.gguf").read_bytes() == (tmp_path / "a.gguf").read_bytes()


def test_each_part_has_the_alignment(tmp_path: Path) -> None:
    metadata = {"general.alignment": Typed("u32", 128), "general.name": "x"}
    parts = gguf_write.write(tmp_path / "m.gguf", [_zeros("a"), _zeros("b"), _zeros("c")], metadata, 8)[:-1]
    assert len(parts) == 3
    inventory = formats.read(parts[0])
    assert all(tensor.pieces[0].offset % 128 == 0 for tensor in inventory.tensors)
    assert inventory.metadata["general.name"] == "x"


@pytest.mark.parametrize("asked", ["", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"])
def test_an_unfinished_model_is_told_however_it_is_asked_for(asked: str, tmp_path: Path) -> None:
    *_, manifest = gguf_write.write(tmp_path / "m.gguf", [_zeros("a"), _zeros("b")], {}, 8)
    document = json.loads(manifest.read_text())
    document["weigh.manifest"]["state"] = "unfinished"
    manifest.write_text(json.dumps(document))
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path / asked)
    assert caught.value.rule == "MANIFEST-UNFINISHED"
    for content in ("{}", '{"weigh.manifest": 3}'):
        manifest.write_text(content)
        with pytest.raises(WeighError) as caught:
            formats.read(tmp_path / asked)
        assert caught.value.rule == "MANIFEST-FORM"
    manifest.unlink()
    assert len(formats.read(tmp_path / asked).tensors) == 2


def test_a_part_of_another_size_is_told(tmp_path: Path) -> None:
    first, _, manifest = gguf_write.write(tmp_path / "m.gguf", [_zeros("a"), _zeros("b")], {}, 8)
    first.write_bytes(first.read_bytes() + bytes(32))
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path)
    assert caught.value.rule == "MANIFEST-PARTS"
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path, formats.Limits(header_bytes=manifest.stat().st_size - 1))
    assert (caught.value.rule, caught.value.exit_code) == ("MANIFEST-SIZE", 5)


def test_the_package_reads_what_weigh_writes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    gguf_write.write(tmp_path / "a.gguf", [_zeros("x" * 63), _zeros("none", (0,), nbytes=0)], {"general.name": "é"})
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert [tensor.name for tensor in reader.tensors] == ["x" * 63, "none"]
    assert reader.get_field("general.name").contents() == "é"


def test_metadata_in_big_endian_order_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(craft.llama(order=">"))
    with pytest.raises(WeighError) as caught:
        gguf_write.settings(tmp_path, "a.gguf", formats.DEFAULTS)
    assert caught.value.rule == "GGUF-ORDER"
