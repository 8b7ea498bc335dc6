"""How fast this machine reads memory and multiplies matrices, measured in a fraction of a second.

Both are rates that a program reaches and no datasheet's: the bandwidth is that of all usable cores reading at once, the
peak is what the installed BLAS makes of products of float32 matrices. On a busy machine a run is slowed and never sped
up, so each figure is the best of several short repeats. A new figure is a function that gives a Quoted.
"""

from __future__ import annotations

import re
import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weigh.devices.machine import Machine
from weigh.types import Quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS = 0.2
"""Time for the repeats of one figure; preparing the buffers takes about as long again."""

_MB = 10**6
_LEAST_BYTES = 128 * _MB
_MOST_BYTES = 4096 * _MB
_CACHES = 4
"""Buffers hold this many times what the caches hold: then hardly anything of one pass is left for the next."""
_OF_FREE = 8
"""At most this part of the memory that is free is taken."""
_STRETCH = 2**20
"""Bytes of one call: long enough that calling is no cost, short enough that threads come and go."""
_UNKNOWN_CACHE = 64 * _MB
_LARGE = 512
_SMALL = 64
"""Rows of the matrices. Libraries multiply 64 x 64 in the thread that asks."""
_STACK = 16
"""Small matrices a call: three stacks stay within a core's own cache."""
_CALLS = 32
_LEAST_REPEATS = 3
_AGREE = 1.05
_PATIENCE = 4
_SIZE = re.compile(r"(\d+)([KMG]?)")


def probe(machine: Machine, seconds: float = SECONDS) -> Machine:
    """The machine with measured `memory_bandwidth` and `peak["f32"]` in its device."""
    threads = machine.usable_cores or 1
    bandwidth = read_bandwidth(threads, machine.memory_available, seconds)
    peak = {**machine.device.peak, "f32": matrix_rate(threads, seconds)}
    return replace(machine, device=replace(machine.device, memory_bandwidth=bandwidth, peak=peak))


