"""What `weigh show` tells of a pipeline: each of its models, and their sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weigh import formats
from weigh.cost.params import Counts, count
from weigh.families.identify import identify
from weigh.formats.pipeline import Pipeline
from weigh.types import Limits, Model, WeighError

SUMMED = ("total", "trainable", "mtp", "buffers")
"""Sums of whole models. What is active a token, and which table is the input's, only one model can say."""


@dataclass(frozen=True, slots=True)
class Component:
    """One model of the pipeline."""

    name: str
    title: str
    """Its class."""
    model: Model
    counts: Counts


def components(pipeline: Pipeline, limits: Limits) -> list[Component]:
    """Each model, read and counted as if its folder were named. Errors: those of the first that cannot be."""
    found = []
    for name, title in pipeline.components:
        try:
            model = identify(formats.read(pipeline.folder / name, limits), limits)
        except WeighError as told:
            told.message = f"{name}: {told.message}"
            raise
        found.append(Component(name, title, model, count(model)))
    return found


def describe(pipeline: Pipeline, found: Sequence[Component]) -> dict[str, Any]:
    """The result of `show`, with a row for each model; layers are theirs, so that nothing is told by layer."""
    counted = [one.counts for one in found]
    total = sum(counts.total for counts in counted)
    nbytes = sum(counts.bytes for counts in counted)
    whole = 8 * sum(counts.counted_bytes for counts in counted)
    held = [size for one in found if one.model.inventory.tensors for _, size in one.model.inventory.files]
    return {
        "source": str(pipeline.folder),
        "format": "pipeline",
        "family": None,
        "model_type": None,
        "architecture": pipeline.title,
        "dimensions": {},
        "components": [_row(one) for one in found],
        "parameters": {
            **{key: sum(getattr(counts, key) for counts in counted) for key in SUMMED},
            **dict.fromkeys(("active", "active_without_embedding", "active_without_embedding_and_head")),
            "embedding": sum(counts.embedding for counts in counted),
            "by_role": _by_role(counted),
            "by_layer": [{"layer": None, "parameters": total, "bytes": nbytes}],
            "by_depth": {"input": 0, "first": 0, "middle": 0, "last": 0, "output": total},
        },
        "bytes": nbytes,
        "file_bytes": sum(held) if held else None,
        "bits_per_parameter": whole / total if total else None,
        "codecs": _codecs(counted),
        "audit": None,
        "assumed": [f"{one.name}: {line}" for one in found for line in one.model.assumptions],
    }


def _row(one: Component) -> dict[str, Any]:
    return {
        "name": one.name,
        "class": one.title,
        "family": one.model.family,
        "parameters": one.counts.total,
        "trainable": one.counts.trainable,
        "buffers": one.counts.buffers,
        "bytes": one.counts.bytes,
    }


def _by_role(counted: Sequence[Counts]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for counts in counted:
        for role, tally in counts.by_role.items():
            group = found.setdefault(role, {"parameters": 0, "bytes": 0})
            group["parameters"] += tally.parameters
            group["bytes"] += tally.bytes
    return dict(sorted(found.items()))


def _codecs(counted: Sequence[Counts]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for counts in counted:
        for codec, held in counts.codecs.items():
            group = found.setdefault(codec, dict.fromkeys(held, 0))
            for key, value in held.items():
                group[key] += value
    return found


def warnings(pipeline: Pipeline, found: Sequence[Component]) -> Iterator[str]:
    """Those of each model behind its name, and what the index names in vain."""
    for one in found:
        for told in (*one.model.inventory.warnings, *one.model.warnings, *one.counts.warnings):
            yield f"{one.name}: {told}"
    if pipeline.absent:
        yield "named in the index and not in the folder, so not counted: " + ", ".join(pipeline.absent)
