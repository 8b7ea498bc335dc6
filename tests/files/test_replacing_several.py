"""Files that belong together are the old ones, the new ones, or their manifest says that they may be mixed."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.files import failing
from weigh import writing
from weigh.types import WeighError
from weigh.writing import SYSTEM, Output, Part, Written


def _broken() -> None:
    raise OSError(errno.EIO, "broken")


def _write_both(folder: Path, text: str) -> tuple[Written, ...]:
    def fill(output: Output) -> None:
        output.write(text.encode())

    parts = [Part(folder / name, len(text), fill) for name in ("one", "two")]
    return writing.replacing_all(parts, folder / "list", "unfinished", lambda done: f"finished {len(done)} {text}")


def _state(folder: Path) -> tuple[str, ...]:
    return tuple((folder / name).read_text() for name in ("one", "two", "list"))


def test_parts_are_written_and_told(tmp_path: Path) -> None:
    done = _write_both(tmp_path, "text")
    assert _state(tmp_path) == ("text", "text", "finished 2 text")
    digest = hashlib.sha256(b"text").hexdigest()
    assert done == (Written("one", 4, digest), Written("two", 4, digest))


def test_whatever_call_fails_parts_are_not_mixed_unsaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: set[tuple[str, ...]] = set()
    old, new = ("old", "old", "finished 2 old"), ("new", "new", "finished 2 new")
    for limit in range(1, 200):
        monkeypatch.setattr(writing, "SYSTEM", SYSTEM)
        _write_both(tmp_path, "old")
        done: list[str] = []
        monkeypatch.setattr(writing, "SYSTEM", failing.system(limit, _broken, done))
        try:
            _write_both(tmp_path, "new")
            assert _state(tmp_path) == new
        except WeighError as error:
            assert error.rule == "WRITE-FAILED"
        state = _state(tmp_path)
        states.add(state)
        assert state in (old, new) or state[2] == "unfinished"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["list", "one", "two"]
        if len(done) < limit:
            break
    assert {old, new, ("new", "old", "unfinished"), ("new", "new", "unfinished")} <= states


@pytest.mark.skipif(os.name != "posix", reason="tells files by their inode")
def test_two_writers_of_the_same_parts(tmp_path: Path) -> None:
    """The second renames its parts between the first's and its manifest: the first takes its manifest back."""

    def overtaken(done: Any) -> str:
        _write_both(tmp_path, "other")
        return "finished"

    parts = [Part(tmp_path / name, 1, lambda output: output.write(b"x")) for name in ("one", "two")]
    with pytest.raises(WeighError) as caught:
        writing.replacing_all(parts, tmp_path / "list", "unfinished", overtaken)
    assert caught.value.rule == "WRITE-RACE"
    assert _state(tmp_path) == ("other", "other", "unfinished")


def test_parts_that_are_being_read_are_not_written(tmp_path: Path) -> None:
    _write_both(tmp_path, "old")
    parts = [Part(tmp_path / name, 1, lambda output: output.write(b"x")) for name in ("one", "two")]
    for source in ("two", "list"):
        with pytest.raises(WeighError) as caught:
            writing.replacing_all(parts, tmp_path / "list", "unfinished", lambda _: "", [tmp_path / source])
        assert caught.value.rule == "WRITE-SOURCE"
    assert _state(tmp_path) == ("old", "old", "finished 2 old")
