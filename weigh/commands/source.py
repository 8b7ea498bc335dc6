"""From the word that the user typed to a model: a path, else a catalogue name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from weigh import catalogue, formats
from weigh.families.identify import identify
from weigh.types import Limits, Model, WeighError


def load(name: str, limits: Limits | None = None) -> Model:
    """The model behind a file, a folder, a configuration or a catalogue name.

    Errors: WeighError MODEL-UNKNOWN (exit code 4) with the nearest catalogue names; those of the readers.
    """
    limits = limits or Limits()
    path = Path(name)
    # A path wins over a catalogue name of the same letters; `lexists` so that a broken link is told as such.
    if path.exists() or path.is_symlink():
        return identify(formats.read(path, limits), limits)
    known = catalogue.find(name)
    if known is not None:
        return identify(known, limits)
    raise _unknown(name)


def _unknown(name: str) -> WeighError:
    listed = [word for entry in catalogue.entries() for word in (entry.id, *entry.aliases)]
    near = get_close_matches(name.lower(), listed, n=3)
    if near:
        hint = f"did you mean {', '.join(near)}? `weigh catalogue` lists the known names"
    elif name.count("/") == 1 and not name.startswith((".", "/")):
        hint = "a hub id is not read over the network: download the model's folder, or its config.json, and name that"
    else:
        hint = "name a file, a folder, a config.json or a catalogue name (`weigh catalogue` lists them)"
    return WeighError(f"there is no file, folder or known model `{name}`", rule="MODEL-UNKNOWN", hint=hint, exit_code=4)
