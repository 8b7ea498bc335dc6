"""Reads the protobuf messages of an ONNX file one by one, through a window, without recursion and within budgets.

Only the fields of `SCHEMA` are kept; the bytes of weights are never read, only where they lie. Field numbers are those
of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. To read another field: a line in `SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weigh import files
from weigh.types import Limits, WeighError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WINDOW = 64 * 2**10
"""Bytes read at a time."""
VARINT_BYTES = 10
"""64 bits, 7 a byte."""
KEPT_NUMBERS = 4096
"""Numbers kept of one field; shapes and offsets are far shorter."""

MODEL, OPSET, ENTRY, GRAPH, FUNCTION, NODE, ATTRIBUTE, TENSOR, SPARSE, TEXT, NUMBER, RUN = (
    "model", "opset", "entry", "graph", "function", "node", "attribute", "tensor", "sparse", "text", "number", "run",
)  # fmt: skip

SCHEMA: Mapping[str, Mapping[int, str]] = {
    MODEL: {1: NUMBER, 2: TEXT, 3: TEXT, 7: GRAPH, 8: OPSET, 14: ENTRY, 25: FUNCTION},
    OPSET: {1: TEXT, 2: NUMBER},
    ENTRY: {1: TEXT, 2: TEXT},
    GRAPH: {1: NODE, 2: TEXT, 5: TENSOR, 15: SPARSE},
    FUNCTION: {1: TEXT, 7: NODE},
    NODE: {1: TEXT, 2: TEXT, 3: TEXT, 4: TEXT, 5: ATTRIBUTE, 7: TEXT},
    ATTRIBUTE: {1: TEXT, 3: NUMBER, 5: TENSOR, 6: GRAPH, 11: GRAPH, 22: SPARSE},
    TENSOR: {
        1: NUMBER, 2: NUMBER, 3: RUN, 4: RUN, 5: RUN, 6: RUN, 7: RUN, 8: TEXT, 9: RUN, 10: RUN, 11: RUN, 13: ENTRY,
        14: NUMBER,
    },
    SPARSE: {1: TENSOR, 2: TENSOR, 3: NUMBER},
}  # fmt: skip
ONCE = {(MODEL, 7), (ATTRIBUTE, 5), (ATTRIBUTE, 6), (ATTRIBUTE, 22), (SPARSE, 1), (SPARSE, 2), (TENSOR, 9)}
"""Protobuf merges a message that comes twice; no writer does that, and two readers may see two models."""
NOT_KEPT = {
    (GRAPH, 1),
    (GRAPH, 5),
    (GRAPH, 15),
    (FUNCTION, 7),
    (ATTRIBUTE, 6),
    (ATTRIBUTE, 11),
    (MODEL, 7),
    (MODEL, 25),
}
"""Messages that are only passed on, so that memory does not grow with the graph."""


class Run(NamedTuple):
    """Where a field's bytes lie: packed values, raw data, or one unpacked value."""

    offset: int
    nbytes: int
    wire: int


@dataclass(slots=True)
class Message:
    """One message; its fields are complete when `walk` yields it."""

    kind: str
    start: int
    end: int
    parent: Message | None
    scope: int
    """Number of the innermost graph or function that it lies in, itself included; -1 outside."""
    depth: int
    """Graphs around it, itself included."""
    number: int = 0
    """Field number in its parent."""
    fields: dict[int, list[Any]] = field(default_factory=dict)

    def text(self, number: int) -> str:
        """The last value of a text field, as protobuf has it; empty where there is none."""
        values = self.fields.get(number)
        return values[-1] if values else ""

    def whole(self, number: int, default: int = 0) -> int:
        """The last value of a number field."""
        values = self.fields.get(number)
        return values[-1] if values else default


