"""How two runs of float32 lie apart, summed in float64. The twin of `difference.c`."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from weigh.kernels import library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

FIELDS: Final = ("equal", "difference", "left", "right", "product", "largest", "unequal_nan")
"""Values that are the same number (NaN to NaN included); sums of (b - a)^2, a^2, b^2 and a b; the largest |b - a|;
values that are NaN or infinite on one side and something else on the other, which are in none of the sums."""


def difference(left: Values, right: Values) -> tuple[float, ...]:
    """`FIELDS` of two flat arrays of one length."""
    import numpy as np

    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"arrays of shapes {left.shape} and {right.shape} cannot be compared value by value")
    compiled = library()
    if compiled is None or left.dtype != np.float32 or right.dtype != np.float32:
        return twin(left, right)
    a, b = np.ascontiguousarray(left), np.ascontiguousarray(right)
    found = np.zeros(len(FIELDS))
    compiled.weigh_difference(
        ctypes.c_void_p(a.ctypes.data),
        ctypes.c_void_p(b.ctypes.data),
        ctypes.c_int64(a.size),
        ctypes.c_void_p(found.ctypes.data),
    )
    return tuple(found.tolist())


def twin(left: NDArray[np.floating], right: NDArray[np.floating]) -> tuple[float, ...]:
    """The same in NumPy, for any floats."""
    import numpy as np

    a = left.astype(np.float64, copy=False)
    b = right.astype(np.float64, copy=False)
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    strange = np.count_nonzero(~finite & ~same)
    if not finite.all():
        a, b = a[finite], b[finite]
    apart = b - a
    largest = np.abs(apart).max(initial=0.0)
    sums = (float(apart @ apart), float(a @ a), float(b @ b), float(a @ b))
    return float(np.count_nonzero(same)), *sums, float(largest), float(strange)
