"""Puts files in place whole or not at all: one (`replacing`), or several that belong together (`replacing_all`).

A file is written under a temporary name in the folder of its target, brought to the disk, and only then takes the
target's name, in one step. Killed at any moment, the target is the old file or the new one. Several files cannot take
their names in one step: a manifest tells whether they belong together, says so first that they do not, and last that
they do. What is promised on which system: `docs/decisions/0003-writing.md`.

Every call of the operating system goes through `SYSTEM`, so that a test can let any of them fail. To write a new kind
of file, call `replacing` and `Output.write`; nothing else in weigh writes a file.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from weigh.types import WeighError

TEMPORARY = ".weigh-tmp"
ABANDONED = re.compile(r"\..+\.(?P<process>\d+)\.[0-9a-f]{16}" + re.escape(TEMPORARY))
ABANDONED_AFTER = 24 * 3600.0
"""Seconds since the last write to a temporary file after which nobody is believed to be writing it."""
NAME_KEPT = 60
"""Characters of the target's name in a temporary name: at 4 bytes each they still fit in the 255 of a file name."""
BUFFER_BYTES = 2**20
PRIVATE = 0o600
USUAL = 0o666
ACCESS_LIST = "system.posix_acl_access"
"""Where Linux keeps the access control list of a file: acl(5)."""

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class System:
    """What writing asks of the operating system. Without a counterpart on this system it is None."""

    open: Callable[..., int]
    write: Callable[[int, Bytes], int]
    truncate: Callable[[int, int], None]
    sync: Callable[[int], None]
    close: Callable[[int], None]
    replace: Callable[[Path, Path], None]
    unlink: Callable[[Path], None]
    chmod: Callable[[Path, int], None]
    usage: Callable[[Path], Any]
    allocate: Callable[[int, int, int], None] | None
    attribute: Callable[[Path, str], bytes] | None
    set_attribute: Callable[[Path, str, bytes], None] | None
    drop_attribute: Callable[[Path, str], None] | None


SYSTEM = System(
    open=os.open,
    write=os.write,
    truncate=os.ftruncate,
    sync=os.fsync,
    close=os.close,
    replace=os.replace,
    unlink=os.unlink,
    chmod=os.chmod,
    usage=shutil.disk_usage,
    allocate=getattr(os, "posix_fallocate", None),
    attribute=getattr(os, "getxattr", None),
    set_attribute=getattr(os, "setxattr", None),
    drop_attribute=getattr(os, "removexattr", None),
)

_CREATE: int = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_FLAGS: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_POSIX = os.name == "posix"
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written."""

    name: str
    nbytes: int
    sha256: str


@dataclass(slots=True)
class Output:
    """A file being written. Small writes are gathered; a write of any size is written to the end."""

    descriptor: int
    nbytes: int = 0
    _digest: Any = field(default_factory=sha256)
    _gathered: bytearray = field(default_factory=bytearray)

    def write(self, data: Bytes) -> None:
        """Append bytes. Errors: those of the operating system, which `replacing` tells."""
        view = memoryview(data)
        if view.nbytes + len(self._gathered) > BUFFER_BYTES:
            self.flush()
        if view.nbytes > BUFFER_BYTES:
            self._pour(view.cast("B"))
        else:
            self._gathered += view

    def flush(self) -> None:
        """Hand what was gathered to the operating system."""
        self._pour(memoryview(bytes(self._gathered)))
        self._gathered.clear()

    def _pour(self, data: memoryview) -> None:
        """The operating system may take fewer bytes than it is given, and may be interrupted."""
        self._digest.update(data)
        while data:
            try:
                taken = SYSTEM.write(self.descriptor, data)
            except InterruptedError:
                continue
            if taken <= 0:
                raise OSError(errno.EIO, "nothing was written")
            self.nbytes += taken
            data = data[taken:]

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of all that was handed over."""
        return str(self._digest.hexdigest())


@dataclass(frozen=True, slots=True)
class _Draft:
    """A temporary file, and the old file whose mode it is to have."""

    path: Path
    like: Path | None
    output: Output


@dataclass(frozen=True, slots=True)
class Part:
    """One of several files that belong together: where it goes, its size and how it is filled."""

    path: Path
    nbytes: int
    fill: Callable[[Output], None]


# ------------------------------------------------------------------------------------------------- one file


def write_text(path: str | Path, text: str, *, private: bool = False) -> None:
    """Put a text in a file's place. Errors: those of `replacing`."""
    data = text.encode()
    with replacing(path, len(data), private=private) as output:
        output.write(data)


