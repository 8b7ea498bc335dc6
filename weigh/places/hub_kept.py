"""Keeps what was fetched from a hub, so that an interrupted or repeated weighing fetches only what is missing.

A cache of weigh's own, never a file that could be taken for a model: a journal holds records, each a run of bytes with
its place and a checksum, in the order in which they came. A journal belongs to the one process that writes it, and only
grows; a process that is killed leaves at most a torn last record, which the next one leaves out.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from bisect import bisect_right, insort
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import BinaryIO
from weakref import finalize

from weigh.types import WeighError

TITLE = b"weigh keeps parts of a model's files here; this is no model\n"
SUFFIX = ".blocks"
REPOSITORY_BYTES = 256 * 2**20
"""Kept of one revision of a repository."""
TOTAL_BYTES = 2**30
"""Kept of all; the journals that were not used for longest go first."""

_MARK = b"WGHB"
_RECORD = struct.Struct("<4s16sQI16s")
"""Mark, file, offset in it, number of bytes, checksum."""


@dataclass(slots=True)
class _Record:
    journal: Path
    position: int
    """Of the bytes in the journal."""
    offset: int
    """Of the bytes in the model's file."""
    count: int
    key: bytes
    checksum: bytes
    verified: bool = False


@dataclass(order=True, slots=True)
class _Run:
    """Bytes of a file that a record holds. The runs of a file are in order and do not overlap."""

    begin: int
    end: int
    record: _Record = field(compare=False)


class Kept:
    """What is kept of one revision of a repository. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[bytes, list[_Run]] = {}
        self._open: dict[Path, BinaryIO] = {}
        self._journal: BinaryIO | None = None
        self._place = Path()
        self._lock = RLock()
        self._held = ExitStack()
        finalize(self, self._held.close)
        self.nbytes = 0
        with _told(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(folder.parent)
            for journal in sorted(folder.glob(f"*{SUFFIX}")):
                self._index(journal)

    @property
    def full(self) -> bool:
        """Whether no more is kept."""
        return self.nbytes >= REPOSITORY_BYTES

    def gaps(self, key: bytes, begin: int, end: int) -> list[tuple[int, int]]:
        """The parts of this range that are not kept, in order."""
        with self._lock:
            found = []
            runs = self._runs.get(key, [])
            first = max(bisect_right(runs, begin, key=lambda run: run.begin) - 1, 0)
            for run in runs[first:]:
                if run.begin >= end:
                    break
                if run.begin > begin:
                    found.append((begin, run.begin))
                begin = max(begin, run.end)
            if begin < end:
                found.append((begin, end))
            return found

    def before(self, key: bytes, position: int) -> int:
        """How many bytes up to this position are kept without a gap."""
        with self._lock:
            begin = position
            runs = self._runs.get(key, [])
            for run in reversed(runs[: bisect_right(runs, position - 1, key=lambda run: run.begin)]):
                if run.end < begin:
                    break
                begin = min(begin, run.begin)
            return position - begin

    def fill(self, key: bytes, begin: int, whole: bytearray) -> None:
        """Put what is kept from `begin` on into its place. A record whose checksum is wrong becomes a gap."""
        end = begin + len(whole)
        with self._lock:
            for run in [run for run in self._runs.get(key, []) if run.begin < end and run.end > begin]:
                if run.record.verified or self._verify(run.record):
                    low, high = max(begin, run.begin), min(end, run.end)
                    position = run.record.position + low - run.record.offset
                    whole[low - begin : high - begin] = self._bytes(run.record.journal, position, high - low)

    def add(self, key: bytes, offset: int, data: bytes) -> None:
        """Keep a run of bytes, unless enough is kept already. Errors: HUB-CACHE."""
        with self._lock, _told(self._folder):
            if self.full:
                return
            if self._journal is None:
                self._place = self._folder / f"{time.time_ns()}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                descriptor = os.open(self._place, flags, 0o600)
                self._journal = self._held.enter_context(os.fdopen(descriptor, "wb", buffering=0))
                self._journal.write(TITLE)
            checksum = _checksum(key, offset, data)
            position = self._journal.tell() + _RECORD.size
            packed = memoryview(_RECORD.pack(_MARK, key, offset, len(data), checksum) + data)
            while packed:
                packed = packed[self._journal.write(packed) :]
            self._enter(_Record(self._place, position, offset, len(data), key, checksum, verified=True))

    def _enter(self, record: _Record) -> None:
        runs = self._runs.setdefault(record.key, [])
        for begin, end in self.gaps(record.key, record.offset, record.offset + record.count):
            insort(runs, _Run(begin, end, record))
        self.nbytes += record.count

    def _index(self, journal: Path) -> None:
        """Note the records of a journal, up to the first that is torn."""
        size = journal.stat().st_size
        position = len(TITLE)
        if self._bytes(journal, 0, position) != TITLE:
            return
        while _RECORD.size <= size - position:
            mark, key, offset, count, checksum = _RECORD.unpack(self._bytes(journal, position, _RECORD.size))
            position += _RECORD.size
            if mark != _MARK or count > size - position or self.full:
                break
            self._enter(_Record(journal, position, offset, count, key, checksum))
            position += count
        with suppress(OSError):
            os.utime(journal)

    def _verify(self, record: _Record) -> bool:
        data = self._bytes(record.journal, record.position, record.count)
        record.verified = len(data) == record.count and _checksum(record.key, record.offset, data) == record.checksum
        if not record.verified:
            self._runs[record.key] = [run for run in self._runs[record.key] if run.record is not record]
        return record.verified

    def _bytes(self, journal: Path, position: int, count: int) -> bytes:
        with _told(self._folder):
            file = self._open.get(journal)
            if file is None:
                file = self._open[journal] = self._held.enter_context(journal.open("rb"))
            file.seek(position)
            return file.read(count)


def folder() -> Path:
    """Where weigh keeps what it can fetch again: XDG_CACHE_HOME, or what the system has for that.

    Source: specifications.freedesktop.org/basedir-spec.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    if named and Path(named).is_absolute():
        return Path(named) / "weigh"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "weigh" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "weigh"
    return Path.home() / ".cache" / "weigh"


def key_of(*parts: str) -> bytes:
    """What stands for these words, in 16 bytes."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checksum(key: bytes, offset: int, data: bytes) -> bytes:
    return blake2b(data, digest_size=16, key=key, salt=offset.to_bytes(16, "little")).digest()


def _sweep(root: Path) -> None:
    """Take away the journals that were not used for longest, until the rest is small enough."""
    journals = [(path, path.stat()) for path in root.glob(f"*/*{SUFFIX}")]
    total = sum(status.st_size for _, status in journals)
    for path, status in sorted(journals, key=lambda one: one[1].st_mtime):
        if total <= TOTAL_BYTES:
            break
        with suppress(OSError):
            path.unlink()
        total -= status.st_size


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        message = f"the cache of what was fetched cannot be used: {cause.strerror or cause}"
        hint = "name another folder for it: XDG_CACHE_HOME=/tmp/cache"
        raise WeighError(message, rule="HUB-CACHE", path=folder, hint=hint) from cause
