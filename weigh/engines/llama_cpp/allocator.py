"""The allocator that sizes llama.cpp's compute buffer, replayed on arrays that have a size and no values.

llama.cpp builds the graph of the largest micro-batch once and lets ggml place every intermediate array in one
buffer, reusing the place of arrays that no later operation reads. The size of that buffer is decided by three
rules (ggml/src/ggml-alloc.c): which array may take over the place of its input, when a place becomes free, and
which free place a new array takes. `peak_bytes` applies them to a graph built with the functions below, which
mirror the operations of ggml only as far as memory is concerned.

Source: llama.cpp as packed in xllamacpp 2026.10.11549, ggml/src/ggml-alloc.c and ggml/src/ggml.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from weigh.numbers import Number, larger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALIGNMENT = 32
"""Bytes; `TENSOR_ALIGNMENT` of the CPU buffer type (ggml/src/ggml-impl.h)."""

IN_PLACE = frozenset({"add", "mul", "div", "scale", "unary", "rope", "rms_norm", "clamp", "soft_max"})
"""Operations that may write over an input (`ggml_op_can_inplace`), of those that decoders use."""


@dataclass(eq=False, slots=True)
class Array:
    """An array in the graph. Compared by identity; `dims` is innermost first, as ggml counts."""

    operation: str
    """Empty for a leaf: a weight, a cache or an input."""
    dims: tuple[Number, ...]
    item_bytes: int = 4
    sources: tuple[Array, ...] = ()
    root: Array | None = None
    """The array whose bytes this one shows, where it is a view."""
    external: bool = False
    """Lives in another buffer (weights, KV cache)."""
    output: bool = False
    """Kept to the end of the graph."""
    packed: bool = True
    """Rows follow each other without gaps."""

    @property
    def nbytes(self) -> Number:
        """Bytes that a place for it takes."""
        return -(-prod(self.dims) * self.item_bytes // ALIGNMENT) * ALIGNMENT

    def same_layout(self, other: Array) -> bool:
        """Whether one could be written over the other, element by element."""
        if self.item_bytes != other.item_bytes or not (self.packed and other.packed):
            return False
        mine = (*self.dims, 1, 1, 1)[:4]
        theirs = (*other.dims, 1, 1, 1)[:4]
        return all(agreed(one == another) for one, another in zip(mine, theirs, strict=True))


@dataclass(slots=True)
class Graph:
    """Leaves and operations in the order in which ggml visits them."""

    leaves: list[Array] = field(default_factory=list)
    nodes: list[Array] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def expand(self, array: Array) -> Array:
        """Append what `array` needs, sources first and from left to right, then `array` itself."""
        if id(array) in self.seen:
            return array
        self.seen.add(id(array))
        for source in array.sources:
            self.expand(source)
        (self.nodes if array.operation else self.leaves).append(array)
        return array


# ------------------------------------------------------------------------------------------------- operations


def weight(*dims: Number) -> Array:
    """An array of the model file or of the KV cache: read, never placed."""
    return Array("", dims, external=True)


def given(*dims: Number, item_bytes: int = 4) -> Array:
    """An input that is written before each run: token ids, positions, the attention mask."""
    return Array("", dims, item_bytes)


def apply(operation: str, dims: tuple[int, ...], *sources: Array, item_bytes: int = 4) -> Array:
    """An operation with a result of its own."""
    return Array(operation, dims, item_bytes, sources)


def like(operation: str, first: Array, *others: Array) -> Array:
    """An operation whose result has the dimensions of its first source."""
    return Array(operation, first.dims, first.item_bytes, (first, *others))


def view(source: Array, *dims: Number, packed: bool = True) -> Array:
    """The same bytes under other dimensions; not packed where it skips some."""
    return Array("view", dims, source.item_bytes, (source,), source.root or source, packed=packed)


def store(destination: Array, values: Array, places: Array) -> Array:
    """Rows written into an existing array: shows the destination's bytes."""
    sources = (values, places, destination)
    return Array("set_rows", destination.dims, destination.item_bytes, sources, destination.root or destination)


def matmul(matrix: Array, values: Array) -> Array:
    """`matrix` of (inputs, outputs) applied to every column of `values`."""
    return apply("mul_mat", (matrix.dims[1], *values.dims[1:]), matrix, values)


# --------------------------------------------------------------------------------------------------- allocation


