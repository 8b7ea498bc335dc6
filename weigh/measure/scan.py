"""Reads the values of one tensor once, in parts that threads can share, and adds up what they say.

A tensor in one piece is cut into parts, a part into runs that stay in a core's cache. Plain floats and q8_0 go to the
kernel as they are stored, other codecs are decoded first, and what does not lie in one piece comes from
`formats.chunks`. For 16-bit floats the count of all 65,536 patterns says everything that does not depend on the order
of the values, so the kernel leaves out the moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from threading import Event
from typing import TYPE_CHECKING, Any

from weigh import codecs
from weigh.formats import chunks, stored
from weigh.kernels import planes
from weigh.kernels import weights as kernel
from weigh.types import Inventory, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUN_BYTES = 1024 * 1024
PART_BYTES = 16 * 2**20
STRETCH = 32
"""Groups whose largest magnitude is kept as one number, for the second look at outliers."""
PATTERNS = 1 << 16
WIDE = {"f64": "<f8", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8"}
"""Types that float32 cannot hold: their moments are taken in float64."""
SHORTEST_ROW = 32
MOST_VALUES_A_BYTE = 16
"""No codec packs more. A tensor with steps of zero may claim any number of values for a few bytes."""


@dataclass(frozen=True, slots=True)
class Task:
    """A tensor and how it is read."""

    inventory: Inventory
    tensor: Tensor
    row: int
    """Values of a row: those of the last axis; of all axes but the first where the last is short (a convolution)."""
    kind: str
    """`kernel`, `decoded`, or `chunks`."""
    width: int
    """Byte planes: bytes of a plain number, 1 for blocks."""

    @property
    def count(self) -> int:
        """Values, as the shape says."""
        return prod(self.tensor.shape)

    @property
    def by_pattern(self) -> bool:
        """Whether the moments follow from the counts of 16-bit patterns; a small tensor is done sooner without."""
        return self.tensor.codec in ("bf16", "f16") and self.kind == "kernel" and self.count >= PATTERNS


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `begin` to `end` of a contiguous tensor, `step` at a time."""

    begin: int
    end: int
    step: int


@dataclass(slots=True)
class Partial:
    """What a part says; `add` joins those of a tensor in order."""

    sums: NDArray[Any]
    planes: NDArray[np.int64]
    patterns: NDArray[np.uint64] | None
    starts: list[NDArray[np.int64]]
    """First value of each stretch of groups, and the largest magnitude in it."""
    maxima: list[NDArray[np.float32]]
    alive: NDArray[np.bool_]
    """Rows that hold something other than zero."""

    def add(self, other: Partial) -> None:
        """Join what the next part says."""
        kernel.merge(self.sums, other.sums)
        self.planes += other.planes
        if self.patterns is not None and other.patterns is not None:
            self.patterns += other.patterns
        self.starts += other.starts
        self.maxima += other.maxima
        self.alive |= other.alive


class Stopped(Exception):  # noqa: N818 - not an error: the user has enough
    """The scan was asked to stop."""


def task(inventory: Inventory, tensor: Tensor) -> Task:
    """Choose how a tensor is read."""
    row = row_length(tensor.shape)
    if not stored.contiguous(inventory, tensor):
        width = 1 if tensor.codec.startswith("unknown:") else plane_width(tensor.codec)
        return Task(inventory, tensor, row, "chunks", width)
    codec = codecs.by_id(tensor.codec)
    if row % codec.block or codec.decode is None:
        kind = "chunks"
    else:
        kind = "kernel" if codec.id in kernel.KINDS else "decoded"
    return Task(inventory, tensor, row, kind, plane_width(codec.id))


def plane_width(codec_id: str) -> int:
    """Bytes of a number that is stored as it is; 1 for what is packed in blocks or bits."""
    codec = codecs.by_id(codec_id)
    return codec.block_bytes if codec.block == 1 else 1


def row_length(shape: tuple[int, ...]) -> int:
    """Values of a row, at least 1."""
    count = prod(shape)
    if not shape or not count:
        return max(count, 1)
    if shape[-1] >= SHORTEST_ROW:
        return shape[-1]
    behind = prod(shape[1:])
    return behind if len(shape) > 1 and behind >= SHORTEST_ROW else count


