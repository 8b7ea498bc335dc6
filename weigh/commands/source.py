"""From the word that the user typed to a model: a path, else a catalogue name, else what a store of this machine holds
under this name, else a repository of the hub.

The hub is asked only where the word is a hub's name (`org/name`) and nothing on this machine has it.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from weigh import catalogue, formats, places, volumes
from weigh.families.identify import identify
from weigh.places import hub, huggingface_cache
from weigh.places.names import HubName
from weigh.types import Limits, Model, WeighError

INCOMPLETE = frozenset({"INDEX-MISSING", "FOLDER-NONE", "FOLDER-EMPTY", "FILE-MISSING", "GGUF-MISSING"})
"""What the readers say where a cache holds only a part of a repository."""


def load(name: str, limits: Limits | None = None) -> Model:
    """The model behind a file, a folder, a configuration, a catalogue name, a store's name or a hub id.

    Errors: WeighError MODEL-UNKNOWN (exit code 4) with the nearest catalogue names, MODEL-MANY; those of the readers,
    of the stores and of the hub.
    """
    limits = limits or Limits()
    # A path wins over a catalogue name of the same letters.
    known = None if _is_path(name) else catalogue.find(name)
    if known is not None:
        return identify(known, limits)
    found = find(name, limits)
    try:
        inventory = formats.read(found.path, limits)
    except WeighError as error:
        if error.rule in INCOMPLETE and found.name.startswith(f"{huggingface_cache.STORE.id}:"):
            error.hint = "the cache holds a part of it; " + _at_the_hub(name)
        raise
    finally:
        spot = volumes.at(found.path)
        if spot is not None:
            volumes.finish()
    return identify(replace(inventory, warnings=(*found.warnings, *inventory.warnings)), limits)


def find(name: str, limits: Limits) -> places.Found:
    """The path of what a word names, wherever it lies. Errors: as `load`, without those of the readers."""
    path = Path(name)
    if _is_path(name):
        cached = huggingface_cache.snapshot(path, limits) if huggingface_cache.is_repository(path) else None
        return cached or places.Found("", path)
    if not name.startswith(hub.PREFIX):
        held = places.find(name, limits)
        if len(held) > 1:
            raise WeighError(
                f"`{name}` is in {len(held)} stores: {', '.join(found.name for found in held)}",
                rule="MODEL-MANY",
                hint=f"name one of them: {held[0].name}",
            )
        if held:
            return held[0]
    wanted = _hub_name(name)
    if wanted is None:
        raise _unknown(name)
    return places.Found(f"{hub.PREFIX}{wanted}", hub.mount(wanted, limits))


def _is_path(name: str) -> bool:
    """`is_symlink` so that a broken link is told as such."""
    path = Path(name)
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return True  # what is wrong with it is told when it is opened


def _hub_name(name: str) -> HubName | None:
    """The repository that a word names. One that begins with a folder that is here is a path with a slip in it."""
    if name.startswith(hub.PREFIX):
        return HubName.parse(name.removeprefix(hub.PREFIX), alone=True)
    return None if Path(name.split("/", 1)[0]).is_dir() else HubName.parse(name)


def _at_the_hub(name: str) -> str:
    word = HubName.parse(name.removeprefix(f"{huggingface_cache.STORE.id}:"))
    return f"weigh it where it is: {hub.PREFIX}{word}" if word else "download the rest"


def _unknown(name: str) -> WeighError:
    listed = [word for entry in catalogue.entries() for word in (entry.id, *entry.aliases)]
    near = get_close_matches(name.lower(), listed, n=3)
    looked = ", ".join(str(folder) for store in places.STORES for folder in store.folders())
    if near:
        hint = f"did you mean {', '.join(near)}? `weigh catalogue` lists the known names"
    elif HubName.parse(name) is not None:
        hint = f"is it a path with a slip in it, as its first folder is here? To ask the hub: {hub.PREFIX}{name}"
    else:
        hint = "name a file, a folder, a config.json, a hub id (org/name) or a catalogue name (`weigh catalogue`)"
    return WeighError(
        f"there is no file, folder or known model `{name}`",
        rule="MODEL-UNKNOWN",
        where=f"also looked in {looked}",
        hint=hint,
        exit_code=4,
    )
