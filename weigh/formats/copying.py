"""What a copy of a model is made of: its stored tensors with their bytes, and its metadata in the target's form.

Bytes are copied from where they lie and never decoded. Only copies between formats that name and store tensors alike
are made; turning a model of one dialect into the other needs its family. To let another format be copied to
safetensors, add it to `METADATA`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weigh import codecs, files
from weigh.formats import gguf, gguf_write, numpy_files, pytorch, safetensors
from weigh.types import Inventory, Limits, NewTensor, Piece, Tensor, WeighError

CHUNK = 4 * 2**20

FORMAT_KEY = "format"
METADATA: Mapping[str, Callable[[Inventory], dict[str, str]]] = {
    safetensors.FORMAT.id: lambda inventory: dict(inventory.metadata),
    pytorch.FORMAT.id: lambda inventory: _tied(inventory),
    numpy_files.FORMAT.id: lambda _: {FORMAT_KEY: "np"},
}
"""By the source's format, what stands in the metadata of its copy as safetensors."""


def metadata(inventory: Inventory, target: str, limits: Limits) -> Mapping[str, Any]:
    """The metadata for a copy in the format `target`. Errors: COPY-FORMAT, and those of `gguf_write.settings`."""
    if target == safetensors.FORMAT.id and inventory.format in METADATA:
        return METADATA[inventory.format](inventory)
    if target == inventory.format == gguf.FORMAT.id:
        found = gguf_write.settings(Path(inventory.folder), inventory.files[0][0], limits)
        return {key: value for key, value in found.items() if not key.startswith(gguf_write.SPLIT)}
    raise WeighError(
        f"a copy of {inventory.format} as {target} would need other names and shapes for the tensors",
        rule="COPY-FORMAT",
        path=inventory.source,
        hint="safetensors, PyTorch and NumPy files can be copied to safetensors, GGUF to GGUF",
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to copy from, held open, and what it was at the beginning."""

    file: files.OpenFile
    status: os.stat_result

    def require_unchanged(self) -> None:
        """Refuse what was written to meanwhile, before anything made of it takes its place."""
        now = os.fstat(self.file.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            message = "the file changed while it was copied"
            hint = "wait until whatever writes it has finished"
            raise WeighError(message, rule="COPY-CHANGED", path=self.file.path, hint=hint)


@contextmanager
def tensors(inventory: Inventory) -> Iterator[tuple[NewTensor, ...]]:
    """Every stored tensor, to be read when it is written. All files are held open, so that none is exchanged meanwhile.

    Of tensors that share their bytes, one of the same shape is not stored again: its name stands in the metadata, as
    `safetensors.torch.save_model` notes it. A slice or a transpose of another is stored on its own.

    Errors: COPY-NONE, COPY-ORDER, COPY-QUANTIZED, COPY-VALUES, COPY-PIECES, COPY-CHANGED, those of `files`, and while
    they are read COPY-MEMORY (exit 5).
    """
    source = inventory.source
    if not inventory.tensors:
        raise WeighError("there are no tensors to copy", rule="COPY-NONE", path=source)
    if "big" in (inventory.metadata.get("GGUF.byte_order"), inventory.metadata.get("byteorder")):
        raise WeighError("files in big-endian order are not copied", rule="COPY-ORDER", path=source)
    quantized = inventory.metadata.get("quantized") if inventory.format == pytorch.FORMAT.id else None
    if quantized:
        name = next(iter(quantized))
        message = "the tensor was quantized by torch: its scale and zero point would be lost"
        raise WeighError(message, rule="COPY-QUANTIZED", path=source, where=f"tensor {name[:200]!r}")
    named = _tied(inventory) if inventory.shared else {}
    stored = (*inventory.tensors, *(tensor for tensor in inventory.shared if tensor.name not in named))
    sizes = dict(inventory.files)
    with ExitStack() as stack:
        sources: dict[str, _Source] = {}
        for name in sorted({piece.file for tensor in stored for piece in tensor.pieces}):
            file = stack.enter_context(files.opened(Path(inventory.folder), name))
            sources[name] = _Source(file, os.fstat(file.descriptor))
            if file.size != sizes.get(name):
                raise WeighError("the file changed since it was read", rule="COPY-CHANGED", path=file.path)
        yield tuple(_copied(inventory, tensor, sources) for tensor in stored)


def _tied(inventory: Inventory) -> dict[str, str]:
    """The metadata of a checkpoint: names of tensors that are another one, whole and in the same shape."""
    found = {FORMAT_KEY: "pt"}
    holders = {(tensor.pieces, tensor.shape, tensor.codec): tensor.name for tensor in inventory.tensors}
    for tensor in inventory.shared:
        holder = holders.get((tensor.pieces, tensor.shape, tensor.codec))
        if holder is not None and tensor.name != FORMAT_KEY:
            found[tensor.name] = holder
    return found


def _copied(inventory: Inventory, tensor: Tensor, sources: Mapping[str, _Source]) -> NewTensor:
    where = f"tensor {tensor.name[:200]!r}"
    if not tensor.pieces:
        message = "the file has no values for it, only its shape"
        raise WeighError(message, rule="COPY-VALUES", path=inventory.source, where=where)
    if len(tensor.pieces) > 1:
        message = "its encoding is spread over several pieces, which the other format has no place for"
        raise WeighError(message, rule="COPY-PIECES", path=inventory.source, where=where)
    (piece,) = tensor.pieces
    source = sources[piece.file]
    if piece.strides and piece.nbytes:
        return NewTensor(tensor.name, tensor.shape, tensor.codec, lambda: _gathered(source, tensor, piece))
    return NewTensor(tensor.name, tensor.shape, tensor.codec, lambda: _in_order(source, piece))


def _in_order(source: _Source, piece: Piece) -> Iterator[bytes]:
    for begin in range(0, piece.nbytes, CHUNK):
        yield files.read_at(source.file, piece.offset + begin, min(CHUNK, piece.nbytes - begin))
    source.require_unchanged()


def _gathered(source: _Source, tensor: Tensor, piece: Piece) -> Iterator[bytes]:
    """Values that lie in steps of their own, picked in the order of the shape; from first to last in memory."""
    import numpy as np

    codec = codecs.by_id(tensor.codec)
    where = f"tensor {tensor.name[:200]!r}"
    reach = 1 + sum((extent - 1) * stride for extent, stride in zip(piece.shape, piece.strides, strict=True))
    fits = codec.block == 1 and piece.shape == tensor.shape and min(piece.strides) >= 0
    if not fits or reach * codec.block_bytes != piece.nbytes:
        message = f"{piece.nbytes:,} bytes do not hold its values in steps"
        raise WeighError(message, rule="COPY-VALUES", path=source.file.path, where=where)
    try:
        raw = files.read_at(source.file, piece.offset, piece.nbytes)
    except MemoryError as cause:
        message = f"{piece.nbytes:,} bytes of memory are needed for this tensor"
        raise WeighError(message, rule="COPY-MEMORY", path=source.file.path, where=where, exit_code=5) from cause
    source.require_unchanged()
    stored = np.frombuffer(raw, dtype=f"V{codec.block_bytes}")
    steps = tuple(stride * codec.block_bytes for stride in piece.strides)
    # Inside `stored`: the reach was compared with the bytes above.
    placed = np.lib.stride_tricks.as_strided(stored, tensor.shape, steps, writeable=False)
    count = CHUNK // codec.block_bytes
    for begin in range(0, placed.size, count):
        yield placed.flat[begin : begin + count].tobytes()
