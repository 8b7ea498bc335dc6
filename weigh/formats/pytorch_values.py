"""What stands for the objects of a checkpoint while its pickle is interpreted: records, never the objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from weigh import files
from weigh.types import Limits, WeighError


@dataclass(frozen=True, slots=True)
class DType:
    """A type of numbers: our codec's id, or `unknown:` and torch's name; bytes a value."""

    codec: str
    width: int
    quantized: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers that lies outside the pickle, under a key."""

    key: str
    dtype: DType
    count: int
    """Numbers in the whole storage."""
    begin: int
    length: int
    """The part of it that is looked at: all, but in checkpoints of torch before 0.4."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A tensor: where its values lie in a storage. Without one (`meta`) it has a shape only."""

    storage: Storage | None
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    index: bool = False
    """It tells places in a sparse tensor, and is no parameter."""


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A sparse tensor: its plain tensors by their names."""

    members: dict[str, View]


@dataclass(slots=True, eq=False)
class Array:
    """A NumPy array inside the pickle itself. Its values are not kept."""

    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plain:
    """Something harmless that holds no tensor: a device, a layout, a NumPy number."""

    what: str


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a TorchScript class: its attributes."""

    kind: str
    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """What an import that is not allowed would have brought; only where the imports are listed."""

    name: str


@dataclass(frozen=True, slots=True)
class Import:
    """A name that a pickle asks for, and what calling it gives here."""

    module: str
    name: str
    call: Callable[[Budget, tuple[Any, ...]], Any] | None = None
    """None: it is a value or a type and is not called."""
    value: Any = None
    """What it stands for: a DType where it names one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An import that the pickle makes, where, and whether it is one of those allowed."""

    module: str
    name: str
    offset: int
    allowed: bool


@dataclass(slots=True)
class Budget:
    """What is left to spend on one file, all its pickles together."""

    file: files.OpenFile
    limits: Limits
    opcodes: int = 0
    objects: int = 0
    text: int = 0

    def spend(self, objects: int, text: int = 0) -> None:
        """Count objects and bytes of text. Error: PICKLE-BUDGET (exit 5)."""
        self.objects += objects
        self.text += text
        if self.objects > 4 * self.limits.keys:
            raise self.passed(f"more than {4 * self.limits.keys:,} objects", "keys")
        if self.text > self.limits.string_bytes:
            raise self.passed(f"more than {self.limits.string_bytes:,} bytes of text", "string_bytes")

    def passed(self, what: str, limit: str) -> WeighError:
        """The error where a limit is passed."""
        message = f"the pickle makes {what}"
        return WeighError(message, rule="PICKLE-BUDGET", path=self.file.path, hint=files.lift(limit), exit_code=5)

    def wrong(self, message: str, rule: str = "PICKLE-VALUE", offset: int | None = None) -> WeighError:
        """The error where the pickle says what no checkpoint says."""
        return WeighError(message, rule=rule, path=self.file.path, offset=offset)
