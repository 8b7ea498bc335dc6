"""What only the whole tensor tells: its moments from counts of patterns, its outliers, dead columns, its twins.

Where values must be read again, only those that can matter are: stretches whose largest magnitude is beyond the
threshold, rows until every column is seen alive, tensors whose extremes agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from math import sqrt
from threading import Event
from typing import TYPE_CHECKING

from weigh import codecs
from weigh.formats import chunks, stored
from weigh.kernels import weights as kernel
from weigh.measure.scan import PATTERNS, STRETCH, WIDE, Partial, Stopped, Task
from weigh.types import Inventory, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weigh.measure.weights import Weights

OUTLYING = 6
"""Deviations from the mean beyond which a value is an outlier."""
READ_AGAIN = 2**20


def pattern_values(codec: str) -> NDArray[np.float64]:
    """The value of each 16-bit pattern."""
    import numpy as np

    codes = np.arange(PATTERNS, dtype="<u2").view(np.uint8)
    with np.errstate(invalid="ignore"):
        return codecs.decode(codecs.by_id(codec), codes, PATTERNS).astype(np.float64)


def pattern_moments(codec: str, counts: NDArray[np.uint64]) -> tuple[float, ...]:
    """(n, mean, m2, m3, m4) of the finite values, from how often each pattern stands."""
    import numpy as np

    values = pattern_values(codec)
    there = (counts > 0) & np.isfinite(values)
    return kernel.central(values[there], counts[there].astype(np.float64))


def outliers(job: Task, found: Partial, stop: Event) -> int:
    """Values with |x - mean| > 6 deviations, exactly."""
    import numpy as np

    sums = found.sums
    if not sums["finite"] or not sums["m2"] > 0:
        return 0
    mean = float(sums["mean"])
    limit = OUTLYING * sqrt(float(sums["m2"]) / float(sums["finite"]))
    if found.patterns is not None:
        values = pattern_values(job.tensor.codec)
        with np.errstate(invalid="ignore"):
            far = np.isfinite(values) & (np.abs(values - mean) > limit)
        return int(found.patterns[far].sum())
    if not found.maxima:
        return 0
    starts, maxima = np.concatenate(found.starts), np.concatenate(found.maxima)
    # |x - mean| > limit asks for |x| > limit - |mean|; float32 may have rounded the maximum of a wide type.
    suspect = np.flatnonzero(maxima.astype(np.float64) * (1 + 1e-6) > limit - abs(mean))
    if not suspect.size:
        return 0
    beyond = 0
    if job.kind == "chunks":
        for piece in chunks(job.inventory, job.tensor):
            _go_on(stop)
            beyond += _beyond(piece.astype(np.float64), mean, limit)
        return beyond
    ends = np.append(starts[1:], job.count)
    for begin, end in _joined(starts[suspect], ends[suspect]):
        for values in _again(job, begin, end, stop):
            beyond += _beyond(values, mean, limit)
    return beyond


def _beyond(values: NDArray[np.float64], mean: float, limit: float) -> int:
    import numpy as np

    with np.errstate(invalid="ignore"):
        return int((np.isfinite(values) & (np.abs(values - mean) > limit)).sum())


def _joined(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Neighbouring spans as one, so that one read serves them."""
    begin, end = int(begins[0]), int(ends[0])
    for b, e in zip(begins[1:].tolist(), ends[1:].tolist(), strict=True):
        if b > end + STRETCH * kernel.GROUP:
            yield begin, end
            begin = b
        end = e
    yield begin, end


def _again(job: Task, begin: int, end: int, stop: Event) -> Iterator[NDArray[np.float64]]:
    """Values `begin` to `end` of a contiguous tensor as float64."""
    import numpy as np

    codec = codecs.by_id(job.tensor.codec)
    first = begin // codec.block * codec.block_bytes
    last = -(-end // codec.block) * codec.block_bytes
    step = READ_AGAIN // codec.block_bytes * codec.block_bytes
    skip = begin % codec.block
    buffer = np.empty(min(step, last - first), np.uint8)
    left = end - begin
    for run in stored.runs(job.inventory, job.tensor, first, last, step, buffer):
        _go_on(stop)
        if codec.id in WIDE:
            values = run.view(WIDE[codec.id]).astype(np.float64)
        else:
            values = codecs.decode(codec, run, run.size // codec.block_bytes * codec.block).astype(np.float64)
        values = values[skip : skip + left]
        skip, left = 0, left - values.size
        yield values


def dead_columns(job: Task, stop: Event) -> int:
    """Places of the last axis that hold zero in every row. Reads rows until each place has been seen alive."""
    import numpy as np

    alive = np.zeros(job.row, bool)
    at = 0
    pieces = chunks(job.inventory, job.tensor, max(READ_AGAIN // 4, job.row))
    for piece in pieces:
        _go_on(stop)
        filled = np.flatnonzero(piece)
        alive[(filled + at) % job.row] = True
        at = (at + piece.size) % job.row
        if alive.all():
            pieces.close()  # type: ignore[attr-defined]
            return 0
    return int((~alive).sum())


def duplicates(inventory: Inventory, tensors: Sequence[Tensor], found: Sequence[Weights]) -> list[list[str]]:
    """Names of tensors with the same shape and values, however stored; constant and empty ones left out.

    Only those whose counts and extremes agree are read again; the values are compared by a 128-bit BLAKE2b.
    """
    alike: dict[tuple[object, ...], list[Tensor]] = {}
    for tensor, one in zip(tensors, found, strict=True):
        if one.sums is None or not one.count or one.constant or one.count < 2:
            continue
        key = (tensor.shape, *(float(one.sums[name]) for name in ("minimum", "maximum", "zeros", "nan", "infinite")))
        alike.setdefault(key, []).append(tensor)
    groups: list[list[str]] = []
    for candidates in alike.values():
        if len(candidates) < 2:
            continue
        same: dict[bytes, list[str]] = {}
        plain = len({(t.codec, t.layout) for t in candidates}) == 1 and all(len(t.pieces) == 1 for t in candidates)
        for tensor in candidates:
            pieces = _stored(inventory, tensor) if plain else _values(inventory, tensor)
            same.setdefault(_digest(pieces), []).append(tensor.name)
        groups += [names for names in same.values() if len(names) > 1]
    return groups


def _stored(inventory: Inventory, tensor: Tensor) -> Iterator[bytes]:
    if tensor.pieces[0].strides:
        return _values(inventory, tensor)
    return stored.raw(inventory, tensor, READ_AGAIN)


def _values(inventory: Inventory, tensor: Tensor) -> Iterator[bytes]:
    for piece in chunks(inventory, tensor):
        yield piece.tobytes()


def _digest(pieces: Iterable[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _go_on(stop: Event) -> None:
    if stop.is_set():
        raise Stopped
