"""HDF5 files: starts the process that reads them, and judges what it tells.

`hdf5_child.py` is what touches the file, under limits and with nothing but the opened descriptor. It refuses what leads
out of the file (`hdf5_walk.py`); here every number that it tells is held against the file once more, since a library
that a file broke may say anything. To use another property of a dataset: have it told there, and check it in
`_checked`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from weigh import codecs, files
from weigh.formats import json_text
from weigh.types import Inventory, Limits, Piece, Tensor, WeighError

if TYPE_CHECKING:
    import subprocess

    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"\x89HDF\r\n\x1a\n"
CHILD = Path(__file__).with_name("hdf5_child.py")
MEMORY = 224 * 2**20
"""What the child may take beyond the library itself."""
PATIENCE = 2
"""Times `Limits.seconds` on the clock of the wall, since the processor is shared."""
SLOWEST = 20_000_000
"""Bytes of values a second, at least."""
USER_BLOCKS = (0, *(512 << power for power in range(12)))
"""Where an HDF5 file may begin: something else may stand before it."""
DEFLATE_MOST = 1032
"""Deflate cannot shrink further, and no other filter that Keras can use does."""
NEVER_WRITTEN = 2**20
"""Bytes of a dataset that need not be stored at all, because they were never written."""
TOO_MANY = 2**63
TEXT_BYTES = json_text.CONFIGURATION_BYTES
VALUES_A_DATASET = 64
KEPT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP")
"""What the child sees of the environment: what Python needs to start. The library looks for filters nowhere."""
PLAIN: Final = {"HDF5_PLUGIN_PATH": "", "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
SILENT = ("string", "varying length", "reference", "time")
INSTALL = "pip install 'weigh[keras]'"


@dataclass(frozen=True, slots=True)
class Dataset:
    """An array in the file, checked."""

    path: str
    shape: tuple[int, ...]
    codec: str
    pieces: tuple[Piece, ...]
    mark: str = ""
    """What its attribute `dtype` says."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an HDF5 file holds."""

    datasets: tuple[Dataset, ...]
    attributes: Mapping[str, str]
    """Of the file itself: `model_config`, `keras_version`, `backend`, those that are there."""
    marks: tuple[str, ...]
    """Names of other attributes that Keras writes."""
    names: Mapping[str, str]
    """Name of the layer whose variables a group holds."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The part of a file that is the HDF5 file: all of it, or a member of an archive."""

    file: files.OpenFile
    start: int
    size: int
    limits: Limits
    descriptor: int | None = None
    """Of another file that holds the bytes, where they had to be unpacked."""

    def error(self, message: str, rule: str, *, hint: str = "", exit_code: int = 3) -> WeighError:
        """An error in this file."""
        return WeighError(message, rule=rule, path=self.file.path, hint=hint, exit_code=exit_code)


def begins(file: files.OpenFile) -> int | None:
    """Offset of the HDF5 signature, None where there is none."""
    for offset in USER_BLOCKS:
        if len(MAGIC) > file.size - offset:
            return None
        if files.read_at(file, offset, len(MAGIC)) == MAGIC:
            return offset
    return None


def contents(source: Source) -> Contents:
    """The datasets of a file, their place and type, and the attributes that Keras writes.

    Errors: H5-BROKEN, H5-LINK, H5-LOOP, H5-NAME, H5-EXTERNAL, H5-VIRTUAL, H5-DEPTH, H5-SHAPE, H5-SIZE, H5-RANGE,
    H5-BOMB, H5-OVERLAP, H5-CRASH, H5-STUCK, H5-MEMORY; exit 5: H5-OBJECTS, H5-TEXT, H5-TIME,
    H5-PROCESS; exit 2: H5-LIBRARY.
    """
    limits = source.limits
    most = limits.header_bytes
    with _child(source, limits.seconds) as process:
        answer = _within(process, most + 1, PATIENCE * limits.seconds)
        if len(answer) > most:
            process.kill()
            message = f"what the file holds takes more than {most:,} bytes to list"
            raise source.error(message, "H5-OBJECTS", hint=files.lift("header_bytes"), exit_code=5)
        _died(process.wait(), source)
    try:
        told = json_text.parse(answer, source.file.path, limits, VALUES_A_DATASET * limits.tensors)
    except WeighError as cause:
        raise _nonsense(source) from cause
    if "error" in told:
        raise _refusal(told["error"], source)
    return _judged(told, source)


