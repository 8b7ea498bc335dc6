"""Reads checkpoints of torch before 1.6: four pickles one behind the other, the list of storages, then their bytes.

Each storage is its number of values in 8 bytes, then the values. Source: `_legacy_save` of torch/serialization.py.
"""

from __future__ import annotations

from typing import Any

from weigh import files
from weigh.formats.pytorch_pickle import Machine
from weigh.formats.pytorch_stream import Stream
from weigh.formats.pytorch_tensors import Place
from weigh.formats.pytorch_values import Budget, DType

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
COUNT_BYTES = 8
STREAMS = 5
"""Magic number, protocol, system, objects, keys."""
TAR_MARK = b"ustar"
TAR_MARK_AT = 257


def read(file: files.OpenFile, budget: Budget) -> tuple[Any, dict[str, Place], int, bool]:
    """The objects, where each storage lies, the bytes of all pickles, and whether numbers are big-endian.

    Errors: those of the pickle, PT-TAR, PT-LEGACY, PT-STORAGE, PICKLE-REST.
    """
    refuse_tar(file, budget)
    stream = Stream(file, 0, file.size)
    first = Machine(stream, budget).run()
    if first != MAGIC or type(first) is not int:
        _require_end(stream, budget)
        return first, {}, stream.position, False
    protocol, system = Machine(stream, budget).run(), Machine(stream, budget).run()
    if protocol != PROTOCOL or type(system) is not dict:
        raise budget.wrong("not the protocol or the system of a checkpoint", "PT-LEGACY", stream.position)
    types: dict[str, DType] = {}
    root = Machine(stream, budget, storages=types).run()
    keys = Machine(stream, budget).run()
    pickles = stream.position
    places = _places(stream, budget, types, keys)
    _require_end(stream, budget)
    return root, places, pickles, system.get("little_endian") is False


def _places(stream: Stream, budget: Budget, types: dict[str, DType], keys: Any) -> dict[str, Place]:
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise budget.wrong("the list of storages is none", "PT-LEGACY", stream.position)
    places: dict[str, Place] = {}
    for key in keys:
        if key not in types or key in places:
            raise budget.wrong(f"the storage {key[:100]!r} belongs to nothing", "PT-STORAGE", stream.position)
        count = int.from_bytes(stream.take(COUNT_BYTES), "little")
        nbytes = count * types[key].width
        if nbytes > stream.left:
            raise budget.wrong(f"the storage {key[:100]!r} is cut short", "PT-STORAGE", stream.position)
        places[key] = Place(stream.position, nbytes)
        stream.skip(nbytes)
    return places


def _require_end(stream: Stream, budget: Budget) -> None:
    if stream.left:
        message = f"{stream.left:,} bytes follow the end of the pickle"
        raise budget.wrong(message, "PICKLE-REST", stream.position)


def refuse_tar(file: files.OpenFile, budget: Budget) -> None:
    """Checkpoints of torch before 0.2 were tar archives. Error: PT-TAR."""
    if file.size > TAR_MARK_AT + 5 and files.read_at(file, TAR_MARK_AT, len(TAR_MARK)) == TAR_MARK:
        error = budget.wrong("this is a tar archive, as torch wrote checkpoints before 2017", "PT-TAR", TAR_MARK_AT)
        error.hint = "load it with the torch that wrote it, and save it anew as safetensors"
        raise error
