"""One stored tensor of an ONNX file: its type, shape and where its values lie, here or in a file beside it.

A new number type of ONNX needs a codec (`weigh/codecs`) and a line in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from weigh import codecs, files
from weigh.formats.neighbours import Neighbours
from weigh.formats.onnx_wire import BYTES, ENTRY, Message, Run
from weigh.types import Limits, Piece, WeighError

CODECS: Mapping[int, str] = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "bool", 10: "f16", 11: "f64", 12: "u32",
    13: "u64", 14: "c64", 16: "bf16", 17: "f8_e4m3", 18: "f8_e4m3fnuz", 19: "f8_e5m2", 20: "f8_e5m2fnuz", 21: "u4",
    22: "i4", 23: "f4", 24: "f8_e8m0", 25: "u2", 26: "i2",
}  # fmt: skip
"""TensorProto.DataType to the id of a codec."""
STRING = 8
TYPED: Mapping[int, tuple[frozenset[int], int | None]] = {
    4: (frozenset((1, 14)), 4),
    5: (frozenset((2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26)), None),
    7: (frozenset((7,)), None),
    10: (frozenset((11, 15)), 8),
    11: (frozenset((12, 13)), None),
}
"""Typed field: the types that it may hold, and the bytes of a number in it; None where numbers are varints."""
NUMBERS_A_VALUE: Mapping[str, int] = {"c64": 2}
VALUES_A_NUMBER: Mapping[str, int] = {"u4": 2, "i4": 2, "f4": 2, "u2": 4, "i2": 4}
EXTERNAL = 1
KEYS = ("location", "offset", "length", "checksum")
IGNORED = "prepacked"
"""Begins the keys that onnxruntime adds for itself."""
TOO_MANY = 2**63
LAST_BYTES = bytes(range(0x80))


@dataclass(slots=True)
class Stored:
    """A tensor as the file has it, before its role is known."""

    name: str
    shape: tuple[int, ...]
    codec: str
    pieces: tuple[Piece, ...]
    constant: bool
    """It comes from a Constant node and not from the list of initializers."""


def stored(message: Message, name: str, file: files.OpenFile, near: Neighbours, *, constant: bool) -> Stored | None:
    """A checked tensor; None for strings, which are no numbers.

    Errors: ONNX-SHAPE, ONNX-DATA, ONNX-SIZE, ONNX-EXTERNAL and those of `Neighbours.size`.
    """
    kind = message.whole(2)
    if kind == STRING:
        return None
    shape = _shape(message, file, near.limits)
    if message.fields.get(3):
        raise _error("tensors in segments are not read", "ONNX-DATA", message, file)
    codec = CODECS.get(kind)
    if message.whole(14) == EXTERNAL:
        piece = _external(message, file, near, None if codec is None else _nbytes(codec, shape))
        return Stored(name, shape, codec or f"unknown:onnx-{kind}", (piece,), constant)
    fields = [number for number in (4, 5, 6, 7, 9, 10, 11) if any(run.nbytes for run in message.fields.get(number, []))]
    if len(fields) > 1:
        raise _error("its values are stored twice, in two fields", "ONNX-DATA", message, file)
    runs: list[Run] = [run for number in fields for run in message.fields[number]]
    if codec is None:
        pieces = tuple(Piece(file.name, run.offset, run.nbytes) for run in runs)
        return Stored(name, shape, f"unknown:onnx-{kind}", pieces, constant)
    if fields == [9]:
        _check_raw(message, file, shape, codec)
    else:
        _check_typed(message, file, shape, codec, fields)
    if not runs:
        runs = [Run(message.start, 0, BYTES)]
    return Stored(name, shape, codec, tuple(Piece(file.name, run.offset, run.nbytes) for run in runs), constant)


def _shape(message: Message, file: files.OpenFile, limits: Limits) -> tuple[int, ...]:
    return shape_of(message.fields.get(1, []), message, file, limits)


def shape_of(extents: list[int], message: Message, file: files.OpenFile, limits: Limits) -> tuple[int, ...]:
    """Checked extents of a tensor."""
    if len(extents) > limits.rank:
        raise _error(f"{len(extents):,} dimensions are more than {limits.rank}", "ONNX-SHAPE", message, file)
    count = 1
    for extent in extents:
        count *= extent
        if extent < 0 or count >= TOO_MANY:
            raise _error(f"its shape {extents[:8]} is negative or has 2^63 values", "ONNX-SHAPE", message, file)
    return tuple(extents)


def _nbytes(codec: str, shape: tuple[int, ...]) -> int:
    """ONNX packs small types through the whole tensor and fills up the last byte."""
    plain = codecs.by_id(codec)
    return -(-prod(shape) // plain.block) * plain.block_bytes


def _check_raw(message: Message, file: files.OpenFile, shape: tuple[int, ...], codec: str) -> None:
    needed = _nbytes(codec, shape)
    found = sum(run.nbytes for run in message.fields[9])
    if message.fields[9][0].wire != BYTES or needed != found:
        text = f"shape {list(shape)[:8]} in {codec} takes {needed:,} bytes, its raw data are {found:,}"
        raise _error(text, "ONNX-SIZE", message, file)


def _check_typed(message: Message, file: files.OpenFile, shape: tuple[int, ...], codec: str, fields: list[int]) -> None:
    """Count the numbers of a typed field and compare with the shape."""
    count = -(-prod(shape) * NUMBERS_A_VALUE.get(codec, 1) // VALUES_A_NUMBER.get(codec, 1))
    found = 0
    for number in fields:
        kinds, width = TYPED.get(number, (frozenset[int](), None))
        if message.whole(2) not in kinds:
            raise _error(f"numbers of {codec} do not belong into field {number}", "ONNX-DATA", message, file)
        for run in message.fields[number]:
            found += _numbers(run, width, count - found, file)
    if found != count:
        text = f"shape {list(shape)[:8]} in {codec} takes {count:,} numbers, the file holds {found:,}"
        raise _error(text, "ONNX-SIZE", message, file)


def _numbers(run: Run, width: int | None, most: int, file: files.OpenFile) -> int:
    """Numbers in a run: packed ones, or a single one. A varint ends with the byte whose top bit is clear."""
    if run.wire != BYTES:
        return 1
    if width is not None:
        return run.nbytes // width if run.nbytes % width == 0 else -1
    if run.nbytes > 10 * max(most, 0):
        return -1
    found = 0
    for at in range(run.offset, run.offset + run.nbytes, 2**20):
        data = files.read_at(file, at, min(2**20, run.offset + run.nbytes - at))
        found += len(data) - len(data.translate(None, LAST_BYTES))
        last = data[-1]
    return found if run.nbytes and last < 0x80 else -1


def _external(message: Message, file: files.OpenFile, near: Neighbours, needed: int | None) -> Piece:
    """Where the values lie in another file of the model's folder."""
    found: dict[str, str] = {}
    for entry in message.fields.get(13, []):
        key = entry.text(1) if isinstance(entry, Message) and entry.kind == ENTRY else ""
        if key.startswith(IGNORED):
            continue
        if key not in KEYS or key in found:
            text = f"external data are described by {', '.join(KEYS)}, each once, not by {key[:80]!r}"
            raise _error(text, "ONNX-EXTERNAL", message, file)
        found[key] = entry.text(2)
    if any(run.nbytes for number in (4, 5, 6, 7, 9, 10, 11) for run in message.fields.get(number, [])):
        raise _error("its values are stored twice, here and in another file", "ONNX-DATA", message, file)
    if not found.get("location"):
        raise _error("external data without the name of their file", "ONNX-EXTERNAL", message, file)
    size = near.size(found["location"])
    offset = _digits(found.get("offset", "0"), message, file)
    length = size - offset if needed is None else needed
    if "length" in found:
        length = _digits(found["length"], message, file)
    if needed is not None and length != needed:
        text = f"its shape takes {needed:,} bytes, its external data are {length:,}"
        raise _error(text, "ONNX-SIZE", message, file)
    if offset > size or length > size - offset:
        text = f"{length:,} bytes at {offset:,} do not lie in {found['location'][:200]!r} of {size:,} bytes"
        raise _error(text, "ONNX-EXTERNAL", message, file)
    return Piece(found["location"], offset, length)


def _digits(text: str, message: Message, file: files.OpenFile) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        raise _error(f"{text[:40]!r} is no offset or length", "ONNX-EXTERNAL", message, file)
    return int(text)


def _error(text: str, rule: str, message: Message, file: files.OpenFile) -> WeighError:
    name = message.text(8)
    where = f"tensor {name[:200]!r}" if name else ""
    return WeighError(text, rule=rule, path=file.path, offset=message.start, where=where)
