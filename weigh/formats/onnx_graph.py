"""Which tensors a graph stores and what its operators do with them: parameters, constants, scales.

The rule. A floating tensor is a parameter, unless
- it only enters inputs that are not trained (`onnx_operators.SETTINGS`: running statistics, bounds, windows), or
- it is a scale or zero point: then it is a piece of the tensor that it belongs to, or a setting of an activation, or
- it is a scalar in a Constant node, as exporters write the numbers of a formula, and enters no `WEIGHTS` input.
A whole number is a parameter where an operator for quantized numbers takes it as its data. All else are buffers:
shapes, axes, indices.
The file is walked twice, so that only names of stored tensors need to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from weigh import codecs, files
from weigh.formats import onnx_operators as operators
from weigh.formats.neighbours import Neighbours
from weigh.formats.onnx_tensors import Stored, shape_of, stored
from weigh.formats.onnx_wire import FUNCTION, GRAPH, MODEL, NODE, SPARSE, TENSOR, Message, walk
from weigh.types import Limits, Piece, Tensor, WeighError

FLOATING = ("f", "bf", "c64")
BRANCHES = ("then_branch", "else_branch")


@dataclass(slots=True)
class Entry:
    """A stored tensor and what is known of its uses."""

    stored: Stored
    scope: int
    used: bool = False
    """It enters an input that is no setting."""
    weight: bool = False
    """It enters an input that is trained."""
    setting: bool = False
    quantized: bool = False
    owner: int | None = None
    """Number of the tensor whose scale, zero point or index it is."""
    kind: Literal["scale", "zero", "index"] = "scale"
    axis: int | None = None
    """The axis along which a row of scales lies."""
    layout: str = ""
    """How its values follow from its pieces: a key of `packed_values.LAYOUTS`."""


@dataclass(slots=True)
class Scope:
    """A graph or function: names inside are looked up here and then in the graphs around."""

    parent: int = -1
    label: str = ""
    names: dict[str, int] = field(default_factory=dict)
    """Stored tensors by name, by their number."""


@dataclass(slots=True)
class Graph:
    """What the walks found."""

    entries: list[Entry] = field(default_factory=list)
    scopes: dict[int, Scope] = field(default_factory=dict)
    model: Message | None = None
    dynamic: set[tuple[int, str]] = field(default_factory=set)
    """Scales of activations."""
    warnings: list[str] = field(default_factory=list)

    def scope(self, number: int) -> Scope:
        """The scope of a graph's number, made when first asked for: nodes come before the graph is complete."""
        return self.scopes.setdefault(number, Scope())

    def find(self, scope: int, name: str) -> int | None:
        """Number of the tensor that a name means in a scope."""
        while scope >= 0 and name:
            here = self.scope(scope)
            if name in here.names:
                return here.names[name]
            scope = here.parent
        return None


def tensors(file: files.OpenFile, near: Neighbours, limits: Limits) -> tuple[tuple[Tensor, ...], Graph]:
    """Every stored tensor, quantized ones with their scales. Errors: those of `walk` and `stored`, ONNX-NAME,
    ONNX-TENSORS (exit 5), ONNX-GRAPH.
    """
    graph = Graph()
    for message in walk(file, limits):
        _collect(message, graph, file, near, limits)
    _require_graph(graph, file)
    for message in walk(file, limits, without=frozenset((TENSOR, SPARSE))):
        if message.kind == NODE:
            _uses(message, graph)
    _by_suffix(graph)
    return _named(graph), graph


def _require_graph(graph: Graph, file: files.OpenFile) -> None:
    if graph.model is None or not graph.model.fields.get(7):
        raise WeighError(
            "the file holds no graph", rule="ONNX-GRAPH", path=file.path, hint="not an ONNX model, or cut short"
        )


# ----------------------------------------------------------------------------------------- first walk: tensors


