"""From the objects of a checkpoint to tensors: which of them are the model's, where each lies, and what is shared.

Which tensors are the model's: if the checkpoint is a dictionary and one of `MODEL_KEYS` leads to tensors, those below
the first such key (and so on inside); else all but those below `TRAINING_KEYS`. What is left out is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from weigh.formats.pytorch_values import Array, Budget, Instance, Sparse, View
from weigh.types import Piece, Tensor

MODEL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params")
TRAINING_KEYS = frozenset((
    "optimizer", "optimizers", "optimizer_state_dict", "optimizer_state", "optimizer_states", "optim", "opt",
    "scheduler", "schedulers", "scheduler_state_dict", "lr_scheduler", "lr_schedulers", "lr_scheduler_state_dict",
    "scaler", "grad_scaler", "scaler_state_dict", "amp", "rng_state", "rng_states", "cuda_rng_state", "random_state",
    "torch_rng_state", "callbacks", "loops", "train_state", "args", "hyper_parameters", "extra_state",
))  # fmt: skip
OPTIMIZER_KEYS = frozenset(("state", "param_groups"))
"""What the state of an optimizer of torch has, under whatever name it was saved."""
TOO_MANY = 2**63
NUMPY = "NumPy arrays"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a storage lie."""

    offset: int
    nbytes: int


@dataclass(slots=True)
class Apart:
    """Tensors that are not the model's, below one key."""

    tensors: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a checkpoint holds."""

    tensors: tuple[Tensor, ...]
    shared: Mapping[str, str]
    """A tensor whose values lie wholly in another one's, and that one."""
    shared_tensors: Mapping[str, Tensor]
    """Each of them as it would be on its own."""
    apart: Mapping[str, Apart]
    quantized: tuple[str, ...]
    """Tensors whose scale and zero point are not among the values."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A tensor with the storage that it lies in."""

    tensor: Tensor
    storage: str
    dense: bool
    """Its values fill the bytes from its first to its last."""
    quantized: bool


def arrange(root: Any, places: Mapping[str, Place], budget: Budget) -> Found:
    """The tensors below `root`, an interpreted pickle.

    Errors: PT-EMPTY, PT-DEPTH, PT-STORAGE, PT-BOUNDS, PT-PRODUCT, PT-TWICE, and PT-TENSORS and PICKLE-BUDGET (exit 5).
    """
    apart: dict[str, Apart] = {}
    chosen = _chosen(root, apart, budget)
    placed: list[_Placed] = []
    names: set[str] = set()
    for name, view in _views(chosen, "", budget, 0, set()):
        if isinstance(view, Array):
            apart.setdefault(NUMPY, Apart()).tensors += 1
            continue
        if name in names:
            raise budget.wrong(f"two tensors have the name {name[:200]!r}", "PT-TWICE")
        names.add(name)
        placed.append(_place(name, view, places, budget))
        if len(placed) > budget.limits.tensors:
            raise budget.passed(f"more than {budget.limits.tensors:,} tensors", "tensors")
    if not placed:
        held = f"; it holds {', '.join(map(repr, list(apart)[:4]))}" if apart else ""
        raise budget.wrong(f"the file holds no tensor of a model{held}", "PT-EMPTY")
    kept, shared = _kept(placed)
    others = {one.tensor.name: one.tensor for one in placed if one.tensor.name in shared}
    quantized = tuple(one.tensor.name for one in kept if one.quantized)
    warnings = tuple(_warnings(kept, shared, apart, places))
    return Found(tuple(one.tensor for one in kept), shared, others, apart, quantized, warnings)


# ------------------------------------------------------------------------------------------ which are the model's


def _chosen(root: Any, apart: dict[str, Apart], budget: Budget) -> Any:
    """The part of a checkpoint that is the model."""
    for _ in range(len(MODEL_KEYS)):
        if type(root) is not dict:
            return root
        if root.keys() >= OPTIMIZER_KEYS:
            root = {"optimizer": root}
        key = next((key for key in MODEL_KEYS if _holds_tensors(root.get(key), budget)), None)
        others = root if key is None else {name: value for name, value in root.items() if name != key}
        outside = {name: value for name, value in others.items() if key is not None or name in TRAINING_KEYS}
        for name, value in outside.items():
            _put_apart(str(name)[:100], value, apart, budget)
        if key is None:
            return {name: value for name, value in root.items() if name not in TRAINING_KEYS}
        root = root[key]
    return root


def _holds_tensors(value: Any, budget: Budget) -> bool:
    if type(value) not in (dict, Instance):
        return False
    return any(isinstance(view, View) for _, view in _views(value, "", budget, 0, set()))


def _put_apart(name: str, value: Any, apart: dict[str, Apart], budget: Budget) -> None:
    for _, view in _views(value, "", budget, 0, set()):
        tally = apart.setdefault(name, Apart())
        tally.tensors += 1
        if isinstance(view, View):
            tally.bytes += prod(view.shape) * view.dtype.width