@contextmanager
def replacing(
    path: str | Path, nbytes: int = 0, *, private: bool = False, sources: Iterable[str | Path] = ()
) -> Iterator[Output]:
    """A file to write that takes the place of `path` once it is whole and on the disk.

    Until then the old file stays, whatever happens; afterwards the new one has the old one's mode and access list, or
    the usual mode; a `private` one (a key) is for its owner alone. A symbolic link is followed and stays; of a file
    with several hard links only this name is replaced. `nbytes` is what will be written, where that is known
    beforehand. `sources` are the files that are read meanwhile.

    Errors: WRITE-SPACE (exit 5), WRITE-DENIED, WRITE-FOLDER, WRITE-KIND, WRITE-LOOP, WRITE-SOURCE, WRITE-FAILED.
    """
    target = _target(path, sources)
    with _told(target):
        _clear(target.parent)
        _require_space(target.parent, nbytes)
        with _temporary(target, nbytes, private) as draft:
            yield draft.output
            _finish(draft)
            SYSTEM.replace(draft.path, target)
        _settle(target.parent)


def _target(path: str | Path, sources: Iterable[str | Path]) -> Path:
    """The real file to replace, which is a regular one, or none yet, and is not being read."""
    if "\0" in str(path):
        raise WeighError("a path cannot hold a NUL character", rule="WRITE-KIND", path=path)
    target = Path(os.path.realpath(path))
    with _told(target):
        try:
            status = target.lstat()
        except FileNotFoundError:
            return target
        if stat.S_ISLNK(status.st_mode):
            raise WeighError("symbolic links lead round in a circle", rule="WRITE-LOOP", path=path)
        if stat.S_ISDIR(status.st_mode):
            raise WeighError("this is a folder", rule="WRITE-FOLDER", path=path, hint="name the file to write in it")
        if not stat.S_ISREG(status.st_mode):
            message = "what lies there is a device, a pipe or a socket, which cannot be replaced by a file"
            raise WeighError(message, rule="WRITE-KIND", path=path, hint="name a file that is a regular one, or none")
        for source in sources:
            with suppress(FileNotFoundError):
                if os.path.samestat(status, os.stat(source)):  # noqa: PTH116
                    message = "this is the file that is read; it cannot be written at the same time"
                    raise WeighError(message, rule="WRITE-SOURCE", path=path, hint="write to another name")
    return target


@contextmanager
def _temporary(target: Path, nbytes: int, private: bool) -> Iterator[_Draft]:
    """A temporary file beside `target`, gone at the end unless it was given another name."""
    path = target.with_name(f".{target.name[:NAME_KEPT]}.{os.getpid()}.{os.urandom(8).hex()}{TEMPORARY}")
    like = target if target.exists() and not private else None
    # Where the old file is not for everyone, no byte of the new one is either, not even for a moment.
    mode = PRIVATE if private or like is not None else USUAL
    draft = _Draft(path, like, Output(SYSTEM.open(path, _CREATE | _FLAGS, mode)))
    try:
        try:
            _allocate(draft.output, nbytes)
            yield draft
        finally:
            _close(draft)
    except BaseException:
        with suppress(OSError):
            SYSTEM.unlink(path)
        raise


def _close(draft: _Draft) -> None:
    descriptor, draft.output.descriptor = draft.output.descriptor, -1
    if descriptor >= 0:
        SYSTEM.close(descriptor)


def _allocate(output: Output, nbytes: int) -> None:
    """Reserve the space, so that a full disk is met before the work and not after it."""
    if SYSTEM.allocate is None or nbytes <= 0:
        return
    try:
        SYSTEM.allocate(output.descriptor, 0, nbytes)
    except OSError as cause:
        if cause.errno not in _NOT_SUPPORTED:
            raise


def _finish(draft: _Draft) -> None:
    """Bring a whole temporary file to the disk, with the mode that it is to have."""
    draft.output.flush()
    SYSTEM.truncate(draft.output.descriptor, draft.output.nbytes)
    if draft.like is not None:
        _dress(draft.path, draft.like)
    SYSTEM.sync(draft.output.descriptor)
    _close(draft)


def _dress(made: Path, target: Path) -> None:
    """Give the new file the old one's mode and access control list."""
    SYSTEM.chmod(made, stat.S_IMODE(target.stat().st_mode))
    if SYSTEM.attribute is None or SYSTEM.set_attribute is None or SYSTEM.drop_attribute is None:
        return
    try:
        kept = SYSTEM.attribute(target, ACCESS_LIST)
    except OSError as cause:
        if cause.errno in _NOT_SUPPORTED:
            return
        if cause.errno != errno.ENODATA:
            raise
        # The folder may have given the new file a list that the old one does not have.
        with suppress(OSError):
            SYSTEM.drop_attribute(made, ACCESS_LIST)
        return
    SYSTEM.set_attribute(made, ACCESS_LIST, kept)


