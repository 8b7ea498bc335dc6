"""The search: what cannot be, the same numbers as one layout's own, and that nothing legal is passed over."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from weigh.commands.setting import locate
from weigh.commands.source import load
from weigh.cost.train.choices import Block, choices, divisors, ways
from weigh.cost.train.efficiency import framework_of
from weigh.cost.train.layout import RECOMPUTES, Layout, Training, refusals
from weigh.cost.train.many import loads, needs, passes, seconds, stocks
from weigh.cost.train.memory import memory
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.search import Found, Task, batch_for, fitting, search, steps
from weigh.cost.train.step import step
from weigh.types import Cluster, WeighError

ADAMW, BF16 = find_optimizer("adamw"), find_precision("bf16")


def task(name: str, on: str, batch: int, sequence: int = 2048, **fixed: Any) -> Task:
    place = locate(on)
    capacity = None if place.capacity is None else place.capacity / place.cluster.count
    return Task(load(name), Training(batch, sequence), place.cluster, capacity, ADAMW, BF16, fixed)


# --------------------------------------------------------------------------------------------------- failures


def test_a_prime_number_of_devices_has_no_layout_and_the_nearest_that_has_is_named() -> None:
    with pytest.raises(WeighError) as caught:
        search(task("gpt2", "a100x1021", 1024))
    assert caught.value.rule == "PLAN-NONE"
    assert caught.value.exit_code == 2
    assert "of 4 ways to divide them 1 do not divide the heads, 1 do not divide the layers" in caught.value.message
    assert caught.value.hint == "768 devices can be divided"


def test_a_batch_that_does_not_divide_is_counted_as_such() -> None:
    with pytest.raises(WeighError) as caught:
        search(task("gpt2", "a100x4", 3, tp=1, pp=1, cp=1))
    assert caught.value.rule == "PLAN-NONE"
    assert "do not divide the batch" in caught.value.message


def test_fields_that_no_layout_has_leave_none() -> None:
    with pytest.raises(WeighError) as caught:
        search(task("gpt2", "a100x8", 16, tp=3))
    assert caught.value.rule == "PLAN-NONE"
    assert "of 0 ways" in caught.value.message


def test_where_nothing_fits_the_smallest_is_told_and_what_it_lacks() -> None:
    found = search(task("gpt-3-175b", "a100x8", 64))
    assert found.rows == ()
    assert (found.sure, found.faster, found.fitting) == (None, None, 0)
    assert found.smallest == found.near[0]
    assert found.smallest.needed > 80 * 2**30
    assert [one.needed for one in found.near] == sorted(one.needed for one in found.near)


def test_a_device_without_bandwidth_has_no_times_to_rank() -> None:
    bare = task("gpt2", "a100x2", 8)
    device = replace(bare.cluster.device, memory_bandwidth=None)
    with pytest.raises(WeighError) as caught:
        search(replace(bare, cluster=Cluster(device, 2)))
    assert caught.value.rule == "TRAIN-DEVICE"


# ------------------------------------------------------------------------------------------------ enumeration


def test_divisors_and_ways() -> None:
    assert divisors(1) == [1]
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]
    assert len(ways(1024)) == 286, "10 factors of two over four degrees: 13! / (10! 3!)"
    assert all(tp * pp * cp * dp == 24 for tp, pp, cp, dp in ways(24))


def every(model_name: str, training: Training, devices: int) -> set[Layout]:
    """All legal layouts by brute force, from the rules of one layout alone."""
    model, found = load(model_name), set()
    numbers = range(1, devices + 1)
    for tp, pp, cp, ep in product(numbers, numbers, numbers, (1, 2, 4, 8)):
        if devices % (tp * pp * cp):
            continue
        dp = devices // (tp * pp * cp)
        for microbatch, chunks, zero, rows in product(
            range(1, training.batch + 1), range(1, model.dimensions["layers"] + 1), range(4), (False, True)
        ):
            schedule = "interleaved" if chunks > 1 else "1f1b"
            words = product(RECOMPUTES, (False, True))
            some = Layout(tp, pp, dp, cp, ep, zero, microbatch, chunks, schedule, "none", rows)
            if (zero and dp * cp == 1) or refusals(some, model, training, devices):
                continue
            found |= {replace(some, recompute=r, flash_attention=f) for r, f in words if (r, f) != ("selective", True)}
    return found


@pytest.mark.parametrize(("name", "batch", "devices"), [("gpt2", 4, 4), ("gpt2", 6, 6), ("mixtral-8x7b", 4, 4)])
def test_no_legal_layout_is_passed_over(name: str, batch: int, devices: int) -> None:
    training = Training(batch, 64)
    listed = choices(load(name), training, devices, {})
    found = [
        block.one(kernel, int(place))
        for block in listed.blocks
        for kernel in range(len(block.kernels))
        for place in np.flatnonzero(block.legal)
    ]
    assert len(found) == len(set(found)) == listed.legal
    assert set(found) == every(name, training, devices)


def test_what_is_given_stands() -> None:
    fixed = {"tp": 2, "recompute": "full", "zero": 1, "flash_attention": False, "sequence_parallel": True}
    found = search(task("gpt2", "a100x8", 64, **fixed))
    assert found.rows
    for one in found.rows:
        assert {name: getattr(one.layout, name) for name in fixed} == fixed


# ------------------------------------------------------------------------------------------- the same numbers


def evaluated(asked: Task, block: Block, kernel: int) -> tuple[Any, Any, Any]:
    """Seconds, bytes and their upper end of a block's layouts, at each place."""
    stocked, layouts = stocks(asked.model, block.layouts, asked.optimizer, asked.precision), block.taken(kernel)
    told = passes(asked.model, layouts, asked.training)
    needed = needs(asked.model, layouts, asked.training, stocked, told, asked.precision)
    took = seconds(asked.model, layouts, asked.training, asked.cluster.device, asked.precision, loads(stocked))
    return tuple(np.broadcast_to(one, block.legal.shape).reshape(-1) for one in (took, needed.value, needed.high))


