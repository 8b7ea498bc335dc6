"""One constant tensor of a TensorFlow Lite file: its type, shape, where its values lie, and its scales.

Values lie in a numbered buffer: inside the tables, behind them where a file passes 2 GB, or in a file beside.
A new number type of TensorFlow Lite needs a codec (`weigh/codecs`) and a line in `CODECS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from weigh import codecs, files
from weigh.formats.flatbuffer import Table, Vector, Walker
from weigh.formats.neighbours import Neighbours
from weigh.types import Piece, WeighError

CODECS: Mapping[int, str] = {
    0: "f32", 1: "f16", 2: "i32", 3: "u8", 4: "i64", 6: "bool", 7: "i16", 8: "c64", 9: "i8", 10: "f64", 12: "u64",
    15: "u32", 16: "u16", 17: "i4", 18: "bf16", 19: "i2", 20: "u4", 21: "f8_e4m3", 22: "f8_e5m2",
}  # fmt: skip
"""TensorType to the id of a codec."""
STRING = 5
TOO_MANY = 2**63
OUTSIDE = 1
"""An offset is valid where it is more than this: the schema says so of `Buffer.offset`."""
BLOCKWISE, MULTI_AXIS = 2, 3
"""`QuantizationDetails`: scales lie in tensors of their own."""
INDEX_WIDTH: Mapping[int, int] = {1: 4, 2: 2, 3: 1}
"""`SparseIndexVector`: bytes of an index."""


@dataclass(slots=True)
class Stored:
    """A constant tensor as the file has it, before its role is known."""

    name: str
    shape: tuple[int, ...]
    codec: str
    pieces: tuple[Piece, ...]
    quantized: bool = False
    """It has scales."""
    partners: tuple[int, int] = (-1, -1)
    """Tensors of the same graph that hold its scales and zero points."""
    sparse: bool = False
    plain: bool = True
    """What it stands for follows from its pieces: their shapes fit its own."""


@dataclass(slots=True)
class Buffers:
    """Where the values of each numbered buffer lie."""

    walker: Walker
    near: Neighbours
    spans: list[Piece]
    outside: dict[int, tuple[str, int, int, str]]
    """External buffers by their id: the file's name, offset, length, and how they are packed."""


def buffers(model: Table, near: Neighbours) -> Buffers:
    """Errors: TFL-TENSORS (exit 5), TFL-BUFFER, TFL-EXTERNAL."""
    walker = model.walker
    spans: list[Piece] = []
    for buffer in model.tables(4):
        if len(spans) >= walker.limits.tensors:
            error = walker.wrong(f"it has more than {walker.limits.tensors:,} buffers", "TFL-TENSORS", buffer.at)
            error.exit_code = 5
            error.hint = files.lift("tensors")
            raise error
        spans.append(_span(buffer, walker))
    groups = [group.text(0) for group in model.tables(8)]
    outside: dict[int, tuple[str, int, int, str]] = {}
    for entry in model.tables(9):
        group = entry.number(1, "I")
        if group >= len(groups) or entry.number(0, "I") in outside:
            raise walker.wrong("an external buffer without a group, or two of one id", "TFL-EXTERNAL", entry.at)
        outside[entry.number(0, "I")] = (groups[group], entry.number(2, "Q"), entry.number(3, "Q"), entry.text(4))
    return Buffers(walker, near, spans, outside)


def _span(buffer: Table, walker: Walker) -> Piece:
    """Where one buffer's values lie in the file. Error: TFL-BUFFER."""
    name = walker.file.name
    held = buffer.vector(0, 1)
    if held.count:
        return Piece(name, held.at, held.nbytes)
    at, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if at <= OUTSIDE or not size:
        return Piece(name, 0, 0)
    if at > walker.file.size or size > walker.file.size - at:
        text = f"a buffer of {size:,} bytes at {at:,} does not lie in the file of {walker.file.size:,} bytes"
        raise walker.wrong(text, "TFL-BUFFER", buffer.at)
    return Piece(name, at, size)


def stored(tensor: Table, held: Buffers, graph: str, number: int) -> Stored | None:
    """A checked tensor; None where it has no values of its own, or holds strings.

    Errors: TFL-SHAPE, TFL-SIZE, TFL-BUFFER, TFL-EXTERNAL, TFL-SPARSE, and those of `Neighbours.size`.
    """
    walker = held.walker
    kind = tensor.number(1, "b")
    outside = tensor.number(10, "I")
    at = tensor.number(2, "I")
    if not outside and at >= len(held.spans) and at:
        raise walker.wrong(f"there is no buffer {at:,}", "TFL-BUFFER", tensor.at)
    data = _external(held, outside, tensor) if outside else held.spans[at] if at else Piece("", 0, 0)
    if not data.nbytes or kind == STRING:
        return None
    name = tensor.text(3) or f"{graph}tensor_{number}"
    shape = _shape(tensor, walker, name)
    codec = CODECS.get(kind, f"unknown:tflite-{kind}")
    if outside and held.outside[outside][3]:
        codec = f"unknown:tflite-{kind} packed as {held.outside[outside][3][:80]}"
    found = Stored(name, shape, codec, (data,))
    sparsity = tensor.table(6)
    if sparsity is not None:
        found.sparse = True
        found.pieces += _indices(sparsity, walker)
    _check_size(found, tensor)
    _quantization(found, tensor.table(4), walker)
    return found


