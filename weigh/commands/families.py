"""`weigh families`: the architectures that are understood."""

from __future__ import annotations

from weigh.families import FAMILIES
from weigh.report.answer import Answer


def run(search: str | None = None) -> Answer:
    """A row for each model type whose name or family holds `search`."""
    rows = [
        {
            "model_type": model_type,
            "family": family.id,
            "dialects": sorted(family.names),
            "ignored_keys": sorted(key.partition(".")[2] for key in family.ignored if key.startswith(model_type)),
            "sources": list(family.sources),
        }
        for family in FAMILIES
        for model_type in family.model_types
        if not search or search.lower() in f"{model_type} {family.id}"
    ]
    return Answer("families", {"search": search}, {"families": rows})