def read_bandwidth(threads: int, free_bytes: int | None = None, seconds: float = SECONDS) -> Quoted:
    """Bytes a second that `threads` threads together read from memory.

    The buffers are well beyond the last cache unless `free_bytes` is too little for that, and then the words say so.
    """
    threads = max(1, threads)
    size, beyond = _buffer_bytes(cache_bytes(), free_bytes)
    share = max(_STRETCH, size // threads // _STRETCH * _STRETCH)
    buffers = _filled(threads, share)
    rate = share * threads / _best(lambda: _read(buffers), seconds)
    words = f"measured on this machine by reading {share * threads // _MB} MB with {_counted(threads, 'thread')}"
    if not beyond:
        words += ", which the caches may hold in part"
    return _measured(rate, words)


def matrix_rate(threads: int, seconds: float = SECONDS, number_type: str = "float32") -> Quoted:
    """FLOP/s of numpy's product of matrices of a number type: the better of two ways to keep `threads` cores at work.

    Small matrices in threads of our own, which wait for each other at the end alone; a library's own threads wait for
    each other many times in a product, which a busy machine makes slow. One product of large matrices, which is what
    some libraries (and matrix units) need to be fast; its threads are the library's.
    """
    import numpy as np

    threads = max(1, threads)
    stacks = [tuple(np.ones((_STACK, _SMALL, _SMALL), number_type) for _ in range(3)) for _ in range(threads)]
    small = 2 * _SMALL**3 * _STACK * _CALLS * threads / _best(lambda: _multiply_stacks(stacks), seconds / 2)
    large = 2 * _LARGE**3 / _best(_large_product(number_type), seconds / 2)
    if large > small:
        return _measured(
            large, f"measured on this machine by multiplying {number_type} matrices of {_LARGE} x {_LARGE}"
        )
    words = f"measured on this machine by multiplying {number_type} matrices of {_SMALL} x {_SMALL}"
    return _measured(small, f"{words} with {_counted(threads, 'thread')}")


def cache_bytes(root: Path = Path("/")) -> int:
    """Bytes of all last-level caches together, as far as Linux tells; a guess for a large desktop elsewhere."""
    found: dict[tuple[int, str], int] = {}
    for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*"):
        level, shared, size = (_text(folder / name) for name in ("level", "shared_cpu_list", "size"))
        match = _SIZE.fullmatch(size)
        if level.isdigit() and match is not None:
            # A cache shows up under each core that shares it.
            found[int(level), shared] = int(match[1]) * 1024 ** " KMG".index(match[2] or " ")
    last = max((level for level, _ in found), default=0)
    return sum(size for (level, _), size in found.items() if level == last) or _UNKNOWN_CACHE


# ------------------------------------------------------------------------------------------------- reading


def _buffer_bytes(caches: int, free_bytes: int | None) -> tuple[int, bool]:
    """Size of all buffers, and whether it is well beyond the caches."""
    wanted = max(_LEAST_BYTES, _CACHES * caches)
    allowed = _MOST_BYTES if free_bytes is None else min(_MOST_BYTES, free_bytes // _OF_FREE)
    size = min(wanted, allowed)
    return size, size >= wanted


def _filled(threads: int, share: int) -> list[list[NDArray[np.int64]]]:
    """A buffer for each thread, cut into stretches."""
    import numpy as np

    buffers = [np.empty(share // 8, np.int64) for _ in range(threads)]
    # A page lies near the core that touches it first, so each thread fills what it will read.
    _together([partial(buffer.fill, 1) for buffer in buffers])
    return [np.split(buffer, share // _STRETCH) for buffer in buffers]


def _read(buffers: Sequence[Sequence[NDArray[np.int64]]]) -> float:
    """Seconds that all threads together take to read every buffer once."""
    import numpy as np

    def work(stretches: Sequence[NDArray[np.int64]]) -> None:
        for stretch in stretches:
            # One load and one operation for each word, and numpy lets other threads run meanwhile.
            np.bitwise_or.reduce(stretch)

    return _together([partial(work, buffer) for buffer in buffers])


def _multiply_stacks(stacks: Sequence[Sequence[NDArray[Any]]]) -> float:
    """Seconds that all threads together take for their products."""
    import numpy as np

    def work(left: NDArray[Any], right: NDArray[Any], product: NDArray[Any]) -> None:
        for _ in range(_CALLS):
            np.matmul(left, right, out=product)

    return _together([partial(work, *stack) for stack in stacks])


def _large_product(number_type: str) -> Callable[[], float]:
    """A function that multiplies large matrices and gives the seconds."""
    import numpy as np

    left, right, product = (np.ones((_LARGE, _LARGE), number_type) for _ in range(3))

    def multiply() -> float:
        start = time.perf_counter()
        np.matmul(left, right, out=product)
        return time.perf_counter() - start

    # The first call starts the library's threads.
    multiply()
    return multiply


def _together(jobs: Sequence[Callable[[], None]]) -> float:
    """Run each job in a thread of its own; seconds from the common start to the last end."""
    gate = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], None]) -> None:
        gate.wait()
        job()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    gate.wait()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


# -------------------------------------------------------------------------------------------------- timing


def _best(repeat: Callable[[], float], seconds: float) -> float:
    """Shortest of the times that `repeat` gives, called for `seconds`, or longer where the shortest stands alone.

    On a machine at rest the two shortest agree at once. Where they do not, other programs are in the way, and waiting
    for a moment without them is worth up to a few times `seconds`.
    """
    start = time.perf_counter()
    times = sorted(repeat() for _ in range(_LEAST_REPEATS))
    while True:
        spent = time.perf_counter() - start
        agree = times[1] <= _AGREE * times[0]
        if spent >= seconds * (1 if agree else _PATIENCE):
            # A clock too coarse to see a repeat must not make a rate without bound.
            return max(times[0], 1e-9)
        insort(times, repeat())


def _measured(value: float, words: str) -> Quoted:
    return Quoted(value=value, says=words, source=words, read=date.today().isoformat())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