def _collect(message: Message, graph: Graph, file: files.OpenFile, near: Neighbours, limits: Limits) -> None:
    parent = message.parent
    if message.kind == MODEL:
        graph.model = message
    elif message.kind in (GRAPH, FUNCTION):
        scope = graph.scope(message.scope)
        outer = None if parent is None or parent.kind == MODEL else parent
        scope.parent = -1 if outer is None else outer.scope
        node = None if outer is None else outer.parent
        scope.label = "" if outer is None else f"{'' if node is None else node.text(3) or node.text(4)}.{outer.text(1)}"
    elif message.kind == TENSOR and parent is not None and parent.kind == GRAPH:
        found = stored(message, message.text(8), file, near, constant=False)
        _enter(found, message, graph, file, limits)
    elif message.kind == SPARSE and parent is not None and parent.kind == GRAPH:
        _enter(_sparse(message, None, file, near, limits), message, graph, file, limits)
    elif message.kind == NODE and message.text(4) == "Constant":
        for attribute in message.fields.get(5, []):
            name = next(iter(message.fields.get(2, [])), "")
            if attribute.text(1) == "value" and attribute.fields.get(5):
                found = stored(attribute.fields[5][0], name, file, near, constant=True)
                _enter(found, message, graph, file, limits)
            elif attribute.text(1) == "sparse_value" and attribute.fields.get(22):
                _enter(_sparse(attribute.fields[22][0], name, file, near, limits), message, graph, file, limits)


def _sparse(
    message: Message, name: str | None, file: files.OpenFile, near: Neighbours, limits: Limits
) -> Stored | None:
    """A sparse tensor as what it stands for: its dense shape; the indices are a piece."""
    if not message.fields.get(1) or not message.fields.get(2):
        raise WeighError(
            "a sparse tensor needs values and indices", rule="ONNX-DATA", path=file.path, offset=message.start
        )
    values, indices = message.fields[1][0], message.fields[2][0]
    held = stored(values, values.text(8) if name is None else name, file, near, constant=name is not None)
    places = stored(indices, "", file, near, constant=False)
    if held is None or places is None:
        return None
    held.shape = shape_of(message.fields.get(3, []), message, file, limits)
    held.pieces += tuple(replace(piece, kind="index") for piece in places.pieces)
    return held


def _enter(found: Stored | None, message: Message, graph: Graph, file: files.OpenFile, limits: Limits) -> None:
    if found is None:
        return
    if len(graph.entries) >= limits.tensors:
        text = f"the graph stores more than {limits.tensors:,} tensors"
        hint = files.lift("tensors")
        raise WeighError(text, rule="ONNX-TENSORS", path=file.path, hint=hint, exit_code=5)
    names = graph.scope(message.scope).names
    if not found.name or found.name in names:
        text = "two tensors of one graph have the same name" if found.name else "a stored tensor has no name"
        where = f"tensor {found.name[:200]!r}"
        raise WeighError(text, rule="ONNX-NAME", path=file.path, offset=message.start, where=where)
    names[found.name] = len(graph.entries)
    graph.entries.append(Entry(found, message.scope))


# ------------------------------------------------------------------------------------------- second walk: uses


def _uses(node: Message, graph: Graph) -> None:
    """Note what a node does with the stored tensors among its inputs."""
    operator = node.text(4)
    inputs: list[str] = node.fields.get(1, [])
    outputs: list[str] = node.fields.get(2, [])
    numbers = [graph.find(node.scope, name) for name in inputs]
    if operator == operators.DYNAMIC and len(outputs) > 1:
        graph.dynamic.add((node.scope, outputs[1]))
    handled: set[int] = set()
    if operator in operators.QUANTIZED:
        handled = _quantized(node, operator, numbers, graph)
    settings = operators.SETTINGS.get(operator, ())
    scale = operator == "Mul" and any((node.scope, name) in graph.dynamic for name in inputs)
    for position, number in enumerate(numbers):
        if number is None or position in handled:
            continue
        entry = graph.entries[number]
        if position in settings or scale:
            entry.setting = True
        else:
            entry.used = True
            entry.weight |= position in operators.WEIGHTS.get(operator, ())
    if operator in operators.PASSES and numbers and numbers[0] is not None and outputs:
        graph.scope(node.scope).names.setdefault(outputs[0], numbers[0])


