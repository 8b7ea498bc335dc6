"""Fit the coefficients of a training step to measured steps, and say how well what was left out is predicted.

    python -m benchmarks.fit_training weigh/cost/train/efficiency.toml

Rows: those of the tables on step time in weigh/published that say `fitted = true`; their sources and licences stand
there. Of each generation and kind of framework the source with the most rows of dense models under an open licence is
fitted, up to 7 billion parameters where it has larger ones; every other source, and those larger sizes, are not fitted.
(Blackwell: its only source is fitted whole.) Not fitted is not unseen: the errors on torchtitan and on MPT of 13 to 70
billion parameters were looked at while terms, caps and intervals were chosen; those on Megatron-LM's two H100 rows were
not. Sum of |error| by least squares with changing weights, every coefficient from its floor on: what cannot
be hidden takes at least its ideal time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weigh.commands.source import load
from weigh.cost.train.efficiency import CLOCKED
from weigh.cost.train.layout import Layout, Training, parse
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.terms import TERMS, loads, terms
from weigh.devices import find
from weigh.families.identify import identify
from weigh.published import Row as Published
from weigh.published import Table, tables
from weigh.types import Inventory, Model
from weigh.writing import write_text

FLOORS = {**dict.fromkeys(TERMS, 1.0), "launches": 0.0, "stages": 0.2, "hidden": 0.0}
CEILINGS = {"optimizer": 1.5, "loading": 1.0, "hidden": 1.0}
"""An update runs over its arrays once, near the bandwidth of the memory: what it misses belongs to other terms.
What is hidden behind products cannot slow them by more than its own time; tokens are loaded at the link's speed."""
BETWEEN = 1.15
"""Factor by which the interval is wider, on either side, than left-out sizes of the same source need. Assumed:
what releases of a framework and machines differ by; it was chosen after the held-out rows had been seen."""
LEAST = 0.02
"""Errors below this weigh the same."""


@dataclass(frozen=True)
class Set:
    """What is fitted together: a generation under a framework; terms that are not free are those of the first set."""

    generation: str
    framework: str
    devices: tuple[str, ...]
    tables: tuple[str, ...]
    reference: str
    """Device whose power is the set's."""
    free: tuple[str, ...] = ()