def _require_space(folder: Path, nbytes: int) -> None:
    """Refuse before writing what would fill the disk, with a hundredth to spare."""
    free = SYSTEM.usage(folder).free
    if nbytes + nbytes // 100 > free:
        raise OSError(errno.ENOSPC, f"{nbytes:,} bytes are needed, {free:,} are free")


def _settle(folder: Path) -> None:
    """Bring the new names to the disk too; where a folder cannot be opened (Windows), the system sees to it."""
    if not _POSIX:
        return
    descriptor = SYSTEM.open(folder, os.O_RDONLY | _FLAGS)
    try:
        SYSTEM.sync(descriptor)
    finally:
        SYSTEM.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove what killed processes of this user left a day ago or longer. What cannot be removed is left."""
    now = time.time()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = ABANDONED.fullmatch(entry.name)
            if match is None:
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                mine = not _POSIX or status.st_uid == os.geteuid()
                old = now - status.st_mtime > ABANDONED_AFTER
                if stat.S_ISREG(status.st_mode) and mine and old and not _runs(int(match["process"])):
                    SYSTEM.unlink(Path(entry.path))


def _runs(process: int) -> bool:
    """Whether a process of this number is alive. Windows, where asking would end it, refuses to remove open files."""
    if not _POSIX:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


# ------------------------------------------------------------------------------------------------ several files


def replacing_all(
    parts: Sequence[Part],
    manifest: Path,
    unfinished: str,
    finished: Callable[[Sequence[Written]], str],
    sources: Iterable[str | Path] = (),
) -> tuple[Written, ...]:
    """Write files that belong together, and last the manifest that says that they do.

    All are whole and on the disk under temporary names before the first takes its name. Before that, the manifest's
    place is taken by the text `unfinished`, by which a reader knows that old and new may be mixed; `finished` makes the
    final text from what was written. Killed at any moment: the old files, the new ones, or a manifest that says
    unfinished. Doing it again gives the same files.

    All parts and the manifest must lie in one folder. Errors: those of `replacing`, and WRITE-RACE where another
    process wrote the same files meanwhile; then the manifest says unfinished.
    """
    read = tuple(sources)
    targets = [_target(part.path, read) for part in parts]
    _target(manifest, read)
    folder = manifest.parent
    with _told(folder):
        _clear(folder)
        _require_space(folder, sum(part.nbytes for part in parts))
    done: list[Written] = []
    places: list[tuple[int, int]] = []
    with ExitStack() as stack:
        made_all: list[Path] = []
        for part, target in zip(parts, targets, strict=True):
            stack.enter_context(_told(target))
            draft = stack.enter_context(_temporary(target, part.nbytes, private=False))
            part.fill(draft.output)
            _finish(draft)
            status = draft.path.stat()
            places.append((status.st_dev, status.st_ino))
            done.append(Written(part.path.name, draft.output.nbytes, draft.output.sha256))
            made_all.append(draft.path)
        write_text(manifest, unfinished)
        for made, target in zip(made_all, targets, strict=True):
            SYSTEM.replace(made, target)
        _settle(folder)
    write_text(manifest, finished(done))
    _require_own(targets, places, manifest, unfinished)
    return tuple(done)


def _require_own(targets: list[Path], places: list[tuple[int, int]], manifest: Path, unfinished: str) -> None:
    """Take the final manifest back where one of the files is by now another writer's."""
    for target, place in zip(targets, places, strict=True):
        with _told(target):
            status = target.stat()
        if _POSIX and (status.st_dev, status.st_ino) != place:
            write_text(manifest, unfinished)
            message = "another process wrote this file at the same time"
            raise WeighError(message, rule="WRITE-RACE", path=target, hint="write it again, with one process")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what an error of the operating system means for the user."""
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or str(cause)
        if cause.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
            message = f"no room to write this: {reason}"
            raise WeighError(message, rule="WRITE-SPACE", path=path, exit_code=5) from cause
        if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "" if _POSIX else "close the programs that have the file open"
            raise WeighError(
                f"not allowed to write this: {reason}", rule="WRITE-DENIED", path=path, hint=hint
            ) from cause
        if cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            message = "there is no folder to write this in" if cause.errno != errno.EISDIR else "this is a folder"
            raise WeighError(message, rule="WRITE-FOLDER", path=path) from cause
        raise WeighError(f"cannot be written: {reason}", rule="WRITE-FAILED", path=path) from cause
