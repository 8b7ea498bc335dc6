"""Interprets the opcodes of a pickle without ever importing, calling or making what it names.

An import is looked up in an allow-list (`pytorch_imports`) and gives a record of ours; calling that gives another
record. All that is made is numbers, text, plain containers and these records. Python's own unpickler is not used, not
even a restricted one.
Every opcode is a method below; `OPCODES` at the foot says which. What they mean: Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

from weigh.formats import pytorch_imports as imports
from weigh.formats.pytorch_stream import Stream
from weigh.formats.pytorch_values import Array, Asked, Budget, DType, Import, Instance, Plain, Sparse, Unknown, View
from weigh.types import WeighError

LONG_BYTES = 1024
DIGITS = 1000
"""Whole numbers of more bytes or digits are no part of a model."""
CHECK_EVERY = 4096


class Machine:
    """One pickle: a stack, a memo, and the records that the opcodes make."""

    __slots__ = ("_asked", "_budget", "_listing", "_marks", "_memo", "_script", "_stack", "_storages", "_stream")

    def __init__(
        self,
        stream: Stream,
        budget: Budget,
        *,
        storages: dict[str, DType] | None = None,
        script: bool = False,
        asked: list[Asked] | None = None,
    ) -> None:
        """`storages`: filled with those that it names, and it may name none without; `script`: it may name classes of
        TorchScript. With `asked` every import is put there and none is refused.
        """
        self._stream = stream
        self._budget = budget
        self._storages = storages
        self._script = script
        self._asked = asked
        self._listing = asked is not None
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle holds.

        Errors: PICKLE-SHORT, PICKLE-OPCODE, PICKLE-STACK, PICKLE-MEMO, PICKLE-TEXT, PICKLE-VALUE, PICKLE-STORAGE,
        PICKLE-UNSAFE, and PICKLE-BUDGET (exit 5).
        """
        take = self._stream.take
        budget = self._budget
        stop = time.process_time() + budget.limits.seconds
        while True:
            code = take(1)
            if code == b".":
                found = self._pop()
                if self._stack or self._marks:
                    raise self._wrong("values are left over at the end of the pickle", "PICKLE-STACK")
                return found
            step = OPCODES.get(code)
            if step is None:
                raise self._wrong(f"the opcode {code.hex()} is none that a checkpoint needs", "PICKLE-OPCODE")
            step(self)
            budget.opcodes += 1
            if budget.opcodes % CHECK_EVERY == 0:
                self._check(stop)

    def _check(self, stop: float) -> None:
        budget, limits = self._budget, self._budget.limits
        if budget.opcodes > limits.opcodes:
            raise budget.passed(f"more than {limits.opcodes:,} steps", "opcodes")
        if len(self._stack) > limits.keys or len(self._marks) > limits.keys or len(self._memo) > 4 * limits.keys:
            raise budget.passed(f"a stack or memo of more than {limits.keys:,} values", "keys")
        if time.process_time() > stop:
            raise budget.passed(f"more work than {limits.seconds:g} s of it", "seconds")

    def _wrong(self, message: str, rule: str = "PICKLE-VALUE") -> WeighError:
        return self._budget.wrong(message, rule, self._stream.position)

    # -------------------------------------------------------------------------------------------- the stack

    def _pop(self) -> Any:
        if not self._stack or (self._marks and self._marks[-1] == len(self._stack)):
            raise self._wrong("a value is taken from an empty stack", "PICKLE-STACK")
        return self._stack.pop()

    def _top(self) -> Any:
        found = self._pop()
        self._stack.append(found)
        return found

    def _push(self, value: Any, objects: int = 1) -> None:
        self._budget.spend(objects)
        self._stack.append(value)

    def _group(self) -> list[Any]:
        """The values since the last mark, which goes too."""
        if not self._marks:
            raise self._wrong("a mark is missing", "PICKLE-STACK")
        mark = self._marks.pop()
        found = self._stack[mark:]
        del self._stack[mark:]
        return found

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _drop(self) -> None:
        """POP takes a mark where nothing stands above it."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    # --------------------------------------------------------------------------------------------- the memo

    def _put(self, place: int) -> None:
        """A slot holds one value for good: rewriting it makes one reader see another thing than the next."""
        value = self._top()
        if self._memo.setdefault(place, value) is not value:
            raise self._wrong(f"slot {place:,} of the memo is written again", "PICKLE-MEMO")

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise self._wrong(f"slot {place:,} of the memo is empty", "PICKLE-MEMO")
        self._stack.append(self._memo[place])

    # ------------------------------------------------------------------------------------ numbers and text

    def _size(self, width: int) -> int:
        return int.from_bytes(self._stream.take(width), "little")

    def _protocol(self) -> None:
        if self._size(1) > 5:
            raise self._wrong("a protocol of pickle above 5", "PICKLE-OPCODE")

    def _frame(self) -> None:
        if self._size(8) > self._stream.left:
            raise self._stream.short(1)

    def _number(self, layout: str) -> None:
        self._push(struct.unpack(layout, self._stream.take(struct.calcsize(layout)))[0])

    def _long(self, width: int) -> None:
        length = int.from_bytes(self._stream.take(width), "little", signed=width == 4)
        if not 0 <= length <= LONG_BYTES:
            raise self._wrong(f"a whole number of {length:,} bytes")
        self._budget.spend(0, length)
        self._push(int.from_bytes(self._stream.take(length), "little", signed=True))

    def _decimal(self) -> None:
        """INT and LONG of protocol 0; 00 and 01 are truth values."""
        line = self._stream.line()
        digits = line.removesuffix(b"L").strip()
        if len(digits) > DIGITS or not digits.removeprefix(b"-").isdigit():
            raise self._wrong("a whole number is not written in digits")
        self._push(line == b"01" if line in (b"00", b"01") else int(digits))

    def _decimal_float(self) -> None:
        line = self._stream.line()
        try:
            self._push(float(line[:64]))
        except ValueError as cause:
            raise self._wrong("a number is not written in digits") from cause

    def _text(self, width: int) -> None:
        self._push(self._decoded(self._counted(width)))

    def _bytes(self, width: int) -> None:
        """Kept as they are; STRING of Python 2 as well."""
        self._push(self._counted(width))

    def _old_text(self, width: int) -> None:
        """STRING of Python 2 is text in checkpoints of that time, where it is UTF-8."""
        data = self._counted(width)
        try:
            self._push(data.decode())
        except UnicodeDecodeError:
            self._push(data)

    def _counted(self, width: int) -> bytes:
        length = self._size(width)
        if length > self._stream.left:
            raise self._stream.short(length)
        self._budget.spend(0, length)
        return self._stream.take(length)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as cause:
            raise self._wrong("text is not UTF-8", "PICKLE-TEXT") from cause

    def _text_line(self) -> None:
        """UNICODE; its escapes are left as they are written, since no name of a tensor needs one."""
        line = self._stream.line()
        self._budget.spend(0, len(line))
        self._push(self._decoded(line))

    def _quoted_line(self) -> None:
        line = self._stream.line()
        self._budget.spend(0, len(line))
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise self._wrong("text stands without quotes", "PICKLE-TEXT")
        self._push(self._decoded(line[1:-1]))

    def _place(self) -> int:
        line = self._stream.line()
        if not line.isdigit() or len(line) > 10:
            raise self._wrong("a slot of the memo is no number", "PICKLE-MEMO")
        return int(line)

    # ------------------------------------------------------------------------------------------- containers

    def _tuple_of(self, count: int) -> None:
        found = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(found)))

    def _append(self) -> None:
        value = self._pop()
        self._extend([value])

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is list:
            target.extend(values)
        elif type(target) is not Unknown:
            raise self._wrong("something is put into what is no list", "PICKLE-STACK")

    def _set_item(self) -> None:
        value = self._pop()
        self._set_items([self._pop(), value])

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is Unknown:
            return
        if type(target) is not dict or len(values) % 2:
            raise self._wrong("pairs are put into what is no dictionary", "PICKLE-STACK")
        for place in range(0, len(values), 2):
            if not (self._listing and type(values[place]) is Unknown):
                target[imports.key(self._budget, values[place])] = values[place + 1]

    def _dictionary(self) -> None:
        values = self._group()
        self._push({}, 4)
        self._set_items(values)

    def _set(self) -> None:
        """Sets are lists here: nothing in them is looked up, and hashing a stranger's values has no bound."""
        self._budget.spend(3)
        self._push([])

    # ---------------------------------------------------------------------------- imports, calls and storages

    def _import(self, module: Any, name: Any) -> Import | Unknown:
        if type(module) is not str or type(name) is not str:
            if self._listing:
                return Unknown("?")
            raise self._wrong("an import is named by something else than text", "PICKLE-STACK")
        found = imports.find(module, name, script=self._script)
        if self._asked is not None:
            self._asked.append(Asked(module, name, self._stream.position, found is not None))
        if found is not None:
            return found
        if self._listing:
            return Unknown(name)
        raise WeighError(
            f"the pickle tries to import {module[:100]}.{name[:100]}, which is no part of a model's tensors",
            rule="PICKLE-UNSAFE",
            path=self._budget.file.path,
            offset=self._stream.position,
            hint="do not load it unless you trust its maker; `weigh show FILE --unsafe-report` lists what it imports, "
            "and safetensors holds no code",
        )

    def _global(self) -> None:
        module = self._decoded(self._stream.line())
        self._push(self._import(module, self._decoded(self._stream.line())))

    def _stack_global(self) -> None:
        name = self._pop()
        self._push(self._import(self._pop(), name))

    def _call(self, target: Any, args: Any) -> Any:
        if type(target) is Unknown:
            return target
        if self._listing and type(target) is Import and type(args) is tuple:
            return self._guess(target, args)
        if type(target) is not Import or target.call is None or type(args) is not tuple:
            raise self._wrong("something is called that is no function", "PICKLE-STACK")
        self._budget.spend(1)
        return target.call(self._budget, args)

    def _guess(self, target: Import, args: tuple[Any, ...]) -> Any:
        """Where imports are listed, a call that cannot be followed must not hide those behind it."""
        try:
            return target.call(self._budget, args) if target.call is not None else Unknown(target.name)
        except WeighError as cause:
            if cause.exit_code == 5:
                raise
            return Unknown(target.name)

    def _reduce(self) -> None:
        args = self._pop()
        self._stack.append(self._call(self._pop(), args))

    def _new_with_keywords(self) -> None:
        keywords = self._pop()
        if type(keywords) is not Unknown and (type(keywords) is not dict or keywords):
            raise self._wrong("an object is made with keywords", "PICKLE-STACK")
        self._reduce()

    def _object(self) -> None:
        """OBJ: the class and its arguments behind the mark."""
        target, *args = self._group() or [None]
        self._stack.append(self._call(target, tuple(args)))

    def _instance(self) -> None:
        """INST: the class in the text, its arguments behind the mark."""
        module = self._decoded(self._stream.line())
        target = self._import(module, self._decoded(self._stream.line()))
        self._stack.append(self._call(target, tuple(self._group())))

    def _build(self) -> None:
        """The state of an object: attributes of modules, the values of arrays; of tensors and dictionaries, nothing."""
        state = self._pop()
        target = self._top()
        if type(target) is Instance:
            if type(state) is not dict:
                raise self._wrong("a module has no attributes")
            target.attributes.update(state)
        elif type(target) is Array:
            imports.filled(self._budget, target, state)
        elif type(target) not in (dict, View, Sparse, Plain, Unknown):
            raise self._wrong("a state is given to what has none", "PICKLE-STACK")

    def _storage(self) -> None:
        """A storage outside the pickle."""
        pid = self._pop()
        if self._listing:
            self._push(Unknown("?"))
            return
        if self._storages is None:
            raise self._wrong("the pickle names a storage, but none lies beside it", "PICKLE-STORAGE")
        self._push(imports.storage(self._budget, pid, self._storages))


