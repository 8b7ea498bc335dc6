"""Finds the one model that lies in a folder: safetensors, GGUF, PyTorch, ONNX, TensorFlow Lite, Keras, shards, a
configuration.

What belongs together is told by what files say of each other (an index) and by the numbers that shards carry in their
names. To find a new format's files in folders, add its suffix to `_candidates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from weigh import files
from weigh.formats import (
    config,
    ctranslate2,
    foreign,
    gguf,
    keras,
    manifest,
    numpy_files,
    onnx,
    pipeline,
    pytorch,
    safetensors,
    shards,
    sidecar,
    tflite,
)
from weigh.types import Inventory, Limits, WeighError

UNREAD_SUFFIXES = (".npy", ".msgpack")
ORIGINAL = "consolidated"
"""Some repositories hold the weights twice, also in the vendor's own layout under this name."""

PYTORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".th")
NO_MODELS = ("training_args.bin", "optimizer.", "scheduler.", "scaler.", "rng_state")
"""What trainers put beside a model, in the same form."""
PYTORCH_NAME = "pytorch_model"
"""The weights, where transformers wrote them."""

Reader = Callable[[], Inventory]


def read(folder: Path, limits: Limits) -> Inventory:
    """The model in a folder.

    Errors: FOLDER-EMPTY, FOLDER-MANY, FOLDER-NONE, FOLDER-FILES (exit 5), and those of the formats.
    """
    names, below = files.listed(folder, limits)
    if not names and not below:
        raise WeighError("the folder is empty", rule="FOLDER-EMPTY", path=folder)
    if sidecar.NAME in names:
        sidecar.required(folder, sidecar.NAME, limits)
    for name in names:
        said = manifest.beside(folder, name, limits) if name.endswith(manifest.SUFFIX) else None
        if said is not None:
            manifest.require_finished(said[0], folder / name)
    candidates = _candidates(folder, names, limits)
    chosen, others = _preferred(candidates)
    if len(chosen) > 1:
        raise WeighError(
            f"the folder holds {len(chosen)} models: {_listing(list(chosen))}",
            rule="FOLDER-MANY",
            path=folder,
            hint="name the file of the one that you mean",
        )
    unread = [name for name in names if name.endswith(UNREAD_SUFFIXES)]
    if chosen:
        inventory = next(iter(chosen.values()))()
        warnings = [f"not counted, the same weights again: {_listing(others)}"] if others else []
        return _with_warnings(inventory, warnings)
    if sidecar.NAME in names:
        inventory = config.read(folder / sidecar.NAME, limits)
        warnings = [f"only the configuration is used; weigh does not read {_listing(unread)}"] if unread else []
        return _with_warnings(inventory, warnings)
    if pipeline.NAME in names:
        raise WeighError(
            "the folder is a pipeline of several models",
            rule="FOLDER-PIPELINE",
            path=folder,
            hint=f"`weigh show` adds them up; here name the folder of one: {_listing(list(below)) or 'none is there'}",
        )
    found = f"; weigh does not read {_listing(unread)}" if unread else ""
    raise WeighError(
        "the folder holds no model: no safetensors, GGUF, PyTorch, ONNX, TensorFlow Lite or Keras file, no config.json"
        + found,
        rule="FOLDER-NONE",
        path=folder,
        hint=f"name the folder of the model itself: {_listing(list(below))}" if below else "name the model's file",
    )


def _candidates(folder: Path, names: tuple[str, ...], limits: Limits) -> dict[str, Reader]:
    """What could be the model: how to name it to the user, and how to read it."""
    found: dict[str, Reader] = {}
    covered: set[str] = set()
    for name in names:
        if name.endswith(safetensors.INDEX_SUFFIX):
            parsed = shards.parse_index(folder / name, limits)
            found[name] = partial(safetensors.read_index, folder / name, limits, parsed)
            covered |= parsed.files()
    for name in names:
        if name.endswith(".safetensors") and name not in covered:
            shard = safetensors.NUMBERED.fullmatch(name)
            title = name if shard is None else f"{shard['stem']}-*-of-{shard['count']}.safetensors"
            found.setdefault(title, partial(safetensors.read, folder / name, limits))
        elif name.endswith(".gguf"):
            part = gguf.PART.fullmatch(name)
            title = name if part is None else f"{part['stem']}-*-of-{part['count']}.gguf"
            found.setdefault(title, partial(gguf.read, folder / name, limits))
    return found or _pytorch(folder, names, limits) or _graphs(folder, names, limits)


def _graphs(folder: Path, names: tuple[str, ...], limits: Limits) -> dict[str, Reader]:
    """Exported graphs and archives of arrays, where the weights are there in no other form."""
    stems = tuple(name.removesuffix(keras.INDEX_SUFFIX) for name in names if name.endswith(keras.INDEX_SUFFIX))
    covered = {name for name in names if (one := keras.SHARD.fullmatch(name)) is not None and one["stem"] in stems}
    kinds = (
        (".onnx", onnx.read), (".tflite", tflite.read), (".keras", keras.read), (keras.INDEX_SUFFIX, keras.read_index),
        (".h5", keras.read), (".npz", numpy_files.read),
    )  # fmt: skip
    for suffix, read_one in kinds:
        own = [name for name in names if name.endswith(suffix) and name not in covered]
        found: dict[str, Reader] = {name: partial(read_one, folder / name, limits) for name in own}
        if found:
            return found
    return {}


def _pytorch(folder: Path, names: tuple[str, ...], limits: Limits) -> dict[str, Reader]:
    """PyTorch checkpoints, where there is no other form of the weights: one that transformers wrote before others.

    CTranslate2 gives its files a name of PyTorch's.
    """
    found: dict[str, Reader] = {}
    covered: set[str] = set()
    for name in names:
        if name.endswith(pytorch.INDEX_SUFFIX):
            parsed = shards.parse_index(folder / name, limits)
            found[name] = partial(pytorch.read_index, folder / name, limits, parsed)
            covered |= parsed.files()
    for name in names:
        if name.endswith(PYTORCH_SUFFIXES) and not name.startswith(NO_MODELS) and name not in covered:
            shard = pytorch.NUMBERED.fullmatch(name)
            title = name if shard is None else f"{shard['stem']}-*-of-{shard['count']}.bin"
            read_one = ctranslate2.read if _is_ctranslate2(folder, name) else pytorch.read
            found.setdefault(title, partial(read_one, folder / name, limits))
    usual = {title: reader for title, reader in found.items() if title.startswith(PYTORCH_NAME)}
    return usual if len(usual) == 1 else found


def _is_ctranslate2(folder: Path, name: str) -> bool:
    """Whether a file that is named like PyTorch's is one of CTranslate2."""
    if name != ctranslate2.NAME:
        return False
    with files.opened(folder, name) as file:
        return ctranslate2.sniff(files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES)))


def _preferred(candidates: dict[str, Reader]) -> tuple[dict[str, Reader], list[str]]:
    """Leave out a second copy in the vendor's layout where the usual layout is there too."""
    usual = {name: reader for name, reader in candidates.items() if not name.startswith(ORIGINAL)}
    if len(usual) == 1 and next(iter(usual)).endswith((".safetensors", safetensors.INDEX_SUFFIX)):
        return usual, [name for name in candidates if name not in usual]
    return candidates, []


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return ", ".join(names[:4] if more else names) + more


def _with_warnings(inventory: Inventory, warnings: list[str]) -> Inventory:
    return replace(inventory, warnings=(*inventory.warnings, *warnings)) if warnings else inventory
