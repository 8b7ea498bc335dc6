"""Which constant tensors of a TensorFlow Lite model are parameters, and which share their bytes.

The rule. A constant of floating numbers, or of whole numbers with scales, is a parameter, unless
- it only enters inputs that are not trained (`tflite_operators.SETTINGS`: bounds, masks, what a state begins with), or
- it is a scale of another tensor, or
- it is a single value that enters no `WEIGHTS` input, as converters write the numbers of a formula.
A constant of whole numbers without scales is a parameter where it enters a `WEIGHTS` input. All else are buffers:
shapes, axes, paddings, permutations. A weight is followed through operators that only change its form (a half that is
widened before it is used), into the graphs of branches and loops, and out of variables that are set once.
Tensors whose values are the very same bytes count once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from weigh import files
from weigh.formats import tflite_operators as operators
from weigh.formats.flatbuffer import Table
from weigh.formats.neighbours import Neighbours
from weigh.formats.tflite_tensors import Buffers, Stored, buffers, stored
from weigh.types import Piece, Tensor

FLOATING = ("f", "bf", "c64")
LARGE_OPTIONS = 4096
"""Custom options of more bytes than this are no settings of an operator."""


@dataclass(slots=True)
class Entry:
    """A constant tensor and what is known of its uses."""

    stored: Stored
    graph: int
    used: bool = False
    weight: bool = False
    setting: bool = False
    owner: int | None = None
    """Number of the entry whose scales or zero points it is."""


@dataclass(slots=True)
class Found:
    """What the walks found."""

    entries: list[Entry] = field(default_factory=list)
    held: list[dict[int, int]] = field(default_factory=list)
    """For each graph the constants by the number of the tensor that they are or that stands for them."""
    names: list[str] = field(default_factory=list)
    custom: dict[str, int] = field(default_factory=dict)
    """Custom operators and the bytes of their options."""
    set_once: dict[str, int | None] = field(default_factory=dict)
    """Variables by name: the constant that they are set to, None where they are set to anything else or again."""
    handles: dict[tuple[int, int], str] = field(default_factory=dict)
    """Variables by graph and number of the tensor that stands for them."""
    variables: int = 0
    shared: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Step(NamedTuple):
    """An operator in one of the graphs."""

    graph: int
    code: int
    name: str
    """Of a custom operator."""
    table: Table
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def tensors(model: Table, near: Neighbours) -> tuple[tuple[Tensor, ...], Found]:
    """Every constant tensor. Errors: those of `flatbuffer`, `buffers` and `stored`, TFL-TENSORS (exit 5), TFL-INDEX,
    TFL-OVERLAP.
    """
    found = Found()
    held = buffers(model, near)
    graphs = list(model.tables(2))
    for number, graph in enumerate(graphs):
        _constants(graph, number, held, found)
    codes = _codes(model, found)
    for step in _steps(graphs, codes, model):
        _follow(step, graphs, found)
    for step in _steps(graphs, codes, model):
        _uses(step, found)
    return _counted(found, held), found


def _constants(graph: Table, number: int, held: Buffers, found: Found) -> None:
    """The constants of one graph, with the tensors of blockwise scales given to their owners."""
    here: dict[int, int] = {}
    name = graph.text(4)
    found.names.append(name)
    for place, table in enumerate(graph.tables(0)):
        found.variables += table.number(5, "B")
        one = stored(table, held, f"{name}/" if name else "", place)
        if one is None:
            continue
        if len(found.entries) >= held.walker.limits.tensors:
            error = held.walker.wrong(f"more than {held.walker.limits.tensors:,} tensors", "TFL-TENSORS", table.at)
            error.exit_code = 5
            error.hint = files.lift("tensors")
            raise error
        here[place] = len(found.entries)
        found.entries.append(Entry(one, number))
    for owner in here.values():
        kinds: tuple[tuple[int, bool], ...] = tuple(
            zip(found.entries[owner].stored.partners, (True, False), strict=True)
        )
        for partner, is_scale in kinds:
            number_there = here.get(partner)
            if number_there is not None and number_there != owner:
                _give(found.entries[owner], found.entries[number_there], owner, is_scale=is_scale)
    found.held.append(here)


def _give(owner: Entry, partner: Entry, number: int, *, is_scale: bool) -> None:
    kept = partner.stored
    if partner.owner is None:
        partner.owner = number
    data = kept.pieces[0]
    owner.stored.plain = owner.stored.plain and len(kept.shape) == len(owner.stored.shape)
    owner.stored.pieces += (
        replace(data, kind="scale" if is_scale else "zero", shape=kept.shape, codec=kept.codec),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- operators


def _codes(model: Table, found: Found) -> list[tuple[int, str]]:
    """The operators that the graphs name by place; the names of custom ones are noted."""
    codes = []
    for entry in model.tables(1):
        old = entry.number(0, "b")
        code = max(old, entry.number(3, "i")) if old in (0, operators.OLD_CODES) else old
        name = entry.text(1)[:200] if code == operators.CUSTOM else ""
        if name:
            found.custom.setdefault(name, 0)
        codes.append((code, name))
    return codes


def _steps(graphs: list[Table], codes: list[tuple[int, str]], model: Table) -> Iterator[Step]:
    """The operators of all graphs in the order in which they run. Error: TFL-INDEX."""
    for number, graph in enumerate(graphs):
        for table in graph.tables(3):
            place = table.number(0, "I")
            if place >= len(codes):
                raise model.walker.wrong(f"there is no operator code {place:,}", "TFL-INDEX", table.at)
            yield Step(number, *codes[place], table, table.numbers(1, "i"), table.numbers(2, "i"))


def _follow(step: Step, graphs: list[Table], found: Found) -> None:
    """Note under which numbers a constant goes on: in another form, or in the graphs that the operator runs."""
    here = found.held[step.graph]
    passed = operators.PASSES.get(step.code)
    if passed is not None and passed < len(step.inputs) and step.inputs[passed] in here:
        for output in step.outputs:
            here.setdefault(output, here[step.inputs[passed]])
    elif step.code in operators.CALLED:
        options = step.table.table(4)
        for place in operators.CALLED[step.code]:
            called = -1 if options is None else options.number(place, "i")
            if 0 <= called < len(graphs):
                _hand_on(step, graphs[called], found.held[called], found)
    elif step.code == operators.VARIABLE and step.outputs:
        options = step.table.table(4)
        name = "" if options is None else f"{options.text(0)}/{options.text(1)}"
        found.handles[step.graph, step.outputs[0]] = name
    elif step.code == operators.ASSIGN_VARIABLE and len(step.inputs) > 1:
        name = found.handles.get((step.graph, step.inputs[0]), "")
        found.set_once[name] = here.get(step.inputs[1]) if name and name not in found.set_once else None
    elif step.code == operators.CUSTOM:
        size = step.table.vector(5, 1).nbytes + step.table.number(10, "Q")
        if size > LARGE_OPTIONS:
            found.custom[step.name] = found.custom.get(step.name, 0) + size


def _hand_on(step: Step, called: Table, there: dict[int, int], found: Found) -> None:
    """Give constants to the graph that an operator runs; a loop keeps only those that go round unchanged."""
    names = called.numbers(1, "i")
    comes_back = called.numbers(2, "i") if step.code == operators.WHILE else ()
    for place, number in enumerate(step.inputs[operators.BEFORE[step.code] :]):
        constant = found.held[step.graph].get(number)
        if constant is None or place >= len(names):
            continue
        if step.code == operators.WHILE and comes_back[place : place + 1] != names[place : place + 1]:
            found.entries[constant].setting = True
        else:
            there.setdefault(names[place], constant)


def _uses(step: Step, found: Found) -> None:
    """Note what an operator does with the constants among its inputs."""
    if step.code in operators.PASSES or step.code in operators.CALLED:
        return
    if step.code == operators.READ_VARIABLE and step.inputs and step.outputs:
        # Where the value is set elsewhere too, it is a state, and what it begins with no parameter.
        value = found.set_once.get(found.handles.get((step.graph, step.inputs[0]), ""))
        if value is not None:
            found.held[step.graph].setdefault(step.outputs[0], value)
    weights = operators.WEIGHTS.get(step.code, ())
    settings = operators.SETTINGS.get(step.code, ())
    for position, number in enumerate(step.inputs):
        constant = found.held[step.graph].get(number)
        if constant is None:
            continue
        entry = found.entries[constant]
        if position in settings:
            entry.setting = True
        else:
            entry.used = True
            entry.weight |= position in weights


# -------------------------------------------------------------------------------------------------- the result


def _is_parameter(entry: Entry) -> bool:
    """The rule of the module's docstring."""
    held = entry.stored
    if held.codec.startswith("unknown:"):
        return True
    if entry.weight:
        return True
    if not (held.quantized or held.codec.startswith(FLOATING)) or (entry.setting and not entry.used):
        return False
    return prod(held.shape) != 1