def parts(job: Task) -> list[Part]:
    """Cut a contiguous tensor: parts of whole rows, or of a row where a row is longer than a part."""
    codec = codecs.by_id(job.tensor.codec)
    total = job.tensor.nbytes
    row = job.row // codec.block * codec.block_bytes
    # Bytes of a run decoded to float32 are what must fit into the cache.
    room = min(RUN_BYTES, RUN_BYTES // 4 * codec.block_bytes // codec.block if job.kind == "decoded" else RUN_BYTES)
    if not total:
        return []
    if row <= room:
        step = room // row * row
        length = max(PART_BYTES // step, 1) * step
        return [Part(begin, min(begin + length, total), step) for begin in range(0, total, length)]
    unit = max(kernel.GROUP, codec.block) // codec.block * codec.block_bytes
    step = max(room // unit, 1) * unit
    length = max(PART_BYTES // step, 1) * step
    return [
        Part(begin, min(begin + length, first + row), step)
        for first in range(0, total, row)
        for begin in range(first, first + row, length)
    ]


def empty(job: Task) -> Partial:
    """Nothing read yet."""
    import numpy as np

    rows = job.count // job.row if job.count else 0
    patterns = np.zeros(PATTERNS, np.uint64) if job.by_pattern else None
    return Partial(kernel.empty(), np.zeros((job.width, 256), np.int64), patterns, [], [], np.zeros(rows, bool))


def read_part(job: Task, part: Part, stop: Event) -> Partial:
    """Read a part and add up what it says. Raises Stopped, and the errors of `stored.runs` and `codecs.decode`."""
    import numpy as np

    codec = codecs.by_id(job.tensor.codec)
    found = empty(job)
    buffer = np.empty(min(part.step, part.end - part.begin), np.uint8)
    counts = _counters(job)
    maxima: list[NDArray[np.float32]] = []
    for run in stored.runs(job.inventory, job.tensor, part.begin, part.end, part.step, buffer):
        if stop.is_set():
            raise Stopped
        if job.kind == "kernel":
            found_here = kernel.scan(run, codec.id, job.row, found.sums, moments=not job.by_pattern, pairs=counts)
        else:
            _count_bytes(job, run, counts)
            found_here = _scan_decoded(job, run, found.sums)
        maxima.append(found_here)
    values = (part.end - part.begin) // codec.block_bytes * codec.block
    _note(found, job, part.begin // codec.block_bytes * codec.block, values, np.concatenate(maxima))
    _settle(job, counts, found)
    return found


def read_chunks(job: Task, stop: Event) -> Partial:
    """The same for a tensor that does not lie in one piece, or whose rows are no whole blocks."""
    import numpy as np

    if job.count > MOST_VALUES_A_BYTE * job.tensor.nbytes:
        message = f"its shape repeats {job.tensor.nbytes:,} stored bytes {job.count:,} times"
        raise WeighError(message, rule="VALUES-REPEATED", where=f"tensor {job.tensor.name[:200]!r}")
    found = empty(job)
    first = 0
    for values in _in_rows(chunks(job.inventory, job.tensor, RUN_BYTES), job.row):
        if stop.is_set():
            raise Stopped
        maxima = kernel.scan(values.view(np.uint8), "f32", job.row, found.sums)
        _note(found, job, first, values.size, maxima)
        first += values.size
    return found


def stored_planes(job: Task, stop: Event) -> NDArray[np.int64]:
    """Counts of the stored bytes alone, pieces joined: what can be told where the values cannot."""
    import numpy as np

    counts = np.zeros((job.width, 256), np.int64)
    for piece in stored.raw(job.inventory, job.tensor, PART_BYTES // job.width * job.width):
        if stop.is_set():
            raise Stopped
        data = np.frombuffer(piece, np.uint8)
        now = np.zeros(counts.shape, np.uint32)
        planes.bytes_by_plane(data[: data.size // job.width * job.width], job.width, now)
        counts += now
    return counts


# ----------------------------------------------------------------------------------------------------- pieces


def _paired(job: Task) -> bool:
    """Whether bytes are counted two at a time: packed blocks of an even size lie in runs of an even size."""
    return job.width == 2 or (job.width == 1 and codecs.by_id(job.tensor.codec).block_bytes % 2 == 0)


def _counters(job: Task) -> NDArray[np.uint32]:
    import numpy as np

    if _paired(job):
        return np.zeros(PATTERNS, np.uint32)
    return np.zeros((2, PATTERNS) if job.width == 4 else (job.width, 256), np.uint32)


def _count_bytes(job: Task, run: NDArray[np.uint8], counts: NDArray[np.uint32]) -> None:
    if _paired(job):
        planes.patterns(run, counts)
    elif job.width == 4:
        planes.pattern_pairs(run, counts)
    else:
        planes.bytes_by_plane(run, job.width, counts)


def _settle(job: Task, counts: NDArray[np.uint32], found: Partial) -> None:
    """Counts of patterns become counts of bytes."""
    import numpy as np

    if found.patterns is not None:
        found.patterns += counts
    by_byte = planes.planes_of(counts) if _paired(job) or job.width == 4 else counts.astype(np.int64)
    # Of packed bytes the first and the second of a pair are of one kind.
    found.planes += by_byte.reshape(job.width, -1, 256).sum(axis=1) if job.width == 1 else by_byte.reshape(-1, 256)


def _note(found: Partial, job: Task, first: int, count: int, maxima: NDArray[np.float32]) -> None:
    """Keep which rows are alive, and the largest magnitude of each stretch of groups."""
    import numpy as np

    row = first // job.row
    whole = count % job.row == 0
    of_row = -(-job.row // kernel.GROUP) if whole else maxima.size
    if whole:
        lines = count // job.row
        found.alive[row : row + lines] |= maxima.reshape(lines, of_row).any(axis=1)
    else:
        found.alive[row] |= bool(maxima.any())
    begins = np.arange(0, maxima.size, STRETCH)
    values = begins // of_row * job.row + begins % of_row * kernel.GROUP
    found.starts.append(first + values)
    found.maxima.append(np.maximum.reduceat(maxima, begins))


def _scan_decoded(job: Task, run: NDArray[np.uint8], sums: NDArray[Any]) -> NDArray[np.float32]:
    import numpy as np

    codec = codecs.by_id(job.tensor.codec)
    values = codecs.decode(codec, run, run.size // codec.block_bytes * codec.block)
    if codec.id not in WIDE:
        return kernel.scan(values.view(np.uint8), "f32", job.row, sums)
    rounded = kernel.empty()
    maxima = kernel.scan(values.view(np.uint8), "f32", job.row, rounded, moments=False)
    exact = run.view(WIDE[codec.id]).astype(np.float64)
    finite = exact[np.isfinite(exact)]
    rounded["nan"] = np.isnan(exact).sum()
    rounded["infinite"] = exact.size - finite.size - rounded["nan"]
    rounded["zeros"] = (exact == 0).sum()
    rounded["minimum"] = finite.min(initial=np.inf)
    rounded["maximum"] = finite.max(initial=-np.inf)
    with np.errstate(over="ignore"):
        kernel.merge_moments(rounded, *kernel.central(finite))
    kernel.merge(sums, rounded)
    return maxima


def _in_rows(pieces: Iterator[NDArray[np.float32]], row: int) -> Iterator[NDArray[np.float32]]:
    """The same values in runs as the kernel takes them: whole rows, or parts of one row that end where a group does."""
    import numpy as np

    rest = np.empty(0, np.float32)
    at = 0
    for piece in pieces:
        rest = piece if not rest.size else np.concatenate([rest, piece])
        while rest.size:
            left = row - at
            if not at and rest.size >= row:
                take = rest.size // row * row
            elif rest.size >= left:
                take = left
            else:
                take = rest.size // kernel.GROUP * kernel.GROUP if row > RUN_BYTES else 0
            if not take:
                break
            yield np.ascontiguousarray(rest[:take])
            at = (at + take) % row
            rest = rest[take:]
