"""The bytes of a pickle, taken from the front; what is not there is told before anything is made of it."""

from __future__ import annotations

from weigh import files
from weigh.types import WeighError

CHUNK = 2**18
LINE = 2**16
"""The longest line of a pickle of protocol 0."""


class Stream:
    """A window that moves over a run of a file, or over bytes that came out of an archive."""

    __slots__ = ("_buffer", "_buffer_at", "_end", "_file", "_position")

    def __init__(self, file: files.OpenFile, begin: int, end: int, whole: bytes | None = None) -> None:
        """From `begin` to `end` of the file; `whole` where the bytes are at hand and not read from the file."""
        self._file = file
        self._end = end
        self._buffer = b"" if whole is None else whole
        self._buffer_at = begin
        self._position = begin

    @property
    def position(self) -> int:
        """Offset in the file of the next byte (of the packed data, where an archive packs it)."""
        return self._position

    @property
    def left(self) -> int:
        """Bytes that have not been taken."""
        return self._end - self._position

    def take(self, count: int) -> bytes:
        """The next bytes. Error: PICKLE-SHORT."""
        at = self._position - self._buffer_at
        found = self._buffer[at : at + count]
        if len(found) != count:
            found = self._more(count)
        self._position += count
        return found

    def _more(self, count: int) -> bytes:
        if count > self.left:
            raise self.short(count)
        self._buffer = files.read_at(self._file, self._position, min(self.left, max(count, CHUNK)))
        self._buffer_at = self._position
        return self._buffer[:count]

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them. Error: PICKLE-SHORT."""
        if count > self.left:
            raise self.short(count)
        self._position += count
        self._buffer, self._buffer_at = b"", self._position

    def line(self) -> bytes:
        """The bytes before the next line feed, which is taken too. Error: PICKLE-SHORT."""
        at = self._position - self._buffer_at
        end = self._buffer.find(b"\n", at, at + LINE)
        if end >= 0:
            self._position += end + 1 - at
            return self._buffer[at:end]
        room = min(self.left, LINE)
        at = self._position
        found = self.take(room)
        end = found.find(b"\n")
        self._position = at
        if end < 0:
            raise self.short(room)
        self._position += end + 1
        return found[:end]

    def short(self, count: int) -> WeighError:
        """The error where a pickle ends too early."""
        message = f"the pickle ends where {count:,} more bytes should be"
        return WeighError(message, rule="PICKLE-SHORT", path=self._file.path, offset=self._position)
