"""A revision of a hub's repository as a volume: bytes by range, as few and as far apart as the readers need them.

Small reads are rounded up, a beginning is fetched with some to spare, one read after the other grows the range, and
what readers announce is fetched at once over several connections. What was fetched is kept (`hub_kept.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote

from weigh import volumes
from weigh.places.hub_kept import Kept, key_of
from weigh.places.hub_requests import CONNECTIONS, Requests, Wanted

BLOCK = 4 * 2**10
"""Ranges begin and end at multiples of this."""
EDGE = 32 * 2**10
"""Fetched at least at the beginning and at the end of a file, where headers and directories lie."""
AHEAD = 4 * 2**20
"""Fetched beyond what is asked for at most, where a file is read on and on."""
NEAR = 32 * 2**10
"""Announced ranges closer than this are fetched as one: it costs less than another request."""
RESEMBLING = 8 * 2**20
"""Fetched at most of each of many files because the first of them was read so far."""
RECORD = 256 * 2**10
"""Bytes kept in one record."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as the hub lists it."""

    size: int
    oid: str
    """What names its content: the digest of the stored object."""
    sha256: str | None = None


@dataclass(slots=True)
class Reached:
    """How far a file was read from its beginning and from its end."""

    head: int = 0
    tail: int = 0


@dataclass(slots=True)
class HubVolume:
    """The files of one commit."""

    requests: Requests
    repository: str
    commit: str
    files: Mapping[str, Stored]
    kept: Kept
    _reached: dict[str, Reached] = field(default_factory=dict)
    _sizes: Mapping[str, int] = field(init=False)
    _awaited: int = 0
    """Bytes asked for that have not come yet."""

    def __post_init__(self) -> None:
        self._sizes = MappingProxyType({name: file.size for name, file in self.files.items()})

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its name."""
        return self._sizes

    def sha256(self, name: str) -> str | None:
        """What the hub states of a large file (its name in Git LFS is its digest)."""
        return self.files[name].sha256

    def read(self, name: str, offset: int, count: int) -> bytes:
        """These bytes. Errors: those of `Requests.fetch` and `Kept.add`."""
        self._note(name, offset, count)
        key = self._key(name)
        whole = bytearray(count)
        self.kept.fill(key, offset, whole)
        for begin, end in self.kept.gaps(key, offset, offset + count):
            low, high = self._widened(name, begin, end)
            # What is kept on both sides of the gap is not fetched again.
            around = self.kept.gaps(key, low, high)
            low, high = next((gap for gap in around if gap[0] <= begin and gap[1] >= end), (begin, end))
            self._fetch(name, low, high, offset, whole)
        return bytes(whole)

    def expect(self, spans: Iterable[volumes.Span]) -> None:
        """Fetch what is missing of these, near ones together, over several connections."""
        if self.kept.full:
            return
        gaps: list[volumes.Span] = []
        for name, offset, count in sorted(spans):
            low = offset - offset % BLOCK
            high = min(-(-(offset + count) // BLOCK) * BLOCK, self.files[name].size)
            gaps += [(name, begin, end) for begin, end in self.kept.gaps(self._key(name), low, high)]
        joined: list[volumes.Span] = []
        for name, begin, end in gaps:
            if joined and joined[-1][0] == name and begin - joined[-1][2] < NEAR:
                joined[-1] = (name, joined[-1][1], max(end, joined[-1][2]))
            else:
                joined.append((name, begin, end))
        self._fetch_all(joined)

    def resemble(self, first: str, others: Iterable[str]) -> None:
        """Fetch as much from the beginnings and ends of the others as was read of the first, and a quarter more."""
        reached = self._reached.get(first, Reached())
        head, tail = (min(n + n // 4, RESEMBLING) for n in (reached.head, reached.tail))
        spans = []
        for name in others:
            size = self.files[name].size if name in self.files else 0
            spans += [(name, 0, min(head, size))] if head and size else []
            spans += [(name, max(size - tail, 0), min(tail, size))] if tail and size else []
        self.expect(spans)

    def _note(self, name: str, offset: int, count: int) -> None:
        reached = self._reached.setdefault(name, Reached())
        size = self.files[name].size
        if offset <= reached.head:
            reached.head = max(reached.head, offset + count)
        if size - offset - count <= reached.tail:
            reached.tail = max(reached.tail, size - offset)

    def _key(self, name: str) -> bytes:
        file = self.files[name]
        return key_of(name, file.oid, str(file.size))

    def _widened(self, name: str, begin: int, end: int) -> tuple[int, int]:
        """The range to fetch where these bytes are missing."""
        size = self.files[name].size
        low = begin - begin % BLOCK
        if begin == 0:
            end = max(end, EDGE)
        elif begin >= size - EDGE:
            low = min(low, size - EDGE)
        else:
            end = max(end, begin + min(self.kept.before(self._key(name), begin), AHEAD))
        return max(low, 0), min(-(-end // BLOCK) * BLOCK, size)

    def _fetch_all(self, spans: list[volumes.Span]) -> None:
        if len(spans) < 2:
            for name, begin, end in spans:
                self._fetch(name, begin, end)
            return
        with self.requests.timed(), ThreadPoolExecutor(CONNECTIONS, "weigh-hub") as pool:
            tasks = [pool.submit(self._fetch, *span) for span in spans]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _fetch(self, name: str, begin: int, end: int, offset: int = 0, whole: bytearray | None = None) -> None:
        """Fetch a range and keep it; what of it lies from `offset` on in `whole` is put there too."""
        key = self._key(name)
        gathered = bytearray()
        start = begin

        def take(at: int, chunk: bytes) -> None:
            nonlocal start
            gathered.extend(chunk)
            self._awaited -= len(chunk)
            volumes.tell(self.requests.bytes, self.requests.bytes + max(self._awaited, 1))
            if len(gathered) >= RECORD:
                flush()
            if whole is not None and at < offset + len(whole) and at + len(chunk) > offset:
                low, high = max(at, offset), min(at + len(chunk), offset + len(whole))
                whole[low - offset : high - offset] = chunk[low - at : high - at]

        def flush() -> None:
            nonlocal start
            if gathered:
                self.kept.add(key, start, bytes(gathered))
                start += len(gathered)
                gathered.clear()

        self._awaited += end - begin
        try:
            with self.requests.timed():
                self.requests.fetch(self._wanted(name), begin, end, take)
        finally:
            flush()

    def _wanted(self, name: str) -> Wanted:
        file = self.files[name]
        url = f"{self.requests.endpoint}/{self.repository}/resolve/{self.commit}/{quote(name)}"
        return Wanted(url, f"hub:{self.repository}/{name}", file.size, self.commit, file.sha256)
