"""What holds for every format in the registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weigh.formats import FORMATS, read
from weigh.types import Format, Limits, WeighError

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
    for suffix in kind.suffixes:
        path = tmp_path / f"garbage{suffix}"
        path.write_bytes(content)
        for attempt in (lambda path=path: kind.read(path, Limits()), lambda path=path: read(path)):
            with pytest.raises(WeighError) as caught:
                attempt()
            assert caught.value.rule not in ("", "READ-UNEXPECTED")
            assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.id)
def test_a_file_that_is_gone_is_told(kind: Format, tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught:
        kind.read(tmp_path / f"gone{kind.suffixes[0]}", Limits())
    assert caught.value.rule == "FILE-MISSING"


def test_importing_the_readers_loads_nothing_heavy() -> None:
    code = (
        "import sys, weigh.formats; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'h5py', 'onnx')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
