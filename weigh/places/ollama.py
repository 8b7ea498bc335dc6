"""Ollama's store: `manifests/<registry>/<namespace>/<model>/<tag>` lists layers, which lie in `blobs/sha256-<digest>`.

The layer of the model is a GGUF file; projectors and adapters are files of their own, and templates, parameters and
licences are texts. A name lacks what it shares with most: `llama3.2` is `registry.ollama.ai/library/llama3.2:latest`
(ollama/ollama, `server/modelpath.go`). The store lies in OLLAMA_MODELS, in ~/.ollama/models, or in
/usr/share/ollama/.ollama/models where the installer set up a service (`docs/faq.md`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import json_text
from weigh.places.record import Found, Store
from weigh.types import Limits, WeighError

REGISTRY = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"
KIND = "application/vnd.ollama.image."
MODEL, TENSOR = "model", "tensor"
APART = {
    "projector": "a projector (the part that sees)",
    "adapter": "an adapter",
}
"""Layers with weights of their own, which are not those of the model."""
SERVICE = Path("/usr/share/ollama/.ollama/models")

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(
    rf"(?:(?:(?P<registry>{_PART}(?::\d+)?)/)?(?P<namespace>{_PART})/)?(?P<model>{_PART})(?::(?P<tag>{_PART}))?"
)
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def folders() -> tuple[Path, ...]:
    """The user's store and that of the service, or the one that OLLAMA_MODELS names."""
    named = os.environ.get("OLLAMA_MODELS")
    return (Path(named).expanduser(),) if named else (Path.home() / ".ollama" / "models", SERVICE)


def find(word: str, limits: Limits) -> Found | None:
    """A model by Ollama's name of it.

    Errors: OLLAMA-MANIFEST, OLLAMA-LAYERS, OLLAMA-MISSING, and those of `files.opened`.
    """
    match = _NAME.fullmatch(word)
    if match is None:
        return None
    registry, namespace, model = match["registry"] or REGISTRY, match["namespace"] or NAMESPACE, match["model"]
    tag = match["tag"] or TAG
    for folder in folders():
        way = f"manifests/{registry.replace(':', '-')}/{namespace}/{model}/{tag}"
        if (folder / way).is_file():
            shown = "/".join(part for part in (match["registry"], match["namespace"], model) if part)
            return _model(files.locate(folder), way, f"{STORE.id}:{shown}:{tag}", limits)
    return None


def _model(folder: Path, way: str, name: str, limits: Limits) -> Found:
    with files.opened(folder, way) as file:
        manifest = json_text.configuration(file, limits)
    layers = _layers(manifest, folder / way)
    weights = [digest for kind, digest, _ in layers if kind == MODEL]
    if len(weights) != 1:
        tensors = sum(kind.startswith(TENSOR) for kind, _, _ in layers)
        what = f"{tensors} layers of one tensor each" if tensors else f"{len(weights)} layers of weights"
        message = f"the manifest lists {what}, not the one GGUF file that weigh reads"
        raise WeighError(message, rule="OLLAMA-LAYERS", path=folder / way)
    blob = f"blobs/sha256-{weights[0]}"
    if not files.exists(folder, blob):
        hint = f"the download did not finish: ollama pull {name.removeprefix(STORE.id + ':')}"
        raise WeighError("the file of the model's weights is missing", rule="OLLAMA-MISSING", path=folder, hint=hint)
    return Found(name, folder / blob, _told(layers))


def _layers(manifest: dict[str, Any], path: Path) -> list[tuple[str, str, int]]:
    """(kind, digest, bytes) of each layer."""
    found = manifest.get("layers")
    if not isinstance(found, list):
        raise WeighError("the manifest lists no layers", rule="OLLAMA-MANIFEST", path=path)
    layers = []
    for layer in found:
        said = layer if isinstance(layer, dict) else {}
        kind, digest, size = said.get("mediaType"), said.get("digest"), said.get("size")
        match = _DIGEST.fullmatch(digest) if type(digest) is str else None
        if type(kind) is not str or match is None or type(size) is not int:
            raise WeighError("a layer lacks mediaType, digest or size", rule="OLLAMA-MANIFEST", path=path)
        layers.append((kind.removeprefix(KIND), match[1], size))
    return layers


def _told(layers: list[tuple[str, str, int]]) -> tuple[str, ...]:
    """What belongs to the model for Ollama, and is not counted."""
    apart = [f"{APART[kind]} of {size:,} bytes" for kind, _, size in layers if kind in APART]
    texts = sorted({kind for kind, _, _ in layers if kind != MODEL and kind not in APART})
    told = [f"not counted, kept apart by Ollama: {', '.join(apart)}"] if apart else []
    return (*told, *([f"Ollama keeps with the model: {', '.join(texts)}"] if texts else []))


STORE = Store(
    id="ollama",
    name="Ollama",
    folders=folders,
    find=find,
    source="https://github.com/ollama/ollama/blob/main/server/modelpath.go",
)
