"""`weigh explain`: a term of the field in plain words, worked through for a model."""

from __future__ import annotations

from typing import Any

from weigh.report import terms
from weigh.report.answer import Answer
from weigh.types import Figure, Why


def run(term: str | None = None, model: str | None = None, *, language: str = "en") -> Answer:
    """The term's text, formula and sources, and its figures for `model`; without a term the list of all."""
    if term is None:
        listed = [terms.read(name, language) for name in terms.ids()]
        rows = [{"id": item.id, "term": item.term, "text": item.text} for item in listed]
        return Answer("explain", {"term": None, "language": language}, {"terms": rows})
    found = terms.find(term, language)
    result: dict[str, Any] = {
        "id": found.id,
        "term": found.term,
        "text": found.text,
        "formula": found.formula,
        "see": [{"id": name, "term": terms.read(name, language).term} for name in found.see],
        "sources": list(found.sources),
        "worked": worked(model, found.figures) if model else [],
    }
    return Answer("explain", {"term": term, "model": model, "language": language}, result)


def worked(name: str, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    """The figures of that name for the model on this machine, each with its derivation."""
    from weigh.commands import cost, show

    shown = show.run(name).result
    needs_cost = any(figure.split(".")[0] in ("memory", "compute", "latency", "max_context") for figure in wanted)
    priced = cost.run(name).result if needs_cost else {}
    rows = []
    for figure in wanted:
        value = _lookup({**shown, **priced}, figure)
        if value is not None:
            rows.append({"name": figure, "value": value})
    return rows


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
