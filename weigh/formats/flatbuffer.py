"""Walks the tables of a FlatBuffers file by position: every offset, table and vector is compared with the file first.

A table is a signed step back to its vtable, which holds the place of each field in the table, 0 for one that is left
out; strings, vectors and other tables are steps forward from the field that holds them. So any place may be named any
number of times: what is looked at is counted, and a file that has much more looked at than it holds is refused.
Nothing here knows of models; `tflite` does. Errors carry rules of the prefix `FLAT`.
Source: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from weigh import files
from weigh.types import Limits, WeighError

PAGE = 64 * 2**10
"""Bytes that are read at a time: tables lie close to each other, the data between them need not be read."""
PAGES = 256
"""Pages kept: 16 MiB."""
AGAIN = 8
"""How often over a file may be looked at. Writers share the vtables and little else; a graph is walked twice."""
TABLE_BYTES = 32
"""What a table counts for besides its bytes: the smallest one takes as long as so many."""
SLACK = 64 * 2**10
OFFSET = struct.Struct("<I")
SIGNED = struct.Struct("<i")
HEAD = struct.Struct("<HH")


@dataclass(slots=True)
class Walker:
    """The file, the pages read of it, and what may still be looked at."""

    file: files.OpenFile
    limits: Limits
    looked: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    def wrong(self, text: str, rule: str, offset: int) -> WeighError:
        """What is wrong, and where."""
        return WeighError(text, rule=rule, path=self.file.path, offset=offset)

    def spend(self, count: int, at: int) -> None:
        """Count bytes that are looked at. Errors: FLAT-AGAIN, FLAT-BUDGET (exit 5)."""
        self.looked += count
        if self.looked > AGAIN * self.file.size + SLACK:
            raise self.wrong("its tables lead to the same places again and again", "FLAT-AGAIN", at)
        if self.looked > self.limits.header_bytes:
            error = self.wrong(f"its tables take more than {self.limits.header_bytes:,} bytes", "FLAT-BUDGET", at)
            error.exit_code = 5
            error.hint = files.lift("header_bytes")
            raise error

    def read(self, at: int, count: int) -> bytes:
        """Bytes of a table, vector or string. Error: FLAT-RANGE."""
        if at < 0 or count > self.file.size - at:
            raise self.wrong(f"{count:,} bytes at {at:,} do not lie in the file", "FLAT-RANGE", max(at, 0))
        self.spend(count, at)
        first, last = at // PAGE, (at + count - 1) // PAGE
        if first == last:
            start = at - first * PAGE
            return self._page(first)[start : start + count]
        return files.read_at(self.file, at, count)

    def _page(self, number: int) -> bytes:
        page = self.pages.get(number)
        if page is None:
            if len(self.pages) >= PAGES:
                del self.pages[next(iter(self.pages))]
            page = files.read_at(self.file, number * PAGE, min(PAGE, self.file.size - number * PAGE))
            self.pages[number] = page
        return page

    def root(self) -> Table:
        """The outermost table, whose place stands first in the file."""
        return self.table(OFFSET.unpack(self.read(0, 4))[0])

    def table(self, at: int) -> Table:
        """The table at a place. Error: FLAT-TABLE."""
        vtable = at - int(SIGNED.unpack(self.read(at, 4))[0])
        size, length = HEAD.unpack(self.read(vtable, 4))
        if size < 4 or size % 2 or length < 4 or length > self.file.size - at:
            raise self.wrong("this is no table: its list of fields has no sensible size", "FLAT-TABLE", at)
        self.spend(length + TABLE_BYTES, at)
        return Table(self, at, length, struct.unpack(f"<{size // 2 - 2}H", self.read(vtable + 4, size - 4)))


@dataclass(frozen=True, slots=True)
class Vector:
    """A run of values of one width."""

    at: int
    """Where the first value lies."""
    count: int
    width: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.count * self.width


@dataclass(frozen=True, slots=True)
class Table:
    """A table and where its fields lie in it. Fields are numbered as the schema lists them, from 0."""

    walker: Walker
    at: int
    length: int
    places: tuple[int, ...]

    def _place(self, number: int, width: int) -> int:
        """Where a field lies in the file, 0 where the table leaves it out. Error: FLAT-FIELD."""
        place = self.places[number] if number < len(self.places) else 0
        if place and (place < 4 or width > self.length - place):
            raise self.walker.wrong(f"field {number} does not lie in its table", "FLAT-FIELD", self.at)
        return self.at + place if place else 0

    def number(self, field_number: int, letter: str, default: int = 0) -> int:
        """A whole number; `letter` is its type as in `struct`."""
        width = struct.calcsize("<" + letter)
        at = self._place(field_number, width)
        return int(struct.unpack("<" + letter, self.walker.read(at, width))[0]) if at else default

    def _target(self, number: int) -> int:
        """Where the field points to, 0 where it is left out."""
        at = self._place(number, 4)
        return at + int(OFFSET.unpack(self.walker.read(at, 4))[0]) if at else 0

    def table(self, number: int) -> Table | None:
        """A table that a field points to."""
        at = self._target(number)
        return self.walker.table(at) if at else None

    def vector(self, number: int, width: int) -> Vector:
        """A vector of values that are `width` bytes wide; an empty one where the field is left out.

        Error: FLAT-VECTOR.
        """
        at = self._target(number)
        if not at:
            return Vector(0, 0, width)
        count = int(OFFSET.unpack(self.walker.read(at, 4))[0])
        if count > (self.walker.file.size - at - 4) // width:
            text = f"{count:,} values of {width} bytes do not lie in the file"
            raise self.walker.wrong(text, "FLAT-VECTOR", at)
        return Vector(at + 4, count, width)

    def numbers(self, number: int, letter: str) -> tuple[int, ...]:
        """The values of a vector of whole numbers."""
        held = self.vector(number, struct.calcsize("<" + letter))
        return struct.unpack(f"<{held.count}{letter}", self.walker.read(held.at, held.nbytes)) if held.count else ()

    def text(self, number: int) -> str:
        """A string; what is no UTF-8 is replaced. Error: FLAT-TEXT (exit 5)."""
        held = self.vector(number, 1)
        if held.nbytes > self.walker.limits.string_bytes:
            error = self.walker.wrong(f"a text of {held.nbytes:,} bytes", "FLAT-TEXT", held.at)
            error.exit_code = 5
            error.hint = files.lift("string_bytes")
            raise error
        return self.walker.read(held.at, held.nbytes).decode(errors="replace") if held.count else ""

    def tables(self, number: int) -> Iterator[Table]:
        """The tables of a vector of tables, one after the other."""
        held = self.vector(number, 4)
        for at in range(held.at, held.at + held.nbytes, 4):
            yield self.walker.table(at + int(OFFSET.unpack(self.walker.read(at, 4))[0]))
