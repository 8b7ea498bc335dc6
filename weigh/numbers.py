"""Arithmetic that takes one number or a NumPy array of them through the same lines: a formula is written once.

One estimate puts numbers through a formula, a sweep whole arrays of contexts and batches. Integers stay exact.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Number: TypeAlias = Any
"""A number, or a NumPy array of them: one entry a point of a sweep."""


def larger(one: Number, other: Number) -> Number:
    """The larger of two, entry by entry where one of them is an array."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return max(one, other)
    import numpy as np

    return np.maximum(one, other)


def smaller(one: Number, other: Number) -> Number:
    """The smaller of two, entry by entry where one of them is an array."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return min(one, other)
    import numpy as np

    return np.minimum(one, other)


def up(value: Number, multiple: int) -> Number:
    """Rounded up to a multiple."""
    return -(-value // multiple) * multiple


def whole(value: Number) -> Number:
    """Rounded to the nearest integer, halves to the even one."""
    if isinstance(value, int | float):
        return round(value)
    import numpy as np

    return np.rint(value).astype(np.int64)


def least(value: Number) -> Number:
    """The smallest entry of an array; a number itself."""
    return value if isinstance(value, int | float) else value.min().item()


def chosen(condition: Number, yes: Number, no: Number) -> Number:
    """`yes` where the condition holds, `no` elsewhere; both are computed, so neither may divide by zero."""
    if not any(hasattr(value, "__array__") for value in (condition, yes, no)):
        return yes if condition else no
    import numpy as np

    return np.where(condition, yes, no)


def rounded_up(one: Number, other: Number) -> Number:
    """The quotient of whole numbers, rounded up: steps that a prompt takes, microbatches of a pipeline."""
    return -(-one // other)
