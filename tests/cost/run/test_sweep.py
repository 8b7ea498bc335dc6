"""A point of a sweep is the single estimate, for every engine; and what is no axis is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import weigh
from weigh.commands.sweep import axes, run
from weigh.cost.run import sweep as room
from weigh.cost.run.sweep import VERDICTS
from weigh.engines import ENGINES
from weigh.types import WeighError

DEVICES = ("rtx-4090", "h100", "h100x2", "a100", "16GB", "rtx-2060", "raspberry-pi-5")
FORMS = {"llama.cpp": ("f16", "q8_0", "q4_k_m"), "onnxruntime": ("f16", "f32"), "other": ("bf16", "w4a16")}
LEAST = {"vllm": "l4", "tensorrt-llm": "l4"}
"""The oldest card that runs these forms under the engine, in the place of the RTX 2060."""
CONTEXTS = (640, 641, 900, 1024, 4096, 4097, 8192, 40_000)
BATCHES = (1, 2, 3, 7, 16, 33)


@pytest.mark.parametrize(
    "words",
    ["", "context", "context=", "contexts=1k", "context=1k context=2k", "context=0..8", "context=8..1",
     "context=1..8+0", "context=1.5", "batch=-1", "weights=q8_0,,f16", "context=1..10000000+1"],
)  # fmt: skip
def test_what_is_no_axis_is_refused_with_a_hint(words: str) -> None:
    with pytest.raises(WeighError) as refused:
        axes(words)
    assert refused.value.rule in ("SWEEP", "SWEEP-LARGE")
    assert refused.value.exit_code == 2
    assert refused.value.hint


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"batches": [0]}, "SWEEP"),
        ({"batches": [True]}, "SWEEP"),
        ({"batches": []}, "SWEEP"),
        ({"contexts": [100]}, "CONTEXT-SHORT"),
        ({"weights": ["q4_km"]}, "RECIPE-UNKNOWN"),
        ({"devices": ["h1000"]}, "DEVICE-UNKNOWN"),
        ({"devices": ["tpu-v5e"]}, "ENGINE-UNSUPPORTED"),
    ],
)
def test_what_cannot_be_estimated_cannot_be_swept(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(WeighError) as refused:
        weigh.sweep(weigh.load("llama-3.1-8b"), **{"devices": ["8GB"], **given})
    assert refused.value.rule == rule


def test_more_points_than_a_terminal_takes_are_refused() -> None:
    with pytest.raises(WeighError) as refused:
        run("gpt2", "context=640..1000+1 batch=1..1000+1", on="8GB")
    assert refused.value.rule == "SWEEP-LARGE"


def test_axes_double_step_and_list() -> None:
    found = axes("context=1k..8k,10000 batch=1..7+3 weights=q8_0,f16 on=h100")
    assert found == {
        "context": [1024, 2048, 4096, 8192, 10_000],
        "batch": [1, 4, 7],
        "weights": ["q8_0", "f16"],
        "on": ["h100"],
    }
    assert axes("batch=1..6")["batch"] == [1, 2, 4, 6]


def devices(engine: str) -> tuple[str, ...]:
    return tuple(LEAST.get(engine, name) if name == "rtx-2060" else name for name in DEVICES[:-1])


def same(found: room.Sweep, engine: str, forms: tuple[str, ...], model: Any, points: int) -> None:
    draw = random.Random(engine)
    for _ in range(points):
        place = tuple(draw.randrange(size) for size in found.memory_bytes.shape)
        context, batch, form, device = place
        one = weigh.estimate(
            model,
            on=found.devices[device],
            engine=engine,
            weights=forms[form],
            context=CONTEXTS[context],
            batch=BATCHES[batch],
        )
        whole = one["memory"]["total"]
        assert VERDICTS[int(found.fits[place])] == one["fits"]
        expected = {
            "memory_bytes": whole.value,
            "memory_low": whole.low,
            "memory_high": whole.high,
            **{f"{name}_s": getattr(one["latency"][name], "value", np.nan) for name in ("ttft", "tpot")},
            "tokens_per_second": getattr(one["latency"]["tokens_per_second"], "value", np.nan),
            "usd_per_million_tokens": getattr(one["money"]["usd_per_million_tokens"], "value", np.nan),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(found, name)[place], value, rtol=1e-12, err_msg=f"{name} at {place}")


@pytest.mark.parametrize("engine", [engine.id for engine in ENGINES])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "gemma-3-1b", "mixtral-8x7b"])
def test_a_point_is_the_single_estimate(name: str, engine: str) -> None:
    model = weigh.load(name)
    forms = FORMS.get(engine, FORMS["other"])
    found = weigh.sweep(
        model, contexts=CONTEXTS, batches=BATCHES, weights=forms, devices=devices(engine), engine=engine
    )
    assert found.points == len(CONTEXTS) * len(BATCHES) * len(forms) * (len(DEVICES) - 1)
    same(found, engine, forms, model, 12)


def test_an_engine_without_arrays_gives_the_same_point_by_point(monkeypatch: pytest.MonkeyPatch) -> None:
    model = weigh.load("gemma-3-1b")
    given: dict[str, Any] = {
        "contexts": [1024, 5000], "batches": [1, 5], "weights": ["q8_0"], "devices": ["h100", "rtx-4090"]
    }  # fmt: skip
    whole = weigh.sweep(model, **given)
    monkeypatch.setattr(room, "VECTORISED", frozenset())
    single = weigh.sweep(model, **given)
    assert np.array_equal(whole.memory_bytes, single.memory_bytes)
    assert np.array_equal(whole.memory_high, single.memory_high)


def test_rows_are_points_and_the_best_is_among_those_that_fit() -> None:
    answer = run("llama-3.1-8b", "context=1k..32k batch=1..8 weights=q4_k_m,q8_0 on=rtx-4090,16GB")
    rows = answer.result["rows"]
    assert len(rows) == answer.inputs["points"] == 6 * 4 * 2 * 2
    for best in answer.result["best"]:
        fit = [
            row
            for row in rows
            if (row["weights"], row["device"], row["fits"]) == (best["weights"], best["device"], "yes")
        ]
        assert best["fit"] == len(fit)
        assert best["largest_context"] == max(row["context"] for row in fit)
        speeds = [row["tokens_per_second"] for row in fit if row["tokens_per_second"] is not None]
        assert best["tokens_per_second"] == (max(speeds) if speeds else None)