def _quantized(node: Message, operator: str, numbers: list[int | None], graph: Graph) -> set[int]:
    """Give scales and zero points to the data that they belong to; the positions that this explains."""
    handled = set(operators.OUTPUT_SETTINGS.get(operator, ()))
    for group in operators.QUANTIZED[operator]:
        data = numbers[group.data] if group.data < len(numbers) else None
        entry = None if data is None else graph.entries[data]
        if entry is not None and not (_is_floating(entry.stored.codec) and operator == "QuantizeLinear"):
            first = not entry.quantized
            entry.quantized = True
            handled.add(group.data)
            if first and operator in operators.ATTRIBUTES:
                _unpack(node, operator, entry, graph)
            elif first:
                entry.layout = "affine"
                entry.axis = _axis(node, operator)
        else:
            data = None
        _give(data, group, numbers, graph, handled)
    for position in operators.OUTPUT_SETTINGS.get(operator, ()):
        number = numbers[position] if position < len(numbers) else None
        if number is not None:
            graph.entries[number].setting = True
    return handled


def _give(
    data: int | None, group: operators.Quantized, numbers: list[int | None], graph: Graph, handled: set[int]
) -> None:
    kinds: tuple[tuple[int | None, Literal["scale", "zero", "index"]], ...]
    kinds = ((group.scale, "scale"), (group.zero, "zero"), (group.order, "index"))
    for position, kind in kinds:
        number = numbers[position] if position is not None and position < len(numbers) else None
        if position is None or number is None:
            continue
        handled.add(position)
        piece = graph.entries[number]
        piece.setting = True
        if data is not None and data != number and piece.owner is None:
            piece.owner, piece.kind = data, kind


def _axis(node: Message, operator: str) -> int | None:
    """Where a row of scales lies, as the operator says or does without saying."""
    for attribute in node.fields.get(5, []):
        if attribute.text(1) == operators.AXIS_NAME and operator in operators.AXIS:
            return int(attribute.whole(3))
    return operators.AXIS.get(operator)


def _unpack(node: Message, operator: str, entry: Entry, graph: Graph) -> None:
    """Bring the shape of a weight that is packed into bytes to what it stands for."""
    held = entry.stored
    if held.codec != "u8":
        return
    wanted = operators.ATTRIBUTES[operator]
    attributes = {
        attribute.text(1): attribute.whole(3) for attribute in node.fields.get(5, []) if attribute.text(1) in wanted
    }
    nbytes = sum(piece.nbytes for piece in held.pieces)
    whole = operators.logical(operator, attributes, held.shape, nbytes)
    if whole is None:
        graph.warnings.append(f"the attributes of {operator} do not fit {held.name[:80]!r}: counted as it is stored")
        return
    if operator == operators.BLOCKS:
        entry.layout = "onnx_nbits"
        held.pieces = tuple(replace(piece, shape=held.shape, codec=held.codec) for piece in held.pieces)
    held.shape, held.codec = whole


def _by_suffix(graph: Graph) -> None:
    """Find the scales that reach their weight through the arithmetic of the graph only, by the names of the pieces."""
    for scope in graph.scopes.values():
        for name, number in scope.names.items():
            entry = graph.entries[number]
            if not entry.quantized or entry.stored.name != name or not name.endswith(operators.SUFFIX):
                continue
            for suffix, kind in operators.PARTNERS.items():
                partner = scope.names.get(name.removesuffix(operators.SUFFIX) + suffix)
                if partner is not None and partner != number and graph.entries[partner].owner is None:
                    graph.entries[partner].owner = number
                    graph.entries[partner].kind = "scale" if kind == "scale" else "zero"


# -------------------------------------------------------------------------------------------------- the result


