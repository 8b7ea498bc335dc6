"""What an optimizer keeps beside the parameters, tensor by tensor, and in which types a step holds what.

An optimizer is a function from a tensor's shape to bytes of state; a precision is four numbers a parameter. To add
one: a function and a row in OPTIMIZERS, or a row in PRECISIONS, with the page that says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from weigh.numbers import Number, chosen, rounded_up
from weigh.types import WeighError

OUTSIDE = frozenset({"embedding", "position", "head"})
"""Roles of matrices that Muon leaves to AdamW."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes a parameter."""

    id: str
    parameter: int
    """Of what the passes compute with."""
    gradient: int
    master: int
    """Of the copy that the optimizer moves; 0 where it moves the parameters themselves."""
    gradient_high: int
    """Of gradients where they are summed over microbatches in float32."""
    source: str


_ZERO_PAPER = "arXiv 1910.02054, section 3.1: 2 + 2 + 12 bytes for mixed-precision Adam"
_MEGATRON = "docs.nvidia.com/megatron-core, distributed optimizer: 18 bytes with float32 gradients"

PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision("fp32", 4, 4, 0, 4, "arXiv 1910.02054, section 3.1"),
    "bf16": Precision("bf16", 2, 2, 4, 4, f"{_ZERO_PAPER}; {_MEGATRON}"),
    # Parameters stay in 16 bit and are cast to 8 for each product: what is kept is that of bf16.
    "fp8": Precision("fp8", 2, 2, 4, 4, f"{_ZERO_PAPER}; {_MEGATRON}"),
}


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What it keeps for a tensor, in bytes, by the tensor's shape (outermost first) and role.

    The lengths of a shape may be arrays, one entry a layout."""

    id: str
    name: str
    state: Callable[[tuple[Number, ...], str], Number]
    source: str


def _per_value(each: int) -> Callable[[tuple[Number, ...], str], Number]:
    def state(shape: tuple[Number, ...], _role: str) -> Number:
        return each * prod(shape)

    return state


def adafactor(shape: tuple[Number, ...], _role: str) -> Number:
    """Sums over rows and over columns of the squares of each matrix, 4 (r + c) bytes; of a vector all squares.

    Leading axes (experts) count matrices. Without momentum, as published. Source: arXiv 1804.04235, section 3.
    """
    if len(shape) < 2:
        return 4 * prod(shape)
    *stack, rows, columns = shape
    return 4 * prod(stack) * (rows + columns)


def muon(shape: tuple[Number, ...], role: str) -> Number:
    """One momentum of each hidden matrix, 4 bytes a value; vectors, tables and the head are AdamW's, 8 bytes.

    Source: kellerjordan.github.io/posts/muon, as told in github.com/microsoft/DeepSpeed/commit/67b365a.
    """
    return (4 if len(shape) >= 2 and role not in OUTSIDE else 8) * prod(shape)


def adamw_8bit(shape: tuple[Number, ...], _role: str) -> Number:
    """Two moments of a byte a value, and a float32 for each block of 256; tensors below 4,096 values stay at 8 bytes.

    Source: arXiv 2110.02861 (blocks of 2,048); the least size is the `min_8bit_size` of bitsandbytes' optimizers.
    Unverified: that its blocks are of 256 by now, which makes 1.6 % of the state, and 0.2 % in the paper.
    """
    values = prod(shape)
    return chosen(values < 4096, 8 * values, 2 * (values + 4 * rounded_up(values, 256)))


OPTIMIZERS: Mapping[str, Optimizer] = {
    one.id: one
    for one in (
        Optimizer("sgd", "SGD", _per_value(0), "keeps nothing"),
        Optimizer("momentum", "SGD with momentum", _per_value(4), "one float32 a value"),
        Optimizer("adam", "Adam", _per_value(8), "arXiv 1412.6980: two float32 a value"),
        Optimizer("adamw", "AdamW", _per_value(8), "arXiv 1711.05101: two float32 a value"),
        Optimizer("adafactor", "Adafactor", adafactor, "arXiv 1804.04235, section 3"),
        Optimizer("lion", "Lion", _per_value(4), "arXiv 2302.06675: one float32 a value"),
        Optimizer("muon", "Muon", muon, "github.com/microsoft/DeepSpeed/commit/67b365a"),
        Optimizer("adamw-8bit", "AdamW, states of 8 bit", adamw_8bit, "arXiv 2110.02861; bitsandbytes"),
    )
}


def find_optimizer(name: str) -> Optimizer:
    """By its id. Error: OPTIMIZER-UNKNOWN (exit code 2)."""
    if name.lower() not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise WeighError(f"no optimizer `{name}`", rule="OPTIMIZER-UNKNOWN", hint=f"known: {known}", exit_code=2)
    return OPTIMIZERS[name.lower()]


def find_precision(name: str) -> Precision:
    """By its id. Error: PRECISION-UNKNOWN (exit code 2)."""
    if name.lower() not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise WeighError(f"no precision `{name}`", rule="PRECISION-UNKNOWN", hint=f"known: {known}", exit_code=2)
    return PRECISIONS[name.lower()]
