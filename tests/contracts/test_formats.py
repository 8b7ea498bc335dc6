"""What holds for every format in the registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weigh.formats import FORMATS, copy, read
from weigh.types import Format, Inventory, Limits, NewTensor, WeighError

GARBAGE = (b"", b"\0", b"\xff" * 64, b"{}", b"[", b"plain text", bytes(range(64)), b"PK\x03\x04" + b"\0" * 60)


def test_ids_and_suffixes_are_unique() -> None:
    assert len({kind.id for kind in FORMATS}) == len(FORMATS)
    suffixes = [suffix for kind in FORMATS for suffix in kind.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.id)
def test_a_record_is_whole(kind: Format) -> None:
    assert kind.id == kind.id.lower()
    assert kind.name
    assert kind.source.startswith("https://")
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in kind.suffixes)


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.id)
def test_any_first_bytes_can_be_sniffed(kind: Format) -> None:
    for first in GARBAGE:
        for length in range(len(first) + 1):
            assert kind.sniff(first[:length]) in (True, False)


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.id)
@pytest.mark.parametrize("content", GARBAGE, ids=repr)
def test_a_reader_refuses_garbage_with_a_rule(kind: Format, content: bytes, tmp_path: Path) -> None:
    for suffix in kind.suffixes or (".bin",):
        path = tmp_path / f"garbage{suffix}"
        path.write_bytes(content)
        for attempt in (lambda path=path: kind.read(path, Limits()), lambda path=path: read(path)):
            with pytest.raises(WeighError) as caught:
                attempt()
            assert caught.value.rule not in ("", "READ-UNEXPECTED")
            assert caught.value.exit_code == 3


def _stored(path: Path) -> tuple[Inventory, list[bytes]]:
    inventory = read(path)
    pieces = [tensor.pieces[0] for tensor in inventory.tensors]
    folder = Path(inventory.folder)
    return inventory, [(folder / one.file).read_bytes()[one.offset : one.offset + one.nbytes] for one in pieces]


@pytest.mark.parametrize("most", [None, 100])
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind.write is not None], ids=lambda kind: kind.id)
def test_what_is_written_is_read_and_written_again_the_same(kind: Format, most: int | None, tmp_path: Path) -> None:
    def new(name: str, shape: tuple[int, ...], codec: str, nbytes: int) -> NewTensor:
        raw = bytes(ord(name[0]) + place & 255 for place in range(nbytes))
        return NewTensor(name, shape, codec, lambda: [raw[:3], raw[3:]])

    # The shapes that are odd but right: no values, no axes, NaN, one that is larger than a file may be.
    tensors = [
        new("a", (3, 4), "f32", 48), new("b.c", (0, 2), "f16", 0), new("é", (), "f64", 8), new("nan", (2,), "f16", 4),
        new("z" * 63, (40,), "i32", 160),
    ]  # fmt: skip
    assert kind.write is not None
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    written = kind.write(tmp_path / "first" / f"m{kind.suffixes[0]}", tensors, {}, most, ())
    first, raw = _stored(written[0])
    assert {one.name: (one.shape, one.codec) for one in first.tensors} == {
        one.name: (one.shape, one.codec) for one in tensors
    }
    contents = {one.name: b"".join(map(bytes, one.content())) for one in tensors}
    assert raw == [contents[one.name] for one in first.tensors]
    again = copy(first, tmp_path / "second" / f"m{kind.suffixes[0]}", max_shard_bytes=most)
    second, raw_again = _stored(again[0])
    assert (second.tensors, second.metadata, second.files) == (first.tensors, first.metadata, first.files)
    assert raw_again == raw
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.id)
def test_a_file_that_is_gone_is_told(kind: Format, tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught:
        kind.read(tmp_path / f"gone{''.join(kind.suffixes[:1])}", Limits())
    assert caught.value.rule == "FILE-MISSING"


def test_importing_the_readers_loads_nothing_heavy() -> None:
    code = (
        "import sys, weigh.formats; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'h5py', 'onnx')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