def _shape(tensor: Table, walker: Walker, name: str) -> tuple[int, ...]:
    held = tensor.vector(0, 4)
    if held.count > walker.limits.rank:
        raise _error(f"{held.count:,} dimensions are more than {walker.limits.rank}", "TFL-SHAPE", tensor, name)
    shape = tensor.numbers(0, "i")
    count = 1
    for extent in shape:
        count *= extent
        if extent < 0 or count >= TOO_MANY:
            raise _error(f"its shape {list(shape)[:8]} is negative or has 2^63 values", "TFL-SHAPE", tensor, name)
    return shape


def _check_size(found: Stored, tensor: Table) -> None:
    """Small types are packed through the whole tensor; of a sparse one fewer values are stored."""
    if found.codec.startswith("unknown:"):
        return
    codec = codecs.by_id(found.codec)
    needed = -(-prod(found.shape) // codec.block) * codec.block_bytes
    data = found.pieces[0].nbytes
    if data > needed if found.sparse else data != needed:
        text = f"shape {list(found.shape)[:8]} in {found.codec} takes {needed:,} bytes, its buffer has {data:,}"
        raise _error(text, "TFL-SIZE", tensor, found.name)


def _external(held: Buffers, number: int, tensor: Table) -> Piece:
    """Where values lie in a file beside the model."""
    walker = held.walker
    if number not in held.outside:
        raise walker.wrong(f"there is no external buffer {number:,}", "TFL-EXTERNAL", tensor.at)
    name, at, length, _packing = held.outside[number]
    size = held.near.size(name)
    if at > size or length > size - at:
        text = f"{length:,} bytes at {at:,} do not lie in {name[:200]!r} of {size:,} bytes"
        raise walker.wrong(text, "TFL-EXTERNAL", tensor.at)
    return Piece(name, at, length)


def _indices(sparsity: Table, walker: Walker) -> tuple[Piece, ...]:
    """The vectors that say where the stored values of a sparse tensor belong. Error: TFL-SPARSE."""
    found = []
    for axis in sparsity.tables(2):
        for kind_field, vector_field in ((2, 3), (4, 5)):
            kind = axis.number(kind_field, "B")
            held = axis.table(vector_field)
            if held is None:
                continue
            if kind not in INDEX_WIDTH:
                raise walker.wrong(f"indices of a sparse tensor of kind {kind}", "TFL-SPARSE", axis.at)
            vector = held.vector(0, INDEX_WIDTH[kind])
            found.append(Piece(walker.file.name, vector.at, vector.nbytes, "index"))
            walker.spend(vector.nbytes, vector.at)
    return tuple(found)


# ----------------------------------------------------------------------------------------------- quantization


def _quantization(found: Stored, told: Table | None, walker: Walker) -> None:
    """Scales and zero points as pieces, each with the shape in which it is spread over the values."""
    if told is None:
        return
    details = told.table(5)
    if details is not None and told.number(4, "B") in (BLOCKWISE, MULTI_AXIS):
        found.quantized = True
        found.partners = (details.number(0, "i"), details.number(1, "i", -1))
        return
    scale = told.vector(2, 4)
    if not scale.count:
        return
    found.quantized = True
    axis = told.number(6, "i")
    zero = told.vector(3, 8)
    for held, kind, codec in ((scale, "scale", "f32"), (zero, "zero", "i64")):
        if held.count:
            shape = _spread(held, found.shape, axis)
            found.plain = found.plain and len(shape) == len(found.shape)
            found.pieces += (
                Piece(walker.file.name, held.at, held.nbytes, "scale" if kind == "scale" else "zero", shape, (), codec),
            )
            walker.spend(held.nbytes, held.at)


def _spread(held: Vector, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """One value for all, or one for each place along an axis; flat where it is neither."""
    if held.count == 1:
        return (1,) * len(shape)
    if 0 <= axis < len(shape) and shape[axis] == held.count:
        return tuple(held.count if number == axis else 1 for number in range(len(shape)))
    return (held.count,) if len(shape) != 1 else (held.count, 1)


def _error(text: str, rule: str, tensor: Table, name: str) -> WeighError:
    path = tensor.walker.file.path
    return WeighError(text, rule=rule, path=path, offset=tensor.at, where=f"tensor {name[:200]!r}")
