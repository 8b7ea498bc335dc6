"""`weigh recipes`: the mixes of codecs that runtimes really produce."""

from __future__ import annotations

from weigh.recipes import RECIPES
from weigh.report.answer import Answer


def run(search: str | None = None) -> Answer:
    """A row for each recipe whose id, name or engine holds `search`."""
    rows = [
        {"id": recipe.id, "name": recipe.name, "engine": recipe.engine, "source": recipe.source}
        for recipe in RECIPES
        if not search or search.lower() in f"{recipe.id} {recipe.name} {recipe.engine}".lower()
    ]
    return Answer("recipes", {"search": search}, {"recipes": rows})
