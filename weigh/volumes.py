"""Files that lie somewhere else than in a folder of this machine, and where they are mounted.

A volume is mounted at a path that no file system has (`hub:org/name@commit`). `weigh/files.py` then serves that path
and all below it from the volume, so that the readers of formats know nothing of where the bytes come from. To add a
kind of volume, write a class with the methods of `Volume` and call `mount`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

Span = tuple[str, int, int]
"""(name of a file in the volume, first byte, number of bytes)."""

Tell = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while a volume fetches."""


class Volume(Protocol):
    """What `files` needs to know of files elsewhere. Names have `/` between folders and never lead out."""

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its name."""

    def read(self, name: str, offset: int, count: int) -> bytes:
        """Exactly these bytes, which the caller knows to lie in the file. Errors: WeighError."""

    def expect(self, spans: Iterable[Span]) -> None:
        """Advice: these bytes will be read soon, so they may be fetched together."""

    def resemble(self, first: str, others: Iterable[str]) -> None:
        """Advice: the others will be read at the same places, counted from the beginning and the end, as the first."""

    def sha256(self, name: str) -> str | None:
        """The hexadecimal digest that the publisher states of a file, None where none is stated."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a volume: a file or a folder. The whole volume is the empty name."""

    volume: Volume
    name: str

    @property
    def size(self) -> int | None:
        """Bytes of the file, None where there is none of this name: then it may be a folder."""
        return self.volume.sizes().get(self.name)

    def below(self, name: str) -> Spot:
        """A file or folder in this folder."""
        return Spot(self.volume, (PurePosixPath(self.name) / name).as_posix())

    def listed(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the files and of the folders in this folder, each sorted, hidden ones left out."""
        front = self.name + "/" if self.name else ""
        rest = [name.removeprefix(front) for name in self.volume.sizes() if name.startswith(front)]
        shown = sorted({name.split("/", 1)[0] for name in rest if not name.startswith(".")})
        held = set(rest)
        return tuple(n for n in shown if n in held), tuple(n for n in shown if n not in held)


_mounted: dict[Path, Volume] = {}
_listeners: list[Tell] = []
_last: list[int] = []
"""Bytes last told of."""


def mount(root: Path, volume: Volume) -> None:
    """Serve `root` and what lies below from this volume, until the process ends. A newer one takes an older's place."""
    _mounted[root] = volume


def at(path: Path) -> Spot | None:
    """The place in a volume that a path stands for, None where it is one of this machine."""
    if not _mounted:
        return None
    for root in (path, *path.parents):
        volume = _mounted.get(root)
        if volume is not None:
            below = path.relative_to(root).parts
            return Spot(volume, "/".join(below))
    return None


def expect_beginnings(folder: Path, names: Iterable[str], count: int) -> None:
    """Advice before the first `count` bytes of many files are read. On this machine it changes nothing."""
    folder_spot = at(folder)
    if folder_spot is not None:
        inner = [folder_spot.below(name) for name in names]
        folder_spot.volume.expect([(spot.name, 0, min(count, spot.size)) for spot in inner if spot.size])


def resemble(folder: Path, first: str, others: Iterable[str]) -> None:
    """Advice before many files are read as the first one was. On this machine it changes nothing."""
    spot = at(folder)
    if spot is not None:
        spot.volume.resemble(spot.below(first).name, [spot.below(name).name for name in others])


def stated_sha256(folder: Path, name: str) -> str | None:
    """The digest that a publisher states of a file elsewhere; None of a file here, and where none is stated."""
    spot = at(folder)
    return None if spot is None else spot.volume.sha256(spot.below(name).name)


def watch(tell: Tell) -> None:
    """Tell this listener how far fetching is, instead of any other."""
    _listeners[:] = [tell]


def tell(done: int, total: int) -> None:
    """What a volume calls now and then while it fetches; `total` is more than `done` until `finish`."""
    _last[:] = [done]
    for listener in _listeners:
        listener(done, total)


def finish() -> None:
    """Tell that nothing more is fetched for now."""
    for done in _last:
        for listener in _listeners:
            listener(done, done)
    _last.clear()
