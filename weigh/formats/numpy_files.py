"""Reads NumPy's `.npy` and `.npz`: what the headers say, never the arrays.

The header is the text of a Python dictionary; a small reader of its own takes it apart, so nothing is evaluated.
Objects, which would be unpickled, are refused. A new element type needs a codec and a line in `CODECS`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

from weigh import codecs, files
from weigh.formats import deflated_values, foreign
from weigh.formats.pytorch_zip import DEFLATED, LOCAL, Entry, entries
from weigh.types import Format, Inventory, Limits, Piece, Tensor, WeighError

MAGIC = b"\x93NUMPY"
FIXED = {1: (8, 2), 2: (8, 4), 3: (8, 4)}
"""Version: where the header's length stands, and in how many bytes."""
HEADER_BYTES = 64 * 2**10
"""NumPy itself reads 10,000 bytes unless it is told to trust the file."""
SUFFIX = ".npy"
DEFLATE_MOST = 1032
"""Deflate cannot shrink further: a match of 258 bytes takes two bits."""
DIGITS = 19
TOO_MANY = 2**63
CODECS: Mapping[str, str] = {
    "f2": "f16", "f4": "f32", "f8": "f64", "i1": "i8", "i2": "i16", "i4": "i32", "i8": "i64", "u1": "u8", "u2": "u16",
    "u4": "u32", "u8": "u64", "b1": "bool", "c8": "c64",
}  # fmt: skip
"""Little-endian types. `V2` may be bfloat16, as ml_dtypes saves it, but nothing says so: it stays unknown."""
UNSIZED = ("O", "U", "M", "m")
"""Objects; text of 4 bytes a letter; dates."""

_TOKEN = re.compile(r"\s*(?:'([^'\\]*)'|\"([^\"\\]*)\"|(True|False)|(\d+)L?|([{}(),:\[\]]))")
_TYPE = re.compile(r"[<>|=]?([a-zA-Z])(\d{0,9})")


class Header(NamedTuple):
    """What a `.npy` header says."""

    descr: str
    fortran: bool
    shape: tuple[int, ...]
    length: int
    """Bytes before the values."""


def sniff(first: bytes) -> bool:
    """The magic of an array or of an archive; only its suffix tells that an archive is one of NumPy's."""
    return first.startswith((MAGIC, LOCAL))


def read(path: Path, limits: Limits) -> Inventory:
    """An array, or an archive of arrays."""
    with files.opened(path.parent, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        warnings: tuple[str, ...] = ()
        if first.startswith(MAGIC):
            header = _header(files.read_at(file, 0, min(file.size, HEADER_BYTES)), file, 0, limits)
            tensors = [_tensor(path.stem, header, Piece(file.name, header.length, file.size - header.length), file)]
        elif first.startswith(LOCAL):
            tensors, warnings = _archive(file, limits)
        else:
            foreign.refuse(first, path)
            raise _error("not an array of NumPy, nor an archive of them", "NPY-MAGIC", file, 0)
        size = file.size
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="other",
        tensors=tuple(tensors),
        files=((path.name, size),),
        folder=str(path.parent),
        warnings=warnings,
    )


# --------------------------------------------------------------------------------------------------- archives


def _archive(file: files.OpenFile, limits: Limits) -> tuple[list[Tensor], tuple[str, ...]]:
    found = []
    others = []
    for name, entry in entries(file, limits).items():
        if not name.endswith(SUFFIX):
            others.append(name)
            continue
        found.append(_member(name.removesuffix(SUFFIX), entry, file, limits))
    if not found:
        raise _error("the archive holds no array", "NPY-NONE", file, 0, hint="is it a PyTorch checkpoint?")
    told = f"{len(others)} entries of the archive are no arrays: {others[0][:80]!r}" if others else ""
    return found, (told,) if told else ()


def _member(name: str, entry: Entry, file: files.OpenFile, limits: Limits) -> Tensor:
    """One array of the archive. A packed one is unpacked only as far as its header."""
    first = files.read_at(file, entry.offset, min(entry.packed, HEADER_BYTES))
    if entry.method == DEFLATED:
        if entry.size > DEFLATE_MOST * entry.packed + DEFLATE_MOST:
            text = f"{name[:200]!r}: {entry.packed:,} packed bytes cannot hold {entry.size:,}"
            raise _error(text, "NPY-PACKED", file, entry.offset)
        try:
            first = zlib.decompressobj(-zlib.MAX_WBITS).decompress(first, HEADER_BYTES)
        except zlib.error as cause:
            raise _error(f"{name[:200]!r} cannot be unpacked", "NPY-PACKED", file, entry.offset) from cause
    elif entry.size != entry.packed:
        raise _error(f"{name[:200]!r} has two sizes", "NPY-PACKED", file, entry.offset)
    header = _header(first, file, entry.offset, limits)
    if header.length > entry.size:
        raise _error(f"{name[:200]!r} ends within its header", "NPY-HEADER", file, entry.offset)
    plain = Piece(file.name, entry.offset + header.length, entry.size - header.length)
    tensor = _tensor(name, header, plain, file)
    if entry.method != DEFLATED:
        return tensor
    # In Fortran's order the values of a packed array would have to be held all at once: they are only counted.
    plainly = not tensor.pieces[0].strides
    packed = (Piece(file.name, entry.offset, entry.packed),)
    return Tensor(name, tensor.shape, tensor.codec, packed, layout=deflated_values.LAYOUT if plainly else "")


# ---------------------------------------------------------------------------------------------------- headers


