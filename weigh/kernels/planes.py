"""How often each byte stands in each byte plane of stored numbers. The twin of `planes.c`."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from weigh.kernels import library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATTERNS = 1 << 16


def patterns(raw: NDArray[np.uint8], counts: NDArray[np.uint32]) -> None:
    """Add to `counts[65536]` how often each 16-bit number (little-endian) stands in the flat bytes.

    At most 2^32 numbers of one value: the counts do not carry.
    """
    import numpy as np

    compiled = library()
    if compiled is None:
        counts += np.bincount(raw.view("<u2"), minlength=PATTERNS).astype(np.uint32)
        return
    compiled.weigh_pairs_2(_at(raw), ctypes.c_int64(raw.size // 2), _at(counts))


def pattern_pairs(raw: NDArray[np.uint8], counts: NDArray[np.uint32]) -> None:
    """Add to `counts[2, 65536]` how often each pattern stands in the lower and in the upper half of 32-bit numbers."""
    import numpy as np

    compiled = library()
    if compiled is None:
        halves = raw.view("<u2").reshape(-1, 2)
        for half in range(2):
            counts[half] += np.bincount(halves[:, half], minlength=PATTERNS).astype(np.uint32)
        return
    compiled.weigh_pairs_4(_at(raw), ctypes.c_int64(raw.size // 4), _at(counts))


def bytes_by_plane(raw: NDArray[np.uint8], width: int, counts: NDArray[np.uint32]) -> None:
    """Add to `counts[width, 256]` how often each byte stands at each place of numbers of `width` bytes."""
    import numpy as np

    compiled = library()
    if compiled is None:
        for plane in range(width):
            counts[plane] += np.bincount(raw[plane::width], minlength=256).astype(np.uint32)
        return
    compiled.weigh_bytes(_at(raw), ctypes.c_int64(raw.size // width), ctypes.c_int64(width), _at(counts))


def planes_of(counts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Counts of 16-bit patterns, (..., 65536), as counts of their two bytes, (..., 2, 256)."""
    import numpy as np

    square = counts.reshape(*counts.shape[:-1], 256, 256).astype(np.int64)
    return np.stack([square.sum(axis=-2), square.sum(axis=-1)], axis=-2)


def _at(array: NDArray[np.uint8] | NDArray[np.uint32]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("a kernel takes arrays without gaps only")
    return ctypes.c_void_p(array.ctypes.data)
