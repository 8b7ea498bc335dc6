"""Checkpoints: refused numbers, their size by hand, and the best interval against its neighbours and a simulation."""

from __future__ import annotations

import random

import pytest

from weigh.commands.source import load
from weigh.cost.params import count
from weigh.cost.train.checkpoints import best_interval, checkpoints, size, useful_share
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.types import WeighError

SAVED = size(load("gpt2"), find_optimizer("adamw"), find_precision("bf16"))


@pytest.mark.parametrize(("speed", "failures"), [(0, None), (-1, None), (None, 1), (1, 0), (float("nan"), None)])
def test_numbers_that_tell_nothing_are_refused(speed: float | None, failures: float | None) -> None:
    with pytest.raises(WeighError) as caught:
        checkpoints(SAVED, speed, failures)
    assert (caught.value.rule, caught.value.exit_code) == ("CHECKPOINT-RATE", 2)


def test_size_is_master_and_states_with_or_without_the_parameters() -> None:
    parameters = count(load("gpt2")).total
    assert (SAVED.low, SAVED.value) == (12 * parameters, 14 * parameters)


def test_the_best_interval_is_near_the_best_of_the_exact_share() -> None:
    write, between = 60.0, 28_800.0
    best = best_interval(write, between)
    assert best == pytest.approx(1859, abs=1)
    at_best = useful_share(best, write, between)
    assert all(useful_share(best * factor, write, between) < at_best for factor in (0.5, 0.8, 1.3, 2))


def test_the_useful_share_is_that_of_a_simulation() -> None:
    interval, write, between, draw = 1800.0, 120.0, 7200.0, random.Random(5)
    work = clock = 0.0
    failure = draw.expovariate(1 / between)
    restarting = 0.0
    while work < 20_000 * interval:
        need = restarting + interval + write
        if failure >= need:
            failure -= need
            clock, work, restarting = clock + need, work + interval, 0.0
        else:
            clock, failure, restarting = clock + failure, draw.expovariate(1 / between), write
    assert work / clock == pytest.approx(useful_share(interval, write, between), rel=0.02)


def test_one_that_never_ends_leaves_nothing() -> None:
    assert useful_share(1e9, 1e9, 1.0) == 0
