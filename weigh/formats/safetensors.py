"""Reads safetensors: one file, or shards with their `*.safetensors.index.json`.

A file is a length, a JSON header and the bytes of the tensors without holes; every rule of the specification is checked
before a tensor is believed. A new dtype needs nothing here: it is a codec (`weigh/codecs`) that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from weigh import codecs, files
from weigh.formats import foreign, json_text, safetensors_write, shards, sidecar
from weigh.formats.shards import VALUES_A_TENSOR, Contents, Parsed
from weigh.types import Codec, Format, Inventory, Limits, Piece, Tensor, WeighError

LENGTH_BYTES = 8
MARK = b"{"
NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
INDEX_SUFFIX = ".safetensors.index.json"
TOO_MANY = 2**63

Entry = tuple[Any, tuple[int, ...], Any, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the entries of one header are checked against."""

    file: files.OpenFile
    start: int
    data_bytes: int
    rank: int
    codecs: dict[Any, Codec | None]
    """By dtype, filled as they come."""


def sniff(first: bytes) -> bool:
    """A length, then the brace that the specification demands as the header's first character."""
    return len(first) > LENGTH_BYTES and first[LENGTH_BYTES : LENGTH_BYTES + 1] == MARK and first[7] == 0


def read(path: Path, limits: Limits) -> Inventory:
    """A file on its own, or all shards where it is one of those that an index beside it names."""
    folder = path.parent
    shard = NUMBERED.fullmatch(path.name)
    if shard is not None and int(shard["count"]) > 1:
        return read_numbered(folder, shard["stem"], int(shard["count"]), limits)
    contents = _contents(folder, path.name, limits)
    return _inventory(path, folder, (contents,), limits)


def read_numbered(folder: Path, stem: str, count: int, limits: Limits) -> Inventory:
    """The shards `stem-00001-of-<count>.safetensors`, through their index where there is one."""
    index = folder / (stem + INDEX_SUFFIX)
    if files.exists(folder, index.name):
        return read_index(index, limits)
    names = shards.numbered(folder, stem, count, ".safetensors", limits)
    found = shards.read_all(folder, names, limits, _contents)
    return _inventory(folder / names[0], folder, found, limits, warnings=(f"no index {index.name} beside the shards",))


# --------------------------------------------------------------------------------------------------- one file


def _contents(folder: Path, name: str, limits: Limits) -> Contents:
    with files.opened(folder, name) as file:
        header, start = _header(file, limits)
        metadata = _metadata(header.pop("__metadata__", None), file)
        if len(header) > limits.tensors:
            raise _error(
                f"{len(header):,} tensors are more than {limits.tensors:,}",
                "ST-TENSORS",
                file,
                hint=files.lift("tensors"),
                exit_code=5,
            )
        layout = Layout(file, start, file.size - start, limits.rank, {})
        tensors = [_tensor(tensor_name, entry, layout) for tensor_name, entry in header.items()]
        _require_no_gaps(tensors, start, file)
        return Contents(name, file.size, start, tuple(tensors), metadata)


def _header(file: files.OpenFile, limits: Limits) -> tuple[dict[str, Any], int]:
    """The parsed header and where the data begin."""
    first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
    if not sniff(first):
        foreign.refuse(first, file.path)
    if file.size < LENGTH_BYTES:
        raise _error(
            f"{file.size} bytes are fewer than the {LENGTH_BYTES} that hold the header's length", "ST-SHORT", file
        )
    length = int.from_bytes(files.read_at(file, 0, LENGTH_BYTES), "little")
    if length > file.size - LENGTH_BYTES:
        message = (
            f"the header says it takes {length:,} bytes, the file has {file.size - LENGTH_BYTES:,} after its length"
        )
        raise _error(message, "ST-LENGTH", file, offset=0, hint="not a safetensors file, or cut short: get it again")
    if length > limits.header_bytes:
        message = f"a header of {length:,} bytes is more than the {limits.header_bytes:,} that weigh reads"
        raise _error(message, "ST-HEADER", file, offset=0, hint=files.lift("header_bytes"), exit_code=5)
    text = files.read_at(file, LENGTH_BYTES, length)
    if text[:1] != MARK:
        raise _error("the header does not begin with '{'", "ST-BRACE", file, offset=LENGTH_BYTES)
    values = VALUES_A_TENSOR * limits.tensors
    return json_text.parse(text, file.path, limits, values, made=_entry, start=LENGTH_BYTES), LENGTH_BYTES + length


def _entry(pairs: list[tuple[str, Any]]) -> Any:
    """What a tensor's entry says, as a tuple: for 200,000 tensors their dictionaries would take 100 MB.

    The order that writers use comes first; any other is as good.
    """
    if len(pairs) == 3:
        (first, dtype), (second, shape), (third, offsets) = pairs
        usual = first == "dtype" and second == "shape" and third == "data_offsets"
        if usual and type(shape) is list and type(offsets) is list and len(offsets) == 2:
            return dtype, tuple(shape), offsets[0], offsets[1]
    whole = json_text.unique(pairs)
    try:
        dtype, shape, (begin, end) = whole["dtype"], whole["shape"], whole["data_offsets"]
    except (KeyError, ValueError, TypeError):
        return whole
    return (dtype, tuple(shape), begin, end) if type(shape) is list else whole


