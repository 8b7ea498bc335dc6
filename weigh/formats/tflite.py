"""Reads TensorFlow Lite: the constant tensors of all graphs of a model, quantized ones with their scales.

`flatbuffer` walks the tables, `tflite_tensors` reads one tensor, `tflite_graph` decides which are parameters and
`tflite_operators` holds what is known of operators. To teach weigh a new operator or number type, look there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import foreign, tflite_graph
from weigh.formats.flatbuffer import Table, Walker
from weigh.formats.neighbours import Neighbours
from weigh.types import Format, Inventory, Limits, WeighError

MAGIC = b"TFL3"
VERSION = 3
SHORT_BYTES = 64
"""Metadata of up to so many bytes are told as the text that they are, others by their size."""


def sniff(first: bytes) -> bool:
    """The identifier, which stands behind the place of the outermost table."""
    return first[4:8] == MAGIC


def read(path: Path, limits: Limits) -> Inventory:
    """A model with the files of external buffers that it names. Errors: TFL-MAGIC, TFL-VERSION, those of the parts."""
    folder = path.parent
    near = Neighbours(folder, limits, too_many="TFL-FILES", hard_link="TFL-HARDLINK")
    with files.opened(folder, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if not sniff(first):
            foreign.refuse(first, path)
            raise WeighError("not a TensorFlow Lite model: no TFL3 at byte 4", rule="TFL-MAGIC", path=path, offset=4)
        model = Walker(file, limits).root()
        version = model.number(0, "I")
        if version != VERSION:
            raise WeighError(f"version {version} of the format, not {VERSION}", rule="TFL-VERSION", path=path)
        tensors, found = tflite_graph.tensors(model, near)
        metadata = _metadata(model, found, file)
        size = file.size
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="other",
        tensors=tensors,
        metadata=metadata,
        files=((path.name, size), *near.sizes.items()),
        folder=str(folder),
        warnings=_warnings(found),
    )


def _metadata(model: Table, found: tflite_graph.Found, file: files.OpenFile) -> Mapping[str, Any]:
    """What the model says of itself; its own entries keep their names behind `metadata.`"""
    told: dict[str, Any] = {"description": model.text(3), "graphs": tuple(found.names)}
    signatures = tuple(signature.text(3) for signature in model.tables(7))
    if signatures:
        told["signatures"] = signatures
    if found.custom:
        told["custom_operators"] = tuple(found.custom)
    if found.variables or found.handles:
        told["variables"] = found.variables + len({*found.handles.values()})
    if found.shared:
        told["shared"] = dict(found.shared)
    spans = [buffer.vector(0, 1) for buffer in model.tables(4)] if model.vector(6, 4).count else []
    for entry in model.tables(6):
        place = entry.number(1, "I")
        if place >= len(spans):
            raise model.walker.wrong(f"there is no buffer {place:,}", "TFL-BUFFER", entry.at)
        held = spans[place]
        text = files.read_at(file, held.at, held.nbytes) if held.nbytes <= SHORT_BYTES else b""
        short = text.rstrip(b"\0").decode(errors="replace")
        told.setdefault(f"metadata.{entry.text(0)}", short or f"{held.nbytes:,} bytes")
    return told


def _warnings(found: tflite_graph.Found) -> tuple[str, ...]:
    """What the count does not cover."""
    large = [f"{name[:60]!r}: {size:,} bytes" for name, size in found.custom.items() if size]
    odd = sum(not entry.stored.plain for entry in found.entries)
    told = []
    if large:
        told.append(f"what custom operators keep in their options is not counted: {', '.join(large[:4])}")
    if odd:
        told.append(f"the scales of {odd} tensors fit no axis of theirs; they are counted as stored")
    return tuple(told)


FORMAT = Format(
    id="tflite",
    name="TensorFlow Lite",
    suffixes=(".tflite",),
    sniff=sniff,
    read=read,
    source="https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs",
)
