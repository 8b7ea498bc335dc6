"""Values come out of a file as its codec says, whole or in chunks, and never from bytes that are not the tensor's."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.hostile import craft
from weigh import formats
from weigh.types import Inventory, Piece, Tensor, WeighError


def _inventory(folder: Path) -> Inventory:
    data = struct.pack("<6f", *range(6)) + struct.pack("<4e", 1, -2, 0.5, 0) + b"\0" * 5
    header = {
        "a": craft.entry("F32", [2, 3], 0, 24),
        "b": craft.entry("F16", [4], 24, 32),
        "none": craft.entry("F32", [0, 3], 32, 32),
        "new": craft.entry("F12_NEW", [3], 32, 37),
    }
    path = folder / "a.safetensors"
    path.write_bytes(craft.safetensors(header, data))
    return formats.read(path)


def _refusal(inventory: Inventory, tensor: Tensor) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, tensor)
    return caught.value


def test_an_unknown_type_has_no_values(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    refusal = _refusal(inventory, inventory.tensors[3])
    assert refusal.rule == "VALUES-CODEC"
    assert "F12_NEW" in refusal.message


def test_plain_numbers_of_big_endian_files_are_turned_and_blocks_refused(tmp_path: Path) -> None:
    data = struct.pack(">3f", 1, -2.5, 3e9) + b"\0" * 20 + struct.pack(">2e", 0.5, 7) + b"\0" * 28 + b"\0" * 34
    tensors = [craft.tensor(name, [size], kind, at, ">") for name, size, kind, at in (
        ("f", 3, 0, 0), ("h", 2, 1, 32), ("q", 32, 8, 64),
    )]  # fmt: skip
    path = tmp_path / "a.gguf"
    path.write_bytes(craft.gguf([craft.named(order=">")], tensors, data, order=">"))
    inventory = formats.read(path)
    assert formats.values(inventory, inventory.tensors[0]).tolist() == [1, -2.5, 3e9]
    assert formats.values(inventory, inventory.tensors[1]).tolist() == [0.5, 7]
    assert _refusal(inventory, inventory.tensors[2]).rule == "VALUES-ORDER"


def test_pieces_that_do_not_fit_the_shape(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    tensor = inventory.tensors[0]
    assert _refusal(inventory, replace(tensor, shape=(7,))).rule == "VALUES-SIZE"
    assert _refusal(inventory, replace(tensor, pieces=tensor.pieces * 2)).rule == "VALUES-PIECES"


def test_a_piece_past_the_end_or_outside_the_folder(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    tensor = inventory.tensors[0]
    assert _refusal(inventory, replace(tensor, pieces=(Piece("a.safetensors", 1 << 40, 24),))).rule == "FILE-RANGE"
    assert _refusal(inventory, replace(tensor, pieces=(Piece("../a", 0, 24),))).rule == "FILE-OUTSIDE"


def test_more_values_than_memory(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    refusal = _refusal(inventory, replace(inventory.tensors[0], shape=(1 << 62,)))
    assert (refusal.rule, refusal.exit_code) == ("VALUES-MEMORY", 5)


def test_values_have_the_logical_shape(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    a = formats.values(inventory, inventory.tensors[0])
    assert a.dtype == np.float32
    assert np.array_equal(a, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert formats.values(inventory, inventory.tensors[1]).tolist() == [1, -2, 0.5, 0]
    assert formats.values(inventory, inventory.tensors[2]).shape == (0, 3)


@pytest.mark.parametrize("size", [1, 4, 5, 6, 100])
def test_chunks_put_together_are_the_whole(size: int, tmp_path: Path) -> None:
    inventory = _inventory(tmp_path)
    pieces = list(formats.chunks(inventory, inventory.tensors[0], size))
    assert all(piece.size <= size for piece in pieces)
    assert np.concatenate(pieces).tolist() == [0, 1, 2, 3, 4, 5]


def test_chunks_of_blocks_are_whole_blocks(tmp_path: Path) -> None:
    blocks = [struct.pack("<e32b", 0.5, *([number] * 32)) for number in range(6)]
    path = tmp_path / "a.gguf"
    path.write_bytes(craft.gguf([craft.named()], [craft.tensor("t", [32, 3, 2], 8)], b"".join(blocks)))
    inventory = formats.read(path)
    whole = formats.values(inventory, inventory.tensors[0])
    assert whole.shape == (2, 3, 32)
    assert whole[1, 2, 0] == 2.5
    pieces = list(formats.chunks(inventory, inventory.tensors[0], size=70))
    assert [piece.size for piece in pieces] == [64, 64, 64]
    assert np.array_equal(np.concatenate(pieces), whole.ravel())


@pytest.mark.parametrize("size", [1, 7, 64, 65, 1000])
def test_the_last_values_of_a_packed_array_come_out_of_a_long_match(size: int, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(1000, dtype=np.float32))
    inventory = formats.read(tmp_path / "a.npz")
    assert sum(chunk.size for chunk in formats.chunks(inventory, inventory.tensors[0], size)) == 1000


def test_a_packed_array_is_unpacked_as_it_goes(tmp_path: Path) -> None:
    values = np.arange(300_000, dtype=np.float32).reshape(300, 1000)
    np.savez_compressed(tmp_path / "a.npz", w=values, t=values.T)
    inventory = formats.read(tmp_path / "a.npz")
    found = {tensor.name: tensor for tensor in inventory.tensors}
    assert np.array_equal(formats.values(inventory, found["w"]), values)
    pieces = list(formats.chunks(inventory, found["w"], 7777))
    assert [piece.size for piece in pieces[:-1]] == [7777] * (len(pieces) - 1)
    assert np.array_equal(np.concatenate(pieces), values.ravel())
    for shape in ((301, 1000), (299, 1000)):
        assert _refusal(inventory, replace(found["w"], shape=shape)).rule == "VALUES-SIZE"
    cut = replace(found["w"].pieces[0], nbytes=found["w"].pieces[0].nbytes // 2)
    assert _refusal(inventory, replace(found["w"], pieces=(cut,))).rule == "VALUES-SIZE"
    wrong = replace(cut, offset=cut.offset + 9)
    assert _refusal(inventory, replace(found["w"], pieces=(wrong,))).rule == "VALUES-SIZE"
    assert _refusal(inventory, found["t"]).rule == "VALUES-SIZE"
