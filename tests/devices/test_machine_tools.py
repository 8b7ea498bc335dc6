"""Tools that hang, fail, flood or are somebody else's."""

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from weigh.devices.tools import locate, run_tool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tools are shell scripts")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a shell script on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


def test_a_tool_that_hangs_is_stopped_with_its_children(install) -> None:
    install("slow-smi", "sleep 60 & sleep 60")
    begin = time.monotonic()
    text, warnings = run_tool(("slow-smi",), seconds=0.3)
    assert time.monotonic() - begin < 5
    assert text is None
    assert warnings == ("slow-smi gave no answer in 0.3 s and was stopped",)


def test_a_child_that_keeps_the_output_open_does_not_keep_us(install) -> None:
    install("leaky-smi", "sleep 3 & echo done")
    begin = time.monotonic()
    assert run_tool(("leaky-smi",), seconds=5.0) == ("done\n", ())
    assert time.monotonic() - begin < 2.5


def test_a_tool_that_fails_without_a_word_is_a_warning(install) -> None:
    install("bad-smi", "echo no driver >&2; exit 9")
    assert run_tool(("bad-smi",)) == (None, ("bad-smi failed with exit code 9",))


def test_a_tool_that_prints_and_fails_gives_both(install) -> None:
    install("half-smi", "echo something; exit 1")
    assert run_tool(("half-smi",)) == ("something\n", ("half-smi ended with exit code 1",))


def test_a_tool_that_cannot_be_started_is_a_warning(install) -> None:
    install("odd-smi", "").write_text("#!/no/such/interpreter\n")
    text, warnings = run_tool(("odd-smi",))
    assert text is None
    assert "could not be started" in warnings[0]


def test_a_tool_that_is_not_installed_is_no_warning() -> None:
    assert run_tool(("no-such-tool-anywhere",)) == (None, ())


def test_bytes_that_are_no_text_do_not_stop_us(install) -> None:
    install("binary-smi", r"printf '\377\376ok'")
    text, _ = run_tool(("binary-smi",))
    assert text is not None
    assert text.endswith("ok")


def test_a_program_in_the_current_folder_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}")
    assert locate("nvidia-smi") is None
    run_tool(("nvidia-smi",))
    assert not (tmp_path / "ran").exists()
