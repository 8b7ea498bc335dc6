"""Known models as data: a configuration with its sources, and what their publishers say of the count.

To add one: write `catalogue/<name>.toml`; nothing else. A catalogue entry is read like any configuration: the
parts compute its parameters, the published figure only stands beside them to be compared.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from weigh.types import Inventory, WeighError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Published:
    """A stated number of parameters, with the words that state it."""

    parameters: int
    exact: bool
    says: str
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One known model."""

    id: str
    name: str
    aliases: tuple[str, ...]
    year: int | None
    configuration: dict[str, Any]
    facts: dict[str, str]
    """For each key of the configuration the page that says it, or why it is assumed."""
    published: tuple[Published, ...]
    notes: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Ids of all entries, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def entry(name: str) -> Entry:
    """The entry of that id. Errors: WeighError (rule CATALOGUE-ENTRY) where its file is malformed."""
    path = FOLDER / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        addresses = {key: source["url"] for key, source in data.get("sources", {}).items()}
        return Entry(
            id=name,
            name=data["name"],
            aliases=tuple(data.get("aliases", ())),
            year=data.get("year"),
            configuration=data["config"],
            facts={key: addresses.get(fact, fact) for key, fact in data.get("facts", {}).items()},
            published=tuple(
                Published(row["parameters"], row["exact"], row["says"], addresses[row["source"]])
                for row in data.get("published", ())
            ),
            notes=tuple(data.get("notes", ())),
        )
    except (tomllib.TOMLDecodeError, KeyError) as cause:
        raise WeighError(f"malformed catalogue entry: {cause}", rule="CATALOGUE-ENTRY", path=path) from cause


def entries() -> Iterator[Entry]:
    """All entries, by id."""
    return (entry(name) for name in names())


def find(name: str) -> Inventory | None:
    """The entry of that id or alias as an inventory without weights, or None."""
    wanted = name.lower()
    known = names()
    found = entry(wanted) if wanted in known else next((e for e in entries() if wanted in e.aliases), None)
    if found is None:
        return None
    return Inventory(
        source=f"catalogue:{found.id}",
        format="catalogue",
        dialect="hf",
        configuration=found.configuration,
        metadata={"name": found.name, "year": found.year, "notes": found.notes},
    )
