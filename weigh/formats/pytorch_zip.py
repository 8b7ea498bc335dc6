"""Reads the directory of a ZIP archive: nothing is unpacked to the disk, and nothing is believed unchecked.

Readers of ZIP differ in what they take for the truth where the parts of an archive contradict each other, and attacks
live in these gaps. Here everything must agree: the end record, the central directory, each local header.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from weigh import files
from weigh.types import Limits, WeighError

LOCAL = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR = b"PK\x06\x07"
_LOCAL_FIELDS = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_FIELDS = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END_FIELDS = struct.Struct("<4sHHHHIIH")
_END_64_FIELDS = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_FIELDS = struct.Struct("<4sIQI")

STORED, DEFLATED = 0, 8
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Flag bits: encrypted, strongly encrypted, directory masked."""
DESCRIPTOR = 0x0008
"""Flag bit: sizes stand behind the data, the local header may say 0."""
NOT_HERE = 0xFFFFFFFF
"""A 32-bit field whose value stands in the ZIP64 extra field."""
BOMB = 100
"""A pickle of tensors shrinks to a fifth or so; what shrinks to less than a hundredth is made to burst."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in the archive."""

    name: str
    offset: int
    """Of its data in the archive."""
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, slots=True)
class _Record:
    """What the central directory says of an entry."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


@dataclass(frozen=True, slots=True)
class _End:
    """Where the central directory lies."""

    count: int
    start: int
    size: int


def entries(file: files.OpenFile, limits: Limits) -> Mapping[str, Entry]:
    """Every entry by its name, in the order of the central directory.

    Errors: ZIP-END, ZIP-DIRECTORY, ZIP-ENTRIES (exit 5), ZIP-ENCRYPTED, ZIP-METHOD, ZIP-NAME, ZIP-TWICE, ZIP-LINK,
    ZIP-64, ZIP-LOCAL, ZIP-OVERLAP.
    """
    end = _end(file)
    if end.size > limits.header_bytes or end.count > limits.tensors:
        message = f"a directory of {end.count:,} entries in {end.size:,} bytes is more than weigh reads"
        raise error(message, "ZIP-ENTRIES", file, hint=files.lift("tensors"), exit_code=5)
    directory = files.read_at(file, end.start, end.size)
    records = _records(directory, end, file)
    files.expect(file, ((record.header, _LOCAL_FIELDS.size + len(record.name)) for record in records))
    found: dict[str, Entry] = {}
    spans: list[tuple[int, int]] = []
    for record in records:
        entry = _entry(record, file, end.start)
        if entry.name in found:
            raise error(f"the archive holds {entry.name[:200]!r} twice", "ZIP-TWICE", file, record.header)
        found[entry.name] = entry
        spans.append((record.header, entry.offset + entry.packed))
    spans.sort()
    for (_, before), (begin, _) in pairwise(spans):
        if begin < before:
            raise error("two entries share bytes", "ZIP-OVERLAP", file, begin)
    return found


def content(file: files.OpenFile, entry: Entry, limits: Limits, *, checked: bool) -> bytes:
    """The bytes of a small entry, such as the pickle; `checked` compares its checksum.

    Errors: ZIP-BOMB, ZIP-SIZE (exit 5), ZIP-DATA, ZIP-CHECKSUM.
    """
    if entry.size > BOMB * entry.packed or (entry.method == STORED and entry.size != entry.packed):
        message = f"{entry.name[:200]!r} swells from {entry.packed:,} bytes to {entry.size:,}"
        raise error(message, "ZIP-BOMB", file, entry.offset)
    if entry.size > limits.header_bytes:
        message = (
            f"{entry.size:,} bytes of {entry.name[:200]!r} are more than the {limits.header_bytes:,} that weigh reads"
        )
        raise error(message, "ZIP-SIZE", file, entry.offset, hint=files.lift("header_bytes"), exit_code=5)
    data = files.read_at(file, entry.offset, entry.packed)
    if entry.method == DEFLATED:
        data = _inflated(data, entry, file)
    if checked and zlib.crc32(data) != entry.crc:
        raise error(f"the checksum of {entry.name[:200]!r} is wrong", "ZIP-CHECKSUM", file, entry.offset)
    return data


def _inflated(data: bytes, entry: Entry, file: files.OpenFile) -> bytes:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than promised is enough to know that the promise is wrong.
        whole = machine.decompress(data, entry.size + 1)
    except zlib.error as cause:
        raise error(f"{entry.name[:200]!r} cannot be unpacked", "ZIP-DATA", file, entry.offset) from cause
    if len(whole) != entry.size or not machine.eof or machine.unused_data:
        raise error(f"{entry.name[:200]!r} is not as long as the archive says", "ZIP-DATA", file, entry.offset)
    return whole


# ------------------------------------------------------------------------------------------------ directory


def _end(file: files.OpenFile) -> _End:
    """The end record, at the very end of the file: a comment could hide a second one, so none is allowed."""
    at = file.size - _END_FIELDS.size
    last = files.read_at(file, at, _END_FIELDS.size) if at >= 0 else b""
    if not last.startswith(_END):
        hint = "the file was cut short, or something was put behind the archive: get it again"
        raise error("the file does not end as a ZIP archive does", "ZIP-END", file, max(at, 0), hint=hint)
    _, disk, first, here, count, size, start, comment = _END_FIELDS.unpack(last)
    if comment or disk or first or here != count:
        raise error("a comment or a second disk at the end of the archive", "ZIP-END", file, at)
    end = _End(count, start, size)
    locator = at - _LOCATOR_FIELDS.size
    if locator >= 0 and files.read_at(file, locator, 4) == _LOCATOR:
        end, at = _end_64(file, end, locator)
    elif NOT_HERE in (size, start) or count == 0xFFFF:
        raise error("the end record points to a ZIP64 record that is not there", "ZIP-64", file, at)
    if end.start > at or end.size != at - end.start:
        raise error("the central directory does not lie where the end record says", "ZIP-END", file, at)
    if end.count > end.size // _CENTRAL_FIELDS.size:
        message = f"{end.count:,} entries do not fit in a directory of {end.size:,} bytes"
        raise error(message, "ZIP-DIRECTORY", file, end.start)
    return end


def _end_64(file: files.OpenFile, small: _End, locator: int) -> tuple[_End, int]:
    """The ZIP64 record, which must lie directly before its locator and agree with the small one."""
    _, disk, at, disks = _LOCATOR_FIELDS.unpack(files.read_at(file, locator, _LOCATOR_FIELDS.size))
    lies = error("the ZIP64 record and the end record contradict each other", "ZIP-64", file, locator)
    if disk or disks > 1 or at != locator - _END_64_FIELDS.size:
        raise lies
    fields = _END_64_FIELDS.unpack(files.read_at(file, at, _END_64_FIELDS.size))
    mark, length, _, _, this, first, here, count, size, start = fields
    if mark != _END_64 or length != _END_64_FIELDS.size - 12 or this or first or here != count:
        raise lies
    agree = ((small.count, 0xFFFF, count), (small.size, NOT_HERE, size), (small.start, NOT_HERE, start))
    if any(said not in (escape, real) for said, escape, real in agree):
        raise lies
    return _End(count, start, size), at


def _records(directory: bytes, end: _End, file: files.OpenFile) -> list[_Record]:
    found: list[_Record] = []
    at = 0
    for _ in range(end.count):
        if len(directory) - at < _CENTRAL_FIELDS.size or not directory.startswith(_CENTRAL, at):
            raise error("the central directory is broken", "ZIP-DIRECTORY", file, end.start + at)
        fields = _CENTRAL_FIELDS.unpack_from(directory, at)
        _, _, _, flags, method, _, _, crc, packed, size, names, extras, comments, disk, _, outside, header = fields
        here, at = end.start + at, at + _CENTRAL_FIELDS.size
        if names + extras + comments > len(directory) - at:
            raise error("an entry runs past the central directory", "ZIP-DIRECTORY", file, here)
        name = directory[at : at + names]
        extra = directory[at + names : at + names + extras]
        at += names + extras + comments
        if disk:
            raise error("an entry lies on another disk", "ZIP-DIRECTORY", file, here)
        _check_kind(flags, method, outside, name, file, here)
        size, packed, header = _wide(extra, (size, packed, header), file, here)
        found.append(_Record(name, flags, method, crc, packed, size, header))
    if at != len(directory):
        raise error("bytes behind the last entry of the central directory", "ZIP-DIRECTORY", file, end.start + at)
    return found


def _check_kind(flags: int, method: int, outside: int, name: bytes, file: files.OpenFile, at: int) -> None:
    where = repr(name[:200].decode("utf-8", "replace"))
    if flags & ENCRYPTED:
        raise error(f"the entry {where} is encrypted", "ZIP-ENCRYPTED", file, at)
    if method not in (STORED, DEFLATED):
        raise error(f"the entry {where} is packed by method {method}", "ZIP-METHOD", file, at)
    if stat.S_ISLNK(outside >> 16):
        raise error(f"the entry {where} is a symbolic link", "ZIP-LINK", file, at)


def _wide(extra: bytes, small: tuple[int, ...], file: files.OpenFile, at: int) -> tuple[int, ...]:
    """The fields, with those of 32 bits that say so replaced by the 64 bits of the ZIP64 extra field."""
    wanted = small.count(NOT_HERE)
    if not wanted:
        return small
    position = 0
    while len(extra) - position >= 4:
        kind, length = struct.unpack_from("<HH", extra, position)
        position += 4
        if length > len(extra) - position:
            break
        if kind == 1 and length >= 8 * wanted:
            wide = iter(struct.unpack_from(f"<{wanted}Q", extra, position))
            return tuple(next(wide) if value == NOT_HERE else value for value in small)
        position += length
    raise error("an entry names a ZIP64 field that it does not have", "ZIP-64", file, at)


# ------------------------------------------------------------------------------------------------ one entry


def _entry(record: _Record, file: files.OpenFile, end: int) -> Entry:
    """The entry, if its local header says the same as the central directory."""
    name = _name(record.name, file, record.header)
    room = end - record.header
    if room < _LOCAL_FIELDS.size:
        raise error(f"the header of {name[:200]!r} lies behind the data", "ZIP-LOCAL", file, end)
    # Most writers pad the header, so that one read brings the name too.
    first = files.read_at(file, record.header, min(room, _LOCAL_FIELDS.size + len(record.name)))
    mark, _, flags, method, _, _, crc, packed, size, names, extras = _LOCAL_FIELDS.unpack_from(first)
    differs = error(f"the local header of {name[:200]!r} says something else", "ZIP-LOCAL", file, record.header)
    if mark != LOCAL or names != len(record.name) or first[_LOCAL_FIELDS.size :] != record.name:
        raise differs
    if method != record.method or flags != record.flags:
        raise differs
    offset = record.header + _LOCAL_FIELDS.size + names + extras
    if offset > end or record.packed > end - offset:
        raise error(f"the data of {name[:200]!r} run past the archive", "ZIP-LOCAL", file, record.header)
    if NOT_HERE in (size, packed):
        extra = files.read_at(file, record.header + _LOCAL_FIELDS.size + names, extras)
        size, packed = _wide(extra, (size, packed), file, record.header)
    told = (size, packed, crc)
    later = flags & DESCRIPTOR and not any(told)
    if not later and told != (record.size, record.packed, record.crc):
        raise differs
    return Entry(name, offset, record.packed, record.size, record.method, record.crc)


def _name(raw: bytes, file: files.OpenFile, at: int) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError as cause:
        raise error("the name of an entry is not UTF-8", "ZIP-NAME", file, at) from cause
    parts = name.removesuffix("/").split("/")
    if "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise error(f"the entry {name[:200]!r} would be unpacked outside its folder", "ZIP-NAME", file, at)
    return name


def error(
    message: str, rule: str, file: files.OpenFile, offset: int | None = None, *, hint: str = "", exit_code: int = 3
) -> WeighError:
    """An error in this file."""
    return WeighError(message, rule=rule, path=file.path, offset=offset, hint=hint, exit_code=exit_code)
