"""Opens files safely: regular, inside the model's folder, unchanged while read. Writing is `weigh/writing.py`.

The path that a user gives may be a symbolic link; `locate` resolves it once. Everything else is reached by a name that
some file says and goes through `opened`, which keeps it inside the folder, or inside the same repository of the
Hugging Face cache (`snapshots/<revision>/x` is a link to `../../blobs/y`). To read a new kind of file, call `opened`
and `read_at`; nothing else in weigh opens a model's file. A path at which a volume is mounted (`weigh/volumes.py`) is
served from there, by the same functions.
Bytes are read by position and not through a memory map: where another process cuts a mapped file short, touching the
map ends the process, while a short read is an error that can be told.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weigh import volumes
from weigh.types import Limits, WeighError

LINKS = 40
"""Symbolic links followed from the user's path; Linux follows as many."""
POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
"""A Git LFS pointer is shorter than this: github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""

_CLOSE_ON_EXEC: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
_FOLDER: int = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
_HAS_FOLDER_DESCRIPTORS = os.open in os.supports_dir_fd


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file held open. Only `read_at` touches the descriptor."""

    path: Path
    name: str
    """Relative to the model's folder: what Pieces call the file."""
    size: int
    descriptor: int
    links: int = 1
    """Names that the file has; more than one means that it is also a file elsewhere."""
    spot: volumes.Spot | None = None
    """Where it lies in a volume; then there is no descriptor."""


# ------------------------------------------------------------------------------------------------- finding


def locate(path: str | Path) -> Path:
    """The user's path with its links resolved: a real folder, or a name in a real folder.

    A link of the Hugging Face cache keeps its name, because its neighbours lie beside the link and not beside the blob.

    Errors: FILE-MISSING (exit 4), FILE-DENIED, FILE-LOOP, FILE-NAME, FILE-READ.
    """
    current = Path(path)
    if "\0" in str(current):
        raise WeighError("a path cannot hold a NUL character", rule="FILE-NAME", path=path, exit_code=4)
    if volumes.at(current) is not None:
        return current
    with told(current, missing_exit=4):
        if current.is_dir():
            return Path(os.path.realpath(current, strict=True))
        for _ in range(LINKS):
            folder = Path(os.path.realpath(current.parent, strict=True))
            spot = folder / current.name
            if not stat.S_ISLNK(spot.lstat().st_mode):
                return spot
            repository = _cached_repository(folder)
            if repository is not None and Path(os.path.realpath(spot, strict=True)).is_relative_to(
                repository / "blobs"
            ):
                return spot
            current = folder / spot.readlink()
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _cached_repository(folder: Path) -> Path | None:
    """The cached repository (`models--org--name`) whose snapshot `folder` is or lies in."""
    for snapshots in (folder, *folder.parents):
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith(("models--", "datasets--", "spaces--")):
            return snapshots.parent
    return None


