"""A TOML file of rates into plain records: every key known, every number finite, with its words and its source."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from weigh.types import Basis, Quoted, WeighError

FILE_BYTES = 1_000_000
"""Such a file is a few kB; what is far larger is none."""
BASES: tuple[Basis, ...] = ("measured", "derived", "assumed")
_RANGE = ("low", "value", "high", "basis", "why", "source")
_QUOTED = ("value", "says", "source")
_SOURCE = ("url", "title", "read")


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is known about, with its 90 % interval."""

    low: float
    value: float
    high: float
    basis: Basis
    why: str
    source: str


def parsed(path: Path, *, rule: str = "PRICE-TABLE") -> dict[str, Any]:
    """The TOML of a file. Errors: WeighError of that rule where it cannot be read or is none."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
        if len(content) > FILE_BYTES:
            raise fault(path, "", f"is larger than {FILE_BYTES:,} bytes", rule)
        return tomllib.loads(content.decode())
    except OSError as cause:
        raise fault(path, "", f"cannot be read: {cause.strerror}", rule) from cause
    except UnicodeDecodeError as cause:
        raise fault(path, "", f"is not UTF-8: {cause.reason} at byte {cause.start}", rule) from cause
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise fault(path, "", f"is not TOML: {cause}", rule) from cause


def tables(path: Path, known: Iterable[str]) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[str, str]]]:
    """The entries by id, whose keys are among `known`, and address and day of each of the file's sources."""
    content = parsed(path)
    listed = content.pop("sources", {})
    if not isinstance(listed, dict):
        raise fault(path, "sources", "must be a table")
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise fault(path, name, "must be a table")
        known_keys(path, name, entry, known)
    return content, {name: _source(path, f"sources.{name}", entry) for name, entry in listed.items()}


def quoted_of(
    path: Path, name: str, entry: Mapping[str, Any], key: str, sources: Mapping[str, tuple[str, str]]
) -> Quoted | None:
    """The figure under a key with the words that state it; None where the entry leaves it out."""
    if key not in entry:
        return None
    where, stated = f"{name}.{key}", entry[key]
    if not isinstance(stated, dict):
        raise fault(path, where, "must be a table of value, says and source")
    known_keys(path, where, stated, _QUOTED)
    source = words_of(path, where, stated, "source")
    if source not in sources:
        raise fault(path, f"{where}.source", f"names `{source}`, and there is no [sources.{source}]")
    url, read = sources[source]
    return Quoted(number(path, f"{where}.value", stated.get("value")), words_of(path, where, stated, "says"), url, read)


def range_of(path: Path, name: str, entry: Mapping[str, Any], key: str) -> Range:
    """The range under a key: low, value, high and on what they stand."""
    where, stated = f"{name}.{key}", entry.get(key)
    if not isinstance(stated, dict):
        raise fault(path, where, f"must be a table of {', '.join(_RANGE)}")
    known_keys(path, where, stated, _RANGE)
    low, value, high = (number(path, f"{where}.{end}", stated.get(end)) for end in ("low", "value", "high"))
    if not 0 < low <= value <= high:
        raise fault(path, where, f"must rise from low to value to high above 0, not {low}, {value}, {high}")
    basis = stated.get("basis")
    if basis not in BASES:
        raise fault(path, f"{where}.basis", f"must be one of {', '.join(BASES)}")
    why, source = words_of(path, where, stated, "why"), words_of(path, where, stated, "source")
    return Range(low, value, high, basis, why, source)


def words_of(path: Path, name: str, entry: Mapping[str, Any], key: str) -> str:
    """The words under a key."""
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise fault(path, f"{name}.{key}", "is missing" if value is None else "must be words")
    return value


def number(path: Path, where: str, value: Any, *, rule: str = "PRICE-TABLE") -> float:
    """A finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fault(path, where, "is missing" if value is None else "must be a number", rule)
    if not math.isfinite(value) or value < 0:
        raise fault(path, where, f"must be finite and not negative, not {value}", rule)
    return float(value)


def day(path: Path, where: str, value: Any, *, rule: str = "PRICE-TABLE") -> str:
    """A day as an ISO date."""
    # A datetime is a date to isinstance, and `read` is a day.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise fault(
            path, where, "is missing" if value is None else "must be a day such as 2026-01-31, without quotes", rule
        )
    return value.isoformat()


def known_keys(
    path: Path, where: str, table: Mapping[str, Any], known: Iterable[str], *, rule: str = "PRICE-TABLE"
) -> None:
    """No key that would be ignored."""
    allowed = tuple(known)
    for name in table:
        if name not in allowed:
            key = f"{where}.{name}".lstrip(".")
            raise fault(path, key, f"is not known; known here are {', '.join(allowed)}", rule)


def fault(path: Path, where: str, problem: str, rule: str = "PRICE-TABLE") -> WeighError:
    """The error of a file of rates."""
    what = f"`{where}` " if where else ""
    return WeighError(
        f"{path.name}: {what}{problem}",
        rule=rule,
        path=path,
        where=where,
        hint="docs/add-a-price.md shows a complete file",
    )


def _source(path: Path, where: str, entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise fault(path, where, "must be a table of url, title and read")
    known_keys(path, where, entry, _SOURCE)
    url = words_of(path, where, entry, "url")
    if not url.startswith(("https://", "http://")):
        raise fault(path, f"{where}.url", "must start with https://")
    words_of(path, where, entry, "title")
    return url, day(path, f"{where}.read", entry.get("read"))
