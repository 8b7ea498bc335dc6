"""A writer that is stopped, anywhere and by anything, leaves the old model, the new one, or one that says incomplete.

The processes that are stopped are those of `driver.py`. `WEIGH_KILLS=200` kills that often instead of a few times.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, signals and limits of Linux")

KINDS = ["text", "safetensors", "gguf", "shards", "parts"]
ROOT = Path(__file__).parents[2]
KILLS = os.environ.get("WEIGH_KILLS", "12")


def _driven(mode: str, kind: str, folder: Path, number: str = "0", before: tuple[str, ...] = ()) -> str:
    command = [*before, sys.executable, "-m", "tests.files.driver", mode, kind, str(folder), number]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_ended_at_any_call_and_done_again(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    assert kind in _driven("exits", kind, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_moment(kind: str, tmp_path: Path) -> None:
    assert kind in _driven("kills", kind, tmp_path, KILLS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_may_not_grow_any_further(kind: str, tmp_path: Path) -> None:
    assert kind in _driven("limits", kind, tmp_path)


@pytest.mark.parametrize("kind", ["text", "safetensors", "gguf"])
def test_every_read_finds_a_whole_file_while_four_write(kind: str, tmp_path: Path) -> None:
    assert kind in _driven("writers", kind, tmp_path, "60")


def test_a_full_disk(tmp_path: Path) -> None:
    """A disk of its own, that is gone with the process."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare to mount a disk with")
    outer = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--user", "--map-root-user")
    mounted = (*outer, "sh", "-c", 'mount -t tmpfs -o size=2m none "$0" && exec "$@"', str(disk))
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk is not allowed here")
    assert "full" in _driven("full", "text", disk, before=mounted)


TRACED = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += +(\S+)")


@pytest.mark.parametrize("kind", ["text", "shards"])
def test_the_order_that_the_system_sees(kind: str, tmp_path: Path) -> None:
    """Each temporary file: written, brought to the disk, and only then renamed; after the last, the folder."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log, folder = tmp_path / "log", tmp_path / "m"
    folder.mkdir()
    traced = ("strace", "-f", "-y", "-o", str(log), "-e", "trace=write,fsync,rename,renameat,renameat2")
    if subprocess.run([*traced, "true"], capture_output=True, check=False).returncode:
        pytest.skip("tracing is not allowed here")
    _driven("once", kind, folder, before=traced)
    state: dict[str, str] = {}
    order: list[str] = []
    for line in log.read_text().splitlines():
        match = TRACED.match(line)
        if match is None or str(folder) not in line:
            continue
        call, given = match[1], match[2]
        names = re.findall(re.escape(str(folder)) + r"(?:/[^\">]*)?", given)
        if call == "write":
            assert state.get(names[0], "written") == "written"
            state[names[0]] = "written"
        elif call == "fsync":
            assert names[0] == str(folder) or state[names[0]] == "written"
            state[names[0]] = "on the disk"
        else:
            assert state.pop(names[0]) == "on the disk"
            state[str(folder)] = "renamed"
        order.append("folder" if names == [str(folder)] else "rename" if call.startswith("rename") else call)
    assert order[-2:] == ["rename", "folder"]
    # The manifest that says unfinished is settled before a part is renamed, the parts before the one that says more.
    renames = "".join({"rename": "r", "folder": "f"}.get(one, "") for one in order)
    assert renames == ("rf" if kind == "text" else "rfrrrfrf")
