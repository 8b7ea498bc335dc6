"""Where a model is kept: bytes on disk in each form, months in a cloud, and how long it takes to load it from there."""

from __future__ import annotations

from typing import Any

from weigh.commands.setting import Setting
from weigh.commands.terms import Terms
from weigh.cost.loading import loaded
from weigh.cost.run.latency import Latency
from weigh.cost.run.load_time import copy_time, loadings
from weigh.cost.run.storage import Stored, keeping, letting_out, stored
from weigh.engines import find as find_engine
from weigh.prices import start, stores
from weigh.prices import storage as clouds
from weigh.types import Figure, Why

FORMS = (
    ("f32", "transformers"), ("bf16", "transformers"), ("w8a8", "vllm"), ("w4a16", "vllm"), ("f16", "llama.cpp"),
    ("q8_0", "llama.cpp"), ("q6_k", "llama.cpp"), ("q5_k_m", "llama.cpp"), ("q4_k_m", "llama.cpp"),
    ("q3_k_m", "llama.cpp"), ("q2_k", "llama.cpp"),
)  # fmt: skip
"""Forms that `--storage` compares, and an engine that loads such a file."""
USUAL = "nvme"
"""The store of the short answer."""


def storage(chosen: Setting, terms: Terms) -> dict[str, Any]:
    """Bytes of the file or files; with `--storage` those of every form, and what each cloud asks."""
    own = stored(chosen.model, chosen.loaded, chosen.engine.dialect)
    result: dict[str, Any] = {"weights": own.weights, "format": own.format, "bytes": own.nbytes, "months": terms.months}
    if terms.storage:
        result["forms"] = [_form(entry) for entry in _forms(chosen)]
        result["clouds"] = {
            price.id: {
                "name": price.name,
                "usd": keeping(own.nbytes, price, terms.months),
                "egress_usd": letting_out(own.nbytes, price),
            }
            for price in terms.own.clouds(clouds())
        }
    return result


def _form(entry: Stored) -> dict[str, Any]:
    return {"weights": entry.weights, "format": entry.format, "bytes": entry.nbytes}


def _forms(chosen: Setting) -> list[Stored]:
    """Every form in `FORMS` whose names the family knows."""
    found = []
    for weights, engine in FORMS:
        runtime = find_engine(engine)
        if runtime.refuses(chosen.model, chosen.device) is None:
            held = loaded(chosen.model, weights, runtime)
            found.append(stored(chosen.model, held, runtime.dialect))
    return found


def load(chosen: Setting, terms: Terms, speed: Latency) -> dict[str, Any]:
    """Seconds from each store to the device, and when keeping the model loaded costs less than loading it again."""
    size = sum(tensor.nbytes for tensor in chosen.job.tensors)
    begin = start(chosen.engine.id)
    wanted = tuple(store for store in stores() if terms.storage or store.id == USUAL)
    cluster = chosen.place.cluster
    rows = loadings(size, wanted, cluster, begin, ttft=speed.ttft, answer=_answer(chosen, speed))
    return {
        "bytes": size,
        "copy": copy_time(size, cluster),
        "stores": {
            row.store.id: {
                "name": row.store.name,
                "seconds": row.seconds,
                "first_token": row.first_token,
                "keep_from_requests_per_hour": row.busy_per_hour,
            }
            for row in rows
        },
    }


def _answer(chosen: Setting, speed: Latency) -> Figure | None:
    """Seconds that a request, or a batch of them, keeps the devices busy."""
    ttft, tpot = speed.ttft, speed.tpot
    if ttft is None or tpot is None:
        return ttft
    output = chosen.job.workload.output
    value, low, high = (
        first + output * each
        for first, each in ((ttft.value, tpot.value), (ttft.low, tpot.low), (ttft.high, tpot.high))
    )
    why = Why("ttft + output x tpot", {"ttft": ttft.value, "tpot": tpot.value, "output": output})
    return Figure(value, low, high, "s", tpot.basis, why)
