"""Opens files safely (regular, inside the model's folder, unchanged while read) and loads JSON within bounds.

The path that a user gives may be a symbolic link; `locate` resolves it once. Everything else is reached by a name that
some file says and goes through `opened`, which keeps it inside the folder, or inside the same repository of the
Hugging Face cache (`snapshots/<revision>/x` is a link to `../../blobs/y`). To read a new kind of file, call `opened`
and `read_at`; nothing else in weigh opens a model's file.
Bytes are read by position and not through a memory map: where another process cuts a mapped file short, touching the
map ends the process, while a short read is an error that can be told.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weigh.types import Limits, WeighError

LINKS = 40
"""Symbolic links followed from the user's path; Linux follows as many."""
POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
"""A Git LFS pointer is shorter than this: github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""
DIGITS = 308
"""Digits of the largest double: no size, count or setting of a model needs more."""
CONFIGURATION_BYTES = 16 * 2**20
CONFIGURATION_VALUES = 1_000_000

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
        file = OpenFile(path, name, before.st_size, descriptor)
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
            broken = os.path.islink(path)  # unlike Path.is_symlink, also where the name is too long
            message = "the link leads to a file that does not exist" if broken else "there is no such file or folder"
            raise WeighError(message, rule="FILE-MISSING", path=path, exit_code=missing_exit) from cause
        if isinstance(cause, PermissionError):
            hint = f"ask its owner for access, or: chmod u+r {path.name}"
            raise WeighError("not allowed to read this", rule="FILE-DENIED", path=path, hint=hint) from cause
        if cause.errno == errno.ELOOP:
            raise WeighError("symbolic links lead round in a circle", rule="FILE-LOOP", path=path) from cause
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        raise WeighError(f"cannot be read: {reason}", rule="FILE-READ", path=path) from cause


# ---------------------------------------------------------------------------------------------------- JSON

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"\\[]{}'))
_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


def read_configuration(file: OpenFile, limits: Limits) -> dict[str, Any]:
    """A JSON object of settings, as `config.json` is one."""
    if file.size > CONFIGURATION_BYTES:
        raise WeighError(
            f"{file.size:,} bytes of settings are more than the {CONFIGURATION_BYTES:,} that weigh reads",
            rule="JSON-SIZE",
            path=file.path,
            hint="a configuration takes kilobytes: is this another kind of file?",
            exit_code=5,
        )
    return json_object(read_at(file, 0, file.size), file.path, limits, CONFIGURATION_VALUES)


def json_object(
    data: bytes,
    path: Path,
    limits: Limits,
    values: int,
    made: Callable[[list[tuple[str, Any]]], Any] | None = None,
    start: int = 0,
) -> dict[str, Any]:
    """Parse a JSON object of at most `values` values, nested at most `limits.json_nesting` deep.

    Size, depth and digits are checked before anything is parsed. NaN and Infinity are accepted, because configurations
    written by Python hold them (Mamba's `time_step_limit`). `made` turns the pairs of each object into what stands for
    it, as soon as they are complete; without it that is a dictionary (`unique`). `start` is where the text lies in its
    file.

    Errors: JSON-DEPTH, JSON-DIGITS, JSON-VALUES (exit 5), JSON-TEXT, JSON-SYNTAX, JSON-DUPLICATE, JSON-OBJECT.
    """
    found = data.count(b",") + data.count(b"[") + data.count(b"{")
    if found > values:
        raise WeighError(
            f"about {found:,} values are more than the {values:,} that weigh reads",
            rule="JSON-VALUES",
            path=path,
            hint=lift("tensors"),
            exit_code=5,
        )
    if _deeper_than(data, limits.json_nesting):
        raise WeighError(
            f"brackets are nested deeper than {limits.json_nesting}", rule="JSON-DEPTH", path=path, offset=start
        )
    if b"0" * (DIGITS + 1) in data.translate(_TO_ZERO):
        _refuse_long_numbers(data, path)
    if b"\\u" in data:
        _refuse_half_characters(data, path)

    try:
        parsed = json.loads(data.decode(), object_pairs_hook=made or unique)
    except KeyTwiceError as cause:
        raise WeighError(f"the key {cause.args[0]!r} appears twice", rule="JSON-DUPLICATE", path=path) from cause
    except json.JSONDecodeError as cause:
        message = f"not JSON: {cause.msg}"
        at = start + len(cause.doc[: cause.pos].encode())
        raise WeighError(message, rule="JSON-SYNTAX", path=path, offset=at) from cause
    except UnicodeDecodeError as cause:
        raise WeighError("not UTF-8 text", rule="JSON-TEXT", path=path, offset=start + cause.start) from cause
    if not isinstance(parsed, dict):
        raise WeighError(f"a JSON object is expected, not a {_kind(parsed)}", rule="JSON-OBJECT", path=path)
    return parsed


def _deeper_than(data: bytes, limit: int) -> bool:
    """Whether brackets outside strings are nested deeper than `limit`.

    All work is done by byte-string methods, so that a header of 200,000 tensors takes a tenth of a second. With
    everything but quotes and brackets gone, each pass takes the innermost pairs away: what is left after `limit`
    passes is too deep. Where no pair is left but brackets are, they do not match, which the parser will tell.
    """
    bones = data.translate(None, _NOT_STRUCTURE)
    if b"\\" not in bones:
        bones = bones.replace(b'""', b"")
    if b'"' in bones:
        bones = _STRINGS.sub(b"", data).translate(None, _NOT_STRUCTURE)
    bones = bones.translate(_BRACKETS)
    for depth in range(limit):
        fewer = bones.replace(b"[]", b"")
        if len(fewer) == len(bones):
            return bones.count(b"[") > limit - depth
        bones = fewer
    return bool(bones)


class KeyTwiceError(ValueError):
    """A JSON object names one key twice: readers differ in which of the two they believe."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dictionary, if no key comes twice."""
    whole = dict(pairs)
    if len(whole) != len(pairs):
        for key, _ in pairs:
            if key not in whole:
                raise KeyTwiceError(key[:200])
            del whole[key]
    return whole


def _refuse_half_characters(data: bytes, path: Path) -> None:
    """Half of a surrogate pair is no character: such a string could not be written out again."""
    half = next((match for match in _ESCAPES.finditer(data) if match[1]), None)
    if half is not None:
        raise WeighError("an escape stands for half a character", rule="JSON-TEXT", path=path, offset=half.start())


def _refuse_long_numbers(data: bytes, path: Path) -> None:
    outside = _STRINGS.sub(b'""', data)
    at = outside.translate(_TO_ZERO).find(b"0" * (DIGITS + 1))
    if at >= 0:
        raise WeighError(f"a number has more than {DIGITS} digits", rule="JSON-DIGITS", path=path)


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "truth value", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
