"""GGUF: what is kept of a header, both byte orders, and models in several parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import craft
from tests.hostile.craft import (
    ARRAY,
    BOOL,
    F32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    array,
    gguf,
    key,
    named,
    number,
    tensor,
    text,
)
from weigh import formats
from weigh.types import Piece, WeighError


def _file(folder: Path, content: bytes, name: str = "a.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _refusal(path: Path) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    return caught.value


def _part(
    folder: Path, number_of: int, count: int, *, said: tuple[int, int] | None = None, total: int = 3, name: str = ""
) -> Path:
    """Part `number_of` (from 0); part 0 holds no metadata but its own, as llama.cpp writes it for large models."""
    no, of = said or (number_of, count)
    keys = [key("split.no", U16, number(U16, no)), key("split.count", U16, number(U16, of))]
    keys.append(key("split.tensors.count", craft.I32, number(craft.I32, total)))
    if number_of == 0:
        keys.insert(0, named())
    content = gguf(keys, [tensor(name or f"t{number_of}", [8])], b"\0" * 32)
    return _file(folder, content, f"m-{number_of + 1:05d}-of-{count:05d}.gguf")


# -------------------------------------------------------------------------------------------------- failing parts


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    path = _part(tmp_path, 0, 3)
    _part(tmp_path, 2, 3)
    refusal = _refusal(path)
    assert (refusal.rule, refusal.exit_code) == ("GGUF-MISSING", 3)
    assert "m-00002-of-00003.gguf" in refusal.message


def test_a_part_that_says_it_is_another(tmp_path: Path) -> None:
    _part(tmp_path, 0, 2, total=2)
    path = _part(tmp_path, 1, 2, said=(0, 2))
    assert _refusal(path).rule == "GGUF-SPLIT"
    _part(tmp_path, 1, 2, said=(1, 3))
    assert _refusal(tmp_path / "m-00001-of-00002.gguf").rule == "GGUF-SPLIT"


def test_parts_that_hold_fewer_tensors_than_announced(tmp_path: Path) -> None:
    _part(tmp_path, 0, 2, total=5)
    assert _refusal(_part(tmp_path, 1, 2, total=5)).rule == "GGUF-SPLIT"


def test_a_tensor_in_two_parts(tmp_path: Path) -> None:
    _part(tmp_path, 0, 2, name="t", total=2)
    assert _refusal(_part(tmp_path, 1, 2, name="t", total=2)).rule == "GGUF-TWICE"


def test_a_part_whose_name_says_another_count(tmp_path: Path) -> None:
    content = _part(tmp_path, 0, 2).read_bytes()
    assert _refusal(_file(tmp_path, content, "m-00001-of-00003.gguf")).rule == "GGUF-SPLIT"


# ---------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_opens_all(given: int, tmp_path: Path) -> None:
    paths = [_part(tmp_path, number_of, 3) for number_of in range(3)]
    inventory = formats.read(paths[given])
    assert [found.name for found in inventory.tensors] == ["t0", "t1", "t2"]
    assert [found.pieces[0].file for found in inventory.tensors] == [path.name for path in paths]
    assert inventory.metadata["general.architecture"] == "llama"
    assert [name for name, _ in inventory.files] == [path.name for path in paths]


def test_a_name_like_a_part_does_not_make_one(tmp_path: Path) -> None:
    path = _file(tmp_path, gguf([named()], [tensor("t", [8])], b"\0" * 32), "m-00001-of-00003.gguf")
    assert len(formats.read(path).tensors) == 1


# ------------------------------------------------------------------------------------------------------- one file


def test_dimensions_are_turned_outermost_first(tmp_path: Path) -> None:
    content = gguf([named()], [tensor("t", [32, 3, 2], 8)], b"\0" * (34 * 6))
    (found,) = formats.read(_file(tmp_path, content)).tensors
    assert (found.shape, found.codec, found.nbytes) == ((2, 3, 32), "q8_0", 34 * 6)
    assert found.pieces == (Piece("a.gguf", len(content) - 34 * 6, 34 * 6),)


def test_offsets_count_from_the_aligned_end_of_the_header(tmp_path: Path) -> None:
    keys = [key("general.alignment", U32, number(U32, 128))]
    content = gguf(keys, [tensor("a", [8]), tensor("b", [8], 0, 128)], b"\0" * 160, alignment=128)
    a, b = formats.read(_file(tmp_path, content)).tensors
    assert a.pieces[0].offset % 128 == 0
    assert b.pieces[0].offset - a.pieces[0].offset == 128


def test_scalars_and_short_arrays_are_kept(tmp_path: Path) -> None:
    keys = [
        key("a", U8, number(U8, 200)),
        key("b", F32, number(F32, 0.5)),
        key("c", BOOL, b"\x01"),
        key("d", I64, number(I64, -5)),
        key("e", STRING, text("hé")),
        key("f", ARRAY, array(U32, [number(U32, n) for n in range(3)])),
        key("g", ARRAY, array(STRING, [text("x"), text("y")])),
        key("h", ARRAY, array(BOOL, [b"\x01", b"\0"])),
    ]
    metadata = dict(formats.read(_file(tmp_path, gguf(keys))).metadata)
    assert metadata.pop("GGUF.version") == 3
    assert metadata.pop("GGUF.byte_order") == "little"
    assert metadata == {
        "a": 200, "b": 0.5, "c": True, "d": -5, "e": "hé", "f": [0, 1, 2], "g": ["x", "y"], "h": [True, False],
    }  # fmt: skip


def test_of_long_arrays_the_length_is_kept(tmp_path: Path) -> None:
    keys = [
        key("numbers", ARRAY, array(U8, [bytes(4097)], count=4097)),
        key("kept", ARRAY, array(U8, [bytes(4096)], count=4096)),
        key("strings", ARRAY, array(STRING, [text("x")] * 257)),
        key("arrays", ARRAY, array(ARRAY, [array(STRING, [text("x")]), array(U8, [b"\0"])])),
        key("after", U8, b"\x07"),
    ]
    metadata = formats.read(_file(tmp_path, gguf(keys))).metadata
    assert metadata["numbers"] == {"array": "u8", "length": 4097}
    assert metadata["kept"] == [0] * 4096
    assert metadata["strings"] == {"array": "string", "length": 257}
    assert metadata["arrays"] == {"array": "array", "length": 2}
    assert metadata["after"] == 7


def test_strings_across_the_edge_of_the_window(tmp_path: Path) -> None:
    """The header is read a mebibyte at a time; a string may lie across, and its length may too."""
    for filler in range(2**20 - 80, 2**20 - 40):
        tokens = array(STRING, [text("x" * 9)] * 300)
        keys = [key("filler", STRING, text("f" * filler)), key("tokens", ARRAY, tokens), key("after", U8, b"\x07")]
        assert formats.read(_file(tmp_path, gguf(keys))).metadata["after"] == 7


def test_both_byte_orders_say_the_same(tmp_path: Path) -> None:
    little = formats.read(_file(tmp_path, craft.llama(2), "l.gguf"))
    big = formats.read(_file(tmp_path, craft.llama(2, order=">"), "b.gguf"))
    assert [(t.name, t.shape, t.codec, t.nbytes) for t in big.tensors] == [
        (t.name, t.shape, t.codec, t.nbytes) for t in little.tensors
    ]
    assert big.configuration == little.configuration
    assert "big-endian" in big.warnings[0]


def test_version_2_is_read_as_version_3(tmp_path: Path) -> None:
    inventory = formats.read(_file(tmp_path, gguf([named()], [tensor("t", [8])], b"\0" * 32, version=2)))
    assert inventory.metadata["GGUF.version"] == 2
    assert len(inventory.tensors) == 1


def test_bytes_of_an_unknown_type_end_where_the_next_tensor_begins(tmp_path: Path) -> None:
    tensors = [tensor("last", [7], 250, 96), tensor("first", [7], 250), tensor("known", [8], 0, 64)]
    found = formats.read(_file(tmp_path, gguf([named()], tensors, b"\0" * 130))).tensors
    assert {each.name: each.nbytes for each in found} == {"first": 64, "known": 32, "last": 34}


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    for name in ("weights", "weights.safetensors", "weights.json"):
        assert formats.read(_file(tmp_path, craft.llama(), name)).format == "gguf"
