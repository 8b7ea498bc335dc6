"""What the bytes say: one file per format, and `read`, the door that opens whatever the user names.

To add a format: a file that ends with its `FORMAT` record, an import here, and its name in `FORMATS`. The order counts,
since content is recognised from the top. `docs/add-a-format.md` shows a real one.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from weigh import files
from weigh.formats import config, folder, foreign, gguf, numpy_files, onnx, packed, pytorch, safetensors
from weigh.formats.values import chunks, values
from weigh.types import Format, Inventory, Limits, WeighError

__all__ = ["FORMATS", "chunks", "read", "values"]

FORMATS: Final[tuple[Format, ...]] = (
    gguf.FORMAT,
    safetensors.FORMAT,
    pytorch.FORMAT,
    onnx.FORMAT,
    numpy_files.FORMAT,
    config.FORMAT,
)

DEFAULTS = Limits()


def read(path: str | Path, limits: Limits = DEFAULTS) -> Inventory:
    """What a model's files say: a file, a folder, a configuration, an index, one part of several.

    Nothing in a file is executed, no file outside its folder is opened, and no limit is passed.

    Errors: WeighError with exit code 4 where `path` does not exist, 5 where a limit is passed, 3 for all else.
    READ-UNEXPECTED is a fault of the reader's, to be reported.
    """
    try:
        place = files.locate(path)
        with _uncollected():
            found = folder.read(place, limits) if place.is_dir() else _read_file(place, limits)
            return packed.logical(found, limits)
    except MemoryError as cause:
        raise WeighError("not enough memory to read this", rule="READ-MEMORY", path=path, exit_code=5) from cause
    except (LookupError, ArithmeticError, ValueError, TypeError, OSError, struct.error, RecursionError) as cause:
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
