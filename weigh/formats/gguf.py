"""Reads GGUF, versions 2 and 3, both byte orders: one file, or all parts of a split one.

The header is walked in `gguf_header.py`, its settings become a configuration in `gguf_config.py`; here tensors get
their place and size, checked against the file. A new ggml type needs nothing here: it is a codec (`weigh/codecs`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from weigh import codecs, files, volumes
from weigh.formats import gguf_config, gguf_header, gguf_write, manifest
from weigh.formats.gguf_header import Entry, Header
from weigh.types import Format, Inventory, Limits, Piece, Tensor, WeighError

ALIGNMENT = 32
"""GGUF_DEFAULT_ALIGNMENT."""
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
ARCHITECTURE = "general.architecture"


@dataclass(frozen=True, slots=True)
class Contents:
    """One file's header, with its tensors placed."""

    name: str
    size: int
    header: Header
    tensors: tuple[Tensor, ...]
    warnings: tuple[str, ...]


def sniff(first: bytes) -> bool:
    """The magic."""
    return first.startswith(gguf_header.MAGIC)


def read(path: Path, limits: Limits) -> Inventory:
    """A file, or all parts where it is one of several."""
    folder = path.parent
    contents = _contents(folder, path.name, limits)
    parts: tuple[Contents, ...] = (contents,)
    count = _whole(contents, "split.count", 1, folder)
    if count < 2:
        return _inventory(path, folder, parts)
    match = PART.fullmatch(path.name)
    beside = "" if match is None else match["stem"] + manifest.SUFFIX
    said = manifest.beside(folder, beside, limits) if beside else None
    if said is None:
        return _inventory(path, folder, _parts(folder, contents, count, limits))
    entry, size = said
    manifest.require_finished(entry, path)
    parts = _parts(folder, contents, count, limits)
    manifest.require_sizes(entry, {part.name: part.size for part in parts}, path)
    return _inventory(path, folder, parts, ((beside, size),))


# --------------------------------------------------------------------------------------------------- one file


def _contents(folder: Path, name: str, limits: Limits) -> Contents:
    with files.opened(folder, name) as file:
        header = gguf_header.read(file, limits)
        start = _data_start(header, file)
        tensors, warnings = _tensors(header.entries, start, _alignment(header, file), file)
        return Contents(name, file.size, header, tensors, (*header.warnings, *warnings))


def _alignment(header: Header, file: files.OpenFile) -> int:
    if "general.alignment" not in header.metadata:
        return ALIGNMENT
    if header.types["general.alignment"] != gguf_header.U32:
        raise WeighError("general.alignment is not a 32-bit number", rule="GGUF-ALIGNMENT", path=file.path)
    alignment = int(header.metadata["general.alignment"])
    if alignment < 1 or alignment & (alignment - 1):
        raise WeighError(f"general.alignment is {alignment}, not a power of two", rule="GGUF-ALIGNMENT", path=file.path)
    return alignment


def _data_start(header: Header, file: files.OpenFile) -> int:
    """Where offsets count from: the end of the header, rounded up to the alignment."""
    start = header.end + -header.end % _alignment(header, file)
    if header.entries and start > file.size:
        raise WeighError(
            "the file ends before its data begin",
            rule="GGUF-END",
            path=file.path,
            offset=header.end,
            hint="the file was cut short: get it again",
        )
    return start


def _tensors(
    entries: tuple[Entry, ...], start: int, alignment: int, file: files.OpenFile
) -> tuple[tuple[Tensor, ...], list[str]]:
    """Tensors in the header's order, with the bytes that each takes."""
    names = {entry.name for entry in entries}
    if len(names) < len(entries):
        seen: set[str] = set()
        for entry in entries:
            if entry.name in seen:
                raise _error("a tensor of this name was listed before", "GGUF-TWICE", file, entry)
            seen.add(entry.name)
    data = file.size - start
    in_place = sorted(range(len(entries)), key=lambda index: (entries[index].offset, index))
    found: dict[int, Tensor] = {}
    warnings: list[str] = []
    position = 0
    gaps = 0
    for rank, index in enumerate(in_place):
        entry = entries[index]
        if entry.offset % alignment:
            raise _error(f"its offset is not a multiple of {alignment}", "GGUF-OFFSET", file, entry, start)
        if entry.offset > data:
            raise _past_end(entry, file, start, data)
        following = entries[in_place[rank + 1]].offset if rank + 1 < len(in_place) else data
        codec, nbytes = _measure(entry, min(following, data) - entry.offset, file, start)
        if nbytes > data - entry.offset:
            raise _past_end(entry, file, start, data)
        if nbytes and entry.offset < position:
            raise _error("it overlaps another tensor", "GGUF-OVERLAP", file, entry, start)
        gaps += max(entry.offset - position, 0)
        position = max(position, entry.offset + nbytes + -nbytes % alignment)
        shape = tuple(reversed(entry.dimensions))
        found[index] = Tensor(entry.name, shape, codec, (Piece(file.name, start + entry.offset, nbytes),))
    if gaps:
        warnings.append(f"{file.name}: {gaps:,} bytes between tensors belong to none; llama.cpp refuses such a file")
    return tuple(found[index] for index in range(len(entries))), warnings


