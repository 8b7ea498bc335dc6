"""A written file takes the old one's place whole, or the old one stays and nothing is left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.files import failing
from weigh import writing
from weigh.types import WeighError
from weigh.writing import SYSTEM

posix = pytest.mark.skipif(os.name != "posix", reason="needs modes and links")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs the attributes of Linux")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _rule(path: Path, text: str = "x", **options: Any) -> str:
    with pytest.raises(WeighError) as caught:
        writing.write_text(path, text, **options)
    assert caught.value.exit_code == (5 if caught.value.rule == "WRITE-SPACE" else 3)
    return caught.value.rule


class StopError(BaseException):
    """What an interrupt is like."""


def _failing(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing, "SYSTEM", replace(SYSTEM, **{call: fail}))


# -------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("fault", [StopError(), ValueError("x"), OSError(errno.ENOSPC, "full")])
def test_a_failure_half_way_leaves_the_old_file(fault: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises((type(fault), WeighError)), writing.replacing(path) as output:
        output.write(b"half of the n")
        raise fault
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


RULES = {
    errno.EIO: "WRITE-FAILED", errno.ENOSPC: "WRITE-SPACE", errno.EDQUOT: "WRITE-SPACE", errno.EFBIG: "WRITE-SPACE",
    errno.EACCES: "WRITE-DENIED", errno.EROFS: "WRITE-DENIED", errno.EPERM: "WRITE-DENIED",
    errno.EXDEV: "WRITE-FAILED", errno.EBUSY: "WRITE-FAILED", errno.ENOENT: "WRITE-FOLDER",
}  # fmt: skip


CALLS = ["open", "write", "sync", "close", "replace", "truncate", "chmod", "allocate", "usage"]


@pytest.mark.parametrize("number", RULES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_a_failing_step_leaves_the_old_file(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    if getattr(SYSTEM, call) is None:
        pytest.skip("this system has no such call")
    _failing(monkeypatch, call, number)
    assert _rule(path) == RULES[number]
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def _broken() -> None:
    raise OSError(errno.EIO, "broken")


def test_whatever_call_fails_the_file_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    outcomes: list[str] = []
    for limit in range(1, 100):
        path.write_text("old")
        done: list[str] = []
        monkeypatch.setattr(writing, "SYSTEM", failing.system(limit, _broken, done))
        try:
            writing.write_text(path, "new")
            assert path.read_text() == "new"
            outcomes.append("written")
        except WeighError as error:
            assert error.rule == "WRITE-FAILED"
            # After the rename only the folder is left to be settled: the new file is there, and the error says so.
            settled = done.index("replace") + 1 < limit if "replace" in done else False
            assert path.read_text() == ("new" if settled else "old")
            outcomes.append("new" if settled else "old")
        assert _names(tmp_path) == ["a"]
        if len(done) < limit:
            break
    assert {"old", "new", "written"} <= set(outcomes)


def test_more_than_the_disk_has_room_for(tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught, writing.replacing(tmp_path / "a", nbytes=1 << 62):
        pass
    assert (caught.value.rule, caught.value.exit_code) == ("WRITE-SPACE", 5)
    assert _names(tmp_path) == []


def test_a_hundredth_of_the_size_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1009

    monkeypatch.setattr(writing, "SYSTEM", replace(SYSTEM, usage=lambda _: Usage))
    assert _rule(tmp_path / "a", "x" * 1000) == "WRITE-SPACE"
    writing.write_text(tmp_path / "a", "x" * 999)


def test_no_folder_to_write_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "no" / "a", tmp_path / "file" / "a", tmp_path):
        assert _rule(path) == "WRITE-FOLDER"


@posix
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        assert _rule(tmp_path / "a") == "WRITE-DENIED"
    finally:
        tmp_path.chmod(0o700)


@posix
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        assert _rule(path) == "WRITE-KIND"
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_the_file_that_is_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    (tmp_path / "other").write_text("x")
    hard = tmp_path / "hard"
    os.link(path, hard)
    for target in (path, hard):
        with (
            pytest.raises(WeighError) as caught,
            writing.replacing(target, sources=[tmp_path / "other", tmp_path / "gone", path]),
        ):
            pass
        assert caught.value.rule == "WRITE-SOURCE"
    with writing.replacing(path, sources=[tmp_path / "other"]) as output:
        output.write(b"new")
    assert path.read_text() == "new"


# --------------------------------------------------------------------------------------------- how it is written


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("one", "zwei é", ""):
        writing.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert _names(tmp_path) == ["a"]


def test_the_longest_name_that_a_file_can_have(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127):
        writing.write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_interrupted_and_short_writes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def reluctant(descriptor: int, data: Any) -> int:
        calls.append(len(data))
        if len(calls) % 3 == 0:
            raise InterruptedError(errno.EINTR, "interrupted")
        return os.write(descriptor, data[:7])

    monkeypatch.setattr(writing, "SYSTEM", replace(SYSTEM, write=reluctant))
    data = bytes(range(256)) * 3
    with writing.replacing(tmp_path / "a", 10 * len(data)) as output:
        output.write(data)
        output.write(memoryview(data))
    assert (tmp_path / "a").read_bytes() == data * 2
    assert (output.nbytes, output.sha256) == (2 * len(data), hashlib.sha256(data * 2).hexdigest())
    assert len(calls) > 2 * len(data) // 7


def test_a_disk_that_takes_nothing_is_not_asked_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SYSTEM", replace(SYSTEM, write=lambda *_: 0))
    assert _rule(tmp_path / "a") == "WRITE-FAILED"


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_reserves_no_space(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, "allocate", number)
    writing.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_the_data_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(writing, "SYSTEM", failing.system(0, _broken, done))
    writing.write_text(tmp_path / "a", "x")
    order = [call for call in done if call in ("write", "sync", "replace")]
    assert order == ["write", "sync", "replace", *(["sync"] if os.name == "posix" else [])]


def test_what_killed_writers_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone, here = child.pid, os.getpid()
    old = time.time() - writing.ABANDONED_AFTER - 60
    kept = {
        f".a.{gone}.0123456789abcdef.weigh-tmp": None,
        f".a.{here}.0123456789abcdef.weigh-tmp": old,
        ".a.weigh-tmp": old,
        f"a.{gone}.0123456789abcdef.weigh-tmp": old,
        f".a.{gone}.0123456789abcdef.weigh-tmp.txt": old,
    }
    for name, when in {**kept, f".b.c.{gone}.fedcba9876543210.weigh-tmp": old}.items():
        (tmp_path / name).touch()
        if when is not None:
            os.utime(tmp_path / name, (when, when))
    (tmp_path / f".d.{gone}.0123456789abcdef.weigh-tmp").mkdir()
    writing.write_text(tmp_path / "new", "x")
    assert _names(tmp_path) == sorted([*kept, "new", f".d.{gone}.0123456789abcdef.weigh-tmp"])


# ------------------------------------------------------------------------------------------- modes, lists, links


@posix
def test_modes_are_the_usual_or_the_old(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        writing.write_text(tmp_path / "new", "x")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        for mode in (0o604, 0o400, 0o666):
            (tmp_path / "new").chmod(mode)
            writing.write_text(tmp_path / "new", "y")
            assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode
    finally:
        os.umask(before)


@posix
def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for _ in range(2):
        with writing.replacing(path, private=True) as output:
            output.write(b"secret")
            output.flush()
            (made,) = tmp_path.glob(".key.*")
            assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)


@posix
def test_nobody_sees_the_new_bytes_of_a_guarded_file_before_it_is_guarded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch(0o640)
    with writing.replacing(path) as output:
        output.write(b"x")
        (made,) = tmp_path.glob(".a.*")
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def _access_list(user: int) -> bytes:
    """As Linux stores it: owner rw, one user r, group r, mask rw, others none. acl(5), `linux/posix_acl_xattr.h`."""
    nobody = 0xFFFFFFFF
    entries = [(0x01, 6, nobody), (0x02, 4, user), (0x04, 4, nobody), (0x10, 6, nobody), (0x20, 0, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@linux
def test_the_access_list_is_the_old_one(tmp_path: Path) -> None:
    path, plain = tmp_path / "a", tmp_path / "plain"
    path.touch()
    plain.touch(0o640)
    try:
        os.setxattr(path, writing.ACCESS_LIST, _access_list(12345))
        os.setxattr(tmp_path, "system.posix_acl_default", _access_list(54321))
    except OSError:
        pytest.skip("this file system keeps no access lists")
    for one in (path, plain, tmp_path / "new"):
        writing.write_text(one, "x")
    assert os.getxattr(path, writing.ACCESS_LIST) == _access_list(12345)
    assert writing.ACCESS_LIST not in os.listxattr(plain)
    assert stat.S_IMODE(plain.stat().st_mode) == 0o640
    # A new file gets what the folder gives to any new file.
    (tmp_path / "other").touch()
    assert os.getxattr(tmp_path / "new", writing.ACCESS_LIST) == os.getxattr(tmp_path / "other", writing.ACCESS_LIST)


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to("below/real")
    for text in ("made", "replaced"):
        writing.write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "below" / "real").read_text() == text
    assert _names(tmp_path / "below") == ["real"]


@posix
def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert _rule(tmp_path / "a") == "WRITE-LOOP"
    assert (tmp_path / "a").is_symlink()


def test_of_a_file_with_two_names_only_one_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    writing.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "b").read_text() == "old"
