"""The manifest of files that belong together: which they are, with size and SHA-256, and whether all are in place.

It lies in the metadata of a `*.safetensors.index.json`, or in a file of its own beside the parts of a GGUF file
(`NAME.weigh-manifest.json`). Files of other writers have none and are read without. Why so: `docs/decisions/0002`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import json_text
from weigh.formats.digest import digests
from weigh.types import Inventory, Limits, WeighError
from weigh.writing import Written

KEY = "weigh.manifest"
SUFFIX = ".weigh-manifest.json"
INDEX_SUFFIX = ".index.json"
FINISHED = "finished"
UNFINISHED = "unfinished"
VALUES_A_PART = 8
"""Brackets and commas that a part takes in a manifest."""
AGAIN = "write it again; until then old and new parts may lie side by side"

Entry = Mapping[str, Any]


def unfinished(names: Iterable[str]) -> Entry:
    """What stands in the manifest while the parts take their places."""
    return {"state": UNFINISHED, "parts": {name: {} for name in names}}


def finished(parts: Sequence[Written]) -> Entry:
    """What stands in the manifest at the end."""
    return {"state": FINISHED, "parts": {part.name: {"size": part.nbytes, "sha256": part.sha256} for part in parts}}


def own_file(entry: Entry) -> str:
    """The text of a manifest that is a file of its own."""
    return json.dumps({KEY: entry}, indent=2) + "\n"


def entry_of(document: Mapping[str, Any]) -> Any:
    """The manifest in an index or in a file of its own; None where there is none."""
    within = document.get("metadata")
    return document.get(KEY, within.get(KEY) if isinstance(within, dict) else None)


def beside(folder: Path, name: str, limits: Limits) -> tuple[Any, int] | None:
    """The manifest in a file of the folder and the file's size; None where there is no such file."""
    if not files.exists(folder, name):
        return None
    with files.opened(folder, name) as file:
        if file.size > limits.header_bytes:
            message = f"a manifest of {file.size:,} bytes is more than the {limits.header_bytes:,} that weigh reads"
            raise WeighError(
                message, rule="MANIFEST-SIZE", path=file.path, hint=files.lift("header_bytes"), exit_code=5
            )
        data = files.read_at(file, 0, file.size)
        found = entry_of(json_text.parse(data, file.path, limits, VALUES_A_PART * limits.files))
    if found is None:
        raise WeighError("this is no manifest", rule="MANIFEST-FORM", path=folder / name)
    return found, len(data)


def parts(entry: Any) -> Mapping[str, Any]:
    """What the manifest says of each part, by its name; nothing where it has another form."""
    found = entry.get("parts") if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def require_finished(entry: Any, path: Path) -> None:
    """Refuse a model whose writing was not finished. Errors: MANIFEST-UNFINISHED, MANIFEST-FORM."""
    state = entry.get("state") if isinstance(entry, dict) else None
    if state == UNFINISHED:
        message = f"the model is incomplete: writing its {len(parts(entry)):,} parts was begun and not finished"
        raise WeighError(message, rule="MANIFEST-UNFINISHED", path=path, hint=AGAIN)
    if state != FINISHED or not all(isinstance(part, dict) for part in parts(entry).values()):
        raise WeighError("the manifest does not have the form of one", rule="MANIFEST-FORM", path=path)


def require_sizes(entry: Any, sizes: Mapping[str, int], path: Path) -> None:
    """Refuse parts that are not those of the manifest. Errors: MANIFEST-PARTS, MANIFEST-UNFINISHED, MANIFEST-FORM."""
    require_finished(entry, path)
    said = {name: part.get("size") for name, part in parts(entry).items()}
    if said != dict(sizes):
        # A part may be listed without a size, which is not the same as not being listed.
        other = [name for name in (*sizes, *said) if (name in said, said.get(name)) != (name in sizes, sizes.get(name))]
        name = other[0]
        held = f"{sizes[name]:,} bytes" if name in sizes else "not read"
        message = f"the model is incomplete: {name[:200]!r} is {held}, the manifest says {said.get(name)!s:.40}"
        raise WeighError(message, rule="MANIFEST-PARTS", path=path, hint=AGAIN)


def verify(inventory: Inventory, limits: Limits = Limits()) -> tuple[str, ...]:
    """Read every part of a model whole and compare its SHA-256 with its manifest; the names of those compared.

    Nothing is compared where the model has no manifest. Errors: MANIFEST-HASH, and those of reading.
    """
    folder, path = Path(inventory.folder), Path(inventory.source)
    for name in [name for name, _ in inventory.files if name.endswith((INDEX_SUFFIX, SUFFIX))]:
        with files.opened(folder, name) as file:
            data = files.read_at(file, 0, file.size)
        entry = entry_of(json_text.parse(data, folder / name, limits, VALUES_A_PART * limits.tensors))
        if entry is None:
            continue
        require_finished(entry, path)
        held = digests(replace(inventory, files=tuple((part, 0) for part in parts(entry))))
        for part, said in parts(entry).items():
            if held[part] != said.get("sha256"):
                message = f"the bytes of {part[:200]!r} are not those that were written"
                raise WeighError(message, rule="MANIFEST-HASH", path=folder / name, hint="get or write the model again")
        return tuple(parts(entry))
    return ()
