"""Files whose structure is changed and not their bytes: tables of TensorFlow Lite, messages of ONNX.

Flipped bytes mostly break an offset or a length, and are refused there. Here what is written is a well-formed file in
which fields are missing, doubled, exchanged or of another kind, so that it reaches what lies behind those checks. The
choices come from bytes, which a fuzzer or hypothesis provides. To add a format: a function from bytes to a file, and a
line in `TREES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from tests.hostile import craft_onnx, craft_tflite, seeds
from tests.hostile.craft_tflite import Number, Numbers, Raw, Table

T = TypeVar("T")
WHOLE = (0, 1, -1, 2, 7, 127, 128, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
BITS = {"b": 8, "B": 8, "h": 16, "H": 16, "i": 32, "I": 32, "q": 64, "Q": 64}
MOST = 65536
"""Bytes of a file, about; what would become longer is cut."""


class Choices:
    """Decisions, one or two bytes each; when the bytes are spent, the first choice is taken."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def below(self, count: int) -> int:
        taken = self.content[self.at : self.at + (1 if count <= 256 else 2)]
        self.at += len(taken)
        return int.from_bytes(taken, "little") % count if count else 0

    def one(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def spent(self) -> bool:
        return self.at >= len(self.content)


# -------------------------------------------------------------------------------------------- TensorFlow Lite


def tflite(content: bytes) -> bytes:
    """The seed's tables with up to twelve changes."""
    choices = Choices(content)
    root: object = seeds.TFLITE_MODEL
    for _ in range(12):
        if choices.spent():
            break
        held = [*_within(root)]
        root = _changed(root, choices.below(len(held)), [0], choices, held)
    return craft_tflite.flatbuffer(root if isinstance(root, Table) else Table({}))


def _within(value: object) -> list[object]:
    """The value and all values below it."""
    found = [value]
    below = value.fields.values() if isinstance(value, Table) else value if isinstance(value, list) else ()
    for each in below:
        found += _within(each)
    return found


def _changed(value: object, target: int, at: list[int], choices: Choices, held: Sequence[object]) -> object:
    """The tree with its value number `target`, counted in the order of `_within`, changed."""
    here = at[0]
    at[0] += 1
    if here == target:
        return _other(value, choices, held)
    if isinstance(value, Table):
        return Table({n: _changed(each, target, at, choices, held) for n, each in value.fields.items()})
    if isinstance(value, list):
        changed = [_changed(each, target, at, choices, held) for each in value]
        return [each if isinstance(each, Table) else Table({}) for each in changed]
    return value


def _other(value: object, choices: Choices, held: Sequence[object]) -> object:
    if isinstance(value, Table):
        fields = dict(value.fields)
        number = choices.below(24)
        if choices.below(3) == 0:
            fields.pop(number, None)
        elif len(_within(value)) < 400:
            fields[number] = choices.one(held) if choices.below(2) else _number(choices)
        return Table(fields)
    if isinstance(value, list):
        tables = [*value, *(each for each in held if isinstance(each, Table))]
        if not value or choices.below(3) == 0:
            return value[: choices.below(len(value) + 1)]
        return [*value, choices.one(tables)][:64] if choices.below(2) else [*reversed(value)]
    if isinstance(value, Numbers):
        values = [*value.values]
        if choices.below(2):
            values.append(0)
        if values:
            values[choices.below(len(values))] = _fitting(value.letter, choices.one(WHOLE))
        return Numbers(value.letter, values, None if choices.below(4) else choices.one((0, 1, 3, 2**32 - 1)))
    if isinstance(value, (bytes, str)):
        return choices.one((b"", b"\xff\xfe\0", "../../x", "\x1b[31m", b"x" * choices.below(4096)))
    return Raw(choices.below(65536)) if choices.below(4) == 0 else _number(choices)


def _number(choices: Choices) -> Number:
    letter = choices.one(tuple(BITS))
    return Number(letter, _fitting(letter, choices.one(WHOLE)))


def _fitting(letter: str, value: int) -> int | float:
    """The number as so many bits hold it."""
    if letter not in BITS:
        return float(value)
    bits = BITS[letter]
    value &= (1 << bits) - 1
    return value - (1 << bits) if letter.islower() and value >> (bits - 1) else value


# ------------------------------------------------------------------------------------------------------- ONNX


class Field(NamedTuple):
    """A field of a message: a number, bytes, or a message of its own."""

    number: int
    wire: int
    value: int | bytes | list[Field]


def onnx(content: bytes) -> bytes:
    """The seed's messages with up to twelve changes."""
    choices = Choices(content)
    root = _fields(seeds.ONNX) or []
    for _ in range(12):
        if choices.spent():
            break
        lists = _lists(root)
        _mix(choices.one(lists), choices.one(lists), choices)
    return _written(root, 0)[:MOST]


def _fields(content: bytes) -> list[Field] | None:
    """The content as a message; None where it cannot be one."""
    at = 0
    found: list[Field] = []
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 64 or wire not in (0, 2):
            return None
        value, at = _varint(content, at)
        if wire == 0:
            found.append(Field(number, wire, value))
            continue
        run = content[at : at + value]
        if len(run) != value:
            return None
        at += value
        inner = _fields(run) if len(run) > 3 else None
        found.append(Field(number, wire, run if inner is None else inner))
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        value |= (content[at] & 127) << shift
        shift += 7
        at += 1
        if content[at - 1] < 128:
            break
    return value, at


def _lists(root: list[Field]) -> list[list[Field]]:
    found = [root]
    for field in root:
        if isinstance(field.value, list):
            found += _lists(field.value)
    return found[:256]


def _mix(here: list[Field], there: list[Field], choices: Choices) -> None:
    """One change of a message, perhaps with a field of another."""
    place = choices.below(len(here) + 1)
    change = choices.below(6)
    if change == 0:
        del here[place : place + 1]
    elif change == 1 and there and len(here) < 64:
        here.insert(place, _copied(choices.one(there)))
    elif change == 2 and place < len(here):
        here[place] = here[place]._replace(number=choices.below(64))
    elif change == 3:
        here.insert(place, Field(1 + choices.below(24), 0, choices.one(WHOLE)))
    elif change == 4 and place < len(here):
        here[place] = Field(here[place].number, 2, bytes(choices.below(1024)))
    else:
        here.insert(
            place, Field(1 + choices.below(24), choices.below(8), choices.one((b"", b"../x", b"1", b"\xff" * 9)))
        )


def _copied(field: Field) -> Field:
    return field._replace(value=[_copied(each) for each in field.value]) if isinstance(field.value, list) else field


def _written(message: list[Field], depth: int) -> bytes:
    out = b""
    for field in message:
        value = field.value
        if isinstance(value, int):
            out += craft_onnx.varint(field.number << 3 | field.wire) + craft_onnx.varint(value)
        else:
            raw = value if isinstance(value, bytes) else _written(value, depth + 1) if depth < 90 else b""
            out += craft_onnx.varint(field.number << 3 | (field.wire if isinstance(value, bytes) else 2))
            out += craft_onnx.varint(len(raw)) + raw
        if len(out) > MOST:
            break
    return out


TREES: dict[str, Callable[[bytes], bytes]] = {"tree.tflite": tflite, "tree.onnx": onnx}
"""Each by the name of the file that it makes."""
