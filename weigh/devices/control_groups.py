"""What control groups (cgroup v1 and v2) let this process use of memory and processor time.

A container states its limits there and nowhere else: /proc/meminfo shows the whole machine.
Source: the Linux kernel's admin-guide, cgroup-v2 and cgroup-v1/memory. A group's parents bind too, so the whole
chain up to the mount point is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_OCTAL = re.compile(r"\\([0-7]{3})")
_NO_LIMIT_V1 = 2**62
"""Version 1 writes the largest page-aligned number where there is no limit."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: `controllers` is empty for version 2."""

    root: str
    point: str
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits of the chain; None = no limit."""

    memory: int | None = None
    memory_by: str = ""
    headroom: int | None = None
    """Bytes left below the limit that is nearest, cache that the kernel would give back counted as free."""
    cores: float | None = None
    warnings: tuple[str, ...] = ()


def parse_membership(text: str) -> dict[str, str]:
    """/proc/self/cgroup to the path in each controller's hierarchy; the key of version 2 is empty."""
    paths = {}
    for line in text.splitlines():
        _number, found, rest = line.partition(":")
        controllers, also, path = rest.partition(":")
        if found and also and path.startswith("/"):
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """/proc/self/mountinfo to the control-group hierarchies."""
    mounts = []
    for line in text.splitlines():
        before, found, after = line.partition(" - ")
        fields = before.split()
        kind = after.split()
        if not found or len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kind[2].split(",")) if kind[0] == "cgroup" else frozenset[str]()
        mounts.append(Mount(_unescaped(fields[3]), _unescaped(fields[4]), controllers))
    return tuple(mounts)


def parse_bytes(text: str) -> int | None:
    """A limit or a usage; None for `max` and for version 1's way of saying so. ValueError for anything else."""
    word = text.strip()
    if word == "max":
        return None
    value = _whole(word)
    return None if value >= _NO_LIMIT_V1 else value


def parse_quota(text: str) -> float | None:
    """cpu.max (`quota period`) to cores' worth of time; None for `max`. ValueError for anything else."""
    quota, period = text.split()
    return None if quota == "max" else _whole(quota) / max(_whole(period), 1)


def parse_statistics(text: str) -> dict[str, int]:
    """memory.stat, leaving out lines that are not a name and a number."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def read_limits(root: Path = Path("/")) -> Limits:
    """What binds this process. `root` is where the machine's file system begins."""
    warnings: list[str] = []
    membership = parse_membership(_text(root / "proc/self/cgroup", warnings) or "")
    mounts = parse_mounts(_text(root / "proc/self/mountinfo", warnings) or "")
    limit: int | None = None
    limit_by = ""
    headroom: int | None = None
    cores: float | None = None
    for mount in mounts:
        for controller in ("memory", "cpu"):
            if mount.controllers and controller not in mount.controllers:
                continue
            for group in _chain(mount, membership.get(controller if mount.controllers else "", "/")):
                folder = root / group.lstrip("/")
                if controller == "cpu":
                    allowed = _quota(folder, warnings)
                    cores = allowed if cores is None or (allowed is not None and allowed < cores) else cores
                    continue
                for file, most, used in _memory(folder, version_1=bool(mount.controllers), warnings=warnings):
                    if limit is None or most < limit:
                        limit, limit_by = most, f"{group.rstrip('/')}/{file}"
                    left = max(0, most - used)
                    headroom = left if headroom is None else min(headroom, left)
    return Limits(limit, limit_by, headroom, cores, tuple(dict.fromkeys(warnings)))


def _chain(mount: Mount, path: str) -> Iterator[str]:
    """Folders of the group and of its parents as far as they are mounted, the group first.

    Inside a container the path may be that of the host while only a branch is mounted: then the mount point is
    the group itself.
    """
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(mount.root):
        yield mount.point
        return
    below = group.relative_to(mount.root)
    point = PurePosixPath(mount.point)
    yield str(point / below)
    for parent in below.parents:
        if parent != below:
            yield str(point / parent)


def _memory(folder: Path, *, version_1: bool, warnings: list[str]) -> Iterator[tuple[str, int, int]]:
    """(file, limit, bytes in use that cannot be given back) of each limit of one group."""
    limit_file = "memory.limit_in_bytes" if version_1 else "memory.max"
    usage_file = "memory.usage_in_bytes" if version_1 else "memory.current"
    statistics = parse_statistics(_text(folder / "memory.stat", warnings) or "")
    cache = statistics.get("total_inactive_file" if version_1 else "inactive_file", 0)
    used = max(0, (_bytes(folder / usage_file, warnings) or 0) - cache)
    limit = _bytes(folder / limit_file, warnings)
    if limit is not None:
        yield limit_file, limit, used
    # Version 1 tells the tightest limit of parents that a container cannot see.
    above = statistics.get("hierarchical_memory_limit", _NO_LIMIT_V1) if version_1 else _NO_LIMIT_V1
    if above < min(_NO_LIMIT_V1, _NO_LIMIT_V1 if limit is None else limit):
        yield "memory.stat", above, used


def _quota(folder: Path, warnings: list[str]) -> float | None:
    both = _text(folder / "cpu.max", warnings)
    if both is None:
        quota = _text(folder / "cpu.cfs_quota_us", warnings)
        period = _text(folder / "cpu.cfs_period_us", warnings)
        if quota is None or period is None or quota.strip() == "-1":
            return None
        both = f"{quota.strip()} {period.strip()}"
    try:
        return parse_quota(both)
    except ValueError:
        warnings.append(f"{folder}: the processor quota `{both.strip()[:40]}` was not understood and is left out")
        return None


def _bytes(path: Path, warnings: list[str]) -> int | None:
    text = _text(path, warnings)
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError:
        warnings.append(f"{path}: `{text.strip()[:40]}` is no number of bytes and is left out")
        return None


def _text(path: Path, warnings: list[str]) -> str | None:
    """Content of a small file; None where there is none, with a warning where there is one that we may not read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        warnings.append(f"{path}: {cause.strerror}; a limit set there is not known")
        return None


def _whole(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 20):
        raise ValueError(f"{word!r} is not a whole number")
    return int(word)


def _unescaped(path: str) -> str:
    """mountinfo writes a space as \\040."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
