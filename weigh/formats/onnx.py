"""Reads ONNX: the tensors that a graph and the graphs inside it store, quantized ones as the weights they stand for.

`onnx_wire` reads the messages, `onnx_tensors` one tensor, `onnx_graph` decides which are parameters and
`onnx_operators` holds what is known of operators. To teach weigh a new operator or number type, look there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import foreign, onnx_graph
from weigh.formats.neighbours import Neighbours
from weigh.formats.onnx_wire import Message
from weigh.types import Format, Inventory, Limits

FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"
"""How the other fields of a model begin: producer, version, domain, text, graph, operator sets, metadata."""


def sniff(first: bytes) -> bool:
    """The version of the format, which is small, followed by another known field of a model."""
    return first[:1] == b"\x08" and len(first) > 2 and 0 < first[1] < 64 and first[2] in FIELDS


def read(path: Path, limits: Limits) -> Inventory:
    """A model file with the files of external data that it names."""
    folder = path.parent
    near = Neighbours(folder, limits, too_many="ONNX-FILES", hard_link="ONNX-HARDLINK")
    with files.opened(folder, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if not sniff(first):
            foreign.refuse(first, path)
        tensors, graph = onnx_graph.tensors(file, near, limits)
        size = file.size
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="other",
        tensors=tensors,
        metadata={} if graph.model is None else _metadata(graph.model),
        files=((path.name, size), *near.sizes.items()),
        folder=str(folder),
        warnings=tuple(graph.warnings),
    )


def _metadata(model: Message) -> dict[str, Any]:
    """What the model says of itself; its own properties keep their names behind `properties.`"""
    found: dict[str, Any] = {
        "ir_version": model.whole(1),
        "producer": f"{model.text(2)} {model.text(3)}".strip(),
        "operator_sets": {
            entry.text(1) or "ai.onnx": entry.whole(2)
            for entry in model.fields.get(8, [])
            if isinstance(entry, Message)
        },
    }
    for entry in model.fields.get(14, []):
        found.setdefault(f"properties.{entry.text(1)}", entry.text(2))
    return found


FORMAT = Format(
    id="onnx",
    name="ONNX",
    suffixes=(".onnx",),
    sniff=sniff,
    read=read,
    source="https://github.com/onnx/onnx/blob/main/onnx/onnx.proto",
)
