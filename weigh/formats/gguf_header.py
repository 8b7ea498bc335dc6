"""Walks the header of a GGUF file: numbers, strings, metadata values and tensor entries, each within its budget.

The header is read through a window of a mebibyte, and long arrays (a tokenizer's million strings) are stepped over
without being kept. `weigh/formats/gguf.py` makes an inventory of what is found here. A new value type of the format is
one line in `SCALARS`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, NamedTuple

from weigh import files
from weigh.types import Limits, WeighError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
WINDOW_BYTES = 2**20
KEPT_NUMBERS = 4096
"""Arrays of numbers up to this length are kept: settings per layer. Longer ones belong to tokenizers."""
KEPT_STRINGS = 256
KEPT_TEXT = 2**20
"""Longer texts (a whole `tokenizer.json`) are stepped over like long arrays; chat templates are far shorter."""
KEPT_BYTES = 16 * 2**20
"""What all kept values together may take."""
OBJECT_BYTES = 56
"""A short string, or a number with its place in a list."""
MESSAGES = 20
NAME_BYTES = 65_535
RANK = 4
"""GGML_MAX_DIMS in ggml.h."""
TOO_MANY = 2**63

SCALARS: Mapping[int, tuple[str, str]] = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "B"),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
BOOL, STRING, ARRAY = 7, 8, 9
U32 = 4

Order = Literal["<", ">"]


class Entry(NamedTuple):
    """A tensor as the header lists it; `dimensions` are innermost first, `offset` counts from the data's start."""

    name: str
    dimensions: tuple[int, ...]
    ggml_type: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """All that a header says."""

    version: int
    order: Order
    metadata: Mapping[str, Any]
    types: Mapping[str, int]
    """GGUF type of each value."""
    entries: tuple[Entry, ...]
    end: int
    """Position after the last tensor entry."""
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Cursor:
    """A position in the header, and the window of bytes around it."""

    file: files.OpenFile
    limits: Limits
    order: Order = "<"
    position: int = 0
    start: int = 0
    window: bytes = b""
    kept: int = 0
    arrays: int = 0
    warnings: list[str] = field(default_factory=list)

    def error(self, message: str, rule: str, *, exit_code: int = 3, hint: str = "", where: str = "") -> WeighError:
        """What is wrong at this position."""
        return WeighError(
            message, rule=rule, path=self.file.path, offset=self.position, exit_code=exit_code, hint=hint, where=where
        )

    def need(self, count: int) -> int:
        """Have `count` bytes in the window; the index in it where they begin."""
        at = self.position - self.start
        if 0 <= at <= len(self.window) - count:
            return at
        self.require(count)
        length = min(max(count, WINDOW_BYTES), self.file.size - self.position)
        self.window = files.read_at(self.file, self.position, length)
        self.start = self.position
        return 0

    def require(self, count: int) -> None:
        """Refuse what the file does not hold, or the header's budget does not allow."""
        if count > self.file.size - self.position:
            message = f"{count:,} bytes are announced, {self.file.size - self.position:,} are left"
            raise self.error(message, "GGUF-SHORT", hint="the file was cut short, or its lengths are wrong")
        if count > self.limits.header_bytes - self.position:
            message = f"the header is longer than the {self.limits.header_bytes:,} bytes that weigh reads"
            raise self.error(message, "GGUF-HEADER", exit_code=5, hint=files.lift("header_bytes"))

    def keeps(self, nbytes: int) -> bool:
        """Whether a value of this size may still be kept."""
        if nbytes > KEPT_BYTES - self.kept:
            return False
        self.kept += nbytes
        return True

    def warn(self, message: str) -> None:
        """Note what is odd, up to a number that somebody reads."""
        if len(self.warnings) < MESSAGES:
            self.warnings.append(message)

    def step(self, count: int) -> None:
        """Pass over `count` bytes."""
        self.require(count)
        self.position += count

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        at = self.need(count)
        self.position += count
        return self.window[at : at + count]

    def numbers(self, letters: str) -> tuple[Any, ...]:
        """The next numbers, by their letters in `struct`."""
        layout = self.order + letters
        size = struct.calcsize(layout)
        at = self.need(size)
        self.position += size
        return struct.unpack_from(layout, self.window, at)

    def length(self, what: str) -> int:
        """Length of the string that follows, which the file holds and the budget allows."""
        length = int(self.numbers("Q")[0])
        self.require(length)
        if length > self.limits.string_bytes:
            message = f"a {what} of {length:,} bytes is longer than the {self.limits.string_bytes:,} that weigh reads"
            raise self.error(message, "GGUF-STRING", exit_code=5, hint=files.lift("string_bytes"))
        return length

    def name(self, what: str) -> str:
        """The next string, which names something."""
        length = self.length(what)
        if length > NAME_BYTES:
            raise self.error(f"a {what} of {length:,} bytes is longer than {NAME_BYTES:,}", "GGUF-NAME")
        raw = self.take(length)
        try:
            return raw.decode()
        except UnicodeDecodeError as cause:
            raise self.error(f"a {what} is not UTF-8 text", "GGUF-NAME", where=repr(raw[:64])) from cause


