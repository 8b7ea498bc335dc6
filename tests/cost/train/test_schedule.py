"""Schedules are complete, cannot deadlock, and cost what the literature's closed forms say."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.cost.train.schedule import ORDERS, Durations, Pipeline, Task, bubble, held, orders, play
from weigh.types import WeighError

stages = st.integers(1, 9)


@st.composite
def pipelines(draw: st.DrawFn, name: str) -> Pipeline:
    p = draw(stages)
    if name == "interleaved":
        return Pipeline(p, p * draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    return Pipeline(p, draw(st.integers(1, 24)))


every = pytest.mark.parametrize("name", ORDERS)


@every
@given(data=st.data())
def test_every_stage_does_every_task_once(name: str, data: st.DataObject) -> None:
    pipeline = data.draw(pipelines(name))
    for order in orders(name, pipeline):
        counts = Counter(order)
        assert set(counts.values()) == {1}
        kinds = Counter(task.work for task in order)
        assert kinds["forward"] == kinds["backward"] == pipeline.microbatches * pipeline.chunks
        assert kinds["weights"] == (pipeline.microbatches if name == "zero-bubble" else 0)


@every
@given(data=st.data(), send=st.sampled_from([0.0, 0.3]))
def test_no_schedule_deadlocks(name: str, send: float, data: st.DataObject) -> None:
    pipeline = data.draw(pipelines(name))
    played = play(orders(name, pipeline), pipeline, Durations(1, 1, 1, send))
    assert played.seconds >= max(played.busy)


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "interleaved"])
@given(data=st.data(), backward=st.sampled_from([1.0, 2.0, 2.5]))
def test_the_bubble_is_that_of_the_closed_form(name: str, backward: float, data: st.DataObject) -> None:
    pipeline = data.draw(pipelines(name))
    durations = Durations(1, backward)
    played = play(orders(name, pipeline), pipeline, durations)
    assert played.bubble == pytest.approx(bubble(name, pipeline, durations))


@given(p=st.integers(1, 8), more=st.integers(0, 12))
def test_zero_bubble_leaves_what_its_paper_says(p: int, more: int) -> None:
    pipeline = Pipeline(p, 2 * p + more)
    durations = Durations(1, 1, 1)
    played = play(orders("zero-bubble", pipeline), pipeline, durations)
    assert played.bubble == pytest.approx(bubble("zero-bubble", pipeline, durations), abs=1e-9)


@every
@given(data=st.data())
def test_what_a_stage_holds_is_that_of_the_closed_form(name: str, data: st.DataObject) -> None:
    pipeline = data.draw(pipelines(name))
    played = play(orders(name, pipeline), pipeline, Durations(1, 1, 1))
    assert list(played.held) == [held(name, pipeline, stage) for stage in range(pipeline.stages)]


def test_an_order_that_waits_for_itself_is_found() -> None:
    pipeline = Pipeline(2, 1)
    turned = [[Task("backward", 0), Task("forward", 0)], [Task("forward", 0), Task("backward", 0)]]
    with pytest.raises(WeighError) as caught:
        play(turned, pipeline, Durations())
    assert caught.value.rule == "SCHEDULE-DEADLOCK"
    assert "stage 0 at backward of microbatch 0" in caught.value.message


def test_sending_takes_its_time() -> None:
    pipeline = Pipeline(3, 1)
    assert play(orders("1f1b", pipeline), pipeline, Durations(1, 2, send=0.5)).seconds == 3 * 3 + 4 * 0.5


@pytest.mark.parametrize(
    ("name", "pipeline", "rule"),
    [
        ("interleaved", Pipeline(4, 6, 2), "SCHEDULE-ROUNDS"),
        ("1f1b", Pipeline(4, 8, 2), "SCHEDULE-CHUNKS"),
        ("2f2b", Pipeline(4, 8), "SCHEDULE-UNKNOWN"),
    ],
)
def test_what_does_not_go_is_refused(name: str, pipeline: Pipeline, rule: str) -> None:
    with pytest.raises(WeighError) as caught:
        orders(name, pipeline)
    assert caught.value.rule == rule


def test_a_pipeline_of_nothing_is_refused() -> None:
    with pytest.raises(WeighError):
        Pipeline(0, 1)
