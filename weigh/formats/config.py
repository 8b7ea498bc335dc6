"""Reads a model's configuration on its own: JSON that names a `model_type` or a `_class_name`, whatever it is called.

A `*.index.json` holds no configuration but the names of shards, which are read in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weigh.formats import keras, pytorch, safetensors, sidecar
from weigh.types import Format, Inventory, Limits, WeighError

NAMES_A_MODEL = ("model_type", "_class_name", "architectures")
OTHER_JSON = {
    "weight_map": "the index of a model's shards",
    "added_tokens": "a tokenizer",
    "tokenizer_class": "a tokenizer's configuration",
    "chat_template": "a tokenizer's configuration",
    "image_processor_type": "an image processor's configuration",
    "do_sample": "generation settings",
    "eos_token_id": "generation settings",
    "_diffusers_version": "a pipeline of several models",
}
"""A key that tells what else a JSON file is, to say so."""


def sniff(first: bytes) -> bool:
    """The brace of a JSON object and what may follow it, with white space before."""
    start = first.lstrip(b" \t\r\n")
    return start[:1] == b"{" and start[1:].lstrip(b" \t\r\n")[:1] in (b'"', b"}", b"")


def read(path: Path, limits: Limits) -> Inventory:
    """A configuration without weights, or the shards that an index names."""
    if path.name.endswith(safetensors.INDEX_SUFFIX):
        return safetensors.read_index(path, limits)
    if path.name.endswith(pytorch.INDEX_SUFFIX):
        return pytorch.read_index(path, limits)
    if path.name.endswith(keras.INDEX_SUFFIX):
        return keras.read_index(path, limits)
    found = sidecar.required(path.parent, path.name, limits)
    configuration: Mapping[str, Any] = found.configuration or {}
    if "weight_map" in configuration:
        return safetensors.read_index(path, limits)
    if not any(configuration.get(key) for key in NAMES_A_MODEL):
        what = next((f"it looks like {what}" for key, what in OTHER_JSON.items() if key in configuration), "")
        raise WeighError(
            "this JSON names no model_type, _class_name or architectures" + (f"; {what}" if what else ""),
            rule="CONFIG-MODEL",
            path=path,
            hint="give a model's config.json, its weights, or the folder of both",
        )
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="hf",
        configuration=configuration,
        files=found.files,
        folder=str(path.parent),
    )


FORMAT = Format(
    id="config",
    name="configuration",
    suffixes=(".json",),
    sniff=sniff,
    read=read,
    source="https://huggingface.co/docs/transformers/main_classes/configuration",
)