# ------------------------------------------------------------------------------------------------- the header


def read(file: files.OpenFile, limits: Limits) -> Header:
    """The whole header of an open GGUF file."""
    cursor = Cursor(file, limits)
    version, tensors, keys = _begin(cursor)
    metadata: dict[str, Any] = {}
    types: dict[str, int] = {}
    for _ in range(keys):
        key = cursor.name("key")
        if key in metadata:
            raise cursor.error(f"the key {key[:200]!r} appears twice", "GGUF-KEY-TWICE")
        (kind,) = cursor.numbers("I")
        types[key] = kind
        metadata[key] = _value(cursor, kind, key)
    entries = tuple(_entry(cursor) for _ in range(tensors))
    return Header(version, cursor.order, metadata, types, entries, cursor.position, tuple(cursor.warnings))


def encoded(file: files.OpenFile, limits: Limits) -> Iterator[tuple[str, int, bytes]]:
    """Each key of the metadata with the type and the bytes of its value, as they stand in a little-endian file."""
    cursor = Cursor(file, limits)
    _, _, keys = _begin(cursor)
    if cursor.order == ">":
        raise cursor.error("values of a big-endian file are not copied", "GGUF-ORDER")
    for _ in range(keys):
        key = cursor.name("key")
        (kind,) = cursor.numbers("I")
        start = cursor.position
        _value(cursor, kind, key)
        yield key, kind, files.read_at(file, start, cursor.position - start)


