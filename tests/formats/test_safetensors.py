"""Safetensors: one file, shards with and without an index, and the configuration beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hostile import craft
from tests.hostile.craft import entry
from weigh import formats
from weigh.types import Inventory, Piece, WeighError

ONE = entry("F32", [1], 0, 4)
FOUR = b"\0" * 4


def _refusal(path: Path) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    return caught.value


def _shard(folder: Path, name: str, *tensors: str) -> None:
    header = {tensor: entry("F32", [1], 4 * place, 4 * place + 4) for place, tensor in enumerate(tensors)}
    (folder / name).write_bytes(craft.safetensors(header, FOUR * len(tensors)))


def _sharded(folder: Path, **metadata: object) -> Path:
    _shard(folder, "m-00001-of-00002.safetensors", "a", "b")
    _shard(folder, "m-00002-of-00002.safetensors", "c")
    weight_map = {
        "a": "m-00001-of-00002.safetensors",
        "b": "m-00001-of-00002.safetensors",
        "c": "m-00002-of-00002.safetensors",
    }
    path = folder / "m.safetensors.index.json"
    path.write_bytes(craft.index(weight_map, **metadata))
    return path


def _names(inventory: Inventory) -> list[str]:
    return [tensor.name for tensor in inventory.tensors]


# ------------------------------------------------------------------------------------------- failures, shards first


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    (tmp_path / "m-00002-of-00002.safetensors").unlink()
    refusal = _refusal(path)
    assert (refusal.rule, refusal.exit_code) == ("INDEX-MISSING", 3)
    assert "m-00002-of-00002.safetensors" in refusal.message


def test_a_missing_shard_is_named_without_an_index_too(tmp_path: Path) -> None:
    _shard(tmp_path, "m-00001-of-00003.safetensors", "a")
    refusal = _refusal(tmp_path / "m-00001-of-00003.safetensors")
    assert refusal.rule == "INDEX-MISSING"
    assert "m-00002-of-00003.safetensors" in refusal.message
    assert "1 more" in refusal.message


def test_a_tensor_that_the_shard_does_not_hold(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    _shard(tmp_path, "m-00002-of-00002.safetensors", "other")
    refusal = _refusal(path)
    assert refusal.rule == "INDEX-ABSENT"
    assert "'c'" in refusal.where


def test_a_tensor_that_lies_in_another_shard_than_the_index_says(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    _shard(tmp_path, "m-00001-of-00002.safetensors", "a")
    _shard(tmp_path, "m-00002-of-00002.safetensors", "b", "c")
    assert _refusal(path).rule == "INDEX-ABSENT"


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    _shard(tmp_path, "m-00002-of-00002.safetensors", "c", "a")
    refusal = _refusal(path)
    assert refusal.rule == "INDEX-TWICE"
    assert "'a'" in refusal.where


def test_one_shard_under_two_names(tmp_path: Path) -> None:
    _shard(tmp_path, "s.safetensors", "a", "b")
    path = tmp_path / "m.safetensors.index.json"
    path.write_bytes(craft.index({"a": "s.safetensors", "b": "./s.safetensors"}))
    assert _refusal(path).rule == "INDEX-TWICE"


def test_a_pointer_in_place_of_a_shard(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    (tmp_path / "m-00002-of-00002.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refusal = _refusal(path)
    assert refusal.rule == "FILE-LFS"
    assert "git lfs pull" in refusal.hint
    assert "m-00002-of-00002.safetensors" in refusal.hint


# -------------------------------------------------------------------------------------------------------- one file


def test_a_file_says_where_each_tensor_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = {"__metadata__": {"format": "pt"}, "x": entry("BF16", [2, 3], 0, 12), "y": entry("I8", [], 12, 13)}
    content = craft.safetensors(header, b"\0" * 13)
    path.write_bytes(content)
    inventory = formats.read(path)
    start = len(content) - 13
    x, y = inventory.tensors
    assert (x.name, x.shape, x.codec, x.pieces) == ("x", (2, 3), "bf16", (Piece("a.safetensors", start, 12),))
    assert (y.shape, y.codec, y.pieces) == ((), "i8", (Piece("a.safetensors", start + 12, 1),))
    assert inventory.metadata == {"format": "pt"}
    assert inventory.files == (("a.safetensors", len(content)),)
    assert (inventory.format, inventory.dialect) == ("safetensors", "hf")
    assert inventory.source == str(path)
    assert inventory.folder == str(tmp_path)
    assert inventory.configuration is None
    assert inventory.warnings == ()


def test_tensors_come_in_the_order_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(craft.safetensors({"z": entry("F32", [1], 4, 8), "a": ONE}, FOUR * 2))
    assert _names(formats.read(path)) == ["z", "a"]


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    for name in ("weights", "weights.gguf", "weights.json", "weights.bin"):
        (tmp_path / name).write_bytes(craft.safetensors({"a": ONE}, FOUR))
        assert formats.read(tmp_path / name).format == "safetensors"


@pytest.mark.parametrize("length", [0x7B, 0x47])
def test_a_length_that_looks_like_another_format_is_a_length(length: int, tmp_path: Path) -> None:
    """123 is the code of a brace, 71 that of the G of GGUF."""
    text = json.dumps({"a": ONE}).encode()
    path = tmp_path / "weights"
    path.write_bytes(craft.safetensors(text + b" " * (length - len(text)), FOUR))
    assert formats.read(path).format == "safetensors"


def test_the_configuration_beside_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(craft.safetensors({"a": ONE}, FOUR))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    inventory = formats.read(tmp_path / "a.safetensors")
    assert inventory.configuration == {"model_type": "llama"}
    assert [name for name, _ in inventory.files] == ["a.safetensors", "config.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": ' + "9" * 400 + "}"])
def test_a_configuration_that_cannot_be_read_is_a_warning(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(craft.safetensors({"a": ONE}, FOUR))
    (tmp_path / "config.json").write_text(text)
    inventory = formats.read(tmp_path / "a.safetensors")
    assert inventory.configuration is None
    assert "config.json" in inventory.warnings[0]


# ---------------------------------------------------------------------------------------------------------- shards


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    path = _sharded(tmp_path, total_size=12)
    inventory = formats.read(path)
    assert _names(inventory) == ["a", "b", "c"]
    assert inventory.tensors[2].pieces[0].file == "m-00002-of-00002.safetensors"
    assert [name for name, _ in inventory.files] == [
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
        "m.safetensors.index.json",
    ]
    assert inventory.warnings == ()


@pytest.mark.parametrize("number", [1, 2])
def test_any_shard_opens_all(number: int, tmp_path: Path) -> None:
    _sharded(tmp_path)
    assert _names(formats.read(tmp_path / f"m-0000{number}-of-00002.safetensors")) == ["a", "b", "c"]


def test_shards_without_an_index_are_read_with_a_warning(tmp_path: Path) -> None:
    _sharded(tmp_path).unlink()
    inventory = formats.read(tmp_path / "m-00002-of-00002.safetensors")
    assert _names(inventory) == ["a", "b", "c"]
    assert "index" in inventory.warnings[0]


def test_shards_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    _shard(tmp_path / "sub", "s.safetensors", "a")
    path = tmp_path / "m.safetensors.index.json"
    path.write_bytes(craft.index({"a": "sub/s.safetensors"}))
    assert formats.read(path).tensors[0].pieces[0].file == "sub/s.safetensors"


def test_a_wrong_total_is_a_warning(tmp_path: Path) -> None:
    inventory = formats.read(_sharded(tmp_path, total_size=99))
    assert len(inventory.warnings) == 1
    assert "99" in inventory.warnings[0]
    assert "12" in inventory.warnings[0]


def test_a_tensor_that_the_index_forgets_is_counted_with_a_warning(tmp_path: Path) -> None:
    path = _sharded(tmp_path)
    _shard(tmp_path, "m-00002-of-00002.safetensors", "c", "d")
    inventory = formats.read(path)
    assert _names(inventory) == ["a", "b", "c", "d"]
    assert "1 tensors" in inventory.warnings[0]


def test_shard_names_that_differ_in_case_only_are_a_warning(tmp_path: Path) -> None:
    _shard(tmp_path, "S.safetensors", "a")
    _shard(tmp_path, "s.safetensors", "b")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell cases apart")
    path = tmp_path / "m.safetensors.index.json"
    path.write_bytes(craft.index({"a": "S.safetensors", "b": "s.safetensors"}))
    assert "case" in formats.read(path).warnings[0]
