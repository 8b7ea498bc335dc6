"""Reads numbers out of packed bytes: the few moves that the decoders of this folder share.

Axes: n blocks first, then bytes or values. Everything here is pure, and none of it warns: an infinite or NaN
scale in a file is data to be reported, not a mistake in a calculation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def blocks(raw: NDArray[np.uint8], block_bytes: int) -> NDArray[np.uint8]:
    """Flat bytes as rows of one block: (n, block_bytes)."""
    return raw.reshape(raw.size // block_bytes, block_bytes)


def half(rows: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    """The fp16 number at byte `at` of each block, as a column (n, 1) of float32."""
    import numpy as np

    with np.errstate(all="ignore"):
        return rows[:, at : at + 2].view("<f2").astype(np.float32)


def fields(packed: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The unsigned `width`-bit fields of each byte, lowest bits first, on a new axis before the last.

    (..., bytes) becomes (..., 8 / width, bytes): first the lowest field of every byte, then the next of every
    byte. That is the order in which ggml spreads values over a run of bytes.
    """
    import numpy as np

    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return (packed[..., None, :] >> shifts[:, None]) & np.uint8(2**width - 1)


def product(scale: NDArray[np.float32], codes: NDArray[Any]) -> NDArray[np.float32]:
    """scale * codes, rounded once, in float32."""
    import numpy as np

    with np.errstate(all="ignore"):
        values: NDArray[np.float32] = np.multiply(scale, codes, dtype=np.float32)
    return values


def affine(scale: NDArray[np.float32], codes: NDArray[np.uint8], offset: NDArray[np.float32]) -> NDArray[np.float32]:
    """scale * codes + offset in float32, rounded after each of the two operations (not fused)."""
    import numpy as np

    values = product(scale, codes)
    with np.errstate(all="ignore"):
        values += offset
    return values


def minifloat(exponent_bits: int, mantissa_bits: int, bias: int) -> NDArray[np.float32]:
    """Every value of a small floating-point type by its code: sign, exponent, mantissa from the highest bit down.

    exponent > 0: (1 + mantissa / 2^mantissa_bits) * 2^(exponent - bias)
    exponent = 0: (    mantissa / 2^mantissa_bits) * 2^(1        - bias)
    All codes are numbers here; who reserves some for infinity or NaN overwrites them.
    """
    import numpy as np

    codes = np.arange(2 ** (exponent_bits + mantissa_bits), dtype=np.int32)
    exponent = codes >> mantissa_bits
    mantissa = codes & (2**mantissa_bits - 1)
    significand = np.where(exponent > 0, mantissa + 2**mantissa_bits, mantissa).astype(np.float32)
    magnitude = np.ldexp(significand, np.maximum(exponent, 1) - bias - mantissa_bits)
    return np.concatenate([magnitude, -magnitude])


def frozen(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same table, closed for writing: it is shared between calls."""
    table.flags.writeable = False
    return table
