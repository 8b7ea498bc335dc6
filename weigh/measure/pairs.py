"""Finds for each tensor of one model the tensor of another that means the same.

Tensors of one name and shape are the same. Where two runtimes name or cut them differently (safetensors against GGUF,
three matrices against one fused, one tensor an expert against all in one) they are matched by what the family says
they are: the slot of the part that they fill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from weigh.families import family_of
from weigh.families.audit import Promise, audit, bare, stacked_promises
from weigh.types import Model, Part, Role, Slot, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Address = tuple[str, int | None]
"""Where a slot stands in the model (`layers.3.attention.q.weight`), and the number of the expert."""


@dataclass(frozen=True, slots=True)
class View:
    """A stored tensor, or the rows of it that fill one slot."""

    tensor: Tensor
    part: Part | None = None
    expert: int | None = None
    """Place along the first axis, where the tensor holds all experts."""
    begin: int = 0
    rows: int | None = None
    """Outputs taken from `begin` on; None = the whole tensor."""
    turned: bool = False
    """The matrix is stored inputs first."""
    shape: tuple[int, ...] | None = None
    """Of the slot, where it is not the tensor's."""

    @property
    def whole(self) -> bool:
        """The values are those of the tensor, in its order."""
        return self.expert is None and self.rows is None and not self.turned

    def cut(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the slot holds, outputs first, from the values of the whole tensor."""
        if self.expert is not None:
            values = values[self.expert]
        if self.turned:
            values = values.swapaxes(-1, -2)
        if self.rows is not None:
            values = values[self.begin : self.begin + self.rows]
        return values if self.shape is None else values.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two views of what should be one thing."""

    left: View
    right: View
    role: Role
    layer: int | None
    address: str = ""
    """Of the slot, where the two were matched by meaning."""

    @property
    def name(self) -> str:
        """Of the tensor in the first model, with the slot where it holds several."""
        name = self.left.tensor.name
        return name if self.left.whole else f"{name} ({self.address})"


@dataclass(frozen=True, slots=True)
class Matching:
    """The pairs, and what has no other half."""

    pairs: tuple[Pair, ...]
    only_left: tuple[Tensor, ...]
    only_right: tuple[Tensor, ...]
    reshaped: tuple[tuple[Tensor, Tensor], ...]
    """One name, two shapes."""


def match(left: Model, right: Model) -> Matching:
    """Pairs by name first, then by meaning; buffers too, since a file may differ in them."""
    names = _by_bare_name(right)
    roles = {holding.tensor.name: holding.shares[0] for holding in audit(left).holdings}
    pairs: list[Pair] = []
    alone: list[Tensor] = []
    reshaped: list[tuple[Tensor, Tensor]] = []
    for name, tensor in _by_bare_name(left).items():
        other = names.pop(name, None)
        if other is None:
            alone.append(tensor)
        elif _essential(tensor) != _essential(other):
            reshaped.append((tensor, other))
        else:
            share = roles[tensor.name]
            pairs.append(Pair(View(tensor), View(other), share.role, share.layer))
    rest = list(names.values())
    if alone and rest:
        by_meaning = _by_meaning(left, right, {t.name for t in alone}, {t.name for t in rest})
        pairs += by_meaning
        taken = {pair.left.tensor.name for pair in by_meaning}
        given = {pair.right.tensor.name for pair in by_meaning}
        alone = [tensor for tensor in alone if tensor.name not in taken]
        rest = [tensor for tensor in rest if tensor.name not in given]
    return Matching(tuple(pairs), tuple(alone), tuple(rest), tuple(reshaped))


def _by_bare_name(model: Model) -> dict[str, Tensor]:
    """Without the prefix that some checkpoints of the family leave out, where that keeps the names apart."""
    tensors = model.inventory.tensors
    family = family_of(model) if model.family else None
    if family is None:
        return {tensor.name: tensor for tensor in tensors}
    named = {bare(family, tensor.name): tensor for tensor in tensors}
    return named if len(named) == len(tensors) else {tensor.name: tensor for tensor in tensors}


def _essential(tensor: Tensor) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if size != 1)


def _by_meaning(left: Model, right: Model, wanted: set[str], offered: set[str]) -> list[Pair]:
    if left.family is None or left.family != right.family:
        return []
    others = {address: view for address, _, view in _views(right, offered)}
    pairs = []
    for (path, expert), slot, view in _views(left, wanted):
        other = others.get((path, expert))
        if other is None or view.part is None or _extent(view) != _extent(other):
            continue
        where = path if expert is None else f"{path} of expert {expert}"
        if view.rows is None and view.tensor.shape == other.tensor.shape and other.whole and view.whole:
            pairs.append(Pair(View(view.tensor, view.part), View(other.tensor), slot.role, view.part.layer, where))
        else:
            pairs.append(Pair(view, other, slot.role, view.part.layer, where))
    return pairs


def _extent(view: View) -> int:
    return prod(view.shape or view.tensor.shape)


def _views(model: Model, names: set[str]) -> Iterator[tuple[Address, Slot, View]]:
    """Every slot that the stored tensors of these names fill, experts one by one."""
    family = family_of(model)
    tensors = {bare(family, tensor.name): tensor for tensor in model.inventory.tensors if tensor.name in names}
    for promise in stacked_promises(model, family, model.inventory.dialect):
        if "{expert}" in promise.name:
            for expert in range(promise.shape[0]):
                tensor = tensors.get(bare(family, promise.name.replace("{expert}", str(expert))))
                if tensor is not None:
                    yield from _cuts(promise, tensor, expert, apart=True)
            continue
        tensor = tensors.get(bare(family, promise.name))
        if tensor is None or promise.optional:
            continue
        if promise.slots[0][1].experts:
            for expert in range(promise.shape[0]):
                yield from _cuts(promise, tensor, expert, apart=False)
        else:
            yield from _cuts(promise, tensor, None, apart=False)


def _cuts(promise: Promise, tensor: Tensor, expert: int | None, *, apart: bool) -> Iterator[tuple[Address, Slot, View]]:
    """The slots of one tensor: behind each other along the outputs."""
    begin = 0
    for part, slot in promise.slots:
        shape = slot.shape if expert is None else slot.shape[1:]
        rows = None if len(promise.slots) == 1 else shape[0]
        inside = None if apart else expert
        view = View(tensor, part, inside, begin, rows, promise.turned, shape)
        yield (f"{part.address}.{slot.key}", expert), slot, view
        begin += shape[0] if shape else 0


def by_role(pairs: tuple[Pair, ...]) -> Mapping[Role, list[Pair]]:
    """The pairs of each role, in the order in which they come."""
    found: dict[Role, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.role, []).append(pair)
    return found
