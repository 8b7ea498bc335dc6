"""What a run of values says: moments, extremes, zeros, and what rounding would cost. The twin of `weights.c`.

Values lie in rows, rows in groups of 128 (the last of a row may be shorter), groups in blocks of 32. Roundings:

q8_0, q4_0  ggml's reference for blocks of 32, bit for bit: the scale d = max|x| / 127, or x of the largest magnitude
            (the first of several) / -8; codes round(x * 1/d) with halves away from zero, or trunc(x * 1/d + 8.5) up to
            15; decoded with d rounded to float16. Source: `gguf/quants.py` of the package gguf 0.19, which states for
            q8_0 that it gives the same bits as ggml-quants.c. The product of q4_0 is rounded before 8.5 is added; a
            ggml that was compiled to fuse the two may differ in a last code.
int8, int4  symmetric, groups of 128: d = max|x| / 127 or / 7 as float32, codes round(x * 1/d) with halves to even.

An error is taken as x/d - code in float32, which is off by less than 2^-16 of a step, and summed as a double. A scale
below the smallest normal float32 counts as zero. A scale that float16 cannot hold is counted as overflow.
A run with a value that is not finite is not rounded (its values are counted in `unrounded`): here the whole run, in C
the tile of 4,096 values, so that errors, overflow and near zeros mean something only where nothing is unrounded.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Final

from weigh.kernels import CHOICE, library, planes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK, GROUP = 32, 128
KINDS: Final = {"f32": (1, 4), "bf16": (1, 2), "f16": (1, 2), "q8_0": (32, 2 + 32)}
"""Codecs decoded by the kernel itself, in the order of its numbers: values and bytes of a block."""
NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}
ERRORS: Final = ("q8_0", "q4_0", "int8", "int4")
FIELDS: Final = (
    "finite", "nan", "infinite", "zeros", "near_zeros", "minimum", "maximum", "mean", "m2", "m3", "m4", "unrounded",
)  # fmt: skip
"""`near_zeros`: not zero, but zero when rounded to int8. m2 to m4: sums of powers of (x - mean), finite values only."""


def empty() -> NDArray[Any]:
    """The sums of no values: a record with `FIELDS`, `error` (sums of squared errors) and `overflow` (blocks)."""
    import numpy as np

    fields: list[Any] = [(name, "f8") for name in FIELDS]
    sums = np.zeros((), [*fields, ("error", "f8", len(ERRORS)), ("overflow", "f8", len(ERRORS))])
    sums["minimum"], sums["maximum"] = np.inf, -np.inf
    return sums


def groups(count: int, row: int) -> int:
    """Groups of 128 in whole rows, or in a part of one row."""
    return count // row * -(-row // GROUP) if count % row == 0 else -(-count // GROUP)


def scan(
    raw: NDArray[np.uint8],
    kind: str,
    row: int,
    sums: NDArray[Any],
    *,
    moments: bool = True,
    pairs: NDArray[np.uint32] | None = None,
) -> NDArray[np.float32]:
    """Add to `sums` what the values stored in `raw` say; gives the largest magnitude of each group of 128.

    `raw` holds whole rows, or a part of one row that begins where a group does. A group with a value that is not
    finite has an infinite one. Without `moments` mean, m2, m3, m4 and `finite` are left as they are. `pairs` are the
    counts of `planes.pattern_pairs` (f32) or `planes.patterns` (the others), added to on the way.
    """
    import numpy as np

    block, block_bytes = KINDS[kind]
    count = raw.size // block_bytes * block
    if count > row and count % row:
        raise ValueError(f"{count} values are neither whole rows of {row} nor a part of one")
    if raw.size % block_bytes or not raw.flags.c_contiguous:
        raise ValueError("a kernel takes whole blocks without gaps only")
    maxima = np.empty(groups(count, row), np.float32)
    if not count:
        return maxima
    if pairs is not None and pairs.size != (2 if kind == "f32" else 1) * planes.PATTERNS:
        raise ValueError(f"these are no counters of patterns of {kind}")
    compiled = library()
    if compiled is None:
        if pairs is not None:
            (planes.pattern_pairs if kind == "f32" else planes.patterns)(raw, pairs)
        _twin(_decoded(raw, kind), row, sums, maxima, moments)
        return maxima
    compiled.weigh_weights(
        ctypes.c_void_p(raw.ctypes.data),
        ctypes.c_int(NUMBERS[kind]),
        ctypes.c_int64(count),
        ctypes.c_int64(row),
        ctypes.c_int(moments),
        ctypes.c_void_p(sums.ctypes.data),
        ctypes.c_void_p(maxima.ctypes.data),
        ctypes.c_void_p(None if pairs is None else pairs.ctypes.data),
        ctypes.c_int(os.environ.get(CHOICE, "") == "plain"),
    )
    return maxima


def merge(sums: NDArray[Any], other: NDArray[Any]) -> None:
    """Add the sums of other values, their moments pairwise.

    Each set's powers are moved to the common mean by the binomial theorem; sums of first powers about an own mean are
    zero. Stable where plain power sums are not: https://www.osti.gov/biblio/1028931 (Pebay 2008, on Chan's formulas).
    With n = a + b, delta = mean_b - mean_a and step = delta / n:
    m4 += m4_b + delta step^3 a b (a^2 - ab + b^2) + 6 step^2 (a^2 m2_b + b^2 m2_a) + 4 step (a m3_b - b m3_a)
    m3 += m3_b + delta step^2 a b (a - b) + 3 step (a m2_b - b m2_a);  m2 += m2_b + delta step a b;  mean += step b.
    """
    import numpy as np

    merge_moments(sums, float(other["finite"]), *(float(other[name]) for name in ("mean", "m2", "m3", "m4")))
    for name in ("nan", "infinite", "zeros", "near_zeros", "unrounded", "error", "overflow"):
        sums[name] += other[name]
    sums["minimum"] = np.minimum(sums["minimum"], other["minimum"])
    sums["maximum"] = np.maximum(sums["maximum"], other["maximum"])


def merge_moments(sums: NDArray[Any], b: float, mean: float, m2: float, m3: float, m4: float) -> None:
    """The moments' part of `merge`: those of `b` values more."""
    if not b:
        return
    a = float(sums["finite"])
    delta = mean - float(sums["mean"])
    step = delta / (a + b)
    mine2, mine3 = float(sums["m2"]), float(sums["m3"])
    sums["m4"] += (
        m4
        + delta * step**3 * a * b * (a * a - a * b + b * b)
        + 6 * step**2 * (a * a * m2 + b * b * mine2)
        + 4 * step * (a * m3 - b * mine3)
    )
    sums["m3"] += m3 + delta * step**2 * a * b * (a - b) + 3 * step * (a * m2 - b * mine2)
    sums["m2"] += m2 + delta * step * a * b
    sums["mean"] += step * b
    sums["finite"] += b