def _metadata(found: Any, file: files.OpenFile) -> Mapping[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(type(value) is str for value in found.values()):
        raise _error("__metadata__ must map strings to strings", "ST-METADATA", file)
    return found


def _tensor(name: str, entry: Entry | Any, layout: Layout) -> Tensor:
    """One checked tensor. Runs once a tensor, so the usual case makes no further call."""
    file = layout.file
    if type(entry) is not tuple:
        raise _error("a tensor needs dtype, shape and data_offsets [begin, end]", "ST-ENTRY", file, tensor=name)
    dtype, shape, begin, end = entry
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise _error("data_offsets must be two whole numbers, in order", "ST-OFFSETS", file, tensor=name)
    offset = layout.start + begin
    if end > layout.data_bytes:
        message = f"its bytes end at {end:,}, the file holds {layout.data_bytes:,} after the header"
        raise _error(message, "ST-END", file, tensor=name, offset=offset, hint="the file was cut short: get it again")
    if len(shape) > layout.rank:
        raise _error(f"{len(shape):,} dimensions are more than {layout.rank}", "ST-RANK", file, tensor=name)
    count = 1
    for extent in shape:
        if type(extent) is not int or extent < 0:
            raise _error("a shape holds whole numbers, 0 or more", "ST-SHAPE", file, tensor=name)
        count *= extent
        if count >= TOO_MANY:
            raise _error("its shape has 2^63 values or more", "ST-PRODUCT", file, tensor=name)
    if type(dtype) is not str:
        raise _error("its dtype is not a string", "ST-ENTRY", file, tensor=name)
    if dtype not in layout.codecs:
        layout.codecs[dtype] = codecs.from_safetensors(dtype)
    codec = layout.codecs[dtype]
    if codec is None:
        return Tensor(name, shape, f"unknown:{dtype}", (Piece(file.name, offset, end - begin),))
    if end - begin != count // codec.block * codec.block_bytes or count % codec.block:
        raise _wrong_size(name, shape, dtype, codec, end - begin, file, offset)
    return Tensor(name, shape, codec.id, (Piece(file.name, offset, end - begin),))


def _wrong_size(
    name: str, shape: tuple[int, ...], dtype: str, codec: Codec, nbytes: int, file: files.OpenFile, offset: int
) -> WeighError:
    count = prod(shape)
    if count % codec.block:
        message = f"{count:,} values of {dtype} do not fill whole bytes"
        return _error(message, "ST-ODD", file, tensor=name, offset=offset)
    needed = count // codec.block * codec.block_bytes
    message = f"shape {list(shape)[:8]} in {dtype} takes {needed:,} bytes, data_offsets give {nbytes:,}"
    return _error(message, "ST-SIZE", file, tensor=name, offset=offset)


def _require_no_gaps(tensors: list[Tensor], start: int, file: files.OpenFile) -> None:
    """The specification: the data are covered from first byte to last, each byte once."""
    position = _covered(tensors, start)
    if position < 0:
        position = start
        for tensor in sorted(tensors, key=lambda tensor: (tensor.pieces[0].offset, tensor.pieces[0].nbytes)):
            offset = tensor.pieces[0].offset
            if offset != position:
                rule, what = ("ST-OVERLAP", "overlaps another") if offset < position else ("ST-HOLE", "follows a hole")
                raise _error(f"the tensor {what}", rule, file, tensor=tensor.name, offset=offset)
            position += tensor.pieces[0].nbytes
    if position != file.size:
        message = f"{file.size - position:,} bytes after the last tensor belong to none"
        raise _error(message, "ST-REST", file, offset=position)


def _covered(tensors: list[Tensor], position: int) -> int:
    """Where the last tensor ends if each begins where the one before it ends, as writers do; else -1."""
    for tensor in tensors:
        piece = tensor.pieces[0]
        if piece.offset != position:
            return -1
        position += piece.nbytes
    return position


def _error(
    message: str,
    rule: str,
    file: files.OpenFile,
    *,
    tensor: str | None = None,
    offset: int | None = None,
    hint: str = "",
    exit_code: int = 3,
) -> WeighError:
    where = "" if tensor is None else f"tensor {tensor[:200]!r}"
    return WeighError(message, rule=rule, path=file.path, offset=offset, where=where, hint=hint, exit_code=exit_code)


# ----------------------------------------------------------------------------------------------------- shards


def read_index(path: Path, limits: Limits, parsed: Parsed | None = None) -> Inventory:
    """The shards that a `*.safetensors.index.json` names."""
    index = shards.read_index(path, limits, _contents, parsed)
    extra = ((path.name, index.size),)
    return _inventory(path, path.parent, index.shards, limits, warnings=index.warnings, extra=extra)


def _inventory(
    path: Path,
    folder: Path,
    parts: tuple[Contents, ...],
    limits: Limits,
    *,
    warnings: tuple[str, ...] = (),
    extra: tuple[tuple[str, int], ...] = (),
) -> Inventory:
    beside = sidecar.configuration(folder, limits)
    metadata: dict[str, str] = {}
    for shard in parts:
        for key, value in shard.metadata.items():
            metadata.setdefault(key, value)
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="hf",
        tensors=tuple(tensor for shard in parts for tensor in shard.tensors),
        configuration=beside.configuration,
        metadata=metadata,
        files=(*((shard.name, shard.size) for shard in parts), *extra, *beside.files),
        folder=str(folder),
        warnings=(*warnings, *beside.warnings),
    )


FORMAT = Format(
    id="safetensors",
    name="safetensors",
    suffixes=(".safetensors",),
    sniff=sniff,
    read=read,
    source="https://github.com/huggingface/safetensors#format",
    write=safetensors_write.write,
)