def _header(first: bytes, file: files.OpenFile, at: int, limits: Limits) -> Header:
    place, width = FIXED.get(first[6] if len(first) > 6 else 0, (0, 0))
    if not first.startswith(MAGIC) or not width or len(first) < place + width or first[7] != 0:
        raise _error("no array of NumPy of version 1.0, 2.0 or 3.0", "NPY-MAGIC", file, at)
    length = int.from_bytes(first[place : place + width], "little")
    start = place + width
    if length > len(first) - start:
        text = f"a header of {length:,} bytes, of which {len(first) - start:,} are there or may be read"
        raise _error(text, "NPY-HEADER", file, at)
    try:
        text = first[start : start + length].decode("utf-8" if first[6] == 3 else "latin-1")
    except UnicodeDecodeError as cause:
        raise _error("the header is not text", "NPY-HEADER", file, at) from cause
    found = _dictionary(text)
    if found is None:
        raise _error(
            "the header is not the dictionary that NumPy writes: descr, fortran_order, shape", "NPY-HEADER", file, at,
            hint="arrays with named fields are not read" if "[(" in text else "",
        )  # fmt: skip
    descr, fortran, shape = found
    if len(shape) > limits.rank or prod(shape) >= TOO_MANY:
        raise _error("its shape has 2^63 values or more, or too many axes", "NPY-SHAPE", file, at)
    return Header(descr, fortran, shape, start + length)


def _dictionary(text: str) -> tuple[str, bool, tuple[int, ...]] | None:
    """The three entries of a header, in any order; None where it is anything else."""
    tokens: list[str | bool | int | tuple[str]] = []
    at = 0
    text = text.rstrip(" \n\x00")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return None
        single, double, truth, digits, mark = found.groups()
        if digits is not None and len(digits) > DIGITS:
            return None
        if mark is not None:
            tokens.append((mark,))
        else:
            tokens.append(single if single is not None else double if double is not None else _plain(truth, digits))
        at = found.end()
    return _entries(tokens)


def _plain(truth: str | None, digits: str | None) -> bool | int:
    return truth == "True" if truth is not None else int(digits or 0)


def _entries(tokens: list[str | bool | int | tuple[str]]) -> tuple[str, bool, tuple[int, ...]] | None:
    found: dict[str, str | bool | tuple[int, ...]] = {}
    if tokens[:1] != [("{",)] or tokens[-1:] != [("}",)]:
        return None
    rest = tokens[1:-1]
    while rest:
        key, colon = rest[0], rest[1:2]
        if not isinstance(key, str) or key in found or colon != [(":",)]:
            return None
        value, rest = _entry_value(rest[2:])
        if value is None or (rest and rest[0] != (",",)):
            return None
        found[key] = value
        rest = rest[1:]
    descr, fortran, shape = found.get("descr"), found.get("fortran_order"), found.get("shape")
    if len(found) != 3 or not isinstance(descr, str) or not isinstance(fortran, bool) or not isinstance(shape, tuple):
        return None
    return descr, fortran, shape


def _entry_value(
    rest: list[str | bool | int | tuple[str]],
) -> tuple[str | bool | tuple[int, ...] | None, list[str | bool | int | tuple[str]]]:
    """A text, a truth value or a tuple of whole numbers, and what follows it."""
    if not rest:
        return None, rest
    if isinstance(rest[0], str | bool):
        return rest[0], rest[1:]
    if rest[0] != ("(",) or (")",) not in rest:
        return None, rest
    end = rest.index((")",))
    inside = rest[1:end]
    numbers = [token for token in inside[::2] if isinstance(token, int) and not isinstance(token, bool)]
    commas = all(token == (",",) for token in inside[1::2])
    if not commas or len(numbers) != (len(inside) + 1) // 2 or len(inside) == 1:
        return None, rest
    return tuple(numbers), rest[end + 1 :]


def _tensor(name: str, header: Header, piece: Piece, file: files.OpenFile) -> Tensor:
    """A checked array. Fortran's order is told by strides; of another byte order only the bytes are known."""
    found = _TYPE.fullmatch(header.descr)
    if found is None or found[1] in UNSIZED:
        what = "Python objects, which only unpickling could read" if header.descr.endswith("O") else "no numbers"
        text = f"{name[:200]!r} holds {what} (descr {header.descr[:40]!r})"
        raise _error(text, "NPY-TYPE", file, piece.offset, hint="save it as numbers")
    width = int(found[2] or 0)
    needed = prod(header.shape) * width
    if needed != piece.nbytes:
        text = f"{name[:200]!r}: shape {list(header.shape)[:8]} takes {needed:,} bytes, the file holds {piece.nbytes:,}"
        raise _error(text, "NPY-SIZE", file, piece.offset)
    kind = found[1] + found[2]
    swapped = header.descr.startswith(">") and width > 1
    codec = f"unknown:{header.descr}" if swapped or kind not in CODECS else codecs.by_id(CODECS[kind]).id
    if not header.fortran or len(header.shape) < 2 or not needed:
        return Tensor(name, header.shape, codec, (piece,))
    strides = tuple(prod(header.shape[:axis]) for axis in range(len(header.shape)))
    turned = Piece(piece.file, piece.offset, piece.nbytes, shape=header.shape, strides=strides)
    return Tensor(name, header.shape, codec, (turned,))


def _error(text: str, rule: str, file: files.OpenFile, offset: int, hint: str = "") -> WeighError:
    return WeighError(text, rule=rule, path=file.path, offset=offset, hint=hint)


FORMAT = Format(
    id="numpy",
    name="NumPy",
    suffixes=(".npy", ".npz"),
    sniff=sniff,
    read=read,
    source="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
)
