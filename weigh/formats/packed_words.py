"""Codes of a few bits that fill 32-bit words: GPTQ, AWQ, compressed-tensors, and the groups that share a scale."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from weigh.codecs.bits import product
from weigh.formats.packed_pieces import WORD_BITS, Pieces, codes, nibbles
from weigh.formats.packed_scaled import grid, less
from weigh.types import Piece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where AutoAWQ puts the eight codes of a word."""


def _words(pieces: Pieces, piece: Piece) -> NDArray[np.uint8]:
    """All words of a piece (rows, words) as bytes (rows, 4 * words)."""
    import numpy as np

    pieces.require(len(piece.shape) == 2 and prod(piece.shape) * 4 == piece.nbytes)
    return np.frombuffer(pieces.raw(piece), dtype=np.uint8).reshape(piece.shape[0], -1)


def _groups(pieces: Pieces, inputs: int, groups: int) -> NDArray[np.int64]:
    """The group of each input: as the index says, or in order."""
    import numpy as np

    for piece in pieces.of("index", 0):
        if prod(piece.shape) == inputs and piece.codec in ("i32", "i64") and len(piece.shape) == 1:
            found = pieces.whole(piece)
            pieces.require(bool(((found >= 0) & (found < groups)).all()))
            return found
    pieces.require(groups > 0 and inputs % groups == 0)
    return np.arange(inputs, dtype=np.int64) // (inputs // groups)


def _matrix(pieces: Pieces) -> tuple[int, int]:
    """Outputs and inputs of a matrix that is not empty, stored as one. Error: VALUES-SIZE."""
    shape = pieces.tensor.shape
    pieces.require(len(shape) == 2 and len(pieces.data.shape) == 2 and min(shape, default=0) > 0)
    return shape[0], shape[1]


