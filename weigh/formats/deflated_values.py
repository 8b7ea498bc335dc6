"""Values of an array in an `.npz` archive whose entry is packed with deflate: unpacked a little at a time.

Nothing but the stream itself is kept, so a packed array takes no more memory than a plain one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from weigh import codecs, files
from weigh.types import Inventory, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYOUT = "deflated"
"""What `Tensor.layout` says of such an array."""
TAKEN = 2**20
"""Packed bytes that are read at a time."""
WIDE, NARROW = 12, 10
"""Where the text of a header begins: versions 2 and 3 tell its length in four bytes, version 1 in two."""


def chunks(inventory: Inventory, tensor: Tensor, size: int) -> Iterator[NDArray[np.float32]]:
    """The values in order, `size` at a time. Error: VALUES-SIZE where the stream is broken, too short or too long."""
    codec = codecs.by_id(tensor.codec)
    count = prod(tensor.shape)
    stream = _Stream(inventory, tensor)
    first = stream.take(NARROW)
    length = int.from_bytes(first[8:10], "little")
    if first[6] > 1:
        length += int.from_bytes(stream.take(WIDE - NARROW), "little") << 16
    stream.take(length)
    for begin in range(0, count, size):
        taken = min(size, count - begin)
        yield codecs.decode(codec, stream.take(taken * codec.block_bytes), taken)
    stream.require_end()


class _Stream:
    """Bytes of the unpacked entry, in order."""

    def __init__(self, inventory: Inventory, tensor: Tensor) -> None:
        self.piece = tensor.pieces[0]
        self.folder = Path(inventory.folder)
        self.where = f"tensor {tensor.name[:200]!r}"
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self.at = 0

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        parts: list[bytes] = []
        missing = count
        try:
            while missing:
                # What is left inside comes out first, even where no packed byte is left.
                part = self.inflate.decompress(self.inflate.unconsumed_tail, missing)
                part = part or self.inflate.decompress(self._more(), missing)
                parts.append(part)
                missing -= len(part)
        except zlib.error as cause:
            raise self._wrong("cannot be unpacked") from cause
        return b"".join(parts)

    def _more(self) -> bytes:
        """More of the packed bytes."""
        count = min(TAKEN, self.piece.nbytes - self.at)
        if not count or self.inflate.eof:
            raise self._wrong("ends before its last value")
        with files.opened(self.folder, self.piece.file) as file:
            found = files.read_at(file, self.piece.offset + self.at, count)
        self.at += count
        return found

    def require_end(self) -> None:
        """Nothing may follow the last value."""
        try:
            while not self.inflate.eof:
                if self.inflate.decompress(self.inflate.unconsumed_tail, 1):
                    raise self._wrong("goes on behind its last value")
                if not self.inflate.eof and self.inflate.decompress(self._more(), 1):
                    raise self._wrong("goes on behind its last value")
        except zlib.error as cause:
            raise self._wrong("cannot be unpacked") from cause

    def _wrong(self, what: str) -> WeighError:
        return WeighError(f"the packed array {what}", rule="VALUES-SIZE", path=self.piece.file, where=self.where)
