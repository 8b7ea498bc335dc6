"""Reads an HDF5 file in a process of its own: tells what it holds, or writes out the values of one dataset.

`hdf5.py` starts this file as a program, with the opened model as standard input, a request in JSON as its argument and
standard output for the answer; it imports nothing of weigh but `hdf5_walk`, which does the reading. The HDF5 library is
large, and files that crash it or keep it busy for ever are found every year: here that ends this process and nothing
else. Before a file is touched, the process gives up what it does not need: further files, more memory, more time.
"""

from __future__ import annotations

import codecs
import importlib
import io
import json
import os
import sys
import time
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limits: hdf5.py's clock is what holds there.
    resource = None  # type: ignore[assignment]

STALL = 2
"""Seconds of processor time that the library may take for one object."""

# Isolated, Python does not look beside a program for its modules.
sys.path.insert(0, __file__.rpartition(os.sep)[0])
walk: Any = importlib.import_module("hdf5_walk")
sys.path.pop(0)


class Window(io.RawIOBase):
    """A part of standard input as a file of its own. Reads by position where the system can."""

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size, self.at = start, size, 0

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Position in the window."""
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the window."""
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the window goes."""
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self.size - self.at), 0)
        if hasattr(os, "pread"):
            data = os.pread(0, count, self.start + self.at)
        else:
            os.lseek(0, self.start + self.at, os.SEEK_SET)
            data = os.read(0, count)
        view[: len(data)] = data
        self.at += len(data)
        return len(data)


# ---------------------------------------------------------------------------------------------------- limits


class Clock:
    """Raises the limit of processor time as long as the work gets on: a library that hangs is stopped soon."""

    def __init__(self, seconds: float) -> None:
        self.last = int(seconds) + 1
        self.moved = 0.0
        self.moves()

    def moves(self) -> None:
        """Called for every object."""
        now = time.process_time()
        if resource is None or (self.moved and now < self.moved + 1):
            return
        self.moved = now
        _lower("RLIMIT_CPU", min(int(now) + STALL + 1, self.last), self.last)


def _lower(name: str, soft: int, hard: int) -> None:
    """Set a limit that this system has. One that it refuses to lower is left: the parent's clock holds in any case."""
    kind = getattr(resource, name, None)
    if kind is not None:
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            return


def confine(memory: int) -> None:
    """Give up: new files, writing, core dumps, new processes, and more memory than `memory` bytes."""
    if resource is None:
        return
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - this program imports as little as it can
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        used = 2**30
    for name in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(name)  # Python finds them in files, when they are first used.
    _lower("RLIMIT_AS", used + memory, used + memory)
    for name in ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NPROC", "RLIMIT_NOFILE"):
        _lower(name, 0, 0)


# ------------------------------------------------------------------------------------------------------ answer


def answer(library: Any, ask: dict[str, Any], clock: Clock, out: Any) -> dict[str, Any] | None:
    """What the file holds, or why that is not told; None where values were asked for and written to `out`."""
    try:
        with library.File(Window(ask["start"], ask["size"]), "r") as opened:
            root = library.h5g.open(opened.id, b"/")
            if not ask["path"]:
                told: dict[str, Any] = walk.Walk(library, ask, clock).run(root)
                return told
            walk.write_values(library, root, ask, clock, out)
            return None
    except walk.Refused as cause:
        return {"error": [cause.rule, str(cause)]}
    except MemoryError:
        return {"error": ["H5-MEMORY", "the HDF5 library asked for more memory than such a file needs"]}
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, SystemError) as cause:
        text = str(cause).encode("ascii", "backslashreplace").decode()
        return {"error": ["H5-BROKEN", f"the HDF5 library cannot read this: {text[:300]}"]}


def main(argument: str) -> int:
    """Answer the request. The exit code is 0 also where the answer is a refusal, but not where values are cut short."""
    ask = json.loads(argument)
    sys.path += ask["packages"]
    out = sys.stdout.buffer
    try:
        import h5py
    except ImportError as cause:
        out.write(json.dumps({"error": ["H5-LIBRARY", str(cause)[:200]]}).encode())
        return 0
    confine(ask["memory"])
    told = answer(h5py, ask, Clock(ask["seconds"]), out)
    if ask["path"]:
        return 0 if told is None else 3
    out.write(json.dumps(told).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
