"""Reads the pieces of a tensor that is spread over several: whole ones as numbers, windows of large ones as bytes.

For `packed_values`, which puts them together. Files are opened once a tensor and closed with `Pieces`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from weigh import codecs, files
from weigh.types import Inventory, Piece, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD_BITS = 32
INTEGERS: Mapping[str, str] = {
    "i8": "<i1", "u8": "<u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8",
}  # fmt: skip
"""Codecs of whole numbers to NumPy's names."""


@dataclass(slots=True)
class Pieces(AbstractContextManager["Pieces"]):
    """A tensor's pieces, its settings, and the files that they lie in."""

    inventory: Inventory
    tensor: Tensor
    opened: dict[str, files.OpenFile] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    kept: dict[Piece, NDArray[Any]] = field(default_factory=dict)
    """Pieces that were read as numbers: each is asked for again with every run of rows."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    @property
    def data(self) -> Piece:
        """The first piece of data."""
        return self.of("data")[0]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The quantizer's settings, as the configuration tells them."""
        found = (self.inventory.configuration or {}).get("quantization_config")
        return found if isinstance(found, dict) else {}

    def of(self, kind: str, least: int = 1) -> list[Piece]:
        """The pieces of a kind, in the order in which the reader found them. Error: VALUES-SIZE."""
        found = [piece for piece in self.tensor.pieces if piece.kind == kind]
        self.require(len(found) >= least)
        return found

    def require(self, fits: bool) -> None:
        """Error: VALUES-SIZE, where the pieces do not fit each other."""
        if not fits:
            raise WeighError(
                "its pieces do not fit each other: no values follow from them",
                rule="VALUES-SIZE",
                path=self.inventory.source,
                where=f"tensor {self.tensor.name[:200]!r}",
            )

    def raw(self, piece: Piece, offset: int = 0, count: int | None = None) -> bytes:
        """Bytes of a piece, all of them or some."""
        count = piece.nbytes if count is None else count
        self.require(0 <= offset <= piece.nbytes and 0 <= count <= piece.nbytes - offset)
        if piece.file not in self.opened:
            opened = files.opened(Path(self.inventory.folder), piece.file)
            self.opened[piece.file] = self.stack.enter_context(opened)
        return files.read_at(self.opened[piece.file], piece.offset + offset, count)

    def floats(self, piece: Piece) -> NDArray[np.float32]:
        """All values of a piece, in its shape."""
        if piece not in self.kept:
            codec = codecs.by_id(piece.codec)
            count = prod(piece.shape)
            self.require(-(-count // codec.block) * codec.block_bytes == piece.nbytes)
            self.kept[piece] = codecs.decode(codec, self.raw(piece), count).reshape(piece.shape)
        return self.kept[piece]

    def whole(self, piece: Piece) -> NDArray[np.int64]:
        """All values of a piece of whole numbers, in its shape, exactly."""
        import numpy as np

        dtype = INTEGERS.get(piece.codec, "")
        self.require(bool(dtype) and prod(piece.shape) * np.dtype(dtype or "u1").itemsize == piece.nbytes)
        return np.frombuffer(self.raw(piece), dtype=dtype).astype(np.int64).reshape(piece.shape)

    def window(self, piece: Piece, rows: range, columns: range, row_bytes: int) -> NDArray[np.uint8]:
        """Bytes (rows, columns) of a piece that is stored as rows of `row_bytes`; only those are read."""
        import numpy as np

        if len(columns) == row_bytes:
            raw = self.raw(piece, rows.start * row_bytes, len(rows) * row_bytes)
        else:
            raw = b"".join(self.raw(piece, row * row_bytes + columns.start, len(columns)) for row in rows)
        return np.frombuffer(raw, dtype=np.uint8).reshape(len(rows), len(columns))

    def state(self) -> Mapping[str, Any]:
        """A text of JSON that lies among the pieces, as bitsandbytes writes it."""
        for piece in self.of("index"):
            try:
                found = json.loads(self.raw(piece))
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return found
        self.require(False)
        return {}


def codes(words: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The first `count` codes of each row of bytes: code i stands at bit i * bits, from the lowest bit on.

    So compressed-tensors and GPTQ fill 32-bit words; codes of 3 bits cross from one word to the next.
    """
    import numpy as np

    mask = np.uint8(2**bits - 1)
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        spread: NDArray[np.uint8] = (words[:, :, None] >> shifts) & mask
        return spread.reshape(words.shape[0], -1)[:, :count]
    start = np.arange(count) * bits
    place, shift = start // 8, (start % 8).astype(np.uint16)
    padded = np.pad(words, ((0, 0), (0, 1))).astype(np.uint16)
    pairs = padded[:, place] | (padded[:, place + 1] << np.uint16(8))
    return (pairs >> shift).astype(np.uint8) & mask


def nibbles(packed: NDArray[np.uint8], *, high_first: bool = False) -> NDArray[np.uint8]:
    """Two 4-bit codes a byte, along the last axis."""
    import numpy as np

    low, high = packed & np.uint8(15), packed >> np.uint8(4)
    pair = (high, low) if high_first else (low, high)
    return np.stack(pair, axis=-1).reshape(*packed.shape[:-1], 2 * packed.shape[-1])