class Divided(Exception):  # noqa: N818 - no error: it says how to go on
    """Some of many graphs take another way than the others; `mask` tells which take this one."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        super().__init__("some graphs are laid out differently")
        self.mask = mask


def agreed(condition: Any) -> bool:
    """The answer to a question that decides the layout: that of all graphs, or Divided."""
    if condition is True or condition is False:
        return condition
    if condition.all():
        return True
    if condition.any():
        raise Divided(condition)
    return False


def peaks(count: int, graph_of: Callable[[NDArray[np.intp]], Graph]) -> NDArray[np.int64]:
    """`peak_bytes` of `count` graphs that differ in sizes only; `graph_of` builds those of the given numbers as one.

    All are laid out at once, in arrays. Where the rules decide differently for some, they are divided and laid out
    apart, so that each graph meets exactly the decisions that it would meet alone.
    """
    import numpy as np

    found = np.zeros(count, np.int64)
    waiting = [np.arange(count)]
    while waiting:
        numbers = waiting.pop()
        try:
            found[numbers] = peak_bytes(graph_of(numbers))
        except Divided as found_out:
            mask = np.broadcast_to(found_out.mask, numbers.shape)
            waiting += [numbers[mask], numbers[~mask]]
    return found


class _Space:
    """Free runs of one buffer that grows at its end, sorted by offset; the last run has no end."""

    def __init__(self) -> None:
        self.runs: list[tuple[Number, Number]] = [(0, 2**62)]
        self.high: Number = 0

    def take(self, size: Number) -> Number:
        """The smallest run that fits, a later one among equals; the endless run only if none does."""
        index = len(self.runs) - 1
        best: Number = None
        for place, (_, run) in enumerate(self.runs[:-1]):
            if agreed(run >= size) and (best is None or agreed(run <= best)):
                index, best = place, run
        offset, run = self.runs[index]
        if agreed(run == size):
            del self.runs[index]
        else:
            self.runs[index] = (offset + size, run - size)
        self.high = larger(self.high, offset + size)
        return offset

    def give(self, offset: Number, size: Number) -> None:
        """Return a run and join it with its free neighbours."""
        if agreed(size == 0):
            return
        after = next(index for index, (start, _) in enumerate(self.runs) if agreed(start > offset))
        start, run = self.runs[after]
        if agreed(offset + size == start):
            size = size + run
            del self.runs[after]
        if after and agreed(sum(self.runs[after - 1]) == offset):
            start, run = self.runs[after - 1]
            self.runs[after - 1] = (start, run + size)
        else:
            self.runs.insert(after, (offset, size))


@dataclass(slots=True)
class _Fate:
    """What is still to come for an array: how many operations read it, how many views show it."""

    readers: int = 0
    views: int = 0
    offset: Number | None = None
    """Where it lies now; None before it is placed, after it is freed and for what lives elsewhere."""


def _takes_over(node: Array, fates: dict[int, _Fate]) -> bool:
    """Write over an input that nothing else reads or shows. A view is never taken over, as it is not placed."""
    for source in node.sources:
        fate = fates[id(source)]
        if fate.offset is None or source.output or not node.same_layout(source):
            continue
        if fate.readers == 1 and not fate.views:
            fates[id(node)].offset = fate.offset
            fate.offset = None
            return True
    return False


def _place(node: Array, fates: dict[int, _Fate], space: _Space) -> None:
    if node.external or node.root is not None or fates[id(node)].offset is not None:
        return
    if node.operation not in IN_PLACE or not _takes_over(node, fates):
        fates[id(node)].offset = space.take(node.nbytes)


def _release(array: Array, fates: dict[int, _Fate], space: _Space) -> None:
    """After a reader is done: free the array, or what it shows, once nothing reads or shows it."""
    fate = fates[id(array)]
    fate.readers -= 1
    if fate.readers or fate.views:
        return
    owner, owned = array, fate
    if array.root is not None:
        owner, owned = array.root, fates[id(array.root)]
        owned.views -= 1
        if owned.views or owned.readers:
            return
    if owned.offset is not None and not owner.output:
        space.give(owned.offset, owner.nbytes)
        owned.offset = None


def peak_bytes(graph: Graph) -> Number:
    """Size of the buffer that ggml reserves for the graph.

    Leaves are placed first, all of them; then each operation in order is placed (over an input if the rules allow
    it, else in the smallest free run) and the inputs that it was the last to read are freed. Inputs of the run
    (masks, ids) are freed after their last reader like any other array; arrays that nothing reads never are.

    Source: `ggml_gallocr_alloc_graph_impl`, `ggml_dyn_tallocr_alloc` in ggml/src/ggml-alloc.c.
    Ignores: more than one backend, and buffers split in chunks (the CPU's has no largest size).
    Off by: 0 bytes for a graph that lists the operations as llama.cpp does.
    Sizes may be arrays, of many graphs that differ in nothing else: then so is the answer, and Divided is raised
    where the rules decide differently for some of them (`peaks` divides them and tries again).
    """
    arrays = [*graph.leaves, *graph.nodes]
    fates = {id(array): _Fate() for array in arrays}
    space = _Space()
    for leaf in graph.leaves:
        _place(leaf, fates, space)
    for node in graph.nodes:
        if node.root is not None:
            fates[id(node.root)].views += 1
        for source in node.sources:
            fates[id(source)].readers += 1
    for node in graph.nodes:
        _place(node, fates, space)
        for source in node.sources:
            _release(source, fates, space)
    return space.high
