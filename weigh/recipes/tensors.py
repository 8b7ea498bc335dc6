"""The tensors that a recipe decides on: those of the model's file, or those that a file of it would hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from weigh.families import FAMILIES
from weigh.families.audit import audit, promises
from weigh.families.names import stored
from weigh.types import Family, Model, Part, Role, Slot, WeighError

Names = Literal["hf", "ggml"]

_DTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor, before a recipe touches it."""

    name: str
    shape: tuple[int, ...]
    role: Role
    """Of its first slot, where several lie in one tensor."""
    layer: int | None
    inputs: int
    """Length of a row of the matrix, along which codes are packed."""
    outputs: int
    codec: str
    """What it is stored in where no recipe touches it."""


def tensors(model: Model, dialect: Names) -> tuple[Stored, ...]:
    """The tensors under the names of a dialect: from the file where it speaks it, else from the configuration.

    A tied tensor is there only if the file stores it. WeighError RECIPE-FAMILY where the configuration is not
    understood or the family has no names in that dialect.
    """
    family = next((family for family in FAMILIES if family.id == model.family), None)
    if model.inventory.tensors and model.inventory.dialect == dialect:
        return tuple(_of_file(model, family))
    if family is None or not model.parts:
        if model.refusal is not None:
            raise model.refusal
        raise WeighError("what the tensors of this model are for is not known", rule="RECIPE-FAMILY")
    found = tuple(_promised(model, family, dialect))
    if not found:
        reader = "GGUF" if dialect == "ggml" else "Hugging Face"
        raise WeighError(
            f"the tensors of `{model.model_type}` have no names in {reader} files",
            rule="RECIPE-FAMILY",
            hint="name a recipe of another engine; `weigh recipes` lists them",
        )
    return found


def names(model: Model) -> Names:
    """The dialect of the model's own file; Hugging Face's for a configuration."""
    return "ggml" if model.inventory.dialect == "ggml" else "hf"


def dtype(model: Model) -> str:
    """The floating type that the configuration names; bf16 where it names none."""
    configuration = model.inventory.configuration or {}
    said = configuration.get("dtype") or configuration.get("torch_dtype")
    return _DTYPES.get(str(said), "bf16")


def _untouched(model: Model, dialect: Names, role: Role, name: str) -> str:
    """What a tensor of a configuration alone is stored in where nothing quantizes it.

    In GGUF that is f32: what `llama-quantize` leaves alone (norms, biases, routers, tables of positions) is what
    llama.cpp's converter writes as f32 (conversion/base.py, prepare_tensors).
    """
    if role == "buffer":
        return "i64" if name.endswith("num_batches_tracked") else "f32"
    return "f32" if dialect == "ggml" else dtype(model)


def _promised(model: Model, family: Family, dialect: Names) -> Iterator[Stored]:
    for promise in promises(model, family, dialect):
        if promise.optional:
            continue
        part, slot = promise.slots[0]
        outputs, inputs = _matrix(promise.shape, transposed=_is_transposed(family, dialect, promise.slots[0]))
        codec = _untouched(model, dialect, slot.role, promise.name)
        yield Stored(promise.name, promise.shape, slot.role, part.layer, inputs, outputs, codec)


def _of_file(model: Model, family: Family | None) -> Iterator[Stored]:
    dialect = model.inventory.dialect
    sideways: set[str] = set()
    if family is not None and model.parts and dialect == "hf":
        for promise in promises(model, family, dialect):
            if _is_transposed(family, dialect, promise.slots[0]):
                sideways |= {promise.name, *(promise.name.removeprefix(prefix) for prefix in family.prefixes)}
    for holding in audit(model).holdings:
        tensor, share = holding.tensor, holding.shares[0]
        outputs, inputs = _matrix(tensor.shape, transposed=tensor.name in sideways)
        yield Stored(tensor.name, tensor.shape, share.role, share.layer, inputs, outputs, tensor.codec)


def _is_transposed(family: Family, dialect: str, member: tuple[Part, Slot]) -> bool:
    part, slot = member
    named = stored(family, dialect, part, slot)
    return named is not None and named[1]


def _matrix(shape: tuple[int, ...], *, transposed: bool) -> tuple[int, int]:
    """(outputs, inputs); a vector is a single row."""
    if len(shape) < 2:
        return 1, prod(shape)
    return (shape[-1], shape[-2]) if transposed else (shape[-2], shape[-1])
