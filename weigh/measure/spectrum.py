"""The singular values of a matrix: how many directions it really has, and how heavy the tail of its spectrum is.

Effective rank: exp of the entropy of s_i / sum s, the singular values as shares (Roy and Vetterli 2007; the definition
is repeated at https://www.episodeyang.com/blog/2021/10-23/effective_rank/). Between 1 and the rank.

Tail exponent: the density of the eigenvalues l = s^2 / rows is fitted by l^-alpha from some l_min on: alpha = 1 + n /
sum ln(l_i / l_min) over the n eigenvalues from l_min on, the maximum-likelihood (Hill) estimate; l_min is the one
whose fit has the smallest Kolmogorov-Smirnov distance. Such fits of weight matrices are those of WeightWatcher
(https://calculatedcontent.com/2020/09/14/why-weightwatcher-works/; https://weightwatcher.ai/htsr.html calls 2 to 6
usual of trained layers). Ignored: whether a power law fits at all (the distance is told, no p-value is), an upper end
of the tail, and finite size; a spectrum of few eigenvalues says little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, isfinite, prod
from typing import TYPE_CHECKING

from weigh.formats import chunks
from weigh.measure.scan import row_length
from weigh.types import Inventory, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 2048
"""Of the smaller side: beyond it, so many rows or columns, drawn at random, stand for all (seed 0)."""
LEAST = 32
"""Of the smaller side: fewer singular values make no spectrum."""
LEAST_TAIL = 10


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Of one matrix; None where it has too few or no finite values."""

    rows: int
    columns: int
    sampled: int | None
    """Rows or columns that were drawn, None where all were taken."""
    effective_rank: float | None
    stable_rank: float | None
    """sum s^2 / max s^2."""
    largest: float
    """Largest singular value, of the sample if there was one."""
    tail_exponent: float | None
    tail_start: float | None
    tail_count: int
    distance: float | None
    """Kolmogorov-Smirnov distance of the tail's fit."""


def sides(tensor: Tensor) -> tuple[int, int] | None:
    """Rows and columns of the matrix that a tensor is, None where it is none or has a side that is too short.

    A convolution is read as outputs times the rest. A stack of matrices is none.
    """
    shape = tensor.shape
    if len(shape) < 2 or not prod(shape):
        return None
    columns = row_length(shape)
    rows = prod(shape) // columns
    stacked = len(shape) > 2 and columns == shape[-1]
    return None if stacked or min(rows, columns) < LEAST else (rows, columns)


def spectrum(inventory: Inventory, tensor: Tensor) -> Spectrum | None:
    """The spectrum of a matrix. Takes 8 x smaller side^2 bytes, at most 34 MB, one pass over the values,
    and of a wide matrix the drawn rows as float32.

    The squares of the singular values are the eigenvalues of the smaller of the two products of the matrix with itself,
    added up in float64 row by row; singular values below 1e-8 of the largest are lost in that. None where `sides` is,
    or where a value is not finite. Errors: those of `formats.chunks`, MEASURE-SPECTRUM.
    """
    import numpy as np

    size = sides(tensor)
    if size is None:
        return None
    rows, columns = size
    drawn = _drawn(min(rows, columns))
    kept = min(rows, columns) if drawn is None else drawn.size
    product = np.zeros((kept, kept))
    # A wide matrix needs all of its (drawn) rows at once, in strips of columns: they are kept as float32.
    tall = rows >= columns
    lines: list[NDArray[np.float32]] = []
    for first, strip in _strips(inventory, tensor, columns):
        if tall:
            part = strip if drawn is None else strip[:, drawn]
            wide = part.astype(np.float64)
            product += wide.T @ wide
        else:
            here = np.arange(first, first + len(strip))
            lines.append(strip if drawn is None else strip[np.isin(here, drawn)])
    if lines:
        matrix = np.concatenate(lines)
        for begin in range(0, columns, LARGEST):
            wide = matrix[:, begin : begin + LARGEST].astype(np.float64)
            product += wide @ wide.T
    if not np.isfinite(product).all():
        return None
    try:
        eigenvalues = np.linalg.eigvalsh(product)
    except np.linalg.LinAlgError as cause:
        message = f"the eigenvalues of {tensor.name[:200]!r} were not found"
        raise WeighError(message, rule="MEASURE-SPECTRUM") from cause
    return _told(rows, columns, None if drawn is None else kept, np.clip(eigenvalues, 0, None)[::-1])


def _drawn(side: int) -> NDArray[np.int64] | None:
    import numpy as np

    if side <= LARGEST:
        return None
    return np.sort(np.random.default_rng(0).choice(side, LARGEST, replace=False))


def _strips(inventory: Inventory, tensor: Tensor, columns: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Whole rows of the matrix with the number of the first."""
    import numpy as np

    first = 0
    rest = np.empty(0, np.float32)
    for piece in chunks(inventory, tensor):
        rest = np.concatenate([rest, piece]) if rest.size else piece
        lines = rest.size // columns
        if lines:
            yield first, rest[: lines * columns].reshape(lines, columns)
            first += lines
            rest = rest[lines * columns :]


def _told(rows: int, columns: int, sampled: int | None, squares: NDArray[np.float64]) -> Spectrum:
    import numpy as np

    singular = np.sqrt(squares)
    total = float(singular.sum())
    if not total > 0:
        return Spectrum(rows, columns, sampled, None, None, 0.0, None, None, 0, None)
    shares = singular[singular > 0] / total
    rank = exp(float(-(shares * np.log(shares)).sum()))
    exponent, start, count, distance = tail(squares / max(rows, columns))
    return Spectrum(
        rows, columns, sampled, rank, float(squares.sum() / squares[0]), float(singular[0]), exponent, start, count,
        distance,
    )  # fmt: skip


def tail(eigenvalues: NDArray[np.float64]) -> tuple[float | None, float | None, int, float | None]:
    """(alpha, l_min, eigenvalues from there on, distance) of the best fit of a power law to the tail."""
    import numpy as np

    values = np.sort(eigenvalues[eigenvalues > eigenvalues.max(initial=0) * 1e-12])
    best: tuple[float | None, float | None, int, float | None] = (None, None, 0, None)
    logs = np.log(values)
    for first in range(values.size - LEAST_TAIL + 1):
        count = values.size - first
        spread = float(logs[first:].sum()) - count * float(logs[first])
        if spread <= 0:
            continue
        alpha = 1 + count / spread
        fitted = 1 - np.exp((1 - alpha) * (logs[first:] - logs[first]))
        steps = np.arange(count + 1) / count
        distance = float(max(np.abs(fitted - steps[:-1]).max(), np.abs(fitted - steps[1:]).max()))
        if isfinite(distance) and (best[3] is None or distance < best[3]):
            best = (alpha, float(values[first]), count, distance)
    return best
