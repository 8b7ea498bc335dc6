"""Writes GGUF, version 3, little-endian: one file, or parts with their manifest, as the `gguf` package would.

Metadata are given with their types (`Typed`) or as they stand in another file (`Encoded`, from `settings`). A new value
type of the format is a line in `gguf_header.SCALARS`. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md;
the bytes are compared with the package's in `tests/formats/test_writing_gguf.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import gguf_header, manifest, new_files
from weigh.formats.gguf_header import ARRAY, BOOL, SCALARS, STRING, U32
from weigh.formats.new_files import Planned, Sized
from weigh.types import Limits, NewTensor, WeighError

SUFFIX = ".gguf"
VERSION = 3
ALIGNMENT = 32
"""GGUF_DEFAULT_ALIGNMENT in gguf.h."""
ALIGNMENT_KEY = "general.alignment"
SPLIT = "split."
"""Keys that say which part of how many a file is; the writer sets them."""
NAME_BYTES = 63
"""GGML_MAX_NAME in ggml.h, without the final zero."""
KINDS: Mapping[str, int] = {**{name: number for number, (name, _) in SCALARS.items()}, "string": STRING}


@dataclass(frozen=True, slots=True)
class Typed:
    """A value of the metadata with its type: `Typed("u32", 8)`. A list is an array, of lists an array of arrays."""

    kind: str
    """u8 i8 u16 i16 u32 i32 f32 bool string u64 i64 f64."""
    value: Any


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value of the metadata as it stands in a file."""

    kind: int
    data: bytes


def settings(folder: Path, name: str, limits: Limits) -> dict[str, Encoded]:
    """All metadata of a GGUF file, to be written again unchanged. Errors: GGUF-ORDER, and those of reading a header."""
    with files.opened(folder, name) as file:
        return {key: Encoded(kind, data) for key, kind, data in gguf_header.encoded(file, limits)}


