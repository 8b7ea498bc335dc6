"""Opens files safely (regular, inside the model's folder, unchanged while read) and replaces them whole or not at all.

The path that a user gives may be a symbolic link; `locate` resolves it once. Everything else is reached by a name that
some file says and goes through `opened`, which keeps it inside the folder, or inside the same repository of the
Hugging Face cache (`snapshots/<revision>/x` is a link to `../../blobs/y`). To read a new kind of file, call `opened`
and `read_at`; nothing else in weigh opens a model's file.
Bytes are read by position and not through a memory map: where another process cuts a mapped file short, touching the
map ends the process, while a short read is an error that can be told.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from weigh.types import Limits, WeighError

LINKS = 40
"""Symbolic links followed from the user's path; Linux follows as many."""
POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
"""A Git LFS pointer is shorter than this: github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""
TEMPORARY = ".weigh-tmp"

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


# ------------------------------------------------------------------------------------------------- finding


def locate(path: str | Path) -> Path:
    """The user's path with its links resolved: a real folder, or a name in a real folder.

    A link of the Hugging Face cache keeps its name, because its neighbours lie beside the link and not beside the blob.

    Errors: FILE-MISSING (exit 4), FILE-DENIED, FILE-LOOP, FILE-NAME, FILE-READ.
    """
    current = Path(path)
    if "\0" in str(current):
        raise WeighError("a path cannot hold a NUL character", rule="FILE-NAME", path=path, exit_code=4)
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
    outside = WeighError(
        f"the file name {name[:200]!r} leads out of the model's folder",
        rule="FILE-OUTSIDE",
        path=folder,
        hint="weigh opens nothing outside the folder of the model; copy the file there, or name it directly",
    )
    way = PurePosixPath(name.replace("\\", "/") if os.sep == "\\" else name)
    if not way.parts or "\0" in name or way.is_absolute() or ".." in way.parts or (os.sep == "\\" and ":" in name):
        raise outside
    target = Path(os.path.realpath(folder / name, strict=True))
    if target.is_relative_to(folder):
        return folder, target.relative_to(folder).parts
    repository = _cached_repository(folder)
    if repository is not None and target.is_relative_to(repository / "blobs"):
        return repository, target.relative_to(repository).parts
    raise outside


def exists(folder: Path, name: str) -> bool:
    """Whether the folder holds a file of this name. A name that leads outside counts as held: opening it will tell."""
    try:
        return bool(_inside(folder, name)[1])
    except WeighError:
        return True
    except OSError:
        return False


def listed(folder: Path, limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the files and of the folders in a folder, each sorted, hidden ones left out."""
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


@contextmanager
def opened(folder: Path, name: str) -> Iterator[OpenFile]:
    """Open a neighbour for reading, and check afterwards that it is still the same file.

    `folder` is a real path, as `locate` gives it. Never blocks, whatever lies there.

    Errors: FILE-MISSING, FILE-OUTSIDE, FILE-KIND, FILE-FOLDER, FILE-EMPTY, FILE-DENIED, FILE-LFS, FILE-CHANGED,
    FILE-READ.
    """
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
        raise WeighError(
            "the file is empty", rule="FILE-EMPTY", path=path, hint="the download or copy did not finish: get it again"
        )


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


def _read(descriptor: int, count: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


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


# ------------------------------------------------------------------------------------------------- writing


def write_text(path: str | Path, text: str) -> None:
    """Put a text in a file's place. Errors: those of `replacing`."""
    data = text.encode()
    with replacing(path, len(data)) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path, nbytes: int = 0) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` once it is whole and on the disk.

    Until then the old file stays, whatever happens; afterwards the new one has the old one's mode, or the usual mode.
    A link is followed and stays a link. `nbytes` is what will be written, where that is known beforehand.

    Errors: WRITE-SPACE (exit 5), WRITE-DENIED, WRITE-FOLDER, WRITE-FAILED.
    """
    target = Path(os.path.realpath(path))
    with _told_writing(target):
        _require_space(target.parent, nbytes)
        mode = stat.S_IMODE(target.stat().st_mode) if target.is_file() else None
        made = target.with_name(f".{target.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}{TEMPORARY}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _CLOSE_ON_EXEC
        descriptor = os.open(made, flags, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                made.chmod(mode)
            made.replace(target)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        _settle(target.parent)


def _require_space(folder: Path, nbytes: int) -> None:
    """Refuse before writing what would fill the disk, with a hundredth to spare."""
    import shutil

    free = shutil.disk_usage(folder).free
    if nbytes + nbytes // 100 > free:
        raise OSError(errno.ENOSPC, f"{nbytes:,} bytes are needed, {free:,} are free")


def _settle(folder: Path) -> None:
    """Bring the new name to the disk too; where a folder cannot be opened (Windows), the system sees to it."""
    if not _HAS_FOLDER_DESCRIPTORS:
        return
    descriptor = os.open(folder, os.O_RDONLY | _CLOSE_ON_EXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or str(cause)
        if cause.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
            message = f"no room to write this: {reason}"
            raise WeighError(message, rule="WRITE-SPACE", path=path, exit_code=5) from cause
        if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise WeighError(f"not allowed to write this: {reason}", rule="WRITE-DENIED", path=path) from cause
        if cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            message = "there is no folder to write this in" if cause.errno != errno.EISDIR else "this is a folder"
            raise WeighError(message, rule="WRITE-FOLDER", path=path) from cause
        raise WeighError(f"cannot be written: {reason}", rule="WRITE-FAILED", path=path) from cause