# ------------------------------------------------------------------------------------------------- the process


@contextmanager
def _child(source: Source, seconds: float, **request: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process that reads the file, at work. It is gone when this ends, whatever happens."""
    import subprocess

    limits = source.limits
    ask = {
        "packages": _packages(source), "memory": MEMORY, "seconds": seconds, "depth": limits.json_nesting,
        "objects": limits.tensors, "text": TEXT_BYTES, "start": source.start, "size": source.size, "path": "",
        **request,
    }  # fmt: skip
    environment = {key: os.environ[key] for key in KEPT if key in os.environ} | PLAIN
    # Isolated: no path, module or setting of the user's takes part.
    command = [sys.executable, "-I", "-S", "-B", str(CHILD), json.dumps(ask)]
    descriptor = source.file.descriptor if source.descriptor is None else source.descriptor
    try:
        process = subprocess.Popen(
            command, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
    except OSError as cause:
        message = f"the process that reads HDF5 does not start: {cause.strerror}"
        raise source.error(message, "H5-PROCESS", exit_code=5) from cause
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _packages(source: Source) -> list[str]:
    """Folders of the two packages that the child imports. Error: H5-LIBRARY."""
    found = [find_spec(name) for name in ("h5py", "numpy")]
    folders = [str(Path(spec.origin).parent.parent) for spec in found if spec is not None and spec.origin]
    if len(folders) < 2 or not sys.executable:
        raise _no_library(source, "")
    return list(dict.fromkeys(folders))


def _no_library(source: Source, why: str) -> WeighError:
    message = "reading HDF5 needs the package h5py" + (f", which does not load: {why}" if why else "")
    return source.error(message, "H5-LIBRARY", hint=INSTALL, exit_code=2)


def _within(process: subprocess.Popen[bytes], count: int, seconds: float) -> bytes:
    """Up to `count` bytes of the answer; the process is ended where they do not come in time."""
    from threading import Timer

    answer: IO[bytes] | None = process.stdout
    if answer is None:
        return b""
    clock = Timer(seconds, process.kill)
    clock.daemon = True
    clock.start()
    try:
        return answer.read(count)
    finally:
        clock.cancel()


def _died(code: int, source: Source) -> None:
    """Say why the process ended, if it did not end well."""
    if code == 0:
        return
    if code == -getattr(signal, "SIGXCPU", 0):
        raise source.error("the HDF5 library makes no progress: the file is broken", "H5-STUCK")
    if code == -getattr(signal, "SIGKILL", 0) or (os.name == "nt" and code == 1):
        message = f"reading this takes more than {source.limits.seconds:g} s"
        raise source.error(message, "H5-TIME", hint=files.lift("seconds"), exit_code=5)
    what = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise source.error(f"the HDF5 library broke down over this file ({what})", "H5-CRASH")


EXITS: Final = {"H5-LIBRARY": 2, "H5-OBJECTS": 5, "H5-TEXT": 5}
REFUSALS = (
    "H5-BROKEN", "H5-DEPTH", "H5-EXTERNAL", "H5-LIBRARY", "H5-LINK", "H5-LOOP", "H5-MEMORY", "H5-NAME", "H5-OBJECTS",
    "H5-TEXT", "H5-VIRTUAL",
)  # fmt: skip
"""What the child may answer instead of a list."""


def _refusal(told: Any, source: Source) -> WeighError:
    if not isinstance(told, list) or len(told) != 2 or told[0] not in REFUSALS or not isinstance(told[1], str):
        return _nonsense(source)
    rule, message = told
    if rule == "H5-LIBRARY":
        return _no_library(source, message)
    hint = files.lift("tensors") if rule == "H5-OBJECTS" else ""
    return source.error(message[:400], rule, hint=hint, exit_code=EXITS.get(rule, 3))


def _nonsense(source: Source) -> WeighError:
    return source.error("the HDF5 library broke down over this file: its answer makes no sense", "H5-CRASH")


# ---------------------------------------------------------------------------------------------------- judgement


@dataclass(slots=True)
class _Tally:
    """What is told once, not for each dataset."""

    silent: dict[str, int] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    unwritten: int = 0


def _judged(told: Mapping[str, Any], source: Source) -> Contents:
    tally = _Tally()
    attributes, names = told.get("attributes"), told.get("names")
    rows, counts = told.get("datasets"), [told.get(key) for key in ("soft", "again", "others")]
    if not isinstance(attributes, dict) or not isinstance(names, dict) or not isinstance(rows, list):
        raise _nonsense(source)
    marks = attributes.pop("marks", None)
    texts = [*attributes.values(), *names.values(), *(marks if isinstance(marks, list) else [0])]
    if not all(isinstance(text, str) for text in texts) or not all(_is_count(count) for count in counts):
        raise _nonsense(source)
    found = [_checked(row, source, tally) for row in rows]
    datasets = tuple(dataset for dataset in found if dataset is not None)
    _refuse_overlap(datasets, source)
    return Contents(datasets, attributes, tuple(marks or ()), names, tuple(_warnings(tally, counts)))


def _warnings(tally: _Tally, counts: list[Any]) -> Iterator[str]:
    soft, again, others = counts
    if soft:
        yield f"soft links are not followed: {soft:,}"
    if again:
        yield f"further names of a group or dataset, which is counted once: {again:,}"
    if others:
        yield f"objects that are neither group nor dataset: {others:,}"
    for what, count in tally.silent.items():
        yield f"datasets that hold no numbers ({what}), not counted and not followed: {count:,}"
    for name, count in tally.absent.items():
        yield f"the filter {name} is not there, so values cannot be decoded: {count:,} datasets"
    if tally.unwritten:
        yield f"datasets of which values were never written: {tally.unwritten:,}"


def _is_count(value: Any) -> bool:
    """A number as HDF5 has them, of 64 bits."""
    return type(value) is int and 0 <= value < 2 * TOO_MANY


def _well_formed(row: Any) -> bool:
    """Whether the child told of a dataset what it should tell."""
    if not isinstance(row, dict):
        return False
    texts = [row.get("path"), row.get("codec"), row.get("layout"), row.get("dtype", "")]
    lists = [row.get(key) for key in ("shape", "runs", "filters", "absent")]
    if not all(isinstance(each, list) for each in lists):
        return False
    shape, runs, *words = (list(each) for each in lists if each is not None)
    pairs = all(isinstance(run, list) and len(run) == 2 and _is_count(run[0]) and _is_count(run[1]) for run in runs)
    named = all(isinstance(text, str) for text in (*texts, *words[0], *words[1]))
    truths = all(isinstance(row.get(key), bool) for key in ("plain", "empty"))
    return pairs and named and truths and all(map(_is_count, (*shape, row.get("width"), row.get("stored"))))


def _checked(row: Any, source: Source, tally: _Tally) -> Dataset | None:
    """The dataset, if what is told of it fits the file; None where it holds no numbers."""
    if not _well_formed(row):
        raise _nonsense(source)
    path, codec, shape = row["path"], row["codec"], (0,) if row["empty"] else tuple(row["shape"])
    where = f"dataset {path[-200:]!r}"
    declared = prod(shape) * row["width"]
    if len(shape) > source.limits.rank or prod(shape) >= TOO_MANY or declared >= TOO_MANY:
        raise source.error(f"{where}: its shape has 2^63 bytes or more, or too many axes", "H5-SHAPE")
    stored = sum(length for _, length in row["runs"])
    if any(length > source.size - offset for offset, length in row["runs"]):
        raise source.error(f"{where}: its values run past the end of the file", "H5-RANGE")
    if declared > DEFLATE_MOST * stored + NEVER_WRITTEN:
        message = f"{where}: a shape of {declared:,} bytes, of which {stored:,} are stored"
        raise source.error(message, "H5-BOMB")
    if codec in SILENT:
        tally.silent[codec] = tally.silent.get(codec, 0) + 1
        return None
    if row["layout"] != "chunked" and stored not in (declared, 0):
        raise source.error(f"{where}: {stored:,} bytes are stored, its shape takes {declared:,}", "H5-SIZE")
    if row.get("dtype") == "bfloat16" and row["width"] == 2:
        codec = "bf16"
    if not codec.startswith("unknown:"):
        codec = codecs.by_id(codec).id
    if stored < declared and not row["filters"]:
        tally.unwritten += 1
    for name in row["absent"]:
        tally.absent[name] = tally.absent.get(name, 0) + 1
    start, end = source.start, source.start + source.size
    pieces = [] if prod(shape) else [Piece(source.file.name, start, 0)]
    for offset, length in row["runs"]:
        # The values of a compact dataset lie somewhere behind the beginning of its header.
        place = min(start + offset, end - length)
        pieces.append(Piece(source.file.name, place, length, "data" if row["plain"] else "packed"))
    return Dataset(path, shape, codec, tuple(pieces), row.get("dtype", ""))


def _refuse_overlap(datasets: tuple[Dataset, ...], source: Source) -> None:
    """No two datasets share bytes, as HDF5 has it."""
    runs = sorted(
        (piece.offset, piece.offset + piece.nbytes, dataset.path)
        for dataset in datasets
        for piece in dataset.pieces
        if piece.nbytes and piece.kind == "data"
    )
    for (_, end, one), (begin, _, other) in pairwise(runs):
        if begin < end:
            message = f"the datasets {one[-100:]!r} and {other[-100:]!r} share bytes of the file"
            raise source.error(message, "H5-OVERLAP")


# ------------------------------------------------------------------------------------------------------- values


def values(inventory: Inventory, tensor: Tensor, size: int) -> Iterator[NDArray[np.float32]]:
    """The values of a tensor that the library packed, in order, flat, about `size` at a time.

    Errors: VALUES-PACKED, VALUES-CODEC, and those of `contents`.
    """
    where = f"tensor {tensor.name[:200]!r}"
    packed = inventory.metadata.get("packed")
    path = packed.get(tensor.name) if isinstance(packed, dict) else None
    if path is None:
        message = "its values lie compressed within the archive, or in another order than its shape"
        raise WeighError(message, rule="VALUES-PACKED", path=inventory.source, where=where)
    codec = codecs.by_id(tensor.codec)
    count = prod(tensor.shape)
    with files.opened(Path(inventory.folder), tensor.pieces[0].file) as file:
        window = inventory.metadata.get("window") or (0, file.size)
        source = Source(file, window[0], window[1], Limits())
        seconds = source.limits.seconds + count * codec.block_bytes / SLOWEST
        with _child(source, seconds, path=path, codec=tensor.codec, shape=list(tensor.shape)) as process:
            for begin in range(0, count, size):
                taken = min(size, count - begin)
                raw = _within(process, taken * codec.block_bytes, PATIENCE * source.limits.seconds)
                if len(raw) != taken * codec.block_bytes:
                    message = "the HDF5 library cannot decode its values: a filter that is not there, or a broken file"
                    raise WeighError(message, rule="VALUES-PACKED", path=file.path, where=where)
                yield codecs.decode(codec, raw, taken)