def _views(value: Any, name: str, budget: Budget, depth: int, seen: set[int]) -> Iterator[tuple[str, View | Array]]:
    """Every tensor below a value with its path. A container that is met again is passed over."""
    if isinstance(value, View | Array):
        yield name or "tensor", value
        return
    if isinstance(value, Sparse):
        value = value.members
    members = value.attributes if type(value) is Instance else value
    if type(members) is dict:
        pairs: Iterable[tuple[Any, Any]] = members.items()
    elif type(members) in (list, tuple):
        pairs = enumerate(members)
    else:
        return
    if id(members) in seen:
        return
    seen.add(id(members))
    if depth >= budget.limits.json_nesting:
        raise budget.wrong(f"containers are nested deeper than {budget.limits.json_nesting}", "PT-DEPTH")
    for key, member in pairs:
        if isinstance(member, View | Array | Sparse | Instance | dict | list | tuple):
            word = key if type(key) is str else str(key) if type(key) in (int, bool) else type(key).__name__
            below = f"{name}.{word}" if name else word
            budget.spend(0, len(below))
            yield from _views(member, below, budget, depth + 1, seen)


# ---------------------------------------------------------------------------------------------------- where it lies


def _place(name: str, view: View, places: Mapping[str, Place], budget: Budget) -> _Placed:
    """The tensor's bytes, if its storage has them."""
    count = prod(view.shape)
    if count >= TOO_MANY:
        raise budget.wrong(f"the shape of {name[:200]!r} has 2^63 values or more", "PT-PRODUCT")
    dtype, storage = view.dtype, view.storage
    if storage is None:
        return _Placed(Tensor(name, view.shape, dtype.codec, (), view.index), "", True, dtype.quantized)
    place = places.get(storage.key)
    if place is None:
        raise budget.wrong(f"the storage of {name[:200]!r} is not in the file", "PT-STORAGE")
    if storage.count * storage.dtype.width != place.nbytes:
        message = f"the storage of {name[:200]!r} has {place.nbytes:,} bytes, {storage.count:,} numbers were told"
        raise budget.wrong(message, "PT-STORAGE", place.offset)
    span = 1 + sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides, strict=True))
    span = span * dtype.width if count else 0
    begin = view.offset * dtype.width
    if count and span > storage.length * storage.dtype.width - begin:
        raise budget.wrong(f"{name[:200]!r} reaches beyond its storage", "PT-BOUNDS", place.offset)
    offset = place.offset + storage.begin * storage.dtype.width + (begin if count else 0)
    if _in_order(view):
        piece = Piece(budget.file.name, offset, span)
    else:
        piece = Piece(budget.file.name, offset, span, "data", view.shape, view.strides)
    dense = span == count * dtype.width
    return _Placed(Tensor(name, view.shape, dtype.codec, (piece,), view.index), storage.key, dense, dtype.quantized)


def _in_order(view: View) -> bool:
    """Whether the values lie one behind the other in the order of the shape."""
    step = 1
    for extent, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if extent == 0:
            return True
        if extent != 1 and stride != step:
            return False
        step *= extent
    return True


# ------------------------------------------------------------------------------------------------- what is shared


def _kept(placed: list[_Placed]) -> tuple[list[_Placed], dict[str, str]]:
    """Those that are counted, and those whose bytes lie wholly in another one's: tied weights, slices, transposes."""
    storages: dict[str, list[int]] = {}
    for number, one in enumerate(placed):
        if one.tensor.nbytes:
            storages.setdefault(one.storage, []).append(number)
    shared: dict[str, str] = {}
    for numbers in storages.values():
        if len(numbers) > 1:
            _share([placed[number] for number in numbers], shared)
    return [one for one in placed if one.tensor.name not in shared], shared


def _share(members: list[_Placed], shared: dict[str, str]) -> None:
    """In one storage: by first byte, the longest first; only a tensor without gaps can hold another."""
    ordered = sorted(members, key=lambda one: (one.tensor.pieces[0].offset, -one.tensor.nbytes, not one.dense))
    holder, holder_end = "", -1
    same: dict[Piece, str] = {}
    for one in ordered:
        piece = one.tensor.pieces[0]
        end = piece.offset + piece.nbytes
        owner = holder if end <= holder_end else same.setdefault(piece, one.tensor.name)
        if owner != one.tensor.name:
            shared[one.tensor.name] = owner
        elif one.dense and end > holder_end:
            holder, holder_end = one.tensor.name, end


def _warnings(
    kept: list[_Placed], shared: Mapping[str, str], apart: Mapping[str, Apart], places: Mapping[str, Place]
) -> Iterator[str]:
    if shared:
        named = ", ".join(f"{name} in {owner}" for name, owner in list(shared.items())[:3])
        yield f"{_several(len(shared), 'tensor')} that share the bytes of another counted once: {named}"[:300]
    for name, tally in list(apart.items())[:8]:
        size = f", {tally.bytes:,} bytes" if tally.bytes else ""
        yield f"not counted as the model's: {name} ({_several(tally.tensors, 'tensor')}{size})"
    quantized = sum(one.quantized for one in kept)
    if quantized:
        yield f"{_several(quantized, 'tensor')} quantized by torch: values as stored, without scale and zero point"
    absent = sum(not one.tensor.pieces for one in kept)
    if absent:
        yield f"{_several(absent, 'tensor')} of a shape only (meta), without values in the file"
    repeated = sum(one.tensor.nbytes < prod(one.tensor.shape) for one in kept if one.tensor.pieces)
    if repeated:
        yield f"{_several(repeated, 'tensor')} repeat stored values (stride 0), and are counted in full"
    used = {one.storage for one in kept if one.storage}
    idle = sum(places[key].nbytes for key in used) - sum(one.tensor.nbytes for one in kept)
    if idle > 0:
        yield f"{idle:,} bytes of the storages belong to no tensor of the model"


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
