"""A pipeline of diffusers: a folder whose `model_index.json` names several models, each in a folder of its own.

Schedulers, tokenizers and processors are named there too; what has a `config.json` is a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weigh import files
from weigh.formats import sidecar
from weigh.types import Limits, WeighError

NAME = "model_index.json"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The models of a pipeline, in the order of the index."""

    folder: Path
    title: str
    """Its class."""
    components: tuple[tuple[str, str], ...]
    """(name of the sub-folder, class) of each model."""
    absent: tuple[str, ...]
    """Named in the index and not in the folder."""


def read(folder: Path, limits: Limits) -> Pipeline | None:
    """The pipeline in a folder, or None where there is no index.

    Errors: PIPELINE-INDEX where the index names no class, PIPELINE-EMPTY where no model of it is there; those of JSON.
    """
    if not files.exists(folder, NAME):
        return None
    index: Mapping[str, object] = sidecar.required(folder, NAME, limits).configuration or {}
    title = index.get("_class_name")
    if not isinstance(title, str):
        raise WeighError("the index of the pipeline names no `_class_name`", rule="PIPELINE-INDEX", path=folder / NAME)
    _, below = files.listed(folder, limits)
    named = {name: _class_of(entry) for name, entry in index.items() if not name.startswith("_")}
    there = {name: kind for name, kind in named.items() if kind is not None}
    models = [(name, kind) for name, kind in there.items() if name in below and _is_model(folder / name)]
    if not models:
        raise WeighError(
            "no model that the pipeline's index names is in the folder",
            rule="PIPELINE-EMPTY",
            path=folder,
            hint="a model is a sub-folder with a config.json",
        )
    absent = tuple(name for name in there if name not in below)
    return Pipeline(folder, title, tuple(models), absent)


def _class_of(entry: object) -> str | None:
    """An entry is a library and a class; null for both where the pipeline does without. Others are settings."""
    if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], str):
        return entry[1]
    return None


def _is_model(folder: Path) -> bool:
    return files.exists(folder, sidecar.NAME)