def _measure(entry: Entry, room: int, file: files.OpenFile, start: int) -> tuple[str, int]:
    """Codec id and bytes of a tensor; of an unknown type, the bytes up to the next tensor."""
    removed = codecs.REMOVED_GGML.get(entry.ggml_type)
    if removed is not None:
        message = f"its type {entry.ggml_type} ({removed}) was removed from ggml"
        hint = "quantize the original model again with a current llama.cpp"
        raise _error(message, "GGUF-REMOVED", file, entry, start, hint=hint)
    codec = codecs.from_ggml(entry.ggml_type)
    if codec is None:
        return f"unknown:ggml-{entry.ggml_type}", room
    row = entry.dimensions[0] if entry.dimensions else 1
    if row % codec.block:
        message = f"rows of {row:,} values do not fill blocks of {codec.block} ({codec.id})"
        raise _error(message, "GGUF-BLOCK", file, entry, start)
    return codec.id, prod(entry.dimensions) // codec.block * codec.block_bytes


def _past_end(entry: Entry, file: files.OpenFile, start: int, data: int) -> WeighError:
    message = f"it lies past the end of the file, which holds {data:,} bytes of data"
    return _error(message, "GGUF-END", file, entry, start, hint="the file was cut short: get it again")


def _error(
    message: str, rule: str, file: files.OpenFile, entry: Entry, start: int | None = None, hint: str = ""
) -> WeighError:
    offset = None if start is None else start + entry.offset
    return WeighError(
        message, rule=rule, path=file.path, offset=offset, where=f"tensor {entry.name[:200]!r}", hint=hint
    )


# ------------------------------------------------------------------------------------------------------ parts


def _whole(contents: Contents, key: str, default: int, folder: Path) -> int:
    value = contents.header.metadata.get(key, default)
    if type(value) is not int or value < 0:
        raise WeighError(f"{key} is not a whole number", rule="GGUF-SPLIT", path=folder / contents.name)
    return value


def _parts(folder: Path, given: Contents, count: int, limits: Limits) -> tuple[Contents, ...]:
    """All parts of a split model, in order, whichever of them was given."""
    path = folder / given.name
    match = PART.fullmatch(given.name)
    if match is None or int(match["count"]) != count:
        raise WeighError(
            f"this is one of {count} parts, which its file name does not say",
            rule="GGUF-SPLIT",
            path=path,
            hint=f"name the parts as they were: NAME-00001-of-{count:05d}.gguf",
        )
    if count > limits.files:
        message = f"{count:,} parts are more than the {limits.files:,} that weigh opens"
        raise WeighError(message, rule="GGUF-PARTS", path=path, hint=files.lift("files"), exit_code=5)
    names = [f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    missing = [name for name in names if not files.exists(folder, name)]
    if missing:
        others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise WeighError(
            f"{len(missing):,} of {count:,} parts missing: {missing[0]!r}{others}",
            rule="GGUF-MISSING",
            path=path,
            hint="get the missing files into the same folder",
        )
    volumes.expect_beginnings(folder, names, gguf_header.WINDOW_BYTES)
    parts: list[Contents] = []
    for name in names:
        parts.append(given if name == given.name else _contents(folder, name, limits))
        if sum(len(part.tensors) for part in parts) > limits.tensors:
            message = f"the parts hold more than {limits.tensors:,} tensors"
            raise WeighError(message, rule="GGUF-BUDGET", path=path, hint=files.lift("tensors"), exit_code=5)
        if sum(part.header.end for part in parts) > limits.header_bytes:
            message = f"the headers of the parts are longer than {limits.header_bytes:,} bytes"
            raise WeighError(message, rule="GGUF-HEADER", path=path, hint=files.lift("header_bytes"), exit_code=5)
    _check_parts(tuple(parts), folder)
    return tuple(parts)


def _check_parts(parts: tuple[Contents, ...], folder: Path) -> None:
    holder: dict[str, str] = {}
    for number, part in enumerate(parts):
        path = folder / part.name
        said = _whole(part, "split.no", 0, folder), _whole(part, "split.count", 1, folder)
        if said != (number, len(parts)):
            message = f"this should be part {number + 1} of {len(parts)}, it says part {said[0] + 1} of {said[1]}"
            raise WeighError(message, rule="GGUF-SPLIT", path=path)
        for tensor in part.tensors:
            other = holder.setdefault(tensor.name, part.name)
            if other != part.name:
                message = f"the tensor is in {other!r} too"
                raise WeighError(message, rule="GGUF-TWICE", path=path, where=f"tensor {tensor.name[:200]!r}")
    announced = _whole(parts[0], "split.tensors.count", len(holder), folder)
    if announced != len(holder):
        message = f"{announced:,} tensors are announced, the parts hold {len(holder):,}"
        raise WeighError(message, rule="GGUF-SPLIT", path=folder / parts[0].name)


def _inventory(
    path: Path, folder: Path, parts: tuple[Contents, ...], extra: tuple[tuple[str, int], ...] = ()
) -> Inventory:
    first = parts[0]
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    warnings = [warning for part in parts for warning in part.warnings]
    if any(part.header.order == ">" for part in parts):
        warnings.append("the file is big-endian: sizes are exact, values are not decoded")
    metadata: Mapping[str, Any] = {
        "GGUF.version": first.header.version,
        "GGUF.byte_order": "big" if first.header.order == ">" else "little",
        **first.header.metadata,
    }
    configuration = gguf_config.translate(metadata, {tensor.name: tensor.shape for tensor in tensors})
    if configuration is None:
        warnings.append(f"{ARCHITECTURE} is missing: the metadata are not translated")
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="ggml",
        tensors=tensors,
        configuration=configuration,
        metadata=metadata,
        files=(*((part.name, part.size) for part in parts), *extra),
        folder=str(folder),
        warnings=tuple(warnings),
    )


FORMAT = Format(
    id="gguf",
    name="GGUF",
    suffixes=(".gguf",),
    sniff=sniff,
    read=read,
    source="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md",
    write=gguf_write.write,
)
