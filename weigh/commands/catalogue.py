"""`weigh catalogue`: the known models, our count beside the published one."""

from __future__ import annotations

from typing import Any

from weigh import catalogue
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.report.answer import Answer
from weigh.types import WeighError


def run(search: str | None = None) -> Answer:
    """A row for each entry whose id, name or aliases hold `search`: ours, theirs, the difference, the source."""
    rows = []
    for entry in catalogue.entries():
        if search and search.lower() not in " ".join((entry.id, entry.name, *entry.aliases)).lower():
            continue
        rows.append(_row(entry))
    return Answer("catalogue", {"search": search}, {"models": rows})


def _row(entry: catalogue.Entry) -> dict[str, Any]:
    inventory = catalogue.find(entry.id)
    if inventory is None:
        raise WeighError(f"no entry {entry.id}", rule="CATALOGUE-ENTRY")
    ours = count(identify(inventory)).total
    return {
        "id": entry.id,
        "name": entry.name,
        "aliases": list(entry.aliases),
        "year": entry.year,
        "model_type": entry.configuration["model_type"],
        "parameters": ours,
        "published_parameters": entry.published[0].parameters if entry.published else None,
        "difference": ours / entry.published[0].parameters - 1 if entry.published else None,
        "published": [
            {
                "parameters": row.parameters,
                "exact": row.exact,
                "says": row.says,
                "difference": ours / row.parameters - 1,
                "source": row.source,
            }
            for row in entry.published
        ],
        "notes": list(entry.notes),
        "facts": entry.facts,
    }
