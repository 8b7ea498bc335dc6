"""What a file holds against what its configuration promises: every tensor gets its role, every difference a line.

With weights the count is that of the file; the promise says which role a tensor has, which are missing, of a
wrong shape, stored although tied, or not promised at all. Without weights the promise itself is the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod
from typing import NamedTuple

from weigh import parts
from weigh.families import FAMILIES
from weigh.families.names import stored
from weigh.families.roles import role_and_layer
from weigh.types import NOT_COUNTED, Family, Limits, Model, Part, Role, Slot, Tensor, WeighError


class Share(NamedTuple):
    """The part of a stored tensor that one slot fills. Counts are of parameters; None where unknown.

    A named tuple, as Holding is: there may be a million of them, and they are made three times as fast.
    """

    role: Role
    layer: int | None
    parameters: int | None
    """What it adds to the count: 0 for a tensor that is stored although tied."""
    active: int | None
    nbytes: int
    frozen: bool = False
    table: bool = False
    """It is (part of) the input token table."""
    entrance: bool = False
    """It stands before the first layer."""
    path: str = ""
    """Place of its part inside the layer, or inside the model; empty where only the name tells the role."""


class Holding(NamedTuple):
    """A stored tensor with its shares."""

    tensor: Tensor
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Promise:
    """A tensor that the configuration promises, and the slots that lie in it, in order."""

    name: str
    shape: tuple[int, ...]
    slots: tuple[tuple[Part, Slot], ...]
    optional: bool = False
    """Tied: some writers store it, some do not."""
    entrance: bool = False
    """Its parts stand before the first layer."""
    expert: int | None = None
    """Number of the expert, where each has a tensor of its own."""
    turned: bool = False
    """Stored inputs first."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The holdings of a file, and how it differs from its configuration."""

    holdings: tuple[Holding, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    wrong_shape: tuple[str, ...] = ()
    stored_though_tied: tuple[str, ...] = ()

    @property
    def contradicts(self) -> bool:
        """The file is not the model that the configuration describes."""
        return bool(self.missing or self.wrong_shape)


def audit(model: Model) -> Audit:
    """Compare. Without a family, roles come from names and nothing can be missing."""
    family = next((f for f in FAMILIES if f.id == model.family), None)
    tensors = model.inventory.tensors
    if family is None or not model.parts:
        return Audit(tuple(Holding(tensor, (_by_name(tensor),)) for tensor in tensors))
    dialect = model.inventory.dialect
    promised = {bare(family, promise.name): promise for promise in promises(model, family, dialect)}
    names = [bare(family, modern(tensor.name) if dialect == "hf" else tensor.name) for tensor in tensors]
    stands_for = _stand_ins(promised, set(names))
    holdings: list[Holding] = []
    found: set[str] = set()
    extra: list[str] = []
    wrong: list[str] = []
    doubled: list[str] = []
    for tensor, stored_name in zip(tensors, names, strict=True):
        name = stands_for.get(stored_name, stored_name)
        promise = promised.get(name)
        if promise is None or name in found:
            share = _unpromised(model, tensor)
            if share.role not in NOT_COUNTED:
                extra.append(tensor.name)
            holdings.append(Holding(tensor, (share,)))
            continue
        found.add(name)
        if promise.optional:
            doubled.append(tensor.name)
        if not _fits(tensor.shape, promise.shape, dialect):
            wrong.append(f"{tensor.name} is {_shown(tensor.shape)} instead of {_shown(promise.shape)}")
        holdings.append(held(tensor, promise))
    missing = [p.name for name, p in promised.items() if name not in found and not p.optional and not _is_buffer(p)]
    return Audit(tuple(holdings), tuple(missing), tuple(extra), tuple(wrong), tuple(doubled))


def _stand_ins(promised: Mapping[str, Promise], there: set[str]) -> dict[str, str]:
    """Tied tensors that are stored in the place of the one that they share, which is not: names of the two.

    Writers that drop the second of two shared tensors go by the order of names, not by which is the original.
    """
    owners = {
        f"{part.path}.{slot.key}": name
        for name, promise in promised.items()
        for part, slot in promise.slots
        if part.layer is None and not promise.optional
    }
    shared = {name: owners.get(promise.slots[0][1].tied) for name, promise in promised.items() if promise.optional}
    return {name: owner for name, owner in shared.items() if owner is not None and owner not in there}


def promises(model: Model, family: Family, dialect: str) -> Iterator[Promise]:
    """The tensors that a file of this model in this dialect would hold, in the order of the parts.

    Errors: WeighError PROMISE-LIMIT where they are more than a file may hold.
    """
    left = Limits().tensors
    for promise in stacked_promises(model, family, dialect):
        apart = "{expert}" in promise.name
        left -= promise.shape[0] if apart else 1
        if left < 0:
            raise WeighError(
                f"the configuration promises more than {Limits().tensors:,} tensors",
                rule="PROMISE-LIMIT",
                path=model.inventory.source,
                hint="check the numbers of layers and experts",
                exit_code=5,
            )
        if not apart:
            yield promise
            continue
        for expert in range(promise.shape[0]):
            name = promise.name.replace("{expert}", str(expert))
            yield replace(promise, name=name, shape=promise.shape[1:], expert=expert)


def stacked_promises(model: Model, family: Family, dialect: str) -> Iterator[Promise]:
    """The same, with the tensors of all experts as one: `{expert}` in its name, the experts its first axis."""
    before = _before_the_layers(model)
    gathered: dict[str, list[tuple[Part, Slot, bool]]] = {}
    for part in model.parts:
        for slot in parts.slots(part):
            named = stored(family, dialect, part, slot)
            if named is not None:
                gathered.setdefault(named[0], []).append((part, slot, named[1]))
    for name, members in gathered.items():
        slots = tuple((part, slot) for part, slot, _ in members)
        stacked = all(slot.experts for _, slot in slots)
        shape = _joined([slot.shape for _, slot in slots], axis=1 if stacked else 0)
        if members[0][2]:
            shape = (*shape[:-2], *shape[:-3:-1])
        optional = all(slot.tied for _, slot in slots)
        entrance = slots[0][0].path in before
        yield Promise(name, shape, slots, optional, entrance, turned=members[0][2])


def _before_the_layers(model: Model) -> frozenset[str]:
    """Paths of the parts that stand before the first numbered layer."""
    outside = takewhile(lambda part: part.layer is None, model.parts)
    return frozenset(part.path for part in outside)


def _joined(shapes: list[tuple[int, ...]], axis: int = 0) -> tuple[int, ...]:
    """Slots of one tensor lie behind each other along the outputs, the second axis where the first is of experts."""
    if len(shapes) == 1:
        return shapes[0]
    first = shapes[0]
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def named(tensor: Tensor) -> Holding:
    """The tensor with the role that its name tells."""
    return Holding(tensor, (_by_name(tensor),))


def held(tensor: Tensor, promise: Promise) -> Holding:
    """The tensor as what the promise says it is."""
    return Holding(tensor, tuple(_shares(tensor, promise)))


def _shares(tensor: Tensor, promise: Promise) -> Iterator[Share]:
    """Divide a tensor over its slots by their parameters; the last one takes the rounding of the bytes."""
    sizes = [prod(slot.shape) for _, slot in promise.slots]
    whole = sum(sizes) or 1
    count = tensor.parameters
    used_bytes = used_count = 0
    for position, ((part, slot), size) in enumerate(zip(promise.slots, sizes, strict=True)):
        last = position == len(sizes) - 1
        nbytes = tensor.nbytes - used_bytes if last else tensor.nbytes * size // whole
        used_bytes += nbytes
        held = None
        if count is not None:
            held = count - used_count if last else count * size // whole
            used_count += held
        yield _share(part, slot, held, nbytes, entrance=promise.entrance, expert=promise.expert)


def _share(
    part: Part, slot: Slot, held: int | None, nbytes: int, *, entrance: bool, expert: int | None = None
) -> Share:
    count = 0 if slot.tied else held
    active = count
    if count and slot.experts:
        used, experts = slot.experts
        # Where each expert has a tensor of its own, no single one divides evenly: their sum is to be exact.
        before = count * used * (expert or 0)
        active = (before + count * used) // experts - before // experts
    table = part.path == "embedding"
    return Share(slot.role, part.layer, count, active, nbytes, slot.frozen, table, entrance, part.path)


def _by_name(tensor: Tensor) -> Share:
    role, layer = role_and_layer(tensor.name)
    if tensor.buffer:
        role = "buffer"
    count = tensor.parameters
    entrance = layer is None and role in ("embedding", "position")
    return Share(role, layer, count, count, tensor.nbytes, False, role == "embedding", entrance)


def _unpromised(model: Model, tensor: Tensor) -> Share:
    """What layers for multi-token prediction hold is theirs: they are numbered on behind the last layer."""
    share = _by_name(tensor)
    layers, ahead = model.dimensions.get("layers", 0), model.dimensions.get("mtp_layers", 0)
    if share.layer is not None and layers <= share.layer < layers + ahead:
        return share._replace(role="mtp", table=False)
    return share


def shares_of(model: Model, value_bits: int) -> Iterable[Share]:
    """The shares of a model without weights, every value `value_bits` wide."""
    before = _before_the_layers(model)
    for part in model.parts:
        for slot in parts.slots(part):
            held = prod(slot.shape)
            nbytes = 0 if slot.tied else held * value_bits // 8
            yield _share(part, slot, held, nbytes, entrance=part.layer is None and part.path in before)


_OLD = {".gamma": ".weight", ".beta": ".bias"}


def modern(name: str) -> str:
    """Norms of the first BERT checkpoints were called gamma and beta."""
    for old, new in _OLD.items():
        if name.endswith(f"Norm{old}"):
            return name.removesuffix(old) + new
    return name


def bare(family: Family, name: str) -> str:
    """The name without the prefix that bare models leave out of their checkpoints."""
    for prefix in family.prefixes:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def _essential(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of length one carry nothing: some writers drop them."""
    return tuple(size for size in shape if size != 1)


def _fits(stored: tuple[int, ...], promised: tuple[int, ...], dialect: str) -> bool:
    """llama.cpp stores some matrices by head, with an axis more and some turned: then only the size is compared."""
    if _essential(stored) == _essential(promised):
        return True
    return dialect == "ggml" and len(stored) == len(promised) + 1 and prod(stored) == prod(promised)


def _is_buffer(promise: Promise) -> bool:
    return all(slot.role == "buffer" for _, slot in promise.slots)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single value"


def differences(found: Audit) -> Mapping[str, tuple[str, ...]]:
    """The differences by kind, only the kinds that there are."""
    kinds = {
        "missing": found.missing,
        "extra": found.extra,
        "wrong_shape": found.wrong_shape,
        "stored_though_tied": found.stored_though_tied,
    }
    return {kind: names for kind, names in kinds.items() if names}
