"""Streams over the values of a model, on all cores, and tells what they say of each tensor.

`measure` gives a `Weights` for each tensor, in the order of the file; `merged` joins those of a layer. What follows
from the sums (deviation, kurtosis, entropy, errors) is computed here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from threading import Event
from typing import TYPE_CHECKING, Any

from weigh.kernels import weights as kernel
from weigh.measure import scan, second_look
from weigh.measure.roundings import ROUNDINGS, Rounding
from weigh.types import Inventory, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OUTLYING = second_look.OUTLYING
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Weights:
    """What the values of a tensor, or of several, say. All but the counts are of finite values only."""

    names: tuple[str, ...]
    sums: NDArray[Any] | None
    """A record of `kernels.weights.empty`, None where the values cannot be read."""
    planes: tuple[NDArray[np.int64], ...]
    """Counts of bytes (planes, 256) of each tensor's stored bytes."""
    outliers: int = 0
    dead_rows: int = 0
    dead_columns: int = 0
    rows: int = 0
    columns: int = 0
    roundable: frozenset[str] = frozenset()
    """Ids of the roundings that the shape allows."""
    unreadable: str = ""
    """Why there are no values."""

    def field(self, name: str) -> float:
        """A sum by its name."""
        return nan if self.sums is None else float(self.sums[name])

    @property
    def count(self) -> int:
        """Finite values."""
        return 0 if self.sums is None else int(self.sums["finite"])

    @property
    def deviation(self) -> float:
        """Standard deviation of all values (not of a sample): sqrt(m2 / n)."""
        return sqrt(self.field("m2") / self.count) if self.count else nan

    @property
    def norm(self) -> float:
        """L2 norm: sum x^2 = m2 + n mean^2."""
        return sqrt(self.field("m2") + self.count * self.field("mean") ** 2) if self.count else nan

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(abs(self.field("minimum")), abs(self.field("maximum"))) if self.count else nan

    @property
    def kurtosis(self) -> float:
        """n m4 / m2^2: 3 for a normal distribution, 1.8 for a uniform one; NaN where all values are equal."""
        spread = self.field("m2")
        # Divided twice: the square of a sum of squares may leave the range of a double.
        return self.field("m4") / spread * (self.count / spread) if self.count and spread > 0 else nan

    @property
    def constant(self) -> bool:
        """All values are one."""
        return self.count > 1 and self.field("minimum") == self.field("maximum") and not self.strange

    @property
    def strange(self) -> int:
        """NaN and infinite values."""
        return 0 if self.sums is None else int(self.sums["nan"] + self.sums["infinite"])

    def error(self, rounding: Rounding) -> float:
        """Relative root mean square error of rounding: sqrt(sum (x - q)^2 / sum x^2); NaN where there is none."""
        if self.sums is None or rounding.id not in self.roundable or self.sums["unrounded"]:
            return nan
        place = kernel.ERRORS.index(rounding.field)
        norm = self.norm
        if self.sums["overflow"][place] or not norm > 0:
            return nan
        return sqrt(float(self.sums["error"][place])) / norm

    def overflow(self, rounding: Rounding) -> int:
        """Blocks whose scale float16 cannot hold."""
        return 0 if self.sums is None else int(self.sums["overflow"][kernel.ERRORS.index(rounding.field)])

    def entropy(self) -> list[float]:
        """Bits a byte of each plane, lowest byte first; of a group of tensors, weighted by their bytes.

        H = -sum p log2 p over the 256 bytes (order 0). An entropy coder with one table a plane comes near it; the
        tables themselves and what neighbours know of each other are ignored.
        """
        widths = {counts.shape[0] for counts in self.planes}
        if len(widths) != 1:
            return []
        total = sum(float(counts[0].sum()) for counts in self.planes)
        if not total:
            return []
        return [
            sum(_entropy(counts[plane]) * float(counts[plane].sum()) for counts in self.planes) / total
            for plane in range(widths.pop())
        ]

    def gain_bytes(self) -> int:
        """Bytes that coding each plane at its entropy would save."""
        bits = sum((8 - _entropy(plane)) * float(plane.sum()) for counts in self.planes for plane in counts)
        return max(int(bits / 8), 0)


