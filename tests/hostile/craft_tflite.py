"""Builds TensorFlow Lite files byte by byte, valid ones and ones that no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FLOAT32, FLOAT16, INT32, UINT8, INT64, STRING, INT8, INT4 = 0, 1, 2, 3, 4, 5, 9, 17
CONV_2D, DEQUANTIZE, FULLY_CONNECTED, RESHAPE, ADD, CUSTOM, WHILE = 3, 6, 9, 22, 0, 32, 119
VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, MAXIMUM = 142, 143, 144, 55


class Number(NamedTuple):
    """A field of the table itself."""

    letter: str
    value: float


class Numbers(NamedTuple):
    """A vector of numbers; `count` overrides what the file says of its length."""

    letter: str
    values: Sequence[float]
    count: int | None = None


class Table(NamedTuple):
    """Fields by their number: numbers, vectors, text, bytes, tables, lists of tables."""

    fields: Mapping[int, object]


class Raw(NamedTuple):
    """What stands in the place of an offset."""

    value: int


def flatbuffer(root: Table, mark: bytes = b"TFL3") -> bytes:
    """A file whose tables come before what they point to."""
    out = bytearray(b"\0\0\0\0" + mark)
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _table(out: bytearray, table: Table) -> int:
    """Write the list of fields, the table, and behind it what its offsets lead to."""
    places = [0] * (1 + max(table.fields, default=-1))
    body = bytearray(4)
    behind: list[tuple[int, object]] = []
    for number, value in table.fields.items():
        places[number] = len(body)
        if isinstance(value, Number):
            body += struct.pack("<" + value.letter, value.value)
        elif isinstance(value, Raw):
            body += struct.pack("<I", value.value)
        else:
            behind.append((len(body), value))
            body += bytes(4)
    vtable = len(out)
    out += struct.pack(f"<HH{len(places)}H", 4 + 2 * len(places), len(body), *places)
    at = len(out)
    struct.pack_into("<i", body, 0, at - vtable)
    out += body
    for place, value in behind:
        struct.pack_into("<I", out, at + place, _behind(out, value) - at - place)
    return at


def _behind(out: bytearray, value: object) -> int:
    if isinstance(value, Table):
        return _table(out, value)
    at = len(out)
    if isinstance(value, Numbers):
        count = len(value.values) if value.count is None else value.count
        out += struct.pack(f"<I{len(value.values)}{value.letter}", count, *value.values)
    elif isinstance(value, (bytes, str)):
        raw = value.encode() if isinstance(value, str) else value
        out += struct.pack("<I", len(raw)) + raw
    elif isinstance(value, list):
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        written: dict[int, int] = {}
        for number, table in enumerate(value):
            place = at + 4 + 4 * number
            # The very same table is written once and pointed at again.
            if id(table) not in written:
                written[id(table)] = _table(out, table)
            struct.pack_into("<I", out, place, written[id(table)] - place)
    else:
        raise TypeError(value)
    return at


# ------------------------------------------------------------------------------------------------------ models


def tensor(
    name: str = "w",
    shape: Sequence[int] = (2,),
    kind: int = FLOAT32,
    buffer: int = 1,
    scales: Sequence[float] = (),
    axis: int = 0,
    zeros: Sequence[int] = (),
    extra: Mapping[int, object] | None = None,
) -> Table:
    fields: dict[int, object] = {0: Numbers("i", shape), 1: Number("b", kind), 2: Number("I", buffer), 3: name}
    if scales:
        fields[4] = Table({2: Numbers("f", scales), 3: Numbers("q", zeros), 6: Number("i", axis)})
    return Table({**fields, **(extra or {})})


def node(
    code: int, inputs: Sequence[int], outputs: Sequence[int] = (), extra: Mapping[int, object] | None = None
) -> Table:
    """An operator; `code` is its place in the list of operator codes."""
    fields = {0: Number("I", code), 1: Numbers("i", inputs), 2: Numbers("i", outputs)}
    return Table({**fields, **(extra or {})})


def graph(
    tensors: Sequence[Table], nodes: Sequence[Table] = (), inputs: Sequence[int] = (), outputs: Sequence[int] = ()
) -> Table:
    return Table(
        {0: [*tensors], 1: Numbers("i", inputs), 2: Numbers("i", outputs), 3: [*nodes], 4: "main"}
    )  # fmt: skip


def model(
    graphs: Sequence[Table],
    data: Sequence[bytes] = (b"\0" * 8,),
    codes: Sequence[int] = (),
    extra: Mapping[int, object] | None = None,
) -> Table:
    """A model; its buffers are an empty one and those given."""
    kinds = [Table({0: Number("b", min(code, 127)), 3: Number("i", code)}) for code in codes]
    fields = {0: Number("I", 3), 1: kinds, 2: [*graphs], 3: "made", 4: [Table({}), *(Table({0: raw}) for raw in data)]}
    return Table({**fields, **(extra or {})})


def tflite(
    tensors: Sequence[Table],
    data: Sequence[bytes] = (b"\0" * 8,),
    nodes: Sequence[Table] = (),
    codes: Sequence[int] = (),
    extra: Mapping[int, object] | None = None,
) -> bytes:
    """A model of one graph."""
    return flatbuffer(model([graph(tensors, nodes)], data, codes, extra))
