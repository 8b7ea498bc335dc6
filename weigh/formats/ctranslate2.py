"""Reads CTranslate2's `model.bin`: named variables one after the other, then aliases of those that are shared.

A variable is a parameter where it holds floating numbers and is no single value, or whole numbers with a scale beside
it (`weight_scale`, with `weight_zero` in the layouts of AWQ), which becomes a piece of it. All else are buffers: flags,
sizes, factors of rotary positions. An alias is the variable that it names, counted once.
A new number type needs a codec (`weigh/codecs`) and a line in `CODECS`.
Source: `_serialize` in python/ctranslate2/specs/model_spec.py and `Model::load` in src/models/model.cc, at 3 July 2026.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from weigh import codecs, files
from weigh.formats import foreign, sidecar
from weigh.types import Format, Inventory, Limits, Piece, Tensor, WeighError

NAME = "model.bin"
VERSION = 6
"""The newest version."""
SMALL = range(1, 32)
"""What a version may be: nobody counts further."""
NAMED, ALIASED, TYPED = 2, 3, 4
"""Versions since which the file has the name of its layout, aliases, and the types of its variables."""
CODECS: Mapping[int, str] = {0: "f32", 1: "i8", 2: "i16", 3: "i32", 4: "f16", 5: "bf16"}
"""`DataType` in include/ctranslate2/types.h to the id of a codec."""
BY_WIDTH: Mapping[int, str] = {4: "f32", 2: "i16", 1: "i8"}
"""The type of a variable by its bytes a value, before version 4."""
WIDTHS: Mapping[str, int] = {codec: codecs.by_id(codec).block_bytes for codec in CODECS.values()}
FLOATING = ("f32", "f16", "bf16")
TOO_MANY = 2**63
BUFFERS = ("rotary_scaling_long_factor", "rotary_scaling_short_factor")
"""Vectors of settings, by the end of their names."""
WINDOW = 64 * 2**10
SIZES: Mapping[str, int] = {"B": 1, "H": 2, "I": 4}
AWQ: Mapping[int, str] = {1: "awq", 2: ""}
"""`quantization_type` of the configuration to the layout: gemm, gemv."""
WHISPER = "WhisperSpec"
KEYS_OF: Mapping[str, tuple[int, int]] = {
    "/self_attention/linear_0/bias": (1, 3), "/attention/linear_1/bias": (0, 2),
}  # fmt: skip
"""Biases of projections that are stored as one: which of how many parts is that of the keys."""


@dataclass(slots=True)
class Cursor:
    """A place in the file, with a window of bytes around it."""

    file: files.OpenFile
    limits: Limits
    at: int = 0
    spent: int = 0
    start: int = 0
    window: bytes = b""

    def wrong(self, text: str, rule: str, where: str = "", exit_code: int = 3, hint: str = "") -> WeighError:
        """What is wrong, and where."""
        return WeighError(
            text, rule=rule, path=self.file.path, offset=self.at, where=where, exit_code=exit_code, hint=hint
        )

    def take(self, count: int) -> bytes:
        """The next bytes. Errors: CT2-END, CT2-BUDGET (exit 5)."""
        if count > self.file.size - self.at:
            raise self.wrong(f"the file ends where {count:,} bytes more should be", "CT2-END")
        self.spent += count
        if self.spent > self.limits.header_bytes:
            text = f"names and shapes take more than {self.limits.header_bytes:,} bytes"
            raise self.wrong(text, "CT2-BUDGET", exit_code=5, hint=files.lift("header_bytes"))
        begin = self.at - self.start
        if begin < 0 or count > len(self.window) - begin:
            self.start, begin = self.at, 0
            self.window = files.read_at(self.file, self.at, min(max(WINDOW, count), self.file.size - self.at))
        self.at += count
        return self.window[begin : begin + count]

    def number(self, letter: str) -> int:
        """A whole number without sign, of a type as in `struct`."""
        return int.from_bytes(self.take(SIZES[letter]), "little")

    def text(self) -> str:
        """A name, which ends with a zero byte. Error: CT2-TEXT."""
        raw = self.take(self.number("H"))
        if raw[-1:] != b"\0":
            raise self.wrong("a name does not end with a zero byte", "CT2-TEXT")
        return raw[:-1].decode(errors="replace")

    def skip(self, count: int) -> int:
        """Pass over values; where they begin. Error: CT2-END."""
        if count > self.file.size - self.at:
            raise self.wrong(f"the file ends where {count:,} bytes of values should be", "CT2-END")
        begin = self.at
        self.at += count
        return begin


@dataclass(slots=True)
class Contents:
    """What a file holds."""

    version: int
    layout: str
    revision: int
    variables: dict[str, Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def sniff(first: bytes) -> bool:
    """A small version, then a name of letters that ends with a zero byte where its length says."""
    if len(first) < 8 or first[1:4] != b"\0\0\0" or first[0] not in SMALL:
        return False
    place = 4 if first[0] >= NAMED else 8
    (length,) = struct.unpack_from("<H", first, place) if len(first) >= place + 2 else (0,)
    name = first[place + 2 : place + 2 + length]
    whole = len(name) == length
    text = name[:-1] if whole else name
    return length > 1 and text.isascii() and text.decode("ascii").isprintable() and (not whole or name[-1] == 0)


def read(path: Path, limits: Limits) -> Inventory:
    """A model file, with what `config.json` beside it says. Errors: CT2-MAGIC and those of the parts."""
    with files.opened(path.parent, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if not sniff(first):
            foreign.refuse(first, path)
            raise WeighError("not a model of CTranslate2", rule="CT2-MAGIC", path=path, offset=0)
        found = _contents(Cursor(file, limits))
        beside = sidecar.configuration(path.parent, limits)
        said = beside.configuration or {}
        tensors = _folded(found, said)
        if found.layout == WHISPER:
            tensors = [part for tensor in tensors for part in _without_keys(tensor, file)]
        size = file.size
    metadata: dict[str, Any] = {"version": found.version, "layout": found.layout, "revision": found.revision}
    metadata |= {"shared": found.aliases} if found.aliases else {}
    metadata |= {f"config.{key}": value for key, value in said.items()}
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="other",
        tensors=tuple(tensors),
        metadata=metadata,
        files=((path.name, size), *beside.files),
        folder=str(path.parent),
        warnings=(*found.warnings, *beside.warnings),
    )


# ---------------------------------------------------------------------------------------------------- the file


def _contents(cursor: Cursor) -> Contents:
    """Errors: CT2-VERSION, CT2-TENSORS (exit 5), CT2-NAME, CT2-COUNT, and those of `Cursor` and `_variable`."""
    version = cursor.number("I")
    if version > VERSION:
        raise cursor.wrong(f"version {version} of the format, of which weigh knows those to {VERSION}", "CT2-VERSION")
    found = Contents(version, "", 1)
    if version >= NAMED:
        found.layout, found.revision = cursor.text(), cursor.number("I")
    for _ in range(_count(cursor, 9)):
        name = cursor.text()
        if name in found.variables:
            raise cursor.wrong("two variables have the same name", "CT2-NAME", f"tensor {name[:200]!r}")
        found.variables[name] = _variable(cursor, name, version)
    lost = 0
    for _ in range(_count(cursor, 4) if version >= ALIASED else 0):
        alias, name = cursor.text(), cursor.text()
        owner = found.aliases.get(name, name)
        if owner not in found.variables:
            lost += 1
        elif alias not in found.variables:
            found.aliases.setdefault(alias, owner)
    if lost:
        found.warnings.append(f"{lost} aliases name variables that are not there")
    if cursor.at != cursor.file.size:
        found.warnings.append(f"{cursor.file.size - cursor.at:,} bytes behind the last variable belong to nothing")
    return found


def _count(cursor: Cursor, least: int) -> int:
    """How many things follow, each of `least` bytes at least."""
    count = cursor.number("I")
    if count > (cursor.file.size - cursor.at) // least:
        raise cursor.wrong(f"{count:,} entries do not lie in the file", "CT2-COUNT")
    if count > cursor.limits.tensors:
        text = f"the file has {count:,} entries, more than {cursor.limits.tensors:,}"
        raise cursor.wrong(text, "CT2-TENSORS", exit_code=5, hint=files.lift("tensors"))
    return count


def _variable(cursor: Cursor, name: str, version: int) -> Tensor:
    """One variable. Errors: CT2-SHAPE, CT2-TYPE, CT2-SIZE."""
    where = f"tensor {name[:200]!r}"
    rank = cursor.number("B")
    if rank > cursor.limits.rank:
        raise cursor.wrong(f"{rank} dimensions are more than {cursor.limits.rank}", "CT2-SHAPE", where)
    shape = struct.unpack(f"<{rank}I", cursor.take(4 * rank))
    if prod(shape) >= TOO_MANY:
        raise cursor.wrong(f"its shape {list(shape)[:8]} has 2^63 values", "CT2-SHAPE", where)
    kind = cursor.number("B")
    nbytes = cursor.number("I")
    if version >= TYPED:
        codec = CODECS.get(kind, f"unknown:ctranslate2-{kind}")
    else:
        if kind not in BY_WIDTH:
            raise cursor.wrong(f"no type has {kind} bytes a value", "CT2-TYPE", where)
        codec = BY_WIDTH[kind]
        nbytes *= kind
    if codec in WIDTHS and nbytes != prod(shape) * WIDTHS[codec]:
        text = f"shape {list(shape)[:8]} in {codec} does not take {nbytes:,} bytes"
        raise cursor.wrong(text, "CT2-SIZE", where)
    return Tensor(name, shape, codec, (Piece(cursor.file.name, cursor.skip(nbytes), nbytes),))


# -------------------------------------------------------------------------------------------------- the result


def _folded(found: Contents, said: Mapping[str, Any]) -> list[Tensor]:
    """Parameters with their scales, and buffers."""
    kept = []
    partners: set[str] = set()
    for name, tensor in found.variables.items():
        scale = found.variables.get(f"{name}_scale")
        if scale is not None and tensor.codec in ("i8", "i16"):
            kept.append(_scaled(tensor, scale))
            partners.add(scale.name)
        elif scale is not None and tensor.codec == "i32":
            whole = _awq(tensor, scale, found.variables.get(f"{name}_zero"), said.get("quantization_type"))
            kept.append(whole or replace(tensor, codec="unknown:packed integers"))
            partners |= {scale.name, f"{name}_zero"} if whole else set()
        else:
            plain = tensor.codec.startswith("unknown:") or (tensor.codec in FLOATING and bool(tensor.shape))
            # Before version 4 weights of 16 bits have one scale that is written nowhere.
            old = found.version < TYPED and tensor.codec == "i16" and len(tensor.shape) > 1
            buffer = not (plain or old) or name.endswith(BUFFERS)
            kept.append(Tensor(name, tensor.shape, tensor.codec, tensor.pieces, buffer))
    return [tensor for tensor in kept if tensor.name not in partners]


def _piece(tensor: Tensor, kind: str, shape: tuple[int, ...]) -> Piece:
    return replace(tensor.pieces[0], kind="scale" if kind == "scale" else "zero", shape=shape, codec=tensor.codec)


def _scaled(tensor: Tensor, scale: Tensor) -> Tensor:
    """One scale for all, or one a row."""
    rows = tensor.shape[0] if tensor.shape else 1
    count = prod(scale.shape)
    first = {1: 1, rows: rows}.get(count)
    shape = (count,) if first is None else (first, *(1 for _ in tensor.shape[1:]))
    layout = "" if first is None else "divided"
    return replace(tensor, pieces=(*tensor.pieces, _piece(scale, "scale", shape)), layout=layout)


def _awq(tensor: Tensor, scale: Tensor, zero: Tensor | None, kind: object) -> Tensor | None:
    """Eight 4-bit codes a word: gemm packs outputs, (inputs, outputs / 8), gemv inputs, (outputs, inputs / 8).

    None where the shapes do not fit each other.
    """
    if len(tensor.shape) != 2 or len(scale.shape) != 2 or zero is None or kind not in (1, 2):
        return None
    rows, words = tensor.shape
    if kind == 1 and scale.shape[1] == 8 * words:
        shape = (8 * words, rows)
    elif kind == 2 and scale.shape[0] == rows:
        shape = (rows, 8 * words)
    else:
        return None
    data = replace(tensor.pieces[0], shape=tensor.shape, codec=tensor.codec)
    pieces = (data, _piece(scale, "scale", scale.shape), _piece(zero, "zero", zero.shape))
    return Tensor(tensor.name, shape, "u4", pieces, layout=AWQ[1 if kind == 1 else 2])


def _without_keys(tensor: Tensor, file: files.OpenFile) -> tuple[Tensor, ...]:
    """Whisper has no bias for keys; where projections are stored as one, zeros stand in its place: a buffer."""
    part, parts = next((where for end, where in KEYS_OF.items() if tensor.name.endswith(end)), (0, 0))
    if not parts or len(tensor.shape) != 1 or tensor.shape[0] % parts or tensor.codec not in FLOATING:
        return (tensor,)
    (whole,) = tensor.pieces
    share = whole.nbytes // parts
    pieces = [replace(whole, offset=whole.offset + number * share, nbytes=share) for number in range(parts)]
    keys = pieces.pop(part)
    if files.read_at(file, keys.offset, keys.nbytes).strip(b"\0"):
        return (tensor,)
    width = tensor.shape[0] // parts
    filler = Tensor(f"{tensor.name}#keys", (width,), tensor.codec, (keys,), buffer=True)
    return (replace(tensor, shape=(width * (parts - 1),), pieces=tuple(pieces), layout="joined"), filler)


FORMAT = Format(
    id="ctranslate2",
    name="CTranslate2",
    suffixes=(),
    sniff=sniff,
    read=read,
    source="https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/model_spec.py",
)
