"""`weigh validate`: what others published beside what weigh says, row by row, and the errors by quantity."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from weigh.commands import cost, train
from weigh.published import QUANTITIES, Row, Table, tables
from weigh.report.answer import Answer
from weigh.types import Figure, WeighError


def run(search: str | None = None) -> Answer:
    """Every table whose id, title or quantity holds `search`, computed now.

    `result.rows`: ours with its interval, theirs, the error as a share of theirs, and whether theirs lies inside ours.
    `result.summary` has a row for each quantity, fitted rows and others apart.
    Errors: WeighError VALIDATE-NONE (exit code 4); PUBLISHED-TABLE.
    """
    wanted = (search or "").lower()
    chosen = [table for table in tables() if wanted in f"{table.id} {table.title} {table.quantity}".lower()]
    if not chosen:
        raise WeighError(
            f"no table is about `{search}`",
            rule="VALIDATE-NONE",
            hint=f"tables are about {', '.join(QUANTITIES)}; `weigh validate` prints all",
            exit_code=4,
        )
    rows = [row for table in chosen for row in computed(table)]
    heads = ("id", "title", "quantity", "unit", "source", "read", "licence", "note")
    told = [{key: getattr(table, key) for key in heads} for table in chosen]
    return Answer("validate", {"search": search}, {"summary": summary(rows), "tables": told, "rows": rows})


def computed(table: Table) -> list[dict[str, Any]]:
    """The rows of a table with ours beside each."""
    with TemporaryDirectory() as folder:
        paths = {name: _written(Path(folder), name, configuration) for name, configuration in table.models.items()}
        return [_compared(table, row, paths) for row in table.rows]


def _written(folder: Path, name: str, configuration: Mapping[str, Any]) -> str:
    """The configuration as the file that a user would name."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    return str(path)


def _compared(table: Table, row: Row, paths: Mapping[str, str]) -> dict[str, Any]:
    arguments = dict(row.given)
    model = arguments.pop("model")
    answer = (train if table.train else cost).run(paths.get(model, model), **arguments)
    figure = _figure(answer.result, table.figure)
    if figure is None:
        reason = "no such figure" if answer.refusal is None else answer.refusal.message
        raise WeighError(f"{table.id}, row {row.name}: {table.figure} is not told: {reason}", rule="VALIDATE-FIGURE")
    value, low, high = (row.factor * end for end in (figure.value, figure.low, figure.high))
    low, high = min(low, high), max(low, high)
    return {
        "table": table.id,
        "quantity": table.quantity,
        "name": row.name,
        "fitted": row.fitted,
        "measured": row.measured,
        "ours": value,
        "low": low,
        "high": high,
        "basis": figure.basis,
        "error": value / row.measured - 1,
        "inside": low <= row.measured <= high,
        "note": row.note,
        "source": row.source,
    }


def _figure(result: Mapping[str, Any], path: str) -> Figure | None:
    found: Any = result
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Figure) else None


def summary(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By quantity, rows that were fitted apart: how many, the median, mean and worst error, and how many inside."""
    listed = list(rows)
    found = []
    for quantity in QUANTITIES:
        for fitted in (False, True):
            chosen = [row for row in listed if row["quantity"] == quantity and row["fitted"] == fitted]
            if not chosen:
                continue
            errors = [abs(row["error"]) for row in chosen]
            found.append(
                {
                    "quantity": quantity,
                    "fitted": fitted,
                    "rows": len(chosen),
                    "median_error": median(errors),
                    "mean_error": mean(errors),
                    "worst_error": max(errors),
                    "inside": mean(row["inside"] for row in chosen),
                }
            )
    return found
