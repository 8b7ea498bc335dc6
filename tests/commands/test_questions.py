"""Inverse questions: the answer meets everything, the next larger does not, and the change that is named helps."""

from __future__ import annotations

from typing import Any

import pytest

from weigh.commands import cost
from weigh.commands.questions import QUESTIONS, run
from weigh.options import SEARCH
from weigh.types import WeighError

QUICK: dict[str, Any] = {"on": "rtx-4090", "weights": "q4_k_m", "context": 8192}


def asked(question: str, name: str = "llama-3.1-8b", **options: Any) -> dict[str, Any]:
    return run(name, question, **options).result


def fits(**options: Any) -> str:
    answer: str = cost.run("llama-3.1-8b", **options).result["fits"]
    return answer


def test_what_is_no_question_or_no_model_is_refused() -> None:
    with pytest.raises(WeighError) as refused:
        asked("largest-model", on="8GB")
    assert (refused.value.rule, refused.value.exit_code) == ("FIND", 2)
    assert "cheapest" in refused.value.hint
    with pytest.raises(WeighError) as unknown:
        asked("cheapest", name="nonesuch")
    assert unknown.value.exit_code == 4


def test_where_nothing_meets_it_the_answer_says_why() -> None:
    small = asked("largest-batch", on="2GB")
    assert small["answer"] is None
    assert small["binds"] == "memory"
    slow = asked("largest-batch", **QUICK, max_tpot=0.001)
    assert slow["answer"] is None
    assert slow["binds"] == "tpot"
    nowhere = asked("fewest-devices", name="gpt-3-175b", on="rtx-2060", weights="f32")
    assert nowhere["answer"] is None
    assert len(nowhere["rows"]) == 7


def test_a_target_of_a_device_without_known_speed_is_not_met() -> None:
    found = asked("largest-batch", on="16GB", weights="q4_k_m", max_tpot=100)
    assert found["answer"] is None
    assert found["binds"] == "unknown"


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    found = asked("largest-batch", **QUICK)
    assert found["binds"] == "memory"
    assert fits(**QUICK, batch=found["answer"]) == "yes"
    assert fits(**QUICK, batch=found["answer"] + 1) != "yes"


def test_a_target_of_time_binds_before_the_memory_does() -> None:
    free, bound = asked("largest-batch", **QUICK), asked("largest-batch", **QUICK, max_ttft=200)
    assert 0 < bound["answer"] < free["answer"]
    assert bound["binds"] == "ttft"
    over = cost.run("llama-3.1-8b", **QUICK, batch=bound["answer"] + 1).result["latency"]["ttft"]
    assert over.value > 0.2


def test_the_largest_context_fits_and_the_change_that_is_named_makes_it_longer() -> None:
    options = {"on": "12GB", "weights": "q8_0"}
    found = asked("largest-context", **options)
    assert fits(**options, context=found["answer"]) == "yes"
    assert fits(**options, context=found["answer"] + 1024) != "yes"
    assert found["helps"]["answer"] > found["answer"]
    words = found["helps"]["change"].split()
    changed = {**options, words[0].removeprefix("--"): words[1]}
    assert asked("largest-context", **changed)["answer"] == found["helps"]["answer"]


def test_a_model_that_fits_whole_is_bound_by_what_it_was_trained_for() -> None:
    found = asked("largest-context", on="h200", weights="q4_k_m")
    assert found["answer"] == 131_072
    assert "trained" in found["binds"]
    assert found["helps"] is None


def test_no_smaller_device_meets_it() -> None:
    found = asked("smallest-device", weights="q8_0")
    place = next(index for index, row in enumerate(found["rows"]) if row["on"] == found["answer"])
    assert place > 0
    assert all(not row["meets"] for row in found["rows"][:place])
    assert found["binds"] == "memory"
    assert fits(on=found["answer"], weights="q8_0") == "yes"


def test_the_cheapest_costs_the_least_of_those_that_meet_it() -> None:
    found = asked("cheapest", weights="q4_k_m", max_tpot=20)
    met = [row for row in found["rows"] if row["meets"]]
    assert found["answer"] == min(met, key=lambda row: row["usd_per_million_tokens"])["on"]
    assert all(row["tpot_s"] <= 0.02 for row in met)
    assert all(row["why_not"] for row in found["rows"] if not row["meets"])


def test_fewest_devices_are_the_first_that_hold_it() -> None:
    found = asked("fewest-devices", name="llama-3.1-70b", on="rtx-4090x3", weights="q8_0")
    assert found["answer"] == 4
    assert [row["meets"] for row in found["rows"]] == [False, False, True]


def test_every_question_is_asked_somewhere_here_and_the_options_are_those_of_the_command() -> None:
    assert set(QUESTIONS) == {"largest-context", "largest-batch", "smallest-device", "cheapest", "fewest-devices"}
    assert set(SEARCH) == {"find", "sweep"}