Step = Callable[[Machine], None]


def _pushed(value: Any) -> Step:
    return lambda machine: machine._stack.append(value)


def _called(name: str, *args: Any) -> Step:
    step = getattr(Machine, name)
    return lambda machine: step(machine, *args)


OPCODES: dict[bytes, Step] = {
    b"\x80": Machine._protocol, b"\x95": Machine._frame,
    b"(": Machine._mark, b"0": Machine._drop, b"1": lambda machine: machine._group().clear(),
    b"2": lambda machine: machine._stack.append(machine._top()),
    b"N": _pushed(None), b"\x88": _pushed(True), b"\x89": _pushed(False), b")": _pushed(()),
    b"K": _called("_number", "<B"), b"M": _called("_number", "<H"), b"J": _called("_number", "<i"),
    b"G": _called("_number", ">d"), b"\x8a": _called("_long", 1), b"\x8b": _called("_long", 4),
    b"I": Machine._decimal, b"L": Machine._decimal, b"F": Machine._decimal_float,
    b"\x8c": _called("_text", 1), b"X": _called("_text", 4), b"\x8d": _called("_text", 8), b"V": Machine._text_line,
    b"C": _called("_bytes", 1), b"B": _called("_bytes", 4), b"\x8e": _called("_bytes", 8),
    b"\x96": _called("_bytes", 8), b"U": _called("_old_text", 1), b"T": _called("_old_text", 4),
    b"S": Machine._quoted_line,
    b"q": lambda machine: machine._put(machine._size(1)), b"r": lambda machine: machine._put(machine._size(4)),
    b"p": lambda machine: machine._put(machine._place()), b"\x94": lambda machine: machine._put(len(machine._memo)),
    b"h": lambda machine: machine._get(machine._size(1)), b"j": lambda machine: machine._get(machine._size(4)),
    b"g": lambda machine: machine._get(machine._place()),
    b"]": lambda machine: machine._push([], 2), b"l": lambda machine: machine._push(machine._group()),
    b"a": Machine._append, b"e": lambda machine: machine._extend(machine._group()),
    b"t": lambda machine: machine._push(tuple(machine._group())),
    b"\x85": _called("_tuple_of", 1), b"\x86": _called("_tuple_of", 2), b"\x87": _called("_tuple_of", 3),
    b"}": lambda machine: machine._push({}, 4), b"d": Machine._dictionary,
    b"s": Machine._set_item, b"u": lambda machine: machine._set_items(machine._group()),
    b"\x8f": Machine._set, b"\x90": lambda machine: machine._extend(machine._group()),
    b"\x91": lambda machine: machine._push(machine._group()),
    b"c": Machine._global, b"\x93": Machine._stack_global, b"R": Machine._reduce, b"\x81": Machine._reduce,
    b"\x92": Machine._new_with_keywords, b"o": Machine._object, b"i": Machine._instance, b"b": Machine._build,
    b"Q": Machine._storage,
}  # fmt: skip
"""Left out on purpose: EXT1 to EXT4 (numbers instead of names), PERSID (text), buffers outside the pickle."""
