"""Run one of the machine's own tools and take what it prints; a tool that fails or hangs gives a warning, no error."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

_ELSEWHERE = ("/usr/lib/wsl/lib", "/opt/rocm/bin", "/usr/sbin")
"""Where drivers put their tools without telling PATH."""
_MOST_BYTES = 4_000_000


def locate(tool: str) -> str | None:
    """Address of an installed tool.

    A match that is not absolute comes from the current folder, which may hold somebody's model: it is not run.
    """
    found = shutil.which(tool) or shutil.which(tool, path=os.pathsep.join(_ELSEWHERE))
    return found if found is not None and Path(found).is_absolute() else None


def run_tool(command: tuple[str, ...], *, seconds: float = 5.0) -> tuple[str | None, tuple[str, ...]]:
    """What a tool printed, or None; and warnings. Where the tool is not installed: None and no warning."""
    program = locate(command[0])
    if program is None:
        return None, ()
    # A file and not a pipe: a child of the tool that keeps the pipe open would keep us waiting beyond the timeout.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as cause:
            return None, (f"{command[0]} could not be started: {cause.strerror}",)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _stop(process)
            return None, (f"{command[0]} gave no answer in {seconds:g} s and was stopped",)
        text = _printed(output)
    if code != 0 and not text.strip():
        return None, (f"{command[0]} failed with exit code {code}",)
    # Some tools print what they know and then fail over one field; the parser judges the text.
    return text, ((f"{command[0]} ended with exit code {code}",) if code != 0 else ())


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the tool and its children. One that waits inside a driver cannot be ended, and is not waited for."""
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def _printed(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read(_MOST_BYTES).decode(errors="replace")