def _entropy(counts: NDArray[np.int64]) -> float:
    import numpy as np

    total = counts.sum()
    if not total:
        return 0.0
    shares = counts[counts > 0] / total
    return max(float(-(shares * np.log2(shares)).sum()), 0.0)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(
    inventory: Inventory,
    tensors: Sequence[Tensor],
    tell: Tell | None = None,
    threads: int | None = None,
) -> list[Weights]:
    """Statistics of each tensor. Takes about 2 MiB a thread and 1 byte for 1,000 values of the tensors at work.

    `tell` is called with (bytes done, bytes in all). The results do not depend on the number of threads. An interrupt
    ends the threads after the run at hand. A tensor whose values cannot be read is told with the reason.

    Errors: those of `files.opened` and `files.read_into`.
    """
    stop = Event()
    total = sum(tensor.nbytes for tensor in tensors)
    done = 0
    pool = ThreadPoolExecutor(threads or cores(), "weigh-stats")
    try:
        waiting = [_submit(pool, scan.task(inventory, tensor), stop) for tensor in tensors]
        closing: list[Future[Weights]] = []
        for job, futures in waiting:
            joined: scan.Partial | None = None
            for part, future in futures:
                try:
                    found = future.result()
                except WeighError as refusal:
                    if not refusal.rule.startswith(("VALUES-", "CODEC-")):
                        raise
                    closing.append(pool.submit(_unreadable, job, refusal, stop))
                    break
                if joined is None:
                    joined = found
                else:
                    joined.add(found)
                done += job.tensor.nbytes if part is None else part.end - part.begin
                if tell is not None:
                    tell(done, total)
            else:
                closing.append(pool.submit(_close, job, joined or scan.empty(job), stop))
            futures.clear()
        return [future.result() for future in closing]
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


Waiting = tuple[scan.Task, list[tuple[scan.Part | None, Future[scan.Partial]]]]


def _submit(pool: ThreadPoolExecutor, job: scan.Task, stop: Event) -> Waiting:
    if job.kind == "chunks":
        return job, [(None, pool.submit(scan.read_chunks, job, stop))]
    return job, [(part, pool.submit(scan.read_part, job, part, stop)) for part in scan.parts(job)]


def _unreadable(job: scan.Task, refusal: WeighError, stop: Event) -> Weights:
    return Weights((job.tensor.name,), None, (scan.stored_planes(job, stop),), unreadable=refusal.message)


def _close(job: scan.Task, found: scan.Partial, stop: Event) -> Weights:
    """What needs the whole tensor: moments of patterns, outliers, dead columns."""
    sums = found.sums
    if found.patterns is not None:
        kernel.merge_moments(sums, *second_look.pattern_moments(job.tensor.codec, found.patterns))
    planes = scan.stored_planes(job, stop) if job.kind == "chunks" else found.planes
    matrix = len(job.tensor.shape) > 1 and job.count > 0
    rows = job.count // job.row if matrix else 0
    dead_columns = 0
    # A column of zeros takes a zero in every row.
    if rows > 1 and sums["zeros"] >= rows:
        dead_columns = second_look.dead_columns(job, stop)
    return Weights(
        (job.tensor.name,),
        sums,
        (planes,),
        outliers=second_look.outliers(job, found, stop),
        dead_rows=rows - int(found.alive.sum()) if rows > 1 else 0,
        dead_columns=dead_columns,
        rows=rows,
        columns=job.row if matrix else 0,
        roundable=frozenset(rounding.id for rounding in ROUNDINGS if rounding.applies(job.tensor.shape)),
    )


def merged(found: Iterable[Weights]) -> Weights:
    """Several tensors as one: moments are joined, counts added, errors taken where every tensor has one.

    Outliers stay those of each tensor against its own deviation.
    """
    every = list(found)
    readable = [one for one in every if one.sums is not None]
    sums = kernel.empty()
    for one in readable:
        kernel.merge(sums, one.sums)  # type: ignore[arg-type]
    holding = [one for one in readable if one.count]
    return Weights(
        tuple(name for one in every for name in one.names),
        sums if readable else None,
        tuple(counts for one in every for counts in one.planes),
        outliers=sum(one.outliers for one in readable),
        dead_rows=sum(one.dead_rows for one in readable),
        dead_columns=sum(one.dead_columns for one in readable),
        rows=sum(one.rows for one in readable),
        columns=sum(one.columns for one in readable),
        roundable=frozenset.intersection(*(one.roundable for one in holding)) if holding else frozenset(),
        unreadable="" if readable else next((one.unreadable for one in every), ""),
    )


def told(value: float) -> float | None:
    """A number for a document: None where it is not one."""
    return value if isfinite(value) else None
