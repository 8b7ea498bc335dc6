"""Layouts that practitioners published: what the search finds is never slower, by our own model."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from weigh.commands.setting import locate
from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training, parse, refusals
from weigh.cost.train.memory import memory
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.search import Found, Task, search
from weigh.cost.train.step import step
from weigh.families.identify import identify
from weigh.types import Inventory, Model

ADAMW, BF16 = find_optimizer("adamw"), find_precision("bf16")
TABLES = sorted(Path(__file__).parent.glob("tables/layouts-*.toml"))


@dataclass(frozen=True)
class Row:
    name: str
    given: dict[str, Any]
    models: dict[str, Any]
    refused: str


def rows() -> list[Row]:
    found = []
    for path in TABLES:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        for row in table["rows"]:
            given = {**table["given"], **row["given"]}
            found.append(Row(row["name"], given, table.get("models", {}), row.get("refused", "")))
    return found


def model_of(row: Row) -> Model:
    name = row.given["model"]
    if name in row.models:
        return identify(Inventory(name, "config", "hf", configuration=row.models[name]))
    return load(name)


def layout_of(row: Row) -> Layout:
    words = {name: row.given[name] for name in ("microbatch", "recompute", "sequence_parallel") if name in row.given}
    return replace(parse(row.given["parallel"]), **words)


def asked(row: Row) -> Task:
    place = locate(row.given["on"])
    assert place.capacity is not None
    training = Training(row.given["batch"], row.given["sequence"])
    return Task(model_of(row), training, place.cluster, place.capacity / place.cluster.count, ADAMW, BF16, {})


@cache
def winners() -> dict[tuple[str, str, int], Found]:
    return {}


def found_for(row: Row) -> Found:
    key = (row.given["model"], row.given["on"], row.given["batch"])
    if key not in winners():
        winners()[key] = search(asked(row))
    return winners()[key]


@pytest.mark.parametrize("row", [row for row in rows() if not row.refused], ids=lambda row: row.name)
def test_the_winner_is_never_slower_than_the_published_layout(row: Row) -> None:
    task, layout = asked(row), layout_of(row)
    assert refusals(layout, task.model, task.training, task.cluster.count) == ()
    published = step(task.model, layout, task.training, task.cluster.device, ADAMW, BF16)
    best = found_for(row).rows[0]
    assert task.capacity is not None
    assert best.needed <= task.capacity
    assert best.seconds <= published.value * (1 + 1e-12)


@pytest.mark.parametrize("row", [row for row in rows() if not row.refused], ids=lambda row: row.name)
def test_a_published_layout_ran_and_so_may_not_be_said_not_to_fit(row: Row) -> None:
    task = asked(row)
    assert task.capacity is not None
    assert memory(task.model, layout_of(row), task.training, ADAMW, BF16).per_device.low <= task.capacity


@pytest.mark.parametrize("row", [row for row in rows() if row.refused], ids=lambda row: row.name)
def test_uneven_stages_are_refused_as_the_table_says(row: Row) -> None:
    task = asked(row)
    wrong = refusals(layout_of(row), task.model, task.training, task.cluster.count)
    assert row.refused in {one.rule for one in wrong}
