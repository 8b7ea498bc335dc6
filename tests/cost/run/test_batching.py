"""Many users: what cannot be asked, what a batch sees by hand, and that the largest batch is the largest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.commands.cost import run
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.memory import memory
from weigh.cost.run.batching import MOST, largest, limits, under_load
from weigh.cost.run.latency import grouped
from weigh.cost.run.several import line_of
from weigh.cost.run.stages import Line, decode_s, prefill_s
from weigh.types import WeighError


def on(device: str = "h100", engine: str = "vllm", **more: Any) -> Setting:
    return setting(model=load("llama-3.1-8b"), place=locate(device), engine=engine, **more)


def stages_of(chosen: Setting) -> Line:
    found = line_of(chosen.job, chosen.engine, grouped(chosen.model, chosen.loaded.holdings), chosen.split)
    assert found is not None
    return found


@pytest.mark.parametrize("bound", [-1.0, 0.0, float("inf"), float("nan")])
def test_a_bound_must_be_a_time(bound: float) -> None:
    with pytest.raises(WeighError) as refused:
        run("gpt2", on="h100", max_tpot=bound)
    assert (refused.value.rule, refused.value.exit_code) == ("LATENCY-BOUND", 2)


def test_a_size_has_no_times_so_only_memory_binds() -> None:
    found = run("gpt2", on="8GB", max_tpot=10.0).result["limits"]
    assert found["tpot"] is None
    assert found["binds"] == "memory"
    assert found["batch"] == found["memory"]


def test_without_a_bound_and_alone_nothing_is_added() -> None:
    result = run("gpt2", on="h100").result
    assert result["limits"] is None
    assert result["under_load"] is None
    assert result["speculative"] is None


@given(st.integers(0, MOST + 5))
def test_the_largest_is_found_wherever_it_is(end: int) -> None:
    assert largest(lambda batch: batch <= end) == min(end, MOST)


def test_a_step_under_load_carries_its_share_of_prompts() -> None:
    chosen = on(batch=32, prompt=1000, output=100, kv="bf16")
    found = stages_of(chosen)
    decode = decode_s(found, chosen.job, 32).total
    one = prefill_s(found, replace(chosen.job, workload=replace(chosen.job.workload, batch=1))).total
    served = under_load(found, chosen.job, 32)
    assert served.tpot == pytest.approx(decode + 0.32 * one)
    assert served.ttft == pytest.approx(served.tpot / 2 + decode + one)


def test_an_engine_without_continuous_batching_runs_all_prompts_first() -> None:
    chosen = on(engine="transformers", batch=8)
    found = stages_of(chosen)
    served = under_load(found, chosen.job, 8)
    assert served.tpot == decode_s(found, chosen.job, 8).total


def test_users_and_the_whole_are_told_apart() -> None:
    told = run("llama-3.1-8b", on="h100x4", engine="vllm", parallel="tp=2,dp=2", batch=64).result["under_load"]
    each, whole = told["tokens_per_second_per_user"], told["tokens_per_second"]
    assert whole.value == pytest.approx(64 * each.value)
    assert each.low < each.value < each.high


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    chosen = on(kv="bf16", context=4096)
    found = limits(stages_of(chosen), chosen.job, chosen.engine, chosen.split, chosen.capacity, max_tpot_s=1.0)
    most = found["memory"]
    assert most is not None
    for batch, fits in ((int(most.value), True), (int(most.value) + 1, False)):
        work = replace(chosen.job.workload, batch=batch)
        assert (memory(replace(chosen.job, workload=work), chosen.engine).total.value <= chosen.capacity) is fits
    assert most.low <= most.value <= most.high
    assert found["binds"] == "memory"


def test_a_bound_on_the_time_per_token_breaks_at_the_next_sequence() -> None:
    chosen = on(kv="bf16")
    found = stages_of(chosen)
    bound = float(under_load(found, chosen.job, 17).tpot)
    told = limits(found, chosen.job, chosen.engine, chosen.split, chosen.capacity, max_tpot_s=bound, max_ttft_s=10.0)
    assert told["tpot"].value == 17
    assert told["binds"] == "tpot"
    assert told["tpot"].low <= 17 <= told["tpot"].high
    hopeless = limits(found, chosen.job, chosen.engine, chosen.split, None, max_ttft_s=1e-9)
    assert (hopeless["batch"].value, hopeless["binds"], hopeless["memory"]) == (0, "ttft", None)


def test_many_batches_at_once_are_as_one_after_the_other() -> None:
    chosen = on("h100x2", kv="bf16")
    found = stages_of(chosen)
    batches = np.array([1.0, 8.0, 100.0])
    together = under_load(found, chosen.job, batches)
    for place, batch in enumerate(batches):
        alone = under_load(found, chosen.job, float(batch))
        assert together.tpot[place] == pytest.approx(alone.tpot)
        assert together.ttft[place] == pytest.approx(alone.ttft)
