"""What fits where, on an engine whose memory can be added up by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.cost.memory import LONGEST, STEP, _largest, fits, longest_context, memory, spread
from weigh.cost.run.split import Split
from weigh.types import Device, Engine, Figure, Inventory, Job, Model, Why, Workload, counted, total

DEVICE = Device("d", "d", "d", "consumer")
JOB = Job(Model(Inventory("m", "config", "hf"), "llama", "llama"), (), Workload(context=1024), DEVICE)


def around(value: float, below: float, above: float, basis: str = "derived") -> Figure:
    return Figure(value, value - below, value + above, "B", basis, Why("given"))  # type: ignore[arg-type]


def engine(*, per_token: int = 10, weights: int = 1000, spread: int = 0, driver: int = 100) -> Engine:
    return Engine(
        id="sum",
        name="an engine to add up by hand",
        dialect="hf",
        state_codecs=("f16",),
        refuses=lambda model, device: None,
        weights=lambda job: {"a": counted(weights, "B", "a"), "b": counted(7, "B", "b")},
        state=lambda job: counted(per_token * job.workload.context * job.workload.batch, "B", "state"),
        activations=lambda job: {"compute": around(50, spread, 2 * spread)},
        overhead=lambda job: around(driver, spread, spread, "assumed"),
        source="this file",
    )


# ------------------------------------------------------------------------------------------------------- sums


def test_figures_of_different_units_are_never_added() -> None:
    with pytest.raises(ValueError, match="cannot add"):
        total({"bytes": counted(1, "B", "x"), "seconds": counted(1, "s", "x")}, "x + x")


def test_the_total_adds_the_ends_and_takes_the_weakest_basis() -> None:
    needed = memory(JOB, engine(spread=20))
    assert needed.weights.value == 1007
    assert needed.total.value == 1007 + 10 * 1024 + 50 + 100
    assert needed.total.low == needed.total.value - 20 - 20
    assert needed.total.high == needed.total.value + 40 + 20
    assert needed.total.basis == "assumed"
    assert needed.weights.basis == "counted"
    assert dict(needed.total.why.inputs) == {"weights": 1007, "state": 10240, "activations": 50, "overhead": 100}


@given(st.integers(2, 64))
def test_copies_of_the_whole_model_share_the_sequences_and_each_device_holds_all_of_it(copies: int) -> None:
    job = replace(JOB, workload=replace(JOB.workload, batch=65))
    many = spread(job, engine(spread=20), Split(copies=copies))
    each = -(-65 // copies)
    assert many.fullest.state.value == 10 * 1024 * each
    assert many.fullest.weights == memory(JOB, engine()).weights
    assert many.total.value == copies * many.fullest.total.value
    assert many.total.high == copies * many.fullest.total.high


# ------------------------------------------------------------------------------------------------------- fits


@pytest.mark.parametrize(
    ("capacity", "verdict"),
    [(None, "uncertain"), (89, "no"), (90, "uncertain"), (109, "uncertain"), (110, "yes"), (1e18, "yes"), (0, "no")],
)
def test_it_fits_if_the_high_end_does_and_does_not_if_the_low_end_does_not(
    capacity: float | None, verdict: str
) -> None:
    assert fits(around(100, 10, 10), capacity) == verdict


# -------------------------------------------------------------------------------------------- longest context


def test_without_a_capacity_there_is_no_longest_context() -> None:
    assert longest_context(JOB, engine(), None, 4096) is None


def test_what_keeps_nothing_has_no_longest_context() -> None:
    assert longest_context(JOB, engine(per_token=0), 1e9, 4096) is None


def test_where_the_weights_alone_do_not_fit_no_context_does() -> None:
    longest = longest_context(JOB, engine(), 500, 4096)
    assert longest is not None
    assert (longest.low, longest.value, longest.high) == (0, 0, 0)


def test_the_trained_context_binds_where_memory_would_allow_more() -> None:
    longest = longest_context(JOB, engine(), 1e12, 3000)
    assert longest is not None
    assert longest.value == 3000
    assert "trained" in longest.why.formula


def test_without_a_trained_context_the_search_ends_somewhere() -> None:
    longest = longest_context(JOB, engine(), 1e30, None)
    assert longest is not None
    assert longest.value == LONGEST


@given(
    per_token=st.integers(1, 1000),
    capacity=st.integers(0, 5_000_000),
    trained=st.integers(1, 20_000),
    batch=st.integers(1, 8),
    copies=st.integers(1, 4),
)
def test_the_longest_context_fits_and_the_next_step_does_not(
    per_token: int, capacity: int, trained: int, batch: int, copies: int
) -> None:
    runtime = engine(per_token=per_token, spread=30)
    job = replace(JOB, workload=replace(JOB.workload, batch=batch))
    longest = longest_context(job, runtime, capacity, trained, Split(copies=copies))
    assert longest is not None
    assert longest.low <= longest.value <= longest.high <= trained

    def needed(context: float) -> Figure:
        work = replace(job.workload, context=int(context))
        return memory(replace(job, workload=work), runtime, Split(copies=copies)).total

    for context, end in ((longest.low, "high"), (longest.value, "value"), (longest.high, "low")):
        if context:
            assert getattr(needed(context), end) <= capacity
        if context < trained:
            # One token is tried alone: below the first step there is nothing between it and none.
            following = 1 if context == 0 else min(trained, (int(context) // STEP + 1) * STEP)
            assert getattr(needed(following), end) > capacity


@given(
    st.lists(st.integers(0, 1000), min_size=40, max_size=40),
    st.integers(0, 45_000),
    st.integers(1, 40 * STEP - 1),
    st.integers(1, 12_000),
)
def test_the_search_by_lines_finds_what_asking_every_context_would(
    rises: list[int], capacity: int, limit: int, known: int
) -> None:
    sums = [sum(rises[: place + 1]) for place in range(len(rises))]

    def needed(context: int) -> float:
        # Each stretch of STEP tokens, the last context of it included, needs as much.
        return sums[min((context - 1) // STEP, len(sums) - 1)]

    fitting = [context for context in (1, *range(STEP, limit, STEP), limit) if needed(context) <= capacity]
    assert _largest(needed, capacity, limit, known) == max(fitting, default=0)