def _counted(found: Found, held: Buffers) -> tuple[Tensor, ...]:
    """One tensor for each run of bytes: a parameter where any of those that share it is one."""
    members: dict[tuple[str, int, int], list[Entry]] = {}
    for entry in found.entries:
        data = entry.stored.pieces[0]
        if entry.owner is None:
            members.setdefault((data.file, data.offset, data.nbytes), []).append(entry)
    _refuse_overlap(members, held)
    times: dict[str, int] = {}
    for group in members.values():
        for entry in group:
            times[entry.stored.name] = times.get(entry.stored.name, 0) + 1
    taken: set[str] = set()
    tensors_found = []
    for group in members.values():
        names = [_name(entry, found, times, taken) for entry in group]
        first = next((place for place, entry in enumerate(group) if _is_parameter(entry)), 0)
        found.shared.update({name: names[first] for place, name in enumerate(names) if place != first})
        tensors_found.append(_tensor(group[first], names[first]))
    return tuple(tensors_found)


def _tensor(entry: Entry, name: str) -> Tensor:
    kept = entry.stored
    layout = "affine" if len(kept.pieces) > 1 and kept.plain and not kept.sparse else ""
    return Tensor(name, kept.shape, kept.codec, kept.pieces, buffer=not _is_parameter(entry), layout=layout)


def _name(entry: Entry, found: Found, times: dict[str, int], taken: set[str]) -> str:
    """A name that occurs once: with the graph before it, or a number behind it, where it must be."""
    name = entry.stored.name
    if times[name] > 1:
        label = found.names[entry.graph] or f"graph_{entry.graph}"
        name = f"{label}/{name}" if entry.graph else name
    unique = name if name not in taken else f"{name}#{len(taken)}"
    taken.add(unique)
    return unique


def _refuse_overlap(members: dict[tuple[str, int, int], list[Entry]], held: Buffers) -> None:
    """Runs of bytes are the same or apart. Error: TFL-OVERLAP."""
    before = Piece("", 0, 0)
    for file, offset, nbytes in sorted(members):
        if file == before.file and offset < before.offset + before.nbytes:
            text = (
                f"the values of {members[file, offset, nbytes][0].stored.name[:200]!r} overlap those of another tensor"
            )
            raise held.walker.wrong(text, "TFL-OVERLAP", offset)
        before = Piece(file, offset, nbytes)
