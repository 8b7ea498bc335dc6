"""A written file takes the old one's place whole, or the old one stays and nothing is left behind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from weigh import files
from weigh.types import WeighError

posix = pytest.mark.skipif(os.name != "posix", reason="needs modes and links")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class StopError(BaseException):
    """What an interrupt is like."""


@pytest.mark.parametrize("fault", [StopError(), ValueError("x"), OSError(errno.ENOSPC, "full")])
def test_a_failure_half_way_leaves_the_old_file(fault: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises((type(fault), WeighError)), files.replacing(path) as file:
        file.write(b"half of the n")
        raise fault
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_step_leaves_the_old_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*((files.os, "fsync") if call == "fsync" else (Path, "replace")), failing)
    with pytest.raises(WeighError) as caught:
        files.write_text(path, "new")
    assert caught.value.rule == "WRITE-FAILED"
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def test_more_than_the_disk_has_room_for(tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught, files.replacing(tmp_path / "a", nbytes=1 << 62):
        pass
    assert (caught.value.rule, caught.value.exit_code) == ("WRITE-SPACE", 5)
    assert _names(tmp_path) == []


def test_no_folder_to_write_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "no" / "a", tmp_path / "file" / "a", tmp_path):
        with pytest.raises(WeighError) as caught:
            files.write_text(path, "x")
        assert caught.value.rule == "WRITE-FOLDER"


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", denied)
    with pytest.raises(WeighError) as caught:
        files.write_text(tmp_path / "a", "x")
    assert caught.value.rule == "WRITE-DENIED"


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("one", "zwei é"):
        files.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert _names(tmp_path) == ["a"]


@posix
def test_modes_are_the_usual_or_the_old(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "new", "x")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        (tmp_path / "new").chmod(0o604)
        files.write_text(tmp_path / "new", "y")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    finally:
        os.umask(before)


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to("below/real")
    files.write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "below" / "real").read_text() == "x"


def test_the_data_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (calls.append("replace"), replace(self, target))[1])
    files.write_text(tmp_path / "a", "x")
    assert calls == ["fsync", "replace", "fsync"]
