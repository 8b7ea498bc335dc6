"""The only door to a tensor's bytes: decodes them, whole or in chunks of bounded size.

A codec that can be decoded needs nothing here. A tensor of several pieces (packed data with scales beside them) needs a
layout in `packed_values`, which its reader names.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from weigh import codecs, files
from weigh.formats import deflated_values, hdf5, packed_values
from weigh.types import Inventory, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_VALUES = 4 * 2**20
"""Values decoded at a time: 16 MiB of float32."""


def values(inventory: Inventory, tensor: Tensor) -> NDArray[np.float32]:
    """All values of a tensor, decoded, in its logical shape (outermost first).

    Takes 4 bytes a value and one chunk more. Errors: those of `chunks`, and VALUES-MEMORY (exit 5).
    """
    import numpy as np

    try:
        whole = np.empty(prod(tensor.shape), dtype=np.float32)
        # An array may be too large without a value in it: numpy multiplies the extents that are not zero.
        shaped = whole.reshape(tensor.shape)
    except (MemoryError, ValueError) as cause:
        message = f"an array of {4 * prod(tensor.shape):,} bytes and this shape is more than can be held"
        raise WeighError(
            message, rule="VALUES-MEMORY", path=inventory.source, where=f"tensor {tensor.name!r}", exit_code=5
        ) from cause
    position = 0
    for chunk in chunks(inventory, tensor):
        whole[position : position + chunk.size] = chunk
        position += chunk.size
    return shaped


def chunks(inventory: Inventory, tensor: Tensor, size: int = CHUNK_VALUES) -> Iterator[NDArray[np.float32]]:
    """The values of a tensor in order, flat, about `size` at a time, so that no whole tensor need be in memory.

    One whose values do not lie in the order of its shape (a transposed or sliced one) is decoded whole first.

    Those of a dataset that HDF5 packed come from its library, in a process of its own.

    Errors: VALUES-CODEC, VALUES-ORDER, VALUES-PIECES, VALUES-SIZE, VALUES-PACKED, and those of `files.opened`.
    """
    where = f"tensor {tensor.name[:200]!r}"
    if tensor.codec.startswith("unknown:"):
        message = f"its type {tensor.codec.removeprefix('unknown:')} is not known, so its values cannot be read"
        raise WeighError(message, rule="VALUES-CODEC", path=inventory.source, where=where)
    swapped = inventory.metadata.get("GGUF.byte_order") == "big"
    # In which order PyTorch's older files have their values on such machines, nothing that was read says.
    plain = codecs.by_id(tensor.codec).block == 1 and not tensor.layout
    if inventory.metadata.get("byteorder") == "big" or (swapped and not plain):
        message = "of big-endian files only plain numbers are decoded, and only in GGUF"
        raise WeighError(message, rule="VALUES-ORDER", path=inventory.source, where=where)
    if not tensor.pieces:
        raise WeighError("its values are not in the file", rule="VALUES-PIECES", path=inventory.source, where=where)
    if all(piece.kind == "packed" for piece in tensor.pieces):
        yield from hdf5.values(inventory, tensor, size)
        return
    if tensor.layout == deflated_values.LAYOUT:
        yield from deflated_values.chunks(inventory, tensor, size)
        return
    if tensor.layout:
        yield from packed_values.chunks(inventory, tensor, size)
        return
    if len(tensor.pieces) != 1 or tensor.pieces[0].kind != "data":
        raise WeighError("its encoding is spread over several pieces", rule="VALUES-PIECES", where=where)
    codec = codecs.by_id(tensor.codec)
    (piece,) = tensor.pieces
    count = prod(tensor.shape)
    if piece.strides:
        yield from _strided(inventory, tensor, size)
        return
    if count // codec.block * codec.block_bytes != piece.nbytes or count % codec.block:
        raise WeighError(f"{piece.nbytes:,} bytes do not hold its {count:,} values", rule="VALUES-SIZE", where=where)
    blocks = max(size // codec.block, 1)
    with files.opened(Path(inventory.folder), piece.file) as file:
        for block in range(0, count // codec.block, blocks):
            taken = min(blocks, count // codec.block - block)
            raw = files.read_at(file, piece.offset + block * codec.block_bytes, taken * codec.block_bytes)
            yield codecs.decode(codec, _turned(raw, codec.block_bytes) if swapped else raw, taken * codec.block)


def _turned(raw: bytes, width: int) -> NDArray[np.uint8]:
    """Numbers of `width` bytes with the lowest byte first."""
    import numpy as np

    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)[:, ::-1].reshape(-1)


def _strided(inventory: Inventory, tensor: Tensor, size: int) -> Iterator[NDArray[np.float32]]:
    """Values that lie in steps of their own: those from the first to the last are decoded, and picked in order."""
    import numpy as np

    codec = codecs.by_id(tensor.codec)
    (piece,) = tensor.pieces
    where = f"tensor {tensor.name[:200]!r}"
    reach = 1 + sum((extent - 1) * stride for extent, stride in zip(piece.shape, piece.strides, strict=True))
    fits = codec.block == 1 and piece.shape == tensor.shape and min(piece.strides) >= 0
    if not fits or reach * codec.block_bytes != piece.nbytes:
        raise WeighError(f"{piece.nbytes:,} bytes do not hold its values in steps", rule="VALUES-SIZE", where=where)
    with files.opened(Path(inventory.folder), piece.file) as file:
        try:
            decoded = codecs.decode(codec, files.read_at(file, piece.offset, piece.nbytes), reach)
        except MemoryError as cause:
            message = f"{4 * reach:,} bytes of memory are needed for this tensor"
            raise WeighError(message, rule="VALUES-MEMORY", where=where, exit_code=5) from cause
    steps = tuple(stride * decoded.itemsize for stride in piece.strides)
    # Inside `decoded`: the reach was compared with the bytes above.
    placed = np.lib.stride_tricks.as_strided(decoded, tensor.shape, steps, writeable=False)
    for begin in range(0, prod(tensor.shape), size):
        yield placed.flat[begin : begin + size]
