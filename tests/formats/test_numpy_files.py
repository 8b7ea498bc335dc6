"""NumPy files as NumPy writes them: names, shapes, types and values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weigh import formats

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_each_type_is_read_as_numpy_reads_it(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY.astype(dtype))
    inventory = formats.read(tmp_path / "a.npy")
    (found,) = inventory.tensors
    assert (found.name, found.shape) == ("a", (3, 4))
    np.testing.assert_array_equal(formats.values(inventory, found), ARRAY.astype(dtype).astype(np.float32))


def test_an_array_in_the_order_of_fortran_has_its_values_in_place(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(ARRAY))
    inventory = formats.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(formats.values(inventory, inventory.tensors[0]), ARRAY)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "packed"])
def test_an_archive_holds_each_array_by_name(save: object, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **{"layer/w": ARRAY, "b": np.zeros(1000, dtype=np.float16)})  # type: ignore[operator]
    inventory = formats.read(tmp_path / "a.npz")
    assert {(found.name, found.shape, found.codec) for found in inventory.tensors} == {
        ("layer/w", (3, 4), "f32"),
        ("b", (1000,), "f16"),
    }


def test_values_of_a_stored_member_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=ARRAY)
    inventory = formats.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(formats.values(inventory, inventory.tensors[0]), ARRAY)


def test_another_byte_order_is_visible_with_its_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY.astype(">f4"))
    (found,) = formats.read(tmp_path / "a.npy").tensors
    assert (found.codec, found.nbytes, found.parameters) == ("unknown:>f4", 48, None)
