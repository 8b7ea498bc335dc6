"""Codes of 4 bits that name values of a table: nvfp4 and mxfp4, and the tables of bitsandbytes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from weigh.codecs.bits import product
from weigh.codecs.mx import E2M1_DOUBLED
from weigh.formats.packed_pieces import Pieces, nibbles
from weigh.formats.packed_scaled import grid, row_width, scales_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP_MX = 32
MOST = 4096
"""Values of the largest block that bitsandbytes makes."""
NAMES = 16
"""Values that 4 bits can name."""


def _float4(pieces: Pieces, rows: range, *, over: bool) -> NDArray[np.float32]:
    """q * scale * global scale, or, where the file keeps what was multiplied with, q * (scale / global scale)."""
    import numpy as np

    width = row_width(pieces)
    pieces.require(width % 2 == 0 and prod(pieces.tensor.shape) == 2 * pieces.data.nbytes)
    found = _e2m1(pieces.window(pieces.data, rows, range(width // 2), width // 2))
    first, *others = (scales_of(pieces, piece) for piece in pieces.of("scale"))
    for other in others:
        pieces.require(other.size == 1)
        with np.errstate(all="ignore"):
            first = np.divide(first, other.reshape(()), dtype=np.float32) if over else product(first, other.reshape(()))
    return product(found, grid(first, pieces, rows))


def _e2m1(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Values of 4-bit floats, two a byte, the first in the low half."""
    import numpy as np

    table: NDArray[np.float32] = np.array(E2M1_DOUBLED, dtype=np.float32) / np.float32(2)
    return table[nibbles(packed)]


def nvfp4_times(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """ModelOpt's: the scale of the matrix is multiplied with."""
    return _float4(pieces, rows, over=False)


def nvfp4_over(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """compressed-tensors': the scale of the matrix is divided by."""
    return _float4(pieces, rows, over=True)


def experts(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """2^(scale - 127) * q of (experts, outputs, groups, 16 bytes), turned to (experts, inputs, outputs).

    A row here is the 32 inputs of a group for all outputs.
    """
    import numpy as np

    pieces.require(len(pieces.data.shape) > 2 and prod(pieces.data.shape) > 0)
    *outer, outputs, groups, size = pieces.data.shape
    pieces.require(size == GROUP_MX // 2 and pieces.tensor.shape == (*outer, groups * GROUP_MX, outputs))
    scales = scales_of(pieces, pieces.of("scale")[0])
    pieces.require(scales.shape == (*outer, outputs, groups))
    scales = scales.reshape(-1, outputs, groups)
    found = []
    row = rows.start
    while row < rows.stop:
        expert, first = divmod(row, groups)
        last = min(first + rows.stop - row, groups)
        lines = range(expert * outputs, (expert + 1) * outputs)
        packed = pieces.window(pieces.data, lines, range(first * size, last * size), groups * size)
        values = _e2m1(packed).reshape(outputs, last - first, GROUP_MX)
        values = product(values, scales[expert, :, first:last, None])
        found.append(values.reshape(outputs, -1).T.reshape(-1))
        row += last - first
    return np.concatenate(found)


def experts_width(pieces: Pieces) -> int:
    """32 inputs for all outputs."""
    return GROUP_MX * row_width(pieces)


def bnb_4bit(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """table[code] * the block's largest magnitude; a row here is a block, the first code of a byte is the high one.

    Where the largest magnitudes are codes themselves, they are nested: table2[code] * magnitude2 + offset.
    """
    import numpy as np

    state = pieces.state()
    size = bnb_block(pieces)
    largest, table, *nested = pieces.of("scale", 2)
    names = pieces.floats(table)
    pieces.require(names.size == NAMES)
    count = prod(pieces.tensor.shape)
    first, last = rows.start * size, min(rows.stop * size, count + count % 2)
    packed = np.frombuffer(pieces.raw(pieces.data, first // 2, (last - first + 1) // 2), dtype=np.uint8)
    values = names.reshape(-1)[nibbles(packed, high_first=True)]
    values = np.pad(values, (0, len(rows) * size - values.size)).reshape(len(rows), size)
    if not nested:
        magnitudes = pieces.floats(largest).reshape(-1)
    else:
        inner, offset = state.get("nested_blocksize"), state.get("nested_offset")
        pieces.require(len(nested) == 2 and type(inner) is int and inner > 0 and isinstance(offset, (int, float)))
        outer, table2 = (pieces.floats(piece).reshape(-1) for piece in nested)
        stored = pieces.whole(largest).reshape(-1)
        pieces.require(table2.size == 256 and outer.size * int(inner or 1) >= stored.size)
        spread = outer[np.arange(stored.size) // int(inner or 1)]
        magnitudes = product(table2[stored], spread) + np.float32(offset or 0)
    pieces.require(magnitudes.size * size >= count)
    return product(values, magnitudes[rows.start : rows.stop, None])


def bnb_block(pieces: Pieces) -> int:
    """Values that share a magnitude."""
    size = pieces.state().get("blocksize")
    pieces.require(type(size) is int and 0 < size <= MOST and size % 2 == 0)
    return int(size or 0)
