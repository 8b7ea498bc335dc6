"""The bytes of a tensor as they lie in the file, for those who read values faster than `values.chunks` decodes them.

A tensor is `contiguous` where its values follow each other in the order of its shape, in one piece. Others are decoded
by `values.chunks`. The checks are those of `values`; nothing here decodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from weigh import codecs, files
from weigh.types import Inventory, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def contiguous(inventory: Inventory, tensor: Tensor) -> bool:
    """Whether the values lie in one piece, in order, little-endian, in whole blocks of a known codec."""
    if tensor.codec.startswith("unknown:") or tensor.layout or len(tensor.pieces) != 1:
        return False
    (piece,) = tensor.pieces
    if "big" in (inventory.metadata.get("GGUF.byte_order"), inventory.metadata.get("byteorder")):
        return False
    codec = codecs.by_id(tensor.codec)
    count = prod(tensor.shape)
    whole = count % codec.block == 0 and count // codec.block * codec.block_bytes == piece.nbytes
    return piece.kind == "data" and not piece.strides and whole


def runs(
    inventory: Inventory, tensor: Tensor, begin: int, end: int, step: int, buffer: NDArray[np.uint8]
) -> Iterator[NDArray[np.uint8]]:
    """The bytes from `begin` to `end` of a contiguous tensor, `step` at a time, in `buffer`: a run overwrites the last.

    Errors: those of `files.opened` and `files.read_into`.
    """
    (piece,) = tensor.pieces
    with files.opened(Path(inventory.folder), piece.file) as file:
        for offset in range(begin, end, step):
            run = buffer[: min(step, end - offset)]
            files.read_into(file, piece.offset + offset, memoryview(run.data))
            yield run


def raw(inventory: Inventory, tensor: Tensor, step: int) -> Iterator[bytes]:
    """All stored bytes of a tensor, piece after piece, at most `step` at a time."""
    for piece in tensor.pieces:
        with files.opened(Path(inventory.folder), piece.file) as file:
            for offset in range(0, piece.nbytes, step):
                yield files.read_at(file, piece.offset + offset, min(step, piece.nbytes - offset))
