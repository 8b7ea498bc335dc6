"""`weigh engines`: the runtimes that are modelled."""

from __future__ import annotations

from weigh.engines import ENGINES
from weigh.report.answer import Answer


def run(search: str | None = None) -> Answer:
    """A row for each engine whose id or name holds `search`."""
    rows = [
        {
            "id": engine.id,
            "name": engine.name,
            "reads": engine.dialect,
            "state_codecs": list(engine.state_codecs),
            "source": engine.source,
            "notes": list(engine.notes),
        }
        for engine in ENGINES
        if not search or search.lower() in f"{engine.id} {engine.name}".lower()
    ]
    return Answer("engines", {"search": search}, {"engines": rows})