class Window:
    """Reads the structure of a file; every byte read counts against the budget, skipped ones do not."""

    def __init__(self, file: files.OpenFile, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.start = 0
        self.held = b""
        self.left = limits.header_bytes

    def take(self, at: int, count: int) -> bytes:
        """`count` bytes, which the caller knows to lie in the file."""
        self.left -= count
        if self.left < 0:
            message = f"the graph takes more than {self.limits.header_bytes:,} bytes"
            raise self.error(message, "ONNX-BUDGET", at, files.lift("header_bytes"), 5)
        begin = at - self.start
        if begin < 0 or count > len(self.held) - begin:
            self.held = files.read_at(self.file, at, min(max(count, WINDOW), self.file.size - at))
            self.start, begin = at, 0
        return self.held[begin : begin + count]

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of 7 bits a byte, and where the next thing begins."""
        begin = at - self.start
        if 0 <= begin < len(self.held) and at < end and self.held[begin] < 0x80:
            self.left -= 1
            return self.held[begin], at + 1
        data = self.take(at, min(VARINT_BYTES, end - at)) if at < end else b""
        value = 0
        for position, byte in enumerate(data):
            value |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                self.left += len(data) - position - 1
                return value & (2**64 - 1), at + position + 1
        what = "is cut short" if len(data) < VARINT_BYTES else "takes more than 10 bytes"
        raise self.error(f"a number {what}", "ONNX-NUMBER", at)

    def error(self, message: str, rule: str, at: int | None, hint: str = "", exit_code: int = 3) -> WeighError:
        """What is wrong at this offset."""
        return WeighError(message, rule=rule, path=self.file.path, offset=at, hint=hint, exit_code=exit_code)


def walk(file: files.OpenFile, limits: Limits, without: frozenset[str] = frozenset()) -> Iterator[Message]:
    """Every message of `SCHEMA` once it is complete: inner ones before those that they lie in, the model last.

    Messages of the kinds `without` are skipped. A message knows its parent only until the next one is asked for.

    Errors: ONNX-NUMBER, ONNX-FIELD, ONNX-END, ONNX-TWICE, ONNX-DEPTH, ONNX-TEXT (exit 5), ONNX-BUDGET (exit 5).
    """
    window = Window(file, limits)
    scopes = messages = 0
    here = Message(MODEL, 0, file.size, None, -1, 0)
    at = 0
    while True:
        if at == here.end:
            yield here
            outer = here.parent
            if outer is None:
                return
            # A message and its parent would keep each other alive: the cycle collector is off while a file is read.
            here.parent = None
            here = outer
            continue
        tag_at = at
        tag, at = window.varint(at, here.end)
        number, wire = tag >> 3, tag & 7
        kind = SCHEMA[here.kind].get(number)
        if kind in without:
            kind = None
        if kind is None or wire != BYTES or kind not in SCHEMA:
            at = _value(window, here, kind, number, wire, tag_at, at)
            continue
        length, at = _length(window, at, here.end)
        messages += 1
        if messages > limits.keys:
            message = f"the graph has more than {limits.keys:,} parts"
            raise window.error(message, "ONNX-BUDGET", tag_at, files.lift("keys"), 5)
        inner = _entered(window, here, kind, number, at, length)
        if kind in (GRAPH, FUNCTION):
            inner.scope, scopes = scopes, scopes + 1
        here = inner


def _entered(window: Window, here: Message, kind: str, number: int, at: int, length: int) -> Message:
    """The message that begins here, already among its parent's fields."""
    depth = here.depth + (kind in (GRAPH, FUNCTION))
    if depth > window.limits.json_nesting:
        message = f"graphs lie more than {window.limits.json_nesting} deep in each other"
        raise window.error(message, "ONNX-DEPTH", at)
    inner = Message(kind, at, at + length, here, here.scope, depth, number)
    siblings = here.fields.setdefault(number, [])
    if siblings and (here.kind, number) in ONCE:
        raise window.error(f"field {number} of a {here.kind} comes twice", "ONNX-TWICE", at)
    if len(siblings) >= KEPT_NUMBERS:
        raise window.error(f"a {here.kind} has more than {KEPT_NUMBERS:,} of field {number}", "ONNX-FIELD", at)
    if (here.kind, number) not in NOT_KEPT:
        siblings.append(inner)
    elif (here.kind, number) in ONCE:
        siblings.append(None)
    return inner


def _length(window: Window, at: int, end: int) -> tuple[int, int]:
    length, at = window.varint(at, end)
    if length > end - at:
        message = f"{length:,} bytes are announced where {end - at:,} are left"
        raise window.error(message, "ONNX-END", at, "not an ONNX file, or cut short: get it again")
    return length, at


def _value(window: Window, here: Message, kind: str | None, number: int, wire: int, tag_at: int, at: int) -> int:
    """Keep or skip a value that is no message; where the next field begins."""
    if number == 0 or wire not in (VARINT, FIXED64, BYTES, FIXED32):
        raise window.error(f"no protobuf field begins with {number} of kind {wire}", "ONNX-FIELD", tag_at)
    value = 0
    if wire == VARINT:
        start = at
        value, at = window.varint(at, here.end)
        length = at - start
        at = start
    elif wire == BYTES:
        length, at = _length(window, at, here.end)
    else:
        length = 8 if wire == FIXED64 else 4
        if length > here.end - at:
            raise window.error("a number is cut short", "ONNX-NUMBER", at)
    if kind is not None:
        _keep(window, here, kind, number, Run(at, length, wire), value)
    return at + length


def _keep(window: Window, here: Message, kind: str, number: int, run: Run, value: int) -> None:
    values = here.fields.setdefault(number, [])
    if kind == RUN:
        if (here.kind, number) in ONCE and values:
            raise window.error(f"field {number} of a {here.kind} comes twice", "ONNX-TWICE", run.offset)
        values.append(run)
    elif kind == NUMBER and run.wire == VARINT:
        values.append(_signed(value))
    elif kind == NUMBER and run.wire == BYTES:
        at = run.offset
        while at < run.offset + run.nbytes and len(values) <= KEPT_NUMBERS:
            value, at = window.varint(at, run.offset + run.nbytes)
            values.append(_signed(value))
    elif kind == TEXT and run.wire == BYTES:
        if run.nbytes > window.limits.string_bytes:
            message = f"a text of {run.nbytes:,} bytes is more than {window.limits.string_bytes:,}"
            raise window.error(message, "ONNX-TEXT", run.offset, files.lift("string_bytes"), 5)
        values.append(window.take(run.offset, run.nbytes).decode("utf-8", "backslashreplace"))
        # An operator may join many thousand inputs; a million is a bomb.
        if len(values) > window.limits.keys:
            raise window.error(f"a {here.kind} has too many of field {number}", "ONNX-FIELD", run.offset)
        return
    else:
        raise window.error(f"field {number} of a {here.kind} is of the wrong kind", "ONNX-FIELD", run.offset)
    if len(values) > KEPT_NUMBERS:
        message = f"a {here.kind} has more than {KEPT_NUMBERS:,} of field {number}"
        raise window.error(message, "ONNX-FIELD", run.offset)


def _signed(value: int) -> int:
    """int64 travels as its two's complement."""
    return value - 2**64 if value >= 2**63 else value