def _is_floating(codec: str) -> bool:
    return codec.startswith(FLOATING) and codecs.by_id(codec).id == codec


def _is_parameter(entry: Entry) -> bool:
    """The rule of the module's docstring."""
    if entry.quantized or entry.weight:
        return entry.quantized or _is_floating(entry.stored.codec)
    if not _is_floating(entry.stored.codec) or (entry.setting and not entry.used):
        return False
    return bool(entry.stored.shape) or not entry.stored.constant


def _named(graph: Graph) -> tuple[Tensor, ...]:
    """The inventory's tensors: pieces with their owner; a name that occurs twice with the graph that it lies in."""
    pieces: dict[int, list[Piece]] = {}
    for entry in graph.entries:
        # A scale is no one's piece if it is itself data with a scale, which only a strange graph has.
        if entry.owner is not None and not entry.quantized:
            shape = _spread(entry.stored.shape, graph.entries[entry.owner])
            pieces.setdefault(entry.owner, []).extend(
                replace(piece, kind=entry.kind, shape=shape, codec=entry.stored.codec) for piece in entry.stored.pieces
            )
    times: dict[str, int] = {}
    for entry in graph.entries:
        times[entry.stored.name] = times.get(entry.stored.name, 0) + 1
    found = []
    taken: set[str] = set()
    branches: dict[str, int] = {}
    for number, entry in enumerate(graph.entries):
        if entry.owner is not None and not entry.quantized:
            continue
        held = entry.stored
        name = held.name if times[held.name] == 1 else _path(graph, entry.scope) + held.name
        if name in taken:
            name = f"{held.name}#{number}"
        taken.add(name)
        whole = (*held.pieces, *pieces.get(number, ()))
        layout = _layout(entry, whole)
        tensor = Tensor(name, held.shape, held.codec, whole, buffer=not _is_parameter(entry), layout=layout)
        branch = _branch(graph, entry.scope)
        if branch and not tensor.buffer:
            branches[branch] = branches.get(branch, 0) + (tensor.parameters or 0)
        found.append(tensor)
    if branches:
        told = ", ".join(f"{count:,} in {branch[-60:]!r}" for branch, count in list(branches.items())[:4])
        graph.warnings.append(f"of the branches of If only one runs at a time, all are counted: {told}")
    return tuple(found)


def _spread(shape: tuple[int, ...], owner: Entry) -> tuple[int, ...]:
    """The shape of scales as they are spread over their weight: a row along its axis, a single one for all."""
    whole = owner.stored.shape
    if owner.layout != "affine":
        return shape
    if prod(shape) == 1:
        return (1,) * len(whole)
    axis = owner.axis
    if len(shape) != 1 or axis is None or not -len(whole) <= axis < len(whole) or whole[axis] != shape[0]:
        return shape
    return tuple(extent if place == axis % len(whole) else 1 for place, extent in enumerate(whole))


def _layout(entry: Entry, pieces: tuple[Piece, ...]) -> str:
    """The layout where all pieces that it needs are known, else none: the tensor is counted, not decoded."""
    kinds = [piece.kind for piece in pieces]
    known = not any(piece.codec.startswith("unknown:") for piece in pieces)
    whole = kinds.count("data") == 1 and kinds.count("scale") == 1 and "index" not in kinds and kinds.count("zero") < 2
    ranked = entry.layout != "affine" or all(len(piece.shape) == len(entry.stored.shape) for piece in pieces[1:])
    return entry.layout if known and whole and ranked else ""


def _path(graph: Graph, scope: int) -> str:
    labels = []
    while scope >= 0:
        labels.append(graph.scope(scope).label)
        scope = graph.scope(scope).parent
    return "".join(f"{label}/" for label in reversed(labels) if label)


def _branch(graph: Graph, scope: int) -> str:
    """The outermost branch of an If around a graph; empty where there is none."""
    found = ""
    while scope >= 0:
        label = graph.scope(scope).label
        if label.endswith(BRANCHES):
            found = label
        scope = graph.scope(scope).parent
    return found
