"""How fast a large file is read: from the disk, with what memory holds of it dropped first, and again from memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weigh.types import WeighError

BYTES = 256 * 2**20
_CHUNK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes a second of a file of `nbytes` in `folder`."""

    folder: Path
    nbytes: int
    cold: float | None
    """None where the system does not let memory forget a file."""
    cached: float


def measure(folder: Path, nbytes: int = BYTES, clock: Callable[[], float] = time.perf_counter) -> Disk:
    """Write a file of random bytes, read it cold, then warm. It is gone afterwards.

    Cold is what `posix_fadvise(DONTNEED)` leaves: the system's memory forgets the file, a disk's own cache may not, nor
    a host beneath a virtual machine.
    Errors: WeighError DISK-WRITE where the folder takes no file of that size.
    """
    # Random, since some file systems compress.
    block = os.urandom(_CHUNK)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(nbytes // _CHUNK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            cold = None
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                cold = _rate(file.fileno(), clock)
            # Once to fill memory where it was not dropped, then the best of a few.
            cached = max(_rate(file.fileno(), clock) for _ in range(3))
    except OSError as cause:
        raise WeighError(
            f"no file of {nbytes} bytes can be written and read: {cause.strerror}",
            rule="DISK-WRITE",
            path=folder,
            hint="name a folder with space in TMPDIR",
            exit_code=5,
        ) from cause
    return Disk(folder, nbytes // _CHUNK * _CHUNK, cold, cached)


def _rate(descriptor: int, clock: Callable[[], float]) -> float:
    """Bytes a second of reading the file from its start, without keeping it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    start = clock()
    done = 0
    while chunk := os.read(descriptor, _CHUNK):
        done += len(chunk)
    return done / max(clock() - start, 1e-9)
