"""Values that are stored as one code each, with scales and zero points for all, for rows or for blocks of them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from weigh import codecs
from weigh.codecs.bits import product
from weigh.formats.packed_pieces import Pieces
from weigh.types import Piece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_FP8 = 128
INT8_RECIPROCAL = 7.874015718698502e-3
"""1 / 127, as bitsandbytes writes it."""


def row_width(pieces: Pieces) -> int:
    """The last axis."""
    return max(pieces.tensor.shape[-1], 1) if pieces.tensor.shape else 1


def grid(values: NDArray[Any], pieces: Pieces, rows: range) -> NDArray[Any]:
    """Scales or zeros for each value of some rows: (rows, columns), or (rows, 1) where a row has one.

    `values` has one number for all, or the tensor's rank and one for each block of it. The blocks of an axis are equal,
    but for fp8_block128, whose last ones may be cut.
    """
    import numpy as np

    shape = pieces.tensor.shape or (1,)
    if values.size == 1:
        return values.reshape(1, 1)
    if values.ndim == 1 and len(shape) > 1 and values.size == shape[0]:
        values = values.reshape(-1, *(1 for _ in shape[1:]))
    pieces.require(values.ndim == len(shape))
    steps = []
    for extent, blocks in zip(shape, values.shape, strict=True):
        cut = pieces.tensor.codec == "fp8_block128" and blocks == -(-extent // BLOCK_FP8) and blocks > 1
        pieces.require(cut or (blocks > 0 and extent % blocks == 0))
        steps.append(BLOCK_FP8 if cut else extent // blocks)
    places = np.unravel_index(np.arange(rows.start, rows.stop), shape[:-1]) if shape[:-1] else ()
    picked = values[tuple(place // step for place, step in zip(places, steps, strict=False))]
    picked = picked.reshape(len(rows), values.shape[-1])
    return picked if values.shape[-1] == 1 else np.repeat(picked, steps[-1], axis=1)[:, : shape[-1]]


def scales_of(pieces: Pieces, piece: Piece) -> NDArray[np.float32]:
    """Scales as numbers; a byte of whole numbers is an exponent, as in E8M0."""
    import numpy as np

    if piece.codec != "u8":
        return pieces.floats(piece)
    with np.errstate(all="ignore"):
        powers: NDArray[np.float32] = np.ldexp(np.float32(1), pieces.whole(piece).astype(np.int32) - 127)
    return powers


def less(values: NDArray[np.float32], zero: NDArray[Any]) -> NDArray[np.float32]:
    """values - zero in float32."""
    import numpy as np

    with np.errstate(all="ignore"):
        found: NDArray[np.float32] = np.subtract(values, zero, dtype=np.float32)
    return found


def _plain(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """The data of some rows, as their own codec says."""
    data = pieces.data
    codec = codecs.by_id(data.codec or pieces.tensor.codec)
    width = row_width(pieces)
    count = prod(pieces.tensor.shape)
    pieces.require(-(-count // codec.block) * codec.block_bytes == data.nbytes)
    wanted = min(rows.stop * width, count) - rows.start * width
    blocks = -(-wanted // codec.block)
    raw = pieces.raw(data, rows.start * width // codec.block * codec.block_bytes, blocks * codec.block_bytes)
    return codecs.decode(codec, raw, wanted).reshape(len(rows), width)


def whole_blocks(pieces: Pieces) -> int:
    """Rows that end on a byte."""
    codec = codecs.by_id(pieces.data.codec or pieces.tensor.codec)
    return 1 if row_width(pieces) % codec.block == 0 else codec.block


def affine(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """(q - zero) * scale."""
    found = _plain(pieces, rows)
    for piece in pieces.of("zero", 0):
        found = less(found, grid(pieces.floats(piece), pieces, rows))
    for piece in pieces.of("scale"):
        found = product(found, grid(scales_of(pieces, piece), pieces, rows))
    return found


def divided(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """q / scale, as CTranslate2 keeps what it multiplied with."""
    import numpy as np

    scale = grid(pieces.floats(pieces.of("scale")[0]), pieces, rows)
    with np.errstate(all="ignore"):
        found: NDArray[np.float32] = np.divide(_plain(pieces, rows), scale, dtype=np.float32)
    return found


def bnb_int8(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """q * the row's largest magnitude / 127."""
    import numpy as np

    largest = grid(pieces.floats(pieces.of("scale")[0]), pieces, rows)
    return product(product(_plain(pieces, rows), largest), np.array(INT8_RECIPROCAL, dtype=np.float32))


def joined(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """Values of several pieces of data, one behind the other."""
    import numpy as np

    codec = codecs.by_id(pieces.tensor.codec)
    raw = np.frombuffer(b"".join(pieces.raw(piece) for piece in pieces.of("data")), dtype=np.uint8)
    pieces.require(raw.size == -(-prod(pieces.tensor.shape) // codec.block) * codec.block_bytes)
    width = row_width(pieces)
    pieces.require(width % codec.block == 0)
    size = width // codec.block * codec.block_bytes
    return codecs.decode(codec, raw[rows.start * size : rows.stop * size], len(rows) * width)
