"""What the bytes say: one file per format; `read`, the door that opens whatever the user names; and `copy`.

To add a format: a file that ends with its `FORMAT` record, an import here, and its name in `FORMATS`. The order counts,
since content is recognised from the top. `docs/add-a-format.md` shows a real one.
"""

from __future__ import annotations

import gc
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from weigh import files
from weigh.formats import (
    config,
    copying,
    ctranslate2,
    folder,
    foreign,
    gguf,
    keras,
    numpy_files,
    onnx,
    packed,
    pytorch,
    safetensors,
    tflite,
)
from weigh.formats.manifest import verify
from weigh.formats.values import chunks, values
from weigh.types import Format, Inventory, Limits, WeighError

__all__ = ["FORMATS", "chunks", "copy", "read", "values", "verify"]

FORMATS: Final[tuple[Format, ...]] = (
    gguf.FORMAT,
    safetensors.FORMAT,
    pytorch.FORMAT,
    onnx.FORMAT,
    tflite.FORMAT,
    ctranslate2.FORMAT,
    numpy_files.FORMAT,
    keras.FORMAT,
    config.FORMAT,
)

DEFAULTS = Limits()
FAULTS: Final = (
    LookupError, ArithmeticError, ValueError, TypeError, AttributeError, OSError, RuntimeError, StopIteration,
    struct.error, zlib.error,
)  # fmt: skip
"""What a mistake in a reader ends in."""


def read(path: str | Path, limits: Limits = DEFAULTS) -> Inventory:
    """What a model's files say: a file, a folder, a configuration, an index, one part of several.

    Nothing in a file is executed, no file outside its folder is opened, and no limit is passed.

    Errors: WeighError with exit code 4 where `path` does not exist, 5 where a limit is passed, 3 for all else.
    READ-UNEXPECTED is a fault of the reader's, to be reported.
    """
    with guarded(path), _uncollected():
        return packed.logical(_stored(path, limits), limits)


def copy(
    inventory: Inventory,
    path: str | Path,
    *,
    format_id: str | None = None,
    max_shard_bytes: int | None = None,
    limits: Limits = DEFAULTS,
) -> tuple[Path, ...]:
    """Write a model again without loss: in one file, or in several of at most `max_shard_bytes` of tensors each.

    Merges or divides safetensors and GGUF, and makes safetensors of a PyTorch checkpoint or of NumPy arrays. Every
    tensor's bytes are those of the source; what the source stores packed stays packed. The format is that of the
    target's suffix, or `format_id`. The source's headers are read again, since an Inventory does not keep everything.
    Returns the files written, a manifest last.

    Errors: COPY-*, WRITE-*, MANIFEST-* and those of `read`. Until all is written the target stays as it was.
    """
    target = Path(path)
    writable = [kind for kind in FORMATS if kind.write is not None]
    chosen = [kind for kind in writable if (format_id or target.suffix) in (kind.id, *kind.suffixes)]
    if not chosen or chosen[0].write is None:
        known = ", ".join(f"{kind.id} ({kind.suffixes[0]})" for kind in writable)
        message = f"weigh does not write {format_id or target.suffix or 'a file without a suffix'}"
        raise WeighError(message, rule="COPY-FORMAT", path=target, hint=f"it writes {known}", exit_code=2)
    if not inventory.tensors:
        raise WeighError("there are no tensors to copy", rule="COPY-NONE", path=inventory.source)
    with guarded(inventory.source):
        stored = _stored(inventory.source, limits)
    sources = [Path(stored.folder) / name for name, _ in stored.files]
    with copying.tensors(stored) as tensors:
        metadata = copying.metadata(stored, chosen[0].id, limits)
        return chosen[0].write(target, tensors, metadata, max_shard_bytes, sources)


def _stored(path: str | Path, limits: Limits) -> Inventory:
    """The tensors as they are stored, packed ones unfolded."""
    place = files.locate(path)
    return folder.read(place, limits) if files.is_folder(place) else _read_file(place, limits)


@contextmanager
def guarded(path: str | Path) -> Iterator[None]:
    """Turn what should not have come out of a reader into one error, at the boundary."""
    try:
        yield
    except MemoryError as cause:
        raise WeighError("not enough memory to read this", rule="READ-MEMORY", path=path, exit_code=5) from cause
    except FAULTS as cause:
        message = f"not readable: {type(cause).__name__}: {str(cause)[:200]}"
        raise WeighError(message, rule="READ-UNEXPECTED", path=path) from cause


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the cycle collector out: a large header makes a million objects and no cycle, and it would walk them all
    again and again, for a quarter of the time that reading takes.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _read_file(path: Path, limits: Limits) -> Inventory:
    with files.opened(path.parent, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
    return _choose(path, first).read(path, limits)


def _choose(path: Path, first: bytes) -> Format:
    """The format by content. The suffix decides only where the content is nothing known: its reader then tells what
    is wrong.
    """
    suffix = path.suffix.lower()
    named = [kind for kind in FORMATS if suffix in kind.suffixes]
    for kind in (*named, *FORMATS):
        if kind.sniff(first):
            return kind
    foreign.refuse(first, path)
    if named:
        return named[0]
    readable = ", ".join(kind.name for kind in FORMATS)
    raise WeighError(
        "nothing in the first bytes tells what this file is",
        rule="FORMAT-UNKNOWN",
        path=path,
        hint=f"weigh reads {readable}",
    )