def _begin(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors and number of keys."""
    file, limits = cursor.file, cursor.limits
    if file.size < len(MAGIC) or files.read_at(file, 0, len(MAGIC)) != MAGIC:
        raise cursor.error("does not begin with GGUF", "GGUF-MAGIC")
    cursor.step(len(MAGIC))
    version = _version(cursor)
    tensors, keys = cursor.numbers("QQ")
    _require_count(cursor, keys, 8 + 4 + 1, "keys", limits.keys)
    _require_count(cursor, tensors, 8 + 4 + 4 + 8, "tensors", limits.tensors)
    return version, tensors, keys


def _version(cursor: Cursor) -> int:
    (version,) = cursor.numbers("I")
    if version & 0xFFFF == 0 and version:
        cursor.order = ">"
        cursor.position -= 4
        (version,) = cursor.numbers("I")
    if version not in VERSIONS:
        newer = version > max(VERSIONS)
        message = f"GGUF version {version} is {'not known yet' if newer else 'no longer read by anything'}"
        hint = "" if newer else "convert the model again with a current llama.cpp"
        raise cursor.error(message, "GGUF-VERSION", hint=hint)
    return int(version)


def _require_count(cursor: Cursor, count: int, smallest: int, what: str, budget: int) -> None:
    """Refuse a count before any loop runs over it."""
    left = cursor.file.size - cursor.position
    if count > left // smallest:
        raise cursor.error(f"{count:,} {what} are announced, {left:,} bytes are left", "GGUF-COUNT")
    if count > budget:
        raise cursor.error(
            f"{count:,} {what} are more than {budget:,}", "GGUF-BUDGET", exit_code=5, hint=files.lift(what)
        )


def _entry(cursor: Cursor) -> Entry:
    name = cursor.name("tensor name")
    (rank,) = cursor.numbers("I")
    if rank > RANK:
        raise cursor.error(f"{rank:,} dimensions are more than {RANK}", "GGUF-RANK", where=f"tensor {name[:200]!r}")
    *dimensions, ggml_type, offset = cursor.numbers("Q" * rank + "IQ")
    if prod(max(extent, 1) for extent in dimensions) >= TOO_MANY:
        raise cursor.error("its shape has 2^63 values or more", "GGUF-PRODUCT", where=f"tensor {name[:200]!r}")
    return Entry(name, tuple(dimensions), ggml_type, offset)


# ----------------------------------------------------------------------------------------------------- values


def _value(cursor: Cursor, kind: int, key: str) -> Any:
    if kind in SCALARS:
        (number,) = cursor.numbers(SCALARS[kind][1])
        if kind != BOOL:
            return number
        if number > 1:
            cursor.warn(f"{key[:200]}: a truth value is stored as {number}; read as true")
        return bool(number)
    if kind == STRING:
        length = cursor.length("string")
        if length <= KEPT_TEXT and cursor.keeps(length + OBJECT_BYTES):
            return _readable(cursor, cursor.take(length), key)
        cursor.step(length)
        return {"array": "byte", "length": length}
    if kind == ARRAY:
        return _array(cursor, key)
    raise cursor.error(f"{kind} is no type of a value", "GGUF-TYPE", where=f"key {key[:200]!r}")


def _readable(cursor: Cursor, raw: bytes, key: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        cursor.warn(f"{key[:200]}: not UTF-8 text")
        return raw.decode(errors="backslashreplace")


def _array(cursor: Cursor, key: str) -> Any:
    """The elements of a short array; of a long one only its element type and length."""
    kind, count = cursor.numbers("IQ")
    if kind in SCALARS:
        name, letter = SCALARS[kind]
        nbytes = count * struct.calcsize("<" + letter)
        cursor.require(nbytes)
        if count <= KEPT_NUMBERS and cursor.keeps(count * OBJECT_BYTES):
            found = list(cursor.numbers(f"{count}{letter}"))
            return [bool(number) for number in found] if kind == BOOL else found
        cursor.step(nbytes)
        return {"array": name, "length": count}
    if kind == STRING:
        start = cursor.position
        _skip_strings(cursor, count)
        nbytes = cursor.position - start
        if count <= KEPT_STRINGS and nbytes <= KEPT_TEXT and cursor.keeps(nbytes + count * OBJECT_BYTES):
            cursor.position = start
            return [_readable(cursor, cursor.take(cursor.length("string")), key) for _ in range(count)]
        return {"array": "string", "length": count}
    if kind == ARRAY:
        _skip_arrays(cursor, count, cursor.limits.array_nesting - 1)
        return {"array": "array", "length": count}
    raise cursor.error(f"{kind} is no type of an array's elements", "GGUF-TYPE", where=f"key {key[:200]!r}")


def _skip_strings(cursor: Cursor, count: int) -> None:
    """Step over strings; the loop inside a window makes one call a string."""
    if count > (cursor.file.size - cursor.position) // 8:
        raise cursor.error(f"{count:,} strings are announced, the file has no room for them", "GGUF-COUNT")
    unpack = struct.Struct(cursor.order + "Q").unpack_from
    while count:
        at = cursor.need(8)
        window = cursor.window
        last = len(window) - 8
        while count and at <= last:
            at += 8 + unpack(window, at)[0]
            count -= 1
        cursor.step(cursor.start + at - cursor.position)


def _skip_arrays(cursor: Cursor, count: int, levels: int) -> None:
    if levels < 1:
        raise cursor.error(f"arrays are nested deeper than {cursor.limits.array_nesting}", "GGUF-DEPTH")
    if count > (cursor.file.size - cursor.position) // 12:
        raise cursor.error(f"{count:,} arrays are announced, the file has no room for them", "GGUF-COUNT")
    cursor.arrays += count
    if cursor.arrays > cursor.limits.keys:
        message = f"arrays hold more than {cursor.limits.keys:,} arrays"
        raise cursor.error(message, "GGUF-BUDGET", exit_code=5, hint=files.lift("keys"))
    for _ in range(count):
        kind, inner = cursor.numbers("IQ")
        if kind in SCALARS:
            nbytes = inner * struct.calcsize("<" + SCALARS[kind][1])
            cursor.step(nbytes)
        elif kind == STRING:
            _skip_strings(cursor, inner)
        elif kind == ARRAY:
            _skip_arrays(cursor, inner, levels - 1)
        else:
            raise cursor.error(f"{kind} is no type of an array's elements", "GGUF-TYPE")
