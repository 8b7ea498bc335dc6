"""`weigh explain`: a term of the field in plain words, worked through for a model."""

from __future__ import annotations

from typing import Any

from weigh.report import terms
from weigh.report.answer import Answer
from weigh.types import Figure, Why

PRICED = ("memory", "compute", "latency", "money", "max_context")
"""Results of `cost`; all others are those of `show`."""


def run(term: str | None = None, model: str | None = None, *, language: str = "en") -> Answer:
    """The term's text, formula and sources, and its figures for `model`; without a term the list of all."""
    if term is None:
        listed = [terms.read(name, language) for name in terms.ids()]
        rows = [{"id": item.id, "term": item.term, "text": item.text} for item in listed]
        return Answer("explain", {"term": None, "language": language}, {"terms": rows})
    found = terms.find(term, language)
    rows, setting, warnings = worked(model, found.figures) if model else ([], None, [])
    result: dict[str, Any] = {
        "id": found.id,
        "term": found.term,
        "text": found.text,
        "formula": found.formula,
        "see": [{"id": name, "term": terms.read(name, language).term} for name in found.see],
        "sources": list(found.sources),
        "worked": rows,
        "setting": setting,
    }
    return Answer("explain", {"term": term, "model": model, "language": language}, result, warnings)


def worked(name: str, wanted: tuple[str, ...]) -> tuple[list[dict[str, Any]], dict[str, Any] | None, list[str]]:
    """The figures of those names for the model on this machine, each with its derivation.

    Also the setting that they hold for (None where they hold for any), and the warnings of what gave them. A figure
    that this model does not have is left out.
    """
    from weigh.commands import cost, show

    counted = show.run(name)
    results, setting, warnings = counted.result, None, counted.warnings
    if any(figure.partition(".")[0] in PRICED for figure in wanted):
        priced = cost.run(name)
        results, warnings = {**results, **priced.result}, list(dict.fromkeys([*warnings, *priced.warnings]))
        setting = priced.inputs if priced.refusal is None else None
    found = ((figure, _lookup(results, figure)) for figure in wanted)
    return [{"name": figure, "value": value} for figure, value in found if value is not None], setting, warnings


_UNITS = {"parameters": "parameters", "bytes": "B", "bits_per_parameter": "bits", "dimensions": ""}


def _lookup(results: dict[str, Any], path: str) -> Figure | None:
    value: Any = results
    for word in path.split("."):
        if not isinstance(value, dict) or value.get(word) is None:
            return None
        value = value[word]
    if isinstance(value, Figure):
        return value
    if not isinstance(value, int | float):
        return None
    return Figure(value, value, value, _UNITS.get(path.split(".")[0], ""), "counted", Why("counted from the model"))