def gptq(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """scale[group] * (code - zero - 1); codes fill words along the inputs, zeros along the outputs.

    A file of the second version (`checkpoint_format` gptq_v2) keeps the zero itself. Without zeros they are 2^(bits-1).
    """
    import numpy as np

    outputs, inputs = _matrix(pieces)
    data, scales = pieces.data, pieces.floats(pieces.of("scale")[0])
    bits = data.shape[0] * WORD_BITS // inputs
    pieces.require(bits in (2, 3, 4, 8) and data.shape == (inputs * bits // WORD_BITS, outputs))
    pieces.require(scales.ndim == 2 and scales.shape[1] == outputs)
    group = _groups(pieces, inputs, scales.shape[0])
    columns = pieces.window(data, range(data.shape[0]), range(4 * rows.start, 4 * rows.stop), 4 * outputs)
    words = np.ascontiguousarray(columns.reshape(data.shape[0], len(rows), 4).transpose(1, 0, 2))
    found = codes(words.reshape(len(rows), -1), bits, inputs).astype(np.float32)
    zero: NDArray[Any] = np.full(scales.shape, 2 ** (bits - 1), dtype=np.float32)
    for piece in pieces.of("zero", 0)[:1]:
        packed = _words(pieces, piece)
        pieces.require(packed.shape[0] == scales.shape[0] and packed.shape[1] * 8 >= outputs * bits)
        first = 0 if pieces.settings.get("checkpoint_format") == "gptq_v2" else 1
        zero = codes(packed, bits, outputs).astype(np.float32) + np.float32(first)
    found = less(found, zero[group, rows.start : rows.stop].T)
    return product(scales[group, rows.start : rows.stop].T, found)


def awq(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """(code - zero) * scale[group]; eight codes a word along the outputs, in an order of their own."""
    import numpy as np

    outputs, inputs = _matrix(pieces)
    data, scales = pieces.data, pieces.floats(pieces.of("scale")[0])
    pieces.require(data.shape == (inputs, outputs // 8) and outputs % 8 == 0)
    pieces.require(scales.ndim == 2 and scales.shape[1] == outputs)
    group = _groups(pieces, inputs, scales.shape[0])
    zeros = _awq_codes(_words(pieces, pieces.of("zero")[0]))
    pieces.require(zeros.shape == scales.shape)
    packed = pieces.window(data, range(inputs), range(rows.start // 2, rows.stop // 2), outputs // 2)
    found = _awq_codes(packed).T.astype(np.float32)
    found = less(found, zeros[group, rows.start : rows.stop].T)
    return product(found, scales[group, rows.start : rows.stop].T)


def _awq_codes(words: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes (rows, 8 * words) of words as bytes (rows, 4 * words)."""
    return nibbles(words).reshape(words.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(words.shape[0], -1)


def packed(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """(code - zero) * scale, both codes less 2^(bits-1); codes fill words along a row, zeros along the outputs."""
    import numpy as np

    shape, data = pieces.tensor.shape, pieces.data
    pieces.require(0 < len(shape) == len(data.shape) and data.shape[:-1] == shape[:-1] and shape[-1] > 0)
    bits = data.shape[-1] * WORD_BITS // shape[-1]
    pieces.require(bits in (2, 3, 4, 8))
    row_bytes = 4 * data.shape[-1]
    words = pieces.window(data, rows, range(row_bytes), row_bytes)
    found = codes(words, bits, shape[-1]).astype(np.float32) - np.float32(2 ** (bits - 1))
    scales = pieces.floats(pieces.of("scale")[0])
    for piece in pieces.of("zero", 0):
        pieces.require(len(shape) == 2 and len(piece.shape) == 2)
        columns = _words(pieces, piece).reshape(piece.shape[0], piece.shape[1], 4).transpose(1, 0, 2)
        zero = codes(columns.reshape(piece.shape[1], -1), bits, shape[0]).T.astype(np.float32)
        found = less(found, _by_group(zero - np.float32(2 ** (bits - 1)), pieces, rows))
    return product(found, _by_group(scales, pieces, rows))


def _by_group(values: NDArray[np.float32], pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """Numbers (outputs, groups) for each value of some rows, by the index of the inputs where there is one."""
    inputs = pieces.tensor.shape[-1]
    if any(len(piece.shape) == 1 and prod(piece.shape) == inputs for piece in pieces.of("index", 0)) and inputs > 2:
        pieces.require(values.ndim == 2 and values.shape[0] == pieces.tensor.shape[0])
        return values[rows.start : rows.stop][:, _groups(pieces, inputs, values.shape[1])]
    found: NDArray[np.float32] = grid(values, pieces, rows)
    return found


def onnx_nbits(pieces: Pieces, rows: range) -> NDArray[np.float32]:
    """(code - zero) * scale of MatMulNBits: (outputs, blocks, bytes), the last block filled up.

    Zeros are codes too, each row of them padded to a byte, or numbers like the scales; without them 2^(bits-1).
    """
    import numpy as np

    pieces.require(len(pieces.tensor.shape) == 2)
    outputs, inputs = pieces.tensor.shape
    data = pieces.data
    pieces.require(len(data.shape) == 3 and data.shape[0] == outputs and prod(data.shape) == data.nbytes)
    blocks, size = data.shape[1:]
    scales = pieces.floats(pieces.of("scale")[0])
    pieces.require(scales.size == outputs * blocks and blocks > 0)
    bits = {"u2": 2, "u4": 4, "u8": 8}.get(pieces.tensor.codec, 0)
    block = size * 8 // (bits or 8)
    pieces.require(bits > 0 and (blocks - 1) * block < inputs <= blocks * block)
    packed = pieces.window(data, rows, range(blocks * size), blocks * size)
    found = codes(packed, bits, blocks * block).astype(np.float32).reshape(len(rows), blocks, block)
    zero: NDArray[np.float32] = np.full((outputs, blocks), 2 ** (bits - 1), dtype=np.float32)
    for piece in pieces.of("zero", 0):
        if piece.codec != "u8":
            pieces.require(prod(piece.shape) == outputs * blocks)
            zero = pieces.floats(piece).reshape(outputs, blocks)
        else:
            width = -(-blocks * bits // 8)
            pieces.require(piece.nbytes == outputs * width)
            raw = np.frombuffer(pieces.raw(piece), dtype=np.uint8).reshape(outputs, width)
            zero = codes(raw, bits, blocks).astype(np.float32)
    found = less(found, zero[rows.start : rows.stop, :, None])
    scale = scales.reshape(outputs, blocks)[rows.start : rows.stop, :, None]
    return np.ascontiguousarray(product(scale, found).reshape(len(rows), -1)[:, :inputs])
