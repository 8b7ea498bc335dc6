"""Safetensors that weigh writes: the bytes of the reference, shards of the usual names, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weigh import codecs, formats
from weigh.formats import safetensors_write
from weigh.types import NewTensor, WeighError

RANDOM = np.random.default_rng(11)
CODECS = {
    "f4": "f32", "f2": "f16", "f8": "f64", "i1": "i8", "i2": "i16", "i4": "i32", "i8": "i64", "u1": "u8", "u2": "u16",
    "u4": "u32", "u8": "u64", "?": "bool",
}  # fmt: skip


def _new(name: str, array: Any, chunk: int = 7) -> NewTensor:
    raw = array.tobytes()
    return NewTensor(
        name,
        array.shape,
        CODECS["?" if array.dtype == bool else array.dtype.str.lstrip("<|")],
        lambda: (raw[at : at + chunk] for at in range(0, len(raw), chunk)),
    )


def _arrays() -> dict[str, Any]:
    shapes: list[tuple[int, ...]] = [(2, 3), (5,), (), (4, 1, 2), (0, 3)]
    kinds = [("?" if kind == "?" else "<" + kind) for kind in CODECS]
    arrays = {
        f"b.{place}.{kind}": np.asarray(RANDOM.random(shape) * 100).astype(kind)
        for place, shape in enumerate(shapes)
        for kind in kinds
    }
    return {**arrays, 'é "\\/\n\x7f\u2028 😀': np.ones(3, dtype="<f4"), "": np.ones(1, dtype="<f4")}


def _rule(path: Path, tensors: Iterable[NewTensor], metadata: Any = None, most: int | None = None) -> str:
    with pytest.raises(WeighError) as caught:
        safetensors_write.write(path, list(tensors), metadata or {}, most)
    assert caught.value.message
    assert not path.parent.exists() or list(path.parent.iterdir()) == []
    return caught.value.rule


def _zeros(name: str = "a", shape: tuple[int, ...] = (2,), codec: str = "f32", nbytes: int = 8) -> NewTensor:
    return NewTensor(name, shape, codec, lambda: [bytes(nbytes)])


@pytest.mark.parametrize(
    ("tensors", "rule"),
    [
        ([_zeros("a"), _zeros("a")], "WRITE-TWICE"),
        ([_zeros(nbytes=7)], "WRITE-BYTES"),
        ([_zeros(nbytes=9)], "WRITE-BYTES"),
        ([_zeros(nbytes=0)], "WRITE-BYTES"),
        ([_zeros(codec="unknown:NEW")], "WRITE-CODEC"),
        ([_zeros(codec="q4_0", shape=(32,))], "WRITE-CODEC"),
        ([_zeros(codec="nonsense")], "CODEC-UNKNOWN"),
        ([_zeros(codec="f4", shape=(3,))], "CODEC-BLOCK"),
        ([_zeros(shape=(-1,))], "CODEC-SHAPE"),
        ([_zeros("__metadata__")], "WRITE-NAME"),
        ([_zeros("\ud800")], "WRITE-NAME"),
    ],
)
def test_a_tensor_that_cannot_be_written(tensors: list[NewTensor], rule: str, tmp_path: Path) -> None:
    assert _rule(tmp_path / "a.safetensors", tensors) == rule


def test_what_else_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    assert _rule(tmp_path / "a.bin", [_zeros()]) == "WRITE-SUFFIX"
    assert _rule(path, [_zeros()], {"a": 1}) == "WRITE-METADATA"
    assert _rule(path, [_zeros()], {1: "a"}) == "WRITE-METADATA"
    assert _rule(path, [_zeros()], {}, 0) == "WRITE-SHARD"
    assert _rule(tmp_path / "no" / "a.safetensors", [_zeros()]) == "WRITE-FOLDER"
    monkeypatch.setattr(formats.new_files, "NUMBER_LIMIT", 1)
    assert _rule(path, [_zeros("a"), _zeros("b")], {}, 1) == "WRITE-SHARD"
    monkeypatch.setattr(safetensors_write, "HEADER_BYTES", 30)
    assert _rule(path, [_zeros()]) == "WRITE-HEADER"


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"a": 'é"\\\n\x01'}])
def test_the_bytes_are_those_of_the_package(metadata: dict[str, str], tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    arrays = _arrays()
    path = tmp_path / "a.safetensors"
    assert safetensors_write.write(path, [_new(*pair) for pair in arrays.items()], metadata) == (path,)
    assert path.read_bytes() == package.save(arrays, metadata=metadata or None)
    back = package.load(path.read_bytes())
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())


def test_several_metadata_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    metadata = {"z": "1", "a": "2", "format": "pt", "b": "3"}
    safetensors_write.write(path, [_zeros()], metadata)
    assert list(formats.read(path).metadata.items()) == list(metadata.items())


def test_no_tensors_at_all(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    safetensors_write.write(tmp_path / "a.safetensors", [], {})
    assert (tmp_path / "a.safetensors").read_bytes() == package.save({})


@pytest.mark.oracle
def test_the_order_of_types_that_numpy_does_not_have(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("safetensors.torch")
    kinds = {
        "bf16": torch.bfloat16, "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2,
        "f8_e4m3fnuz": torch.float8_e4m3fnuz, "f8_e5m2fnuz": torch.float8_e5m2fnuz, "f8_e8m0": torch.float8_e8m0fnu,
        "c64": torch.complex64, "f16": torch.float16, "u8": torch.uint8, "i8": torch.int8, "bool": torch.bool,
        "f32": torch.float32, "u64": torch.uint64,
    }  # fmt: skip
    tensors = {name: torch.ones(3).to(kind) for name, kind in kinds.items()}
    tensors["f4"] = torch.arange(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    raw = package.save(tensors, metadata={"format": "pt"})

    def content(tensor: Any) -> Callable[[], list[bytes]]:
        return lambda: [tensor.view(torch.uint8).numpy().tobytes()]

    new = [NewTensor(name, (6,) if name == "f4" else (3,), name, content(tensor)) for name, tensor in tensors.items()]
    safetensors_write.write(tmp_path / "a.safetensors", new, {"format": "pt"})
    assert (tmp_path / "a.safetensors").read_bytes() == raw


def test_every_type_of_safetensors_has_its_place() -> None:
    assert {codec.safetensors for codec in codecs.CODECS} - {None} == set(safetensors_write.ORDER)


# -------------------------------------------------------------------------------------------------------- shards


def test_shards_are_those_of_the_hub(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    arrays = {f"layer.{number}": RANDOM.random(count) for number, count in enumerate([5, 3, 9, 1, 1, 8, 2, 0, 6])}
    for most in (72, 80, 100, 150, 279, 280):
        folder = tmp_path / str(most)
        folder.mkdir()
        made = safetensors_write.write(
            folder / "model.safetensors", [_new(*pair) for pair in arrays.items()], {"format": "pt"}, most
        )
        split = hub.split_state_dict_into_shards_factory(
            arrays,
            get_storage_size=lambda array: array.nbytes,
            filename_pattern="model{suffix}.safetensors",
            max_shard_size=most,
        )
        assert sorted(path.name for path in made if path.suffix != ".json") == sorted(split.filename_to_tensors)
        inventory = formats.read(folder)
        assert {one.name: one.pieces[0].file for one in inventory.tensors} == split.tensor_to_filename
        assert inventory.warnings == ()
        if split.is_sharded:
            index = json.loads((folder / "model.safetensors.index.json").read_text())
            assert index["weight_map"] == split.tensor_to_filename
            assert index["metadata"]["total_size"] == split.metadata["total_size"]
        else:
            assert [path.name for path in folder.iterdir()] == ["model.safetensors"]


def _model(folder: Path, letter: str = "a", most: int | None = 8) -> tuple[Path, ...]:
    tensors = [NewTensor(name, (2,), "f32", lambda: [letter.encode() * 8]) for name in ("x", "y", "z")]
    return safetensors_write.write(folder / "m.safetensors", tensors, {"format": "pt"}, most)


def test_a_tensor_larger_than_a_shard_has_its_own(tmp_path: Path) -> None:
    tensors = [_zeros("a"), _zeros("b", (10,), nbytes=40), _zeros("c"), _zeros("d")]
    made = safetensors_write.write(tmp_path / "m.safetensors", tensors, {}, 16)
    places = {tensor.name: tensor.pieces[0].file for tensor in formats.read(tmp_path).tensors}
    names = [path.name for path in made[:-1]]
    assert places == {"a": names[0], "b": names[1], "c": names[2], "d": names[2]}


def test_the_index_is_the_manifest(tmp_path: Path) -> None:
    *shards, index = _model(tmp_path)
    parts = json.loads(index.read_text())["metadata"]["weigh.manifest"]["parts"]
    assert {name: said["size"] for name, said in parts.items()} == {path.name: path.stat().st_size for path in shards}
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    assert {name: said["sha256"] for name, said in parts.items()} == digests
    assert formats.verify(formats.read(tmp_path)) == tuple(path.name for path in shards)


@pytest.mark.parametrize("asked", ["", "m.safetensors.index.json", "m-00002-of-00003.safetensors"])
def test_an_unfinished_model_is_told_however_it_is_asked_for(asked: str, tmp_path: Path) -> None:
    *_, index = _model(tmp_path)
    document = json.loads(index.read_text())
    document["metadata"]["weigh.manifest"]["state"] = "unfinished"
    del document["weight_map"]
    index.write_text(json.dumps(document))
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path / asked)
    assert caught.value.rule == "MANIFEST-UNFINISHED"
    assert "incomplete" in caught.value.message
    (tmp_path / "m-00001-of-00003.safetensors").unlink()
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path / asked)
    assert caught.value.rule == "MANIFEST-UNFINISHED"
    _model(tmp_path)
    assert len(formats.read(tmp_path).tensors) == 3


@pytest.mark.parametrize(
    "entry", [{}, [], 1, "finished", {"state": "finished", "parts": {"m": 1}}, {"state": "x"}, {"state": []}]
)
def test_a_manifest_of_another_form(entry: Any, tmp_path: Path) -> None:
    *_, index = _model(tmp_path)
    document = json.loads(index.read_text())
    document["metadata"]["weigh.manifest"] = entry
    index.write_text(json.dumps(document))
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path)
    assert caught.value.rule == "MANIFEST-FORM"


def test_a_shard_of_another_size_is_told(tmp_path: Path) -> None:
    first, *_ = _model(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    safetensors_write.write(other / "m.safetensors", [_zeros("x")], {"format": "pt", "more": "metadata"})
    (other / "m.safetensors").replace(first)
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path)
    assert caught.value.rule == "MANIFEST-PARTS"


def test_a_shard_with_other_bytes_is_told_when_verified(tmp_path: Path) -> None:
    first, *_ = _model(tmp_path)
    raw = bytearray(first.read_bytes())
    raw[-1] ^= 1
    first.write_bytes(raw)
    inventory = formats.read(tmp_path)
    with pytest.raises(WeighError) as caught:
        formats.verify(inventory)
    assert caught.value.rule == "MANIFEST-HASH"


def test_shards_of_others_have_no_manifest_and_are_read(tmp_path: Path) -> None:
    *_, index = _model(tmp_path)
    document = json.loads(index.read_text())
    del document["metadata"]["weigh.manifest"]
    index.write_text(json.dumps(document))
    inventory = formats.read(tmp_path)
    assert inventory.warnings == ()
    assert formats.verify(inventory) == ()


def test_a_folder_does_not_end_with_two_models_of_one_name(tmp_path: Path) -> None:
    _model(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for most in (16, None):
        with pytest.raises(WeighError) as caught:
            _model(tmp_path, "b", most)
        assert caught.value.rule == "WRITE-BESIDE"
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for path in tmp_path.iterdir():
        path.unlink()
    (single,) = _model(tmp_path, "a", None)
    with pytest.raises(WeighError) as caught:
        _model(tmp_path, "b")
    assert caught.value.rule == "WRITE-BESIDE"
    assert [path.name for path in tmp_path.iterdir()] == [single.name]
    # Other names that look alike are other models.
    (tmp_path / "mm-00001-of-00009.safetensors").touch()
    (tmp_path / "m-1-of-9.safetensors").touch()
    _model(tmp_path, "b", None)


@pytest.mark.oracle
def test_transformers_reads_the_shards(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "one")
    (tmp_path / "many").mkdir()
    formats.copy(formats.read(tmp_path / "one"), tmp_path / "many" / "model.safetensors", max_shard_bytes=5000)
    (tmp_path / "many" / "config.json").write_text((tmp_path / "one" / "config.json").read_text())
    back = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name])