@pytest.mark.parametrize(
    ("name", "on", "batch", "optimizer", "precision"),
    [
        ("gpt-3-175b", "a100x1024", 1536, "adamw", "bf16"),
        ("llama-3.1-70b", "h100x48", 96, "adamw-8bit", "fp8"),
        ("mixtral-8x7b", "a100x64", 128, "muon", "bf16"),
        ("gemma-3-1b", "h100x16", 64, "adafactor", "fp32"),
        ("gpt2", "a100x12", 24, "sgd", "bf16"),
    ],
)
def test_many_layouts_have_the_numbers_of_each(name: str, on: str, batch: int, optimizer: str, precision: str) -> None:
    asked = replace(task(name, on, batch), optimizer=find_optimizer(optimizer), precision=find_precision(precision))
    pick = random.Random(7)
    for block in choices(asked.model, asked.training, asked.cluster.count, {}).blocks:
        for kernel in range(len(block.kernels)):
            took, needed, high = evaluated(asked, block, kernel)
            for place in pick.sample(np.flatnonzero(block.legal).tolist(), 4):
                one = block.one(kernel, place)
                cached = framework_of(one) == "megatron"
                alone = memory(
                    asked.model, one, asked.training, asked.optimizer, asked.precision, cached=cached
                ).per_device
                time = step(asked.model, one, asked.training, asked.cluster.device, asked.optimizer, asked.precision)
                assert (needed[place], high[place]) == (alone.value, alone.high), one
                assert took[place] == pytest.approx(time.value, rel=1e-12), one


# ---------------------------------------------------------------------------------------------------- ranking


@pytest.fixture(scope="module")
def gpt3() -> Found:
    return search(task("gpt-3-175b", "a100x1024", 1536))


def test_rows_are_the_fastest_of_each_way_and_fit(gpt3: Found) -> None:
    times = [one.seconds for one in gpt3.rows]
    degrees = [(one.layout.tp, one.layout.pp, one.layout.cp, one.layout.dp) for one in gpt3.rows]
    assert times == sorted(times)
    assert len(set(degrees)) == len(degrees)
    assert all(one.needed <= 80 * 2**30 for one in gpt3.rows)


def test_every_way_is_accounted_for(gpt3: Found) -> None:
    assert gpt3.ways == len(gpt3.rows) + len(gpt3.near) + sum(gpt3.refused.values())
    assert gpt3.fitting < gpt3.legal


def test_what_stands_beside_the_winner_is_what_it_says(gpt3: Found) -> None:
    best = gpt3.rows[0]
    assert gpt3.sure is not None
    assert gpt3.sure.needed_high <= 80 * 2**30
    assert gpt3.sure.seconds >= best.seconds
    if gpt3.faster is not None:
        assert gpt3.faster.seconds < best.seconds
        assert gpt3.faster.needed > 80 * 2**30


def test_a_batch_of_about_four_million_tokens_that_the_devices_divide() -> None:
    assert batch_for(1024, 2048) == 2048
    assert batch_for(1000, 2048) == 2000
    assert batch_for(16_384, 8192) == 512
    assert batch_for(7, 2**23) == 1


def test_the_fewest_devices_are_found_by_going_up() -> None:
    assert steps()[:9] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    asked = task("llama-3.1-8b", "a100x1", 64, sequence=1024)
    assert fitting(asked) is None
    first = next(n for n in steps() if fitting(replace(asked, cluster=replace(asked.cluster, count=n))))
    assert first == 2