def write(
    path: Path,
    tensors: Sequence[NewTensor],
    metadata: Mapping[str, Any],
    max_shard_bytes: int | None = None,
    sources: Iterable[Path] = (),
) -> tuple[Path, ...]:
    """Write tensors, in their order, to `path`, or to parts beside it of at most `max_shard_bytes` of tensors each.

    `metadata` maps keys to `Typed` or `Encoded`; a bare text or truth value stands for itself. They stand in the first
    part, the alignment in every part. Returns the files written: one, or the parts and last their manifest.

    Errors: WRITE-NAME, WRITE-RANK, WRITE-CODEC, WRITE-KEY, WRITE-VALUE, WRITE-SUFFIX and those of `new_files`.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeighError(f"the name does not end with {SUFFIX}", rule="WRITE-SUFFIX", path=path, exit_code=2)
    values = {key: _value(key, value, path) for key, value in metadata.items()}
    alignment = _alignment(values, path)
    checked = new_files.sized(tensors, path)
    groups = new_files.divided(checked, max_shard_bytes)
    paths = new_files.numbered(path, len(groups))
    planned: list[Planned] = []
    for number, (one, group) in enumerate(zip(paths, groups, strict=True)):
        part = dict(values) if number == 0 else {key: values[key] for key in (ALIGNMENT_KEY,) if key in values}
        if len(groups) > 1:
            part |= _split(number, len(groups), len(checked), path)
        planned.append(Planned(one, _header(one, part, group, alignment), tuple(group), alignment))
    return new_files.put(planned, path.with_name(path.stem + manifest.SUFFIX), manifest.own_file, sources)


def _split(number: int, count: int, tensors: int, path: Path) -> dict[str, Encoded]:
    found = {"no": Typed("u16", number), "count": Typed("u16", count), "tensors.count": Typed("i32", tensors)}
    return {SPLIT + key: _encoded(SPLIT + key, typed, path) for key, typed in found.items()}


# --------------------------------------------------------------------------------------------------- the header


def _header(path: Path, values: Mapping[str, Encoded], group: Sequence[Sized], alignment: int) -> bytes:
    """All before the data, filled up to where they begin."""
    header = bytearray(gguf_header.MAGIC + struct.pack("<IQQ", VERSION, len(group), len(values)))
    for key, value in values.items():
        header += _text(key, path) + struct.pack("<I", value.kind) + value.data
    position = 0
    for one in group:
        header += _entry(one, position, path)
        position += one.nbytes + -one.nbytes % alignment
    return bytes(header + bytes(-len(header) % alignment))


def _entry(one: Sized, position: int, path: Path) -> bytes:
    tensor, number = one.tensor, one.codec.ggml_type
    if number is None:
        raise new_files.wrong(f"ggml has no type for {one.codec.name}", "WRITE-CODEC", path, tensor)
    name = _text(tensor.name, path)
    if len(name) - 8 > NAME_BYTES or b"\0" in name[8:]:
        message = f"ggml takes names of at most {NAME_BYTES} bytes, without NUL; this has {len(name) - 8}"
        raise new_files.wrong(message, "WRITE-NAME", path, tensor)
    rank = len(tensor.shape)
    if rank > gguf_header.RANK:
        raise new_files.wrong(f"{rank} dimensions are more than {gguf_header.RANK}", "WRITE-RANK", path, tensor)
    return name + struct.pack(f"<I{rank}QIQ", rank, *reversed(tensor.shape), number, position)


def _alignment(values: Mapping[str, Encoded], path: Path) -> int:
    value = values.get(ALIGNMENT_KEY)
    if value is None:
        return ALIGNMENT
    alignment = int.from_bytes(value.data, "little") if value.kind == U32 else 0
    if alignment < 1 or alignment & (alignment - 1):
        message = f"{ALIGNMENT_KEY} must be a power of two, as u32"
        raise WeighError(message, rule="WRITE-VALUE", path=path)
    return alignment


# ------------------------------------------------------------------------------------------------------ values


def _value(key: str, value: Any, path: Path) -> Encoded:
    if key.startswith(SPLIT):
        raise WeighError("these keys are set by the writer", rule="WRITE-KEY", path=path, where=f"key {key[:200]!r}")
    if len(key.encode(errors="replace")) > gguf_header.NAME_BYTES:
        message = f"a key of {len(key):,} characters is too long"
        raise WeighError(message, rule="WRITE-KEY", path=path, where=f"key {key[:200]!r}")
    if isinstance(value, Encoded):
        return value
    if isinstance(value, str | bool):
        value = Typed("bool" if isinstance(value, bool) else "string", value)
    if not isinstance(value, Typed) or value.kind not in KINDS:
        message = f"{str(value)[:100]!r} has no type of GGUF"
        hint = f"say which: Typed(kind, value), where kind is one of {' '.join(KINDS)}"
        raise WeighError(message, rule="WRITE-VALUE", path=path, where=f"key {key[:200]!r}", hint=hint)
    return _encoded(key, value, path)


def _encoded(key: str, typed: Typed, path: Path) -> Encoded:
    try:
        if isinstance(typed.value, list | tuple):
            return Encoded(ARRAY, _array(typed.kind, typed.value, path))
        return Encoded(KINDS[typed.kind], _scalar(typed.kind, typed.value, path))
    except (struct.error, OverflowError, TypeError) as cause:
        message = f"{str(typed.value)[:100]!r} is no value of type {typed.kind}"
        raise WeighError(message, rule="WRITE-VALUE", path=path, where=f"key {key[:200]!r}") from cause


def _scalar(kind: str, value: Any, path: Path) -> bytes:
    if kind == "string":
        return _text(value, path)
    number = KINDS[kind]
    if (number == BOOL) != isinstance(value, bool):
        raise TypeError("a truth value is of type bool and nothing else is")
    return struct.pack("<" + SCALARS[number][1], value)


def _array(kind: str, values: Sequence[Any], path: Path) -> bytes:
    """Type of the elements, their number, and the elements; arrays in an array each say so again."""
    nested = [isinstance(value, list | tuple) for value in values]
    if any(nested):
        if not all(nested):
            raise TypeError("an array holds arrays only, or none")
        return struct.pack("<IQ", ARRAY, len(values)) + b"".join(_array(kind, value, path) for value in values)
    return struct.pack("<IQ", KINDS[kind], len(values)) + b"".join(_scalar(kind, value, path) for value in values)


def _text(text: Any, path: Path) -> bytes:
    if not isinstance(text, str):
        raise TypeError("a text is a str")
    try:
        data = text.encode()
    except UnicodeEncodeError as cause:
        message = "a name or a text of the metadata is not valid Unicode"
        raise WeighError(message, rule="WRITE-NAME", path=path, where=repr(text[:200])) from cause
    return struct.pack("<Q", len(data)) + data
