"""`weigh cost`: memory, compute, time, money and energy to run a model on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.commands.advice import advice
from weigh.commands.setting import DEFAULT_ENGINE, Place, Setting, inputs, locate, setting
from weigh.commands.source import load
from weigh.cost.compute import compute
from weigh.cost.latency import Latency, is_short, latency, starts_s
from weigh.cost.memory import fits
from weigh.cost.money import joules_per_token, usd_per_million_tokens
from weigh.cost.params import configured_codec, count
from weigh.engines import find as find_engine
from weigh.families.audit import audit
from weigh.report.answer import Answer
from weigh.report.units import duration
from weigh.types import Model, WeighError, Workload, counted

COMPUTE = ("prefill_flops", "backward_flops", "decode_flops_per_token")
LATENCY = ("ttft", "tpot", "tokens_per_second")
MONEY = ("usd_per_million_tokens", "joules_per_token")


def run(name: str, *, on: str = "this", **options: Any) -> Answer:
    """The Figures of a job; `options` are those of `setting`.

    Where the architecture is not understood, or the engine does not run it, the answer holds what is known all
    the same (weights, and the compute of understood parts) and the refusal of the rest.
    """
    model = load(name)
    place = locate(on)
    refusal = obstacle(model, place, options.get("engine", DEFAULT_ENGINE))
    if refusal is None:
        chosen = setting(model=model, place=place, **options)
        result, warnings = priced(chosen)
        return Answer("cost", inputs(chosen, name), result, warnings)
    given = {"model": name, "on": on, **options}
    asked = ("prompt", "output", "batch", "source", "images")
    work = Workload(**{key: options[key] for key in asked if options.get(key) is not None})
    return Answer("cost", given, known(model, work), [*model.inventory.warnings, *model.warnings], refusal)


def obstacle(model: Model, place: Place, engine: str) -> WeighError | None:
    """Why the whole cost cannot be told: the architecture is not understood, the file is not what its
    configuration says, or the engine does not run it there.
    """
    return contradiction(model) or find_engine(engine).refuses(model, place.cluster.device)


def contradiction(model: Model) -> WeighError | None:
    """Why nothing can be derived from the configuration: it is not understood, or the file is another model."""
    if model.refusal is not None or not model.inventory.tensors:
        return model.refusal
    found = audit(model)
    if not found.contradicts:
        return None
    wrong = (*found.wrong_shape, *(f"{name} is missing" for name in found.missing))
    return WeighError(
        f"the file contradicts its configuration: {wrong[0]}" + (f" and {len(wrong) - 1} more" if wrong[1:] else ""),
        rule="MODEL-CONTRADICTION",
        path=model.inventory.source,
        hint="`weigh show` counts from the file and lists the differences",
    )


def known(model: Model, work: Workload) -> dict[str, Any]:
    """What holds without an engine: the bytes of the weights, and the compute of understood parts."""
    counts = count(model)
    if "vocabulary" not in model.dimensions:
        # What such a model takes in is an image, and nobody asks for the cost of 512 of them.
        work = replace(work, prompt=1)
    tensors = sum(group["tensors"] for group in counts.codecs.values())
    size = counted(counts.bytes, "B", "bytes of all tensors", tensors=tensors)
    understood = model.refusal is None
    return {
        "memory": {"weights": size, "state": None, "activations": None, "overhead": None, "total": None},
        "compute": compute(model, work) if understood else dict.fromkeys(COMPUTE),
        "latency": dict.fromkeys(LATENCY),
        "bound": {},
        "money": dict.fromkeys(MONEY),
        "capacity": None,
        "fits": "uncertain",
        "max_context": None,
        "kept_wider": {},
        "takes": takes(model, work.batch),
    }


def takes(model: Model, batch: int) -> str:
    """What one forward pass is given."""
    images = "vocabulary" not in model.dimensions
    if batch == 1:
        return "one image" if images else "the whole prompt"
    return f"{batch} images" if images else f"all {batch} prompts"


def priced(chosen: Setting) -> tuple[dict[str, Any], list[str]]:
    """The result of `cost` for a setting, and its warnings."""
    needed = chosen.needed()
    speed = latency(chosen.job, chosen.engine, chosen.loaded.holdings)
    capacity = chosen.place.capacity
    verdict = fits(needed.total, capacity)
    cluster = chosen.place.cluster
    result = {
        "memory": {
            "weights": needed.weights,
            "state": needed.state,
            "activations": needed.activations,
            "overhead": needed.overhead,
            "total": needed.total,
        },
        "buffers": {**needed.weight_buffers, **needed.activation_buffers},
        "compute": compute(chosen.model, chosen.job.workload),
        "latency": {"ttft": speed.ttft, "tpot": speed.tpot, "tokens_per_second": speed.tokens_per_second},
        "bound": dict(speed.bound),
        "money": {
            "usd_per_million_tokens": usd_per_million_tokens(cluster, speed.tokens_per_second),
            "joules_per_token": joules_per_token(cluster, speed.tokens_per_second),
        },
        "capacity": None if capacity is None else int(capacity),
        "limit": chosen.place.limit,
        "fits": verdict,
        "max_context": chosen.longest(),
        "advice": advice(chosen, needed, verdict),
        "kept_wider": chosen.loaded.kept_wider,
        "takes": takes(chosen.model, chosen.job.workload.batch),
    }
    return result, [
        *chosen.model.inventory.warnings,
        *chosen.model.warnings,
        *chosen.place.warnings,
        *_told(chosen, speed),
    ]


def _told(chosen: Setting, speed: Latency) -> list[str]:
    """What the figures leave open for this device and this form of the weights."""
    device = chosen.device
    told = []
    trained = chosen.model.dimensions.get("context")
    if trained and chosen.job.workload.context > trained:
        told.append(f"a context of {chosen.job.workload.context:,} is more than the {trained:,} tokens it was made for")
    if not chosen.loaded.as_stored and chosen.loaded.weights.startswith("as configured"):
        told += configured_codec(chosen.model)[1]
    if chosen.loaded.foreign:
        told.append(
            f"{chosen.loaded.weights} is a form for {chosen.loaded.foreign}: the weights are exact, "
            f"the rest is what {chosen.engine.id} would take"
        )
    if chosen.devices > 1:
        told.append(
            f"the layers lie one behind the other on the {chosen.devices} devices, so one token takes as long as on one"
        )
    if speed.tpot is not None and is_short(chosen.job, speed.tpot):
        told.append(
            f"a token in {duration(speed.tpot.value)} leaves out the start of kernels, "
            f"about {duration(starts_s(chosen.job))} here: expect the slow end of the interval"
        )
    if device.kind == "size":
        told.append("a size says nothing of speed: name a device, such as `--on rtx-4090`, for times")
        return told
    if device.memory_bandwidth is None:
        told.append(f"the memory bandwidth of {device.name} is not known, so no time per token is estimated")
    if not device.peak:
        told.append(f"the peak compute of {device.name} is not known, so no time to first token is estimated")
    return told