def central(values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> tuple[float, ...]:
    """(n, mean, m2, m3, m4) of finite values, each `weights` times. Two passes: the mean, then powers about it."""
    import numpy as np

    weigh = np.ones(1) if weights is None else weights
    n = float(values.size if weights is None else weigh.sum())
    if not n:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    # Shifted by the first value, so that a large common offset does not cost the digits of the rest.
    shift = float(values.flat[0])
    mean = shift + float(((values - shift) * weigh).sum()) / n
    off = values - mean
    square = off * off
    return n, mean, *(float((power * weigh).sum()) for power in (square, square * off, square * square))


# --------------------------------------------------------------------------------------------------- the twin


def _decoded(raw: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    import numpy as np

    with np.errstate(all="ignore"):
        if kind == "f32":
            return raw.view("<f4")
        if kind == "bf16":
            return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
        if kind == "f16":
            return raw.view("<f2").astype(np.float32)
        rows = raw.reshape(-1, 2 + BLOCK)
        scale = rows[:, :2].copy().view("<f2").astype(np.float32)
        return (scale * rows[:, 2:].view(np.int8).astype(np.float32)).reshape(-1)


def _twin(
    values: NDArray[np.float32], row: int, sums: NDArray[Any], maxima: NDArray[np.float32], moments: bool
) -> None:
    import numpy as np

    run = row if values.size % row == 0 else values.size
    padded = np.zeros((values.size // run, -(-run // GROUP) * GROUP), np.float32)
    padded[:, :run] = values.reshape(-1, run)
    grouped = padded.reshape(-1, GROUP)
    finite = np.isfinite(values)
    good = values[finite]
    nan = np.isnan(values)
    sums["nan"] += nan.sum()
    sums["infinite"] += (~finite & ~nan).sum()
    sums["zeros"] += (values == 0).sum()
    if good.size:
        sums["minimum"] = min(sums["minimum"], good.min())
        sums["maximum"] = max(sums["maximum"], good.max())
    if moments:
        merge_moments(sums, *central(good.astype(np.float64)))
    maxima[:] = np.where(np.isfinite(grouped).all(axis=1), np.abs(grouped).max(axis=1), np.inf)
    if good.size < values.size:
        sums["unrounded"] += values.size
        return
    blocks = grouped.reshape(-1, BLOCK)
    with np.errstate(all="ignore"):
        _round_blocks(blocks, sums)
        _round_groups(grouped, maxima[:, None], sums)
    # What was laid beside short groups is zero in int8, and zero before.
    sums["near_zeros"] -= (grouped == 0).sum()


def _round_blocks(blocks: NDArray[np.float32], sums: NDArray[Any]) -> None:
    import numpy as np

    magnitude = np.abs(blocks)
    leading = np.take_along_axis(blocks, magnitude.argmax(axis=1, keepdims=True), axis=1)
    q8 = magnitude.max(axis=1, keepdims=True) / np.float32(127)
    q4 = leading / np.float32(-8)
    for place, scale in enumerate((q8, q4)):
        size = np.abs(scale)
        normal = (size >= np.finfo(np.float32).tiny) & (size < np.float32(65520))
        inverse = np.where(normal, np.float32(1) / scale, np.float32(0))
        kept = scale.astype(np.float16).astype(np.float32) * inverse
        exact = blocks * inverse
        if place == 0:
            whole = np.trunc(exact + np.copysign(np.float32(0.49999997), exact))
        else:
            whole = np.minimum(np.trunc(exact + np.float32(8.5)), np.float32(15)) - np.float32(8)
        off = np.where(normal, exact - whole * kept, 0).astype(np.float64) * scale
        lost = ~normal & (size > 0) & (size < 1)
        sums["error"][place] += (off**2).sum() + (np.where(lost, blocks, 0).astype(np.float64) ** 2).sum()
        sums["overflow"][place] += (~normal & (size >= 1)).sum()


def _round_groups(grouped: NDArray[np.float32], largest: NDArray[np.float32], sums: NDArray[Any]) -> None:
    import numpy as np

    for place, steps in ((2, 127), (3, 7)):
        scale = largest / np.float32(steps)
        normal = scale >= np.finfo(np.float32).tiny
        inverse = np.where(normal, np.float32(1) / scale, np.float32(0))
        exact = grouped * inverse
        whole = np.rint(exact)
        if steps == 127:
            sums["near_zeros"] += (whole == 0).sum()
        off = np.where(normal, (exact - whole).astype(np.float64) * scale, grouped.astype(np.float64))
        sums["error"][place] += (off**2).sum()
