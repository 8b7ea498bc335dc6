"""One device's TOML file into a Device: every key known, every figure with its words and a dated source.

A new figure is a field of `Device` in `weigh/types.py` and its name in FIGURES here. `weigh bench` writes such files
too (`weigh/devices/profile.py`): their source is a method instead of an address, their class may be `host`, and
`measured` holds what an engine's kinds of work take.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from weigh.devices.machine import known_features
from weigh.types import Device, Measured, Quoted, WeighError

KINDS = ("datacenter", "consumer", "workstation", "apple", "tpu", "desktop", "laptop", "edge", "phone")
HOST = "host"
"""Class of a machine that `weigh bench` measured: its rates are those that programs reach, not those of a datasheet."""
FIGURES = (
    "memory_bytes",
    "memory_bandwidth",
    "link_bandwidth",
    "host_bandwidth",
    "power_w",
    "launch_year",
    "rental_usd_per_hour",
    "cores",
    "disk_bandwidth",
    "cached_bandwidth",
)
NUMBER_TYPES = ("f64", "f32", "tf32", "bf16", "f16", "fp8", "fp4", "int8", "int4")
"""Keys of `peak`, in the order in which tables show them."""

_WHOLE = ("memory_bytes", "launch_year", "cores")
_TOP = ("name", "vendor", "class", "aliases", "unified_memory", "features", "figures", "sources", "measured")
_FIGURE = ("value", "says", "source")
_SOURCE = ("url", "method", "title", "read", "published")
_MEASURED = ("version", "day", "threads", "decode_error", "prefill_error", "method", "unit_s")
_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_FILE_BYTES = 100_000
"""A sheet is a few kB; what is far larger is no sheet."""


def read_sheet(path: Path, called: str = "") -> Device:
    """The device that a TOML file describes; its id is the file's stem, unless it is called otherwise.

    Raises WeighError (rule DEVICE-FILE) naming the file and the key.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
        if len(content) > _FILE_BYTES:
            raise _fault(path, "", f"is larger than {_FILE_BYTES} bytes")
        return parse_sheet(content.decode(), path, called)
    except OSError as cause:
        raise _fault(path, "", f"cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise _fault(path, "", f"is not UTF-8: {cause.reason} at byte {cause.start}") from cause


def parse_sheet(text: str, path: Path, called: str = "") -> Device:
    """The device in the text of a sheet; `path` gives the id, unless it is called otherwise, and is named in errors."""
    if not _ID.fullmatch(called or path.stem):
        raise _fault(path, "", "is named after no id: small letters, digits, dots and dashes only")
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise _fault(path, "", f"is not TOML: {cause}") from cause
    _known_keys(path, "", table, _TOP)
    sources = _sources(path, _table(path, "sources", table))
    figures = _table(path, "figures", table)
    _known_keys(path, "figures", figures, (*FIGURES, "peak"))
    peaks = _table(path, "figures.peak", figures)
    _known_keys(path, "figures.peak", peaks, NUMBER_TYPES)
    kind = _words(path, "class", table.get("class"))
    if kind not in (*KINDS, HOST):
        raise _fault(path, "class", f"must be one of {', '.join(KINDS)}, not `{kind}`")
    quoted: dict[str, Any] = {
        name: _figure(path, f"figures.{name}", figures[name], sources) for name in FIGURES if name in figures
    }
    peak = {name: _figure(path, f"figures.peak.{name}", peaks[name], sources) for name in NUMBER_TYPES if name in peaks}
    return Device(
        id=called or path.stem,
        name=_words(path, "name", table.get("name")),
        vendor=_words(path, "vendor", table.get("vendor")),
        kind=kind,
        aliases=_aliases(path, table.get("aliases", [])),
        unified_memory=_switch(path, "unified_memory", table.get("unified_memory", False)),
        peak=peak,
        features=known_features(_listed(path, "features", table.get("features", []))),
        measured=_measured(path, _table(path, "measured", table)),
        **quoted,
    )


def _figure(path: Path, key: str, entry: Any, sources: Mapping[str, tuple[str, str]]) -> Quoted:
    if not isinstance(entry, dict):
        raise _fault(path, key, "must be a table of value, says and source")
    _known_keys(path, key, entry, _FIGURE)
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(path, f"{key}.value", "must be a number; leave the figure out where the vendor does not say")
    if not math.isfinite(value) or value <= 0:
        raise _fault(path, f"{key}.value", f"must be finite and greater than 0, not {value}")
    if key.rpartition(".")[2] in _WHOLE and not isinstance(value, int):
        raise _fault(path, f"{key}.value", f"must be a whole number, not {value}")
    source = _words(path, f"{key}.source", entry.get("source"))
    if source not in sources:
        raise _fault(path, f"{key}.source", f"names `{source}`, and there is no [sources.{source}]")
    url, read = sources[source]
    return Quoted(value=value, says=_words(path, f"{key}.says", entry.get("says")), source=url, read=read)


def _sources(path: Path, tables: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Address and ISO date of reading, by the key that figures use."""
    sources = {}
    for name, table in tables.items():
        key = f"sources.{name}"
        if not isinstance(table, dict):
            raise _fault(path, key, "must be a table of url and read")
        _known_keys(path, key, table, _SOURCE)
        url = _words(path, f"{key}.url", table.get("url", table.get("method")))
        if "method" in table and "url" in table:
            raise _fault(path, key, "has a url and a method; a figure is read or measured")
        if "method" not in table and not url.startswith(("https://", "http://")):
            raise _fault(path, f"{key}.url", "must start with https://")
        if "title" in table:
            _words(path, f"{key}.title", table["title"])
        if "published" in table:
            _day(path, f"{key}.published", table["published"])
        sources[name] = (url, _day(path, f"{key}.read", table.get("read")))
    return sources


def _measured(path: Path, tables: Mapping[str, Any]) -> dict[str, Measured]:
    """What `weigh bench` found of each engine."""
    found = {}
    for engine, table in tables.items():
        key = f"measured.{engine}"
        if not isinstance(table, dict):
            raise _fault(path, key, "must be a table")
        _known_keys(path, key, table, _MEASURED)
        unit_s = _table(path, f"{key}.unit_s", table)
        for name in unit_s:
            _number(path, f"{key}.unit_s.{name}", unit_s[name], least=0.0)
        threads = table.get("threads")
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise _fault(path, f"{key}.threads", "must be a whole number from 1 on")
        found[engine] = Measured(
            engine=engine,
            version=_words(path, f"{key}.version", table.get("version")),
            day=_day(path, f"{key}.day", table.get("day")),
            threads=threads,
            unit_s=unit_s,
            decode_error=_number(path, f"{key}.decode_error", table.get("decode_error"), least=0.0),
            prefill_error=_number(path, f"{key}.prefill_error", table.get("prefill_error"), least=0.0),
            method=_words(path, f"{key}.method", table.get("method")),
        )
    return found


def _number(path: Path, key: str, value: Any, *, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(path, key, "is missing" if value is None else "must be a number")
    if not math.isfinite(value) or value < least:
        raise _fault(path, key, f"must be finite and at least {least:g}, not {value}")
    return float(value)


def _aliases(path: Path, value: Any) -> tuple[str, ...]:
    for alias in _listed(path, "aliases", value):
        if not _ID.fullmatch(alias):
            raise _fault(path, "aliases", f"holds {alias!r}: small letters, digits, dots and dashes only")
    return tuple(value)


def _listed(path: Path, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _fault(path, key, "must be a list of words")
    return value


def _table(path: Path, key: str, parent: Mapping[str, Any]) -> dict[str, Any]:
    value = parent.get(key.rpartition(".")[2], {})
    if not isinstance(value, dict):
        raise _fault(path, key, "must be a table")
    return value


def _words(path: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _fault(path, key, "is missing" if value is None else "must be words")
    return value


def _switch(path: Path, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _fault(path, key, "must be true or false")
    return value


def _day(path: Path, key: str, value: Any) -> str:
    # A datetime is a date to isinstance, and `read` is a day.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _fault(path, key, "is missing" if value is None else "must be a day such as 2026-01-31, without quotes")
    return value.isoformat()


def _known_keys(path: Path, key: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    allowed = tuple(known)
    for name in table:
        if name not in allowed:
            raise _fault(path, f"{key}.{name}".lstrip("."), f"is not known; known here are {', '.join(allowed)}")


def _fault(path: Path, key: str, problem: str) -> WeighError:
    what = f"`{key}` " if key else ""
    return WeighError(
        f"{path.name}: {what}{problem}",
        rule="DEVICE-FILE",
        path=path,
        where=key,
        hint="docs/add-a-device.md shows a complete file",
    )
