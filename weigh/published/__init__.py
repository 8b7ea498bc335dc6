"""Tables that papers, vendors and logs published: what was measured, and the command whose figure it can be held to.

To add one: write `published/<quantity>-<source>.toml`; nothing else (docs/add-a-table.md). Each row holds the arguments
of `weigh cost` that describe what was measured, so that anyone can ask weigh the same. A row that went into a fit says
`fitted = true` and is never counted with those that did not.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from weigh.types import WeighError

FOLDER = Path(__file__).parent

QUANTITIES = (
    "memory",
    "state",
    "decode speed",
    "prefill speed",
    "model states",
    "activation memory",
    "memory per device",
    "step time",
)
"""What tables are about, in the order of the summary."""

_TOP = ("title", "quantity", "unit", "figure", "train", "source", "read", "licence", "note", "worst", "mean")
_ROW = ("name", "given", "measured", "factor", "fitted", "note", "source")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    name: str
    given: Mapping[str, Any]
    """Arguments of `commands.cost.run` (or `train.run`), those of the table included."""
    measured: float
    factor: float
    """measured = factor x figure: units, or a rate of several devices."""
    fitted: bool
    """It went into a fit of ours: its error proves nothing."""
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one quantity from one source."""

    id: str
    title: str
    quantity: str
    unit: str
    """Of `measured`."""
    figure: str
    """Dotted path in the result of `weigh cost --json`."""
    train: bool
    source: str
    read: str
    """ISO date on which the page was read."""
    licence: str
    note: str
    worst: float | None
    """Largest error of a row that was not fitted, as a share, that the tests allow; None = they hold it to no bound."""
    mean: float | None
    """Largest mean error of the rows that were not fitted."""
    models: Mapping[str, Mapping[str, Any]]
    """Configurations of models that no catalogue has, by the name that rows use."""
    rows: tuple[Row, ...]


@cache
def tables(folder: Path = FOLDER) -> tuple[Table, ...]:
    """Every table, by quantity and id. Errors: WeighError PUBLISHED-TABLE naming the file and the key."""
    found = [_read(path) for path in sorted(folder.glob("*.toml"))]
    return tuple(sorted(found, key=lambda table: (QUANTITIES.index(table.quantity), table.id)))


def _read(path: Path) -> Table:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise _fault(path, "", f"is not TOML: {cause}") from cause
    _known(path, "", content, (*_TOP, "given", "models", "rows"))
    quantity = _words(path, content, "quantity")
    if quantity not in QUANTITIES:
        raise _fault(path, "quantity", f"must be one of {', '.join(QUANTITIES)}, not `{quantity}`")
    rows = content.get("rows")
    if not isinstance(rows, list) or not rows:
        raise _fault(path, "rows", "holds no row")
    source, shared = _words(path, content, "source"), content.get("given", {})
    return Table(
        id=path.stem,
        title=_words(path, content, "title"),
        quantity=quantity,
        unit=_words(path, content, "unit"),
        figure=_words(path, content, "figure"),
        train=_switch(path, content, "train"),
        source=source,
        read=str(content.get("read", "")),
        licence=_words(path, content, "licence"),
        note=str(content.get("note", "")),
        worst=_number(path, content, "worst"),
        mean=_number(path, content, "mean"),
        models=content.get("models", {}),
        rows=tuple(_row(path, row, shared, source) for row in rows),
    )


def _row(path: Path, row: Mapping[str, Any], shared: Mapping[str, Any], source: str) -> Row:
    _known(path, "rows", row, _ROW)
    measured = _number(path, row, "measured")
    if measured is None or measured <= 0:
        raise _fault(path, "rows.measured", "must be a number greater than 0")
    given = {**shared, **row.get("given", {})}
    if "model" not in given or "on" not in given:
        raise _fault(path, "rows.given", f"names no `model` or no `on`: {json.dumps(given, default=str)}")
    return Row(
        name=_words(path, row, "name"),
        given=given,
        measured=measured,
        factor=_number(path, row, "factor") or 1.0,
        fitted=_switch(path, row, "fitted"),
        note=str(row.get("note", "")),
        source=str(row.get("source", source)),
    )


def _words(path: Path, table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _fault(path, key, "is missing" if value is None else "must be words")
    return value


def _switch(path: Path, table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _fault(path, key, "must be true or false")
    return value


def _number(path: Path, table: Mapping[str, Any], key: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _fault(path, key, f"must be a finite number, not {value!r}")
    return value


def _known(path: Path, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            raise _fault(path, f"{key}.{name}".lstrip("."), f"is not known; known here are {', '.join(known)}")


def _fault(path: Path, key: str, problem: str) -> WeighError:
    what = f"`{key}` " if key else ""
    return WeighError(
        f"{path.name}: {what}{problem}",
        rule="PUBLISHED-TABLE",
        path=path,
        where=key,
        hint="docs/add-a-table.md shows a complete file",
    )