SETS = (
    Set("ampere", "both", ("a100-sxm-80gb",), ("step-time-vtrain", "step-time-mpt-a100"), "a100-sxm-80gb", TERMS),
    Set("hopper", "pytorch", ("h100-sxm-80gb",), ("step-time-mpt-h100",), "h100-sxm-80gb",
        ("products", "flash", "elementwise", "launches", "hidden")),
    Set("hopper", "megatron", ("h100-sxm-80gb",), ("step-time-megatron-bridge",), "h100-sxm-80gb",
        ("products", "flash", "launches", "hidden")),
    Set("blackwell", "megatron", ("b200-sxm-180gb", "gb200", "gb300"), ("step-time-megatron-bridge",),
        "b200-sxm-180gb", ("products", "flash", "launches", "hidden")),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One measured step: its name, what is left out with it, ideal seconds by term, and seconds."""

    name: str
    source: str
    size: str
    device: str
    ideal: tuple[float, ...]
    seconds: float


@cache
def configured(text: str) -> Model:
    return identify(Inventory("published", "config", "hf", configuration=json.loads(text)))


def measured(table: Table, row: Published) -> Row:
    """The row with its ideal terms, computed from the arguments that a user would give."""
    given = row.given
    known = table.models.get(given["model"])
    model = load(given["model"]) if known is None else configured(json.dumps(known))
    names = ("recompute", "microbatch", "sequence_parallel", "flash_attention", "recompute_every")
    words: Layout = parse(given.get("parallel", ""))
    layout = Layout(**{**{name: getattr(words, name) for name in words.__slots__},
                       **{name: given[name] for name in names if name in given}})  # fmt: skip
    precision = find_precision(given.get("precision", "bf16"))
    device = find(given["on"]).device
    states = model_states(model, layout, 0, find_optimizer("adamw"), precision)
    training = Training(given["batch"], given["sequence"])
    ideal = terms(model, layout, training, device, precision, loads(model, layout, states, precision))
    size = row.name.split()[0]
    return Row(row.name, table.id, size, device.id, tuple(float(ideal[term]) for term in TERMS), row.measured)


def bounded(
    left: NDArray[np.float64], right: NDArray[np.float64], floors: NDArray[np.float64], ceilings: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Least squares with floors, one coefficient at a time until nothing moves."""
    gram, target = left.T @ left, left.T @ right
    found = floors.copy()
    for _ in range(2000):
        before = found.copy()
        for i, diagonal in enumerate(np.diag(gram)):
            if diagonal > 0:
                moved = found[i] + (target[i] - gram[i] @ found) / diagonal
                found[i] = min(max(floors[i], moved), ceilings[i])
        if np.abs(found - before).max() < 1e-7:
            break
    return found


def fit(rows: Sequence[Row], one: Set, first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients that make the sum of relative errors least; what is not free is the first set's."""
    free = np.array([term in one.free for term in TERMS])
    ideal = np.array([row.ideal for row in rows]) * speeds(rows, one) / np.array([[row.seconds] for row in rows])
    rest = ideal[:, ~free] @ first[~free]
    floors = np.array([FLOORS[term] for term in TERMS])[free]
    ceilings = np.array([CEILINGS.get(term, np.inf) for term in TERMS])[free]
    weights = np.ones(len(rows))
    for _ in range(15):
        found = bounded(ideal[:, free] * weights[:, None], weights * (1 - rest), floors, ceilings)
        weights = 1 / np.sqrt(np.maximum(np.abs(ideal[:, free] @ found + rest - 1), LEAST))
    whole = first.copy()
    whole[free] = found
    return whole


def speeds(rows: Sequence[Row], one: Set) -> NDArray[np.float64]:
    """1 / clock of the row's device in the terms that follow it, 1 in the others."""
    clocked = np.array([term in CLOCKED for term in TERMS])
    found = np.ones((len(rows), len(TERMS)))
    for i, row in enumerate(rows):
        found[i, clocked] = (watts(row.device) / watts(one.reference)) ** (-1 / 3)
    return found


def watts(device: str) -> float:
    """Power of the card a FLOP/s of its peak in 16 bit."""
    sheet = find(device).device
    if sheet.power_w is None:
        raise SystemExit(f"{device} states no power")
    return sheet.power_w.value / sheet.peak["bf16"].value


def ratios(rows: Sequence[Row], one: Set, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measured / predicted."""
    ideal = np.array([row.ideal for row in rows]) * speeds(rows, one)
    return np.array([row.seconds for row in rows]) / (ideal @ coefficients)


def left_out(rows: Sequence[Row], one: Set, first: NDArray[np.float64], by: str) -> NDArray[np.float64]:
    """Measured / predicted of all rows, each predicted from the rows of other sizes, or of other sources."""
    groups = sorted({getattr(row, by) for row in rows})
    if len(groups) < 2:
        return np.array([])
    found = []
    for group in groups:
        kept = [row for row in rows if getattr(row, by) != group]
        found.append(ratios([row for row in rows if getattr(row, by) == group], one, fit(kept, one, first)))
    return np.concatenate(found)


def rows_of(one: Set) -> list[Row]:
    chosen = [table for table in tables() if table.id in one.tables]
    found = [measured(table, row) for table in chosen for row in table.rows if row.fitted]
    return [row for row in found if row.device in one.devices]


def mean_error(found: NDArray[np.float64]) -> float:
    return float(np.abs(1 / found - 1).mean())


def main(target: Path) -> None:
    first = np.array([FLOORS[term] for term in TERMS])
    lines = [
        "# Times by which each term of a training step is longer than ideal. Written by benchmarks/fit_training.py."
    ]
    for one in SETS:
        rows = rows_of(one)
        coefficients = fit(rows, one, first)
        sizes, sources = left_out(rows, one, first, "size"), left_out(rows, one, first, "source")
        if one is SETS[0]:
            first = coefficients
        ends = np.quantile(sizes, [0.05, 0.95]) * [1 / BETWEEN, BETWEEN]
        own = ratios(rows, one, coefficients)
        lines += told(
            one, rows, coefficients, ends, {"fitted": own, "left_out_size": sizes, "left_out_source": sources}
        )
    write_text(target, "\n".join(lines) + "\n")
    print("\n".join(line for line in lines if not line.startswith('    "')))


def told(
    one: Set,
    rows: Sequence[Row],
    coefficients: NDArray[np.float64],
    ends: NDArray[np.float64],
    errors: dict[str, NDArray[np.float64]],
) -> list[str]:
    """The set as lines of the file."""
    sources = ", ".join(sorted({row.source for row in rows}))
    return [
        "",
        "[[sets]]",
        f'generation = "{one.generation}"',
        f'framework = "{one.framework}"',
        f"devices = [{', '.join(json.dumps(name) for name in one.devices)}]",
        f"watts = {watts(one.reference):.4e}",
        f'source = "benchmarks/fit_training.py on {len(rows)} rows of {sources} (weigh/published)"',
        f"low = {min(ends[0], 1):.3f}",
        f"high = {max(ends[1], 1):.3f}",
        *(f"{name}_mean_error = {mean_error(found):.3f}" for name, found in errors.items() if len(found)),
        f"free = [{', '.join(json.dumps(name) for name in one.free)}]",
        "rows = [",
        *(f'    "{row.source}: {row.name}",' for row in rows),
        "]",
        "",
        "[sets.coefficients]",
        *(f"{term} = {value:.3f}" for term, value in zip(TERMS, coefficients, strict=True)),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
