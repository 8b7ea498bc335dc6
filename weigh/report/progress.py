"""Progress of work that takes long, on a terminal: bytes, rate and time left from half a second on, or steps."""

from __future__ import annotations

import sys
import time
from typing import IO

from weigh.report.units import duration, size

SILENT_S = 0.5
EVERY_S = 0.1


class Meter:
    """Call it with (bytes done, bytes in all) as often as you like; it writes one line, at most ten times a second."""

    def __init__(self, verb: str, stream: IO[str] | None = None) -> None:
        self.verb = verb
        self.stream = stream or sys.stderr
        self.started = self.told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Tell how far it is; the last line stays."""
        now = time.monotonic()
        elapsed = now - self.started
        if not self.stream.isatty() or elapsed < SILENT_S or (now - self.told < EVERY_S and done < total):
            return
        self.told = now
        rate = done / elapsed
        left = f", {duration((total - done) / rate)} left" if done and done < total else ""
        end = "\n" if done >= total else ""
        self.stream.write(f"\r\x1b[K{self.verb} {size(done)} of {size(total)}, {size(rate)}/s{left}{end}")
        self.stream.flush()


class Steps:
    """Call it with (steps done, steps in all, name of the next); it writes one line on a terminal."""

    def __init__(self, verb: str, stream: IO[str] | None = None) -> None:
        self.verb = verb
        self.stream = stream or sys.stderr

    def __call__(self, done: int, total: int, name: str) -> None:
        """Tell which step begins; the last line stays."""
        if not self.stream.isatty():
            return
        end = "\n" if done >= total else ""
        self.stream.write(f"\r\x1b[K{self.verb} {min(done + 1, total)} of {total}: {name}{end}")
        self.stream.flush()
