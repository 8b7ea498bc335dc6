"""Groups of a model's parts that a stage holds, and how many of each: layers that are alike count as one kind.

What a layer takes is then computed once a kind, however deep the model is, and a stage is a sum of kinds times counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weigh.cost.train.layout import Layout
from weigh.cost.train.model_states import stage_of
from weigh.numbers import Number
from weigh.once import once
from weigh.types import Model, Part

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that lie together: one layer of a kind, or one part outside of the layers."""

    parts: tuple[Part, ...]
    layers: tuple[int, ...] = ()
    """Which layers are of the kind; none outside of them."""
    behind: bool = False
    """Outside of the layers, and on the last stage instead of the first."""
    piped: bool = True
    """As it is where there are several stages; a tied head is none where there is one."""

    @property
    def table(self) -> bool:
        """Outside of the layers and before them."""
        return not self.layers and not self.behind


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of every layout."""

    number: Number
    exists: Array
    """Where there are enough stages for it to be one more."""
    times: tuple[Array, ...]
    """How many there are of each group, in the order of `groups`."""


@once(256)
def groups(model: Model) -> tuple[Group, ...]:
    """Kinds of layers, which have the same parts in the same order; tables; what comes behind, in both its forms."""
    layers: dict[int, list[Part]] = {}
    found: list[Group] = []
    piped = Layout(pp=2)
    for part in model.parts:
        if part.layer is not None:
            layers.setdefault(part.layer, []).append(part)
        elif stage_of(part, model, piped) == 0:
            found.append(Group((part,)))
        else:
            found += [Group((part,), behind=True), Group((part,), behind=True, piped=False)]
    alike: dict[Any, list[int]] = {}
    for layer, held in layers.items():
        alike.setdefault(tuple((part.kind, part.dimensions) for part in held), []).append(layer)
    return (*(Group(tuple(layers[same[0]]), tuple(same)) for same in alike.values()), *found)


def stages(model: Model, layouts: Layout) -> tuple[Stage, ...]:
    """The first, the second and the last stage of many layouts: the others hold what the second does."""
    pp = np.asarray(layouts.pp)
    pairs, where = distinct(pp, np.asarray(layouts.interleave))
    numbers = (0, 1, pp - 1)
    exists = (pp >= 1, pp > 2, pp > 1)
    times: list[list[Array]] = [[], [], []]
    for group in groups(model):
        counted = _counted(group.layers, pairs, model.dimensions["layers"]) if group.layers else None
        for stage, number in enumerate(numbers):
            if counted is not None:
                times[stage].append(counted[stage][where])
            elif group.table:
                times[stage].append(np.asarray(number == np.zeros_like(pp), dtype=np.int64))
            else:
                times[stage].append(((number == pp - 1) & ((pp > 1) == group.piped)).astype(np.int64))
    return tuple(Stage(number, exists[i], tuple(times[i])) for i, number in enumerate(numbers))


def _counted(layers: tuple[int, ...], pairs: list[tuple[int, ...]], depth: int) -> Array:
    """Layers of a kind on the first, second and last stage, for each pair of pp and interleave."""
    found = np.empty((3, len(pairs)), dtype=np.int64)
    for column, (pp, chunks) in enumerate(pairs):
        lies = np.array(layers) // (depth // (pp * chunks)) % pp
        found[:, column] = [np.count_nonzero(lies == number) for number in (0, 1, pp - 1)]
    return found


def distinct(*columns: Array) -> tuple[list[tuple[int, ...]], Array]:
    """The different rows of these columns, and for every entry which of them it is."""
    together = np.zeros(columns[0].shape, dtype=np.int64)
    for column in columns:
        together = together * (int(column.max(initial=0)) + 1) + column
    _, first, where = np.unique(together, return_index=True, return_inverse=True)
    rows = zip(*(column.reshape(-1)[first].tolist() for column in columns), strict=True)
    return list(rows), where.reshape(columns[0].shape)
