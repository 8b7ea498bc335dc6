"""Seconds of a step out of what was measured on a device: amounts of work x seconds a unit, and how units are found.

An engine says in its `amounts` what a step does; `fitted` finds the seconds a unit from timed steps whose amounts are
known, and `seconds` predicts others. Floats and NumPy arrays go through the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Number = Any
READ, MULTIPLY = "read ", "multiply "
"""Of a codec: a step takes the longer of the two, since a processor reads ahead while it multiplies."""


def larger(one: Number, other: Number) -> Number:
    """The larger of two, entry by entry where one of them is an array."""
    return (one + other + abs(one - other)) / 2


def terms(amounts: Mapping[str, Number], unit_s: Mapping[str, float]) -> dict[str, Number]:
    """Seconds of each kind of work: amount x seconds a unit, and of a codec the longer of reading and multiplying.

    Errors: KeyError with the kind of work that was not measured, where there is any of it.
    """
    found: dict[str, Number] = {}
    for name in amounts:
        codec = name.removeprefix(READ)
        if name.startswith(MULTIPLY):
            continue
        if codec != name:
            multiply = MULTIPLY + codec
            found[codec] = larger(amounts[name] * unit_s[name], amounts[multiply] * unit_s[multiply])
        else:
            found[name] = amounts[name] * unit_s[name]
    return found


def seconds(amounts: Mapping[str, Number], unit_s: Mapping[str, float]) -> Number:
    """The sum of `terms`."""
    return sum(terms(amounts, unit_s).values())


def fitted(rows: Sequence[Mapping[str, float]], measured: Sequence[float]) -> dict[str, float]:
    """Seconds a unit, none below 0, with the least sum of squared relative errors over the rows.

    Each row is a step's amounts, without those that do not decide its time. Kinds whose best value is negative are
    taken as 0 one after the other, the most negative first. Of kinds that always come together one gets all.
    Errors: numpy's LinAlgError where a number is not finite.
    """
    import numpy as np

    names = sorted({name for row in rows for name in row})
    times = np.asarray(measured, float)
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / times[:, None]
    scale = table.max(axis=0)
    kept = [place for place in range(len(names)) if scale[place] > 0]
    while kept:
        part = table[:, kept] / scale[kept]
        values = np.linalg.lstsq(part, np.ones(len(rows)), rcond=None)[0]
        if values.min() >= 0:
            break
        kept.pop(int(values.argmin()))
    else:
        values = np.zeros(0)
    found = dict.fromkeys(names, 0.0)
    found.update({names[place]: float(value / scale[place]) for place, value in zip(kept, values, strict=True)})
    return found