def _inside(folder: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """The root that a neighbour must stay in, and the way from there to the real file."""
    if leads_out(name):
        raise _outside(folder, name)
    target = Path(os.path.realpath(folder / name, strict=True))
    if target.is_relative_to(folder):
        return folder, target.relative_to(folder).parts
    repository = _cached_repository(folder)
    if repository is not None and target.is_relative_to(repository / "blobs"):
        return repository, target.relative_to(repository).parts
    raise _outside(folder, name)


def leads_out(name: str) -> bool:
    """Whether a relative name of a file would lead out of its folder, or is none."""
    way = PurePosixPath(name.replace("\\", "/") if os.sep == "\\" else name)
    drive = os.sep == "\\" and ":" in name
    return not way.parts or "\0" in name or way.is_absolute() or ".." in way.parts or drive


def _outside(folder: Path, name: str) -> WeighError:
    return WeighError(
        f"the file name {name[:200]!r} leads out of the model's folder",
        rule="FILE-OUTSIDE",
        path=folder,
        hint="weigh opens nothing outside the folder of the model; copy the file there, or name it directly",
    )


def is_folder(path: Path) -> bool:
    """Whether a located path is a folder."""
    spot = volumes.at(path)
    return path.is_dir() if spot is None else spot.size is None


def exists(folder: Path, name: str) -> bool:
    """Whether the folder holds a file of this name. A name that leads outside counts as held: opening it will tell."""
    spot = volumes.at(folder)
    if spot is not None:
        return leads_out(name) or spot.below(name).size is not None
    try:
        return bool(_inside(folder, name)[1])
    except WeighError:
        return True
    except OSError:
        return False


def listed(folder: Path, limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the files and of the folders in a folder, each sorted, hidden ones left out."""
    spot = volumes.at(folder)
    if spot is not None:
        return spot.listed()
    found: dict[bool, list[str]] = {True: [], False: []}
    with told(folder), os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= limits.files:
                raise WeighError(
                    f"the folder holds more than {limits.files:,} entries",
                    rule="FOLDER-FILES",
                    path=folder,
                    hint="name the model's file itself",
                    exit_code=5,
                )
            if not entry.name.startswith("."):
                found[entry.is_dir(follow_symlinks=False)].append(entry.name)
    return tuple(sorted(found[False])), tuple(sorted(found[True]))


def lift(limit: str) -> str:
    """The hint of every error that passes a limit."""
    return f"if you trust this file, raise the limit from Python: weigh.formats.read(path, Limits({limit}=...))"


# ------------------------------------------------------------------------------------------------- opening


def opened(folder: Path, name: str) -> AbstractContextManager[OpenFile]:
    """Open a neighbour for reading, and check afterwards that it is still the same file.

    `folder` is a real path, as `locate` gives it. Never blocks, whatever lies there.

    Errors: FILE-MISSING, FILE-OUTSIDE, FILE-KIND, FILE-FOLDER, FILE-EMPTY, FILE-DENIED, FILE-LFS, FILE-CHANGED,
    FILE-READ; of a volume, also its own.
    """
    spot = volumes.at(folder)
    return _opened_here(folder, name) if spot is None else _opened_elsewhere(folder, name, spot)


@contextmanager
def _opened_elsewhere(folder: Path, name: str, spot: volumes.Spot) -> Iterator[OpenFile]:
    path = folder / name
    if leads_out(name):
        raise _outside(folder, name)
    inner = spot.below(name)
    if inner.size is None:
        raise WeighError("there is no such file", rule="FILE-MISSING", path=path)
    if inner.size == 0:
        raise _empty(path)
    file = OpenFile(path, name, inner.size, -1, spot=inner)
    _refuse_pointer(file)
    yield file


@contextmanager
def _opened_here(folder: Path, name: str) -> Iterator[OpenFile]:
    path = folder / name
    with told(path):
        root, way = _inside(folder, name)
        _require_regular(root.joinpath(*way).lstat(), path)
        descriptor = _open_below(root, way)
    try:
        before = os.fstat(descriptor)
        _require_regular(before, path)
        file = OpenFile(path, name, before.st_size, descriptor, before.st_nlink)
        _refuse_pointer(file)
        yield file
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _changed(file)
    finally:
        os.close(descriptor)


def _open_below(root: Path, way: tuple[str, ...]) -> int:
    """Open without following any link below `root`, so that a folder swapped for a link meanwhile is refused."""
    if not _HAS_FOLDER_DESCRIPTORS:
        return os.open(root.joinpath(*way), os.O_RDONLY | _NO_LINK | _NO_WAIT | _CLOSE_ON_EXEC)
    here = os.open(root, os.O_RDONLY | _FOLDER | _NO_LINK | _CLOSE_ON_EXEC)
    for part in way[:-1]:
        try:
            below = os.open(part, os.O_RDONLY | _FOLDER | _NO_LINK | _CLOSE_ON_EXEC, dir_fd=here)
        finally:
            os.close(here)
        here = below
    try:
        return os.open(way[-1], os.O_RDONLY | _NO_LINK | _NO_WAIT | _CLOSE_ON_EXEC, dir_fd=here)
    finally:
        os.close(here)


def _require_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise WeighError("this is a folder, not a file", rule="FILE-FOLDER", path=path)
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise WeighError(
            f"this is {kind}, not a regular file", rule="FILE-KIND", path=path, hint="copy its content to a file first"
        )
    if status.st_size == 0:
        raise _empty(path)


def _empty(path: Path) -> WeighError:
    hint = "the download or copy did not finish: get it again"
    return WeighError("the file is empty", rule="FILE-EMPTY", path=path, hint=hint)


def _refuse_pointer(file: OpenFile) -> None:
    if file.size <= POINTER_BYTES and read_at(file, 0, min(file.size, len(POINTER))) == POINTER:
        raise WeighError(
            "this is a Git LFS pointer, a few lines of text that stand for the real file",
            rule="FILE-LFS",
            path=file.path,
            hint=f"fetch the object: git lfs pull --include {file.name}",
        )


def read_at(file: OpenFile, offset: int, count: int) -> bytes:
    """Exactly `count` bytes from `offset`. The caller has compared both with the file's size."""
    if count < 0 or offset < 0 or count > file.size - offset:
        raise WeighError(
            f"{count:,} bytes at {offset:,} do not lie in a file of {file.size:,} bytes",
            rule="FILE-RANGE",
            path=file.path,
            offset=offset,
        )
    if file.spot is not None:
        return file.spot.volume.read(file.spot.name, offset, count) if count else b""
    pieces: list[bytes] = []
    with told(file.path):
        while count:
            piece = _read(file.descriptor, count, offset)
            if not piece:
                raise _changed(file)
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_into(file: OpenFile, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` (flat, of bytes) from `offset`: memory that is used again costs no page faults, new memory does.

    Errors: those of `read_at`.
    """
    count = len(buffer)
    if file.spot is not None or not hasattr(os, "preadv") or offset < 0 or count > file.size - offset:
        buffer[:] = read_at(file, offset, count)
        return
    done = 0
    with told(file.path):
        while done < count:
            got = os.preadv(file.descriptor, [buffer[done:]], offset + done)
            if not got:
                raise _changed(file)
            done += got


def _read(descriptor: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def expect(file: OpenFile, spans: Iterable[tuple[int, int]]) -> None:
    """Advice before many small reads of one file: their (offset, number of bytes). Here it changes nothing."""
    if file.spot is not None:
        name, size = file.spot.name, file.size
        lying = ((name, begin, min(count, size - begin)) for begin, count in spans if 0 <= begin < size)
        file.spot.volume.expect(lying)


def _changed(file: OpenFile) -> WeighError:
    return WeighError(
        "the file changed while it was read",
        rule="FILE-CHANGED",
        path=file.path,
        hint="wait until whatever writes it has finished",
    )


@contextmanager
def told(path: Path, missing_exit: int = 3) -> Iterator[None]:
    """Say what an error of the operating system means for the user."""
    try:
        yield
    except OSError as cause:
        if cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            broken = cause.errno == errno.ENOENT and path.is_symlink()
            message = "the link leads to a file that does not exist" if broken else "there is no such file or folder"
            raise WeighError(message, rule="FILE-MISSING", path=path, exit_code=missing_exit) from cause
        if isinstance(cause, PermissionError):
            hint = f"ask its owner for access, or: chmod u+r {path.name}"
            raise WeighError("not allowed to read this", rule="FILE-DENIED", path=path, hint=hint) from cause
        if cause.errno == errno.ELOOP:
            raise WeighError("symbolic links lead round in a circle", rule="FILE-LOOP", path=path) from cause
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        raise WeighError(f"cannot be read: {reason}", rule="FILE-READ", path=path) from cause
