"""What a store is, and what is found in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weigh.types import Limits


@dataclass(frozen=True, slots=True)
class Found:
    """A model in a store."""

    name: str
    """In full and with the store's prefix, so that it names this one and no other."""
    path: Path
    """What the readers of formats are given."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """Plug-in: a store of models that another program keeps on this machine."""

    id: str
    """Also the prefix that names it: `ollama:llama3.2`."""
    name: str
    folders: Callable[[], tuple[Path, ...]]
    """Where it would lie on this machine, whether it is there or not."""
    find: Callable[[str, Limits], Found | None]
    """The model of this name, None where it holds none."""
    source: str
    """Address of the page that describes the layout."""
