"""JSON and CSV: the documents that programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from weigh.report.escape import cell
from weigh.types import Figure, WeighError


def to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """The document as ASCII JSON; Figures as objects, whole numbers exact.

    With an indent the encoder is Python's own instead of C, ten times slower: only for readers, not for programs.
    """
    return _ascii(json.dumps(document, default=_plain, indent=indent, allow_nan=False))


def _ascii(text: str) -> str:
    """JSON leaves one control character as it is: DEL."""
    return text.replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return {**asdict(value), "why": {**asdict(value.why), "inputs": dict(value.why.inputs)}}
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not plain data: {type(value).__name__}")


def error_line(error: WeighError) -> str:
    """What JSON mode prints on standard error: one line, so that it survives in logs."""
    fields = {"rule": error.rule, "message": error.message, "path": error.path, "offset": error.offset}
    return _ascii(json.dumps({"error": {**fields, "where": error.where, "hint": error.hint}}))


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows under a header line; lists joined by `x`, Figures as their value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(_flat(row.get(column))) for column in columns])
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.value
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    return value
