"""`weigh show`: the inventory of a model by role, layer, codec and tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weigh import formats, volumes
from weigh.commands import pipeline
from weigh.commands.source import find, load
from weigh.cost.params import Counts, count
from weigh.families import family_of
from weigh.families.audit import Audit, differences, promises
from weigh.files import locate
from weigh.formats import pipeline as pipelines
from weigh.formats import pytorch
from weigh.formats.digest import Tell, digests, stated
from weigh.formats.pipeline import Pipeline
from weigh.report.answer import Answer
from weigh.types import Limits, Model


def run(
    name: str, *, tensors: bool = False, hashes: bool = False, tell: Tell | None = None, limits: Limits | None = None
) -> Answer:
    """Counts as plain integers; with `tensors` a row for each tensor, with `hashes` the SHA-256 of each file.

    A folder with several models that make a pipeline is told as the sum of them, and each apart.
    """
    whole = pipeline_of(name, limits or Limits())
    if whole is not None:
        return _run_pipeline(name, whole, tensors=tensors, hashes=hashes, tell=tell, limits=limits or Limits())
    model = load(name, limits)
    counts = count(model)
    result = describe(model, counts)
    if tensors:
        result["tensors"] = tensor_rows(model, counts)
    if hashes:
        result["sha256"] = digests(model.inventory, tell)
    warnings = [*model.inventory.warnings, *model.warnings, *counts.warnings]
    if hashes:
        warnings += stated(model.inventory)
    return Answer("show", {"model": name, "tensors": tensors}, result, warnings)


def pipeline_of(name: str, limits: Limits) -> Pipeline | None:
    """The pipeline in the folder named, if it is one."""
    if not Path(name).is_dir():
        return None
    with formats.guarded(name):
        return pipelines.read(locate(name), limits)


def _run_pipeline(
    name: str, whole: Pipeline, *, tensors: bool, hashes: bool, tell: Tell | None, limits: Limits
) -> Answer:
    found = pipeline.components(whole, limits)
    result = pipeline.describe(whole, found)
    if tensors:
        rows = ((one.name, row) for one in found for row in tensor_rows(one.model, one.counts))
        result["tensors"] = [{**row, "name": f"{part}/{row['name']}"} for part, row in rows]
    if hashes:
        each = ((one.name, digests(one.model.inventory, tell)) for one in found)
        result["sha256"] = {f"{part}/{file}": digest for part, held in each for file, digest in held.items()}
    told = list(pipeline.warnings(whole, found))
    return Answer("show", {"model": name, "tensors": tensors}, result, told)


def run_imports(name: str, limits: Limits | None = None) -> Answer:
    """What unpickling a checkpoint with Python would import: a row for each name, and whether a model needs it.

    Errors: those of `source.find` and `files.locate`, of the container, and of a pickle that is broken before its first
    import.
    """
    limits = limits or Limits()
    try:
        with formats.guarded(name):
            found = pytorch.imports(locate(find(name, limits).path), limits)
    finally:
        volumes.finish()
    if found.stopped is not None and not found.asked:
        raise found.stopped
    rows = [
        {"module": one.module, "name": one.name, "allowed": one.allowed, "pickle": pickle, "offset": one.offset}
        for pickle, one in found.asked
    ]
    stopped = found.stopped
    warnings = [f"the rest of the pickle is broken: {stopped.message} ({stopped.rule})"] if stopped else []
    unsafe = sum(not row["allowed"] for row in rows)
    return Answer("show", {"model": name, "unsafe_report": True}, {"unsafe": unsafe, "imports": rows}, warnings)


def describe(model: Model, counts: Counts) -> dict[str, Any]:
    """The result of `show` without the tensors."""
    inventory = model.inventory
    return {
        "source": inventory.source,
        "format": inventory.format,
        "family": model.family,
        "model_type": model.model_type,
        "architecture": _first_class(model),
        "dimensions": dict(model.dimensions),
        "parameters": {
            "total": counts.total,
            "active": counts.active,
            "active_without_embedding": counts.active_without_embedding,
            "active_without_embedding_and_head": counts.active_without_embedding_and_head,
            "embedding": counts.embedding,
            "trainable": counts.trainable,
            "mtp": counts.mtp,
            "buffers": counts.buffers,
            "by_role": {
                role: {"parameters": tally.parameters, "bytes": tally.bytes}
                for role, tally in sorted(counts.by_role.items())
            },
            "by_layer": [
                {"layer": layer, "parameters": tally.parameters, "bytes": tally.bytes}
                for layer, tally in counts.by_layer.items()
            ],
            "by_depth": counts.by_depth,
        },
        "bytes": counts.bytes,
        "file_bytes": sum(size for _, size in inventory.files) if inventory.tensors else None,
        "bits_per_parameter": counts.bits_per_parameter,
        "codecs": counts.codecs,
        "audit": _audited(counts.audit),
        "assumed": list(model.assumptions),
    }


def _first_class(model: Model) -> str | None:
    names = (model.inventory.configuration or {}).get("architectures")
    return str(names[0]) if isinstance(names, list | tuple) and names else None


def _audited(found: Audit | None) -> dict[str, list[str]] | None:
    if found is None:
        return None
    return {kind: list(names) for kind, names in differences(found).items()}


def tensor_rows(model: Model, counts: Counts) -> list[dict[str, Any]]:
    """A row for each stored tensor; from a configuration alone, for each that a file of it would hold."""
    if counts.audit is not None:
        return [
            {
                "name": holding.tensor.name,
                "shape": list(holding.tensor.shape),
                "codec": holding.tensor.codec,
                "parameters": holding.tensor.parameters,
                "bytes": holding.tensor.nbytes,
                "role": holding.shares[0].role,
                "layer": holding.shares[0].layer,
            }
            for holding in counts.audit.holdings
        ]
    return _promised_rows(model, counts)


def _promised_rows(model: Model, counts: Counts) -> list[dict[str, Any]]:
    codec, total = next(iter(counts.codecs.items()))
    width = total["bytes"] // total["parameters"] if total["parameters"] else 0
    rows = []
    for promise in promises(model, family_of(model), "hf"):
        if promise.optional:
            continue
        values = 1
        for size in promise.shape:
            values *= size
        part, slot = promise.slots[0]
        rows.append(
            {
                "name": promise.name,
                "shape": list(promise.shape),
                "codec": codec,
                "parameters": values,
                "bytes": values * width,
                "role": slot.role,
                "layer": part.layer,
            }
        )
    return rows
