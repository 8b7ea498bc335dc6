"""The cache of Hugging Face's libraries: `models--org--name`, with `refs/<revision>`, `snapshots/<commit>` and `blobs`.

A snapshot is a folder of links to blobs; a download that did not finish is a blob that ends with `.incomplete`. The
cache lies in HF_HUB_CACHE (formerly HUGGINGFACE_HUB_CACHE), in HF_HOME/hub, or in ~/.cache/huggingface/hub, where
XDG_CACHE_HOME may stand for ~/.cache (`huggingface_hub/constants.py`, 2.4.0).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from weigh import files
from weigh.places.names import HubName
from weigh.places.record import Found, Store
from weigh.types import Limits, WeighError

COMMIT = re.compile(r"[A-Za-z0-9]{1,64}")
REFERENCE_BYTES = 200


def folders() -> tuple[Path, ...]:
    """The one cache that the libraries would use."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return (Path(os.environ[variable]).expanduser(),)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{base}/huggingface"
    return (Path(home).expanduser() / "hub",)


def find(word: str, limits: Limits) -> Found | None:
    """A repository by its id, with its revision and a file where they are named. Errors: those of `snapshot`."""
    name = HubName.parse(word, alone=True)
    if name is None:
        return None
    repository = folders()[0] / ("models--" + name.repository.replace("/", "--"))
    if not repository.is_dir():
        return None
    found = snapshot(repository, limits, name.revision)
    if found is None or not name.file:
        return found
    path = found.path / name.file
    return Found(f"{found.name}/{name.file}", path, found.warnings) if path.exists() else None


def is_repository(path: Path) -> bool:
    """Whether a folder is a cached repository itself, which holds a model one level further down."""
    return path.name.startswith("models--") and (path / "snapshots").is_dir()


def snapshot(repository: Path, limits: Limits, revision: str = "") -> Found | None:
    """A revision of a cached repository, `main` where none is named; None where the cache does not hold it.

    Errors: CACHE-MANY where `main` is not there and several others are, CACHE-EMPTY where nothing was downloaded.
    """
    repository = files.locate(repository)
    name = STORE.id + ":" + repository.name.removeprefix("models--").replace("--", "/")
    snapshots = repository / "snapshots"
    held = files.listed(snapshots, limits)[1] if snapshots.is_dir() else ()
    commit = revision if revision in held else _referenced(repository, revision or "main")
    warnings = _unfinished(repository, limits)
    if commit is None and not revision and len(held) == 1:
        commit = held[0]
    if commit is None and revision:
        return None
    if commit is None and held:
        raise WeighError(
            f"the cache holds {len(held)} revisions and no `main`: {', '.join(held[:4])}",
            rule="CACHE-MANY",
            path=repository,
            hint=f"name one: {name}@{held[0]}",
        )
    if commit is None or commit not in held or not any(files.listed(snapshots / commit, limits)):
        raise WeighError(
            "the cache knows this repository, but holds none of its files",
            rule="CACHE-EMPTY",
            path=repository,
            hint=f"download it, or weigh it where it is: hub:{name.removeprefix(STORE.id + ':')}",
        )
    return Found(f"{name}@{commit}", snapshots / commit, warnings)


def _referenced(repository: Path, revision: str) -> str | None:
    """The commit that a branch or tag stood for when it was last asked for."""
    name = f"refs/{revision}"
    if files.leads_out(name) or not (repository / name).is_file():
        return None
    with files.opened(repository, name) as file:
        text = files.read_at(file, 0, min(file.size, REFERENCE_BYTES)).decode("ascii", "replace").strip()
    if not COMMIT.fullmatch(text):
        raise WeighError("a reference of the cache names no commit", rule="CACHE-REFERENCE", path=repository / name)
    return text


def _unfinished(repository: Path, limits: Limits) -> tuple[str, ...]:
    blobs = repository / "blobs"
    names = files.listed(blobs, limits)[0] if blobs.is_dir() else ()
    count = sum(name.endswith(".incomplete") for name in names)
    return (f"downloads into the cache that did not finish: {count}",) if count else ()


STORE = Store(
    id="hf",
    name="Hugging Face cache",
    folders=folders,
    find=find,
    source="https://huggingface.co/docs/hub/local-cache",
)
