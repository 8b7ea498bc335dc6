"""Points a second of a sweep, and milliseconds of one estimate: `python -m benchmarks.sweep [MODEL ...]`.

A million points: 250 contexts x 40 batches x 10 forms of the weights x 10 devices, for each engine that is modelled.
Random points are asked singly as well and must be the same numbers. Times are those of the processor.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import weigh
from weigh.commands.sweep import swept
from weigh.cost.run.sweep import Sweep

MODELS = ("llama-3.1-8b", "mixtral-8x7b", "gemma-3-1b")
CONTEXTS = [640 + 512 * step for step in range(250)]
BATCHES = list(range(1, 41))
DEVICES = ("rtx-4090", "h100", "a100", "l40s", "rtx-3090", "mi300x", "h200", "l4", "t4", "rtx-5090")
FORMS = {
    "llama.cpp": ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k"),
    "transformers": ("f32", "f16", "bf16", "bnb_nf4", "bnb_int8", "w8a8", "w4a16", "gptq_int4", "awq_int4", "fp8"),
    "vllm": ("f32", "f16", "bf16", "w8a8", "w4a16", "gptq_int4", "awq_int4", "fp8", "bnb_nf4", "bnb_int8"),
}
SINGLE = 40


def main(models: tuple[str, ...] = MODELS) -> None:
    """Print a line for each model and engine."""
    for name in models:
        model = weigh.load(name)
        for engine, forms in FORMS.items():
            begin = time.process_time()
            found = swept(model, contexts=CONTEXTS, batches=BATCHES, weights=forms, devices=DEVICES, engine=engine)
            spent = time.process_time() - begin
            worst, single = compared(model, found, engine, forms)
            print(
                f"{name:16} {engine:13} {found.points:,} points in {spent:5.2f} s, "
                f"{found.points / spent:12,.0f} a second; "
                f"one estimate {1e3 * single:.2f} ms; largest difference {worst:.1e}"
            )


def compared(model: Any, found: Sweep, engine: str, forms: tuple[str, ...]) -> tuple[float, float]:
    """Largest relative difference of random points from single estimates, and the median seconds of those that fit.

    Of a job that does not fit the estimate also tries what would help, which takes ten times as long.
    """
    draw = random.Random(0)
    worst, times = 0.0, []
    for _ in range(SINGLE):
        place = tuple(draw.randrange(size) for size in found.memory_bytes.shape)
        context, batch, form, device = place
        begin = time.process_time()
        one = weigh.estimate(
            model,
            on=DEVICES[device],
            engine=engine,
            weights=forms[form],
            context=int(found.contexts[context]),
            batch=int(found.batches[batch]),
        )
        spent = time.process_time() - begin
        if one["fits"] == "yes":
            times.append(spent)
        worst = max([worst, *differences(found, place, one)])
    return worst, median(times) if times else float("nan")


def differences(found: Sweep, place: tuple[int, ...], one: dict[str, Any]) -> Iterator[float]:
    """Of each figure of a point."""
    pairs = {
        "memory_bytes": one["memory"]["total"],
        "ttft_s": one["latency"]["ttft"],
        "tpot_s": one["latency"]["tpot"],
        "tokens_per_second": one["latency"]["tokens_per_second"],
        "usd_per_million_tokens": one["money"]["usd_per_million_tokens"],
    }
    for name, figure in pairs.items():
        if figure is not None:
            yield abs(getattr(found, name)[place] / figure.value - 1)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or MODELS)
