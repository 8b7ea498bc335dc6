"""`weigh cost`: memory, compute, time, money and energy to run a model on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.commands import keeping
from weigh.commands.advice import advice
from weigh.commands.serving import OPTIONS, Asked, beside, draft_of, load_and_limits, speculation
from weigh.commands.serving import check as check_serving
from weigh.commands.serving import told as told_of_draft
from weigh.commands.setting import DEFAULT_ENGINE, Place, Setting, inputs, locate, setting
from weigh.commands.source import load
from weigh.commands.terms import Terms, split, terms
from weigh.cost.compute import compute
from weigh.cost.links import links
from weigh.cost.memory import Memory, Spread, fits
from weigh.cost.money import NAMES as MONEY
from weigh.cost.money import money, reads
from weigh.cost.params import configured_codec, count
from weigh.cost.run.latency import Latency, latency
from weigh.cost.run.several import host_of, latency_over
from weigh.cost.run.shares import Share
from weigh.engines import find as find_engine
from weigh.families.audit import audit
from weigh.report.answer import Answer
from weigh.types import Figure, Model, WeighError, Workload, counted

COMPUTE = ("prefill_flops", "backward_flops", "decode_flops_per_token")
LATENCY = ("ttft", "tpot", "tokens_per_second")


def run(name: str, *, on: str = "this", **options: Any) -> Answer:
    """The Figures of a job; `options` are those of `setting`, of `terms` and of `serving.Asked`.

    Where the architecture is not understood, or the engine does not run it, the answer holds what is known all
    the same (weights, and the compute of understood parts) and the refusal of the rest.
    """
    asked_more = Asked(**{key: options.pop(key) for key in OPTIONS if key in options})
    check_serving(asked_more)
    paid, options = split(options)
    bill = terms(**paid)
    model = load(name)
    place = bill.at(locate(on))
    refusal = obstacle(model, place, options.get("engine", DEFAULT_ENGINE))
    if refusal is None:
        try:
            chosen = setting(model=model, place=place, **options)
        except WeighError as unread:
            if unread.rule != "ENGINE-CODEC":
                raise
            refusal = unread
        else:
            result, warnings = priced(chosen, bill, asked_more)
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
        "roofline": {},
        "money": dict.fromkeys(MONEY),
        "storage": None,
        "load": None,
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


def priced(chosen: Setting, bill: Terms | None = None, asked: Asked = Asked()) -> tuple[dict[str, Any], list[str]]:
    """The result of `cost` for a setting at these terms (list prices without any), and its warnings."""
    bill = bill or Terms()
    draft = draft_of(chosen, asked)
    chosen = beside(chosen, draft)
    spread = chosen.spread()
    needed = spread.fullest
    speed = timed(chosen)
    capacity = chosen.capacity
    verdict = fits(needed.total, capacity)
    cluster, work = chosen.place.cluster, chosen.job.workload
    result = {
        "memory": by_kind(needed),
        "spread": spread_of(chosen, spread),
        "buffers": {**needed.weight_buffers, **needed.activation_buffers},
        "compute": compute(chosen.model, work),
        "latency": {"ttft": speed.ttft, "tpot": speed.tpot, "tokens_per_second": speed.tokens_per_second},
        "bound": dict(speed.bound),
        "roofline": dict(speed.roofline),
        "money": money(
            cluster, bill.tariff(cluster), reads(speed.ttft, work.prompt, work.batch), speed.tokens_per_second
        ),
        "storage": keeping.storage(chosen, bill),
        "load": keeping.load(chosen, bill, speed),
        "capacity": None if capacity is None else int(capacity),
        "limit": chosen.place.limit,
        "fits": verdict,
        "max_context": chosen.longest(),
        "advice": advice(chosen, needed, verdict),
        "kept_wider": chosen.loaded.kept_wider,
        "takes": takes(chosen.model, work.batch),
        "speculative": speculation(chosen, draft, asked.draft),
        **load_and_limits(chosen, asked),
    }
    return result, [
        *chosen.model.inventory.warnings,
        *chosen.model.warnings,
        *chosen.place.warnings,
        *_told(chosen),
        *told_of_draft(chosen, draft),
        *_told_of_money(chosen, bill),
    ]


def timed(chosen: Setting) -> Latency:
    """Time of the job on its device, or over its devices and beside its host."""
    if chosen.devices == 1 and not chosen.split.offloaded:
        return latency(chosen.job, chosen.engine, chosen.loaded.holdings)
    return latency_over(chosen.job, chosen.engine, chosen.loaded.holdings, chosen.split)


def _told_of_money(chosen: Setting, bill: Terms) -> list[str]:
    """What a user asked to be paid or emitted and cannot be told here."""
    told = []
    device = chosen.device
    if device.power_w is None and (bill.g_per_kwh is not None or (bill.owned and bill.owned.usd_per_kwh is not None)):
        told.append(f"the power of {device.name} is not known, so neither energy nor carbon nor its price is estimated")
    return told


def by_kind(needed: Memory) -> dict[str, Figure]:
    """Memory by what takes it."""
    return {
        "weights": needed.weights,
        "state": needed.state,
        "activations": needed.activations,
        "overhead": needed.overhead,
        "total": needed.total,
    }


def spread_of(chosen: Setting, spread: Spread) -> dict[str, Any]:
    """The layout, what each device of a stage holds, all of them together, and what the host holds."""
    split = chosen.split

    def row(share: Share, needed: Memory) -> dict[str, Any]:
        layers = [share.layers.start, share.layers.stop]
        return {"stage": share.stage, "devices": share.devices, "layers": layers, **by_kind(needed)}

    return {
        "parallel": split.words,
        "chosen": split.chosen,
        "tp": split.tp,
        "pp": split.pp,
        "ep": split.ep,
        "dp": split.copies,
        "offloaded": split.offloaded,
        "stages": [row(share, needed) for share, needed in spread.stages],
        "total": spread.total,
        "host": None if spread.host is None else by_kind(spread.host[1]),
    }


def _told(chosen: Setting) -> list[str]:
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
    told += _told_of_split(chosen)
    if device.kind == "size":
        told.append("a size says nothing of speed: name a device, such as `--on rtx-4090`, for times")
        return told
    if device.memory_bandwidth is None:
        told.append(f"the memory bandwidth of {device.name} is not known, so no time per token is estimated")
    if not device.peak:
        told.append(f"the peak compute of {device.name} is not known, so no time to first token is estimated")
    return told


def _told_of_split(chosen: Setting) -> list[str]:
    """What was chosen for several devices, and how to say it to the runtime."""
    split, told = chosen.split, []
    if chosen.devices > 1 and split.chosen:
        why = "as the engine does" if split.tp == 1 else "inside a node every layer is divided"
        told.append(f"no --parallel: {split.words} over the {chosen.devices} devices, {why}")
    device = chosen.device
    if (chosen.devices > split.copies and links(device) is None) or (split.offloaded and device.host_bandwidth is None):
        told.append(f"the links of {device.name} are not known: sixteen lanes of PCIe 4.0 are assumed")
    if split.offloaded:
        layers = chosen.model.dimensions["layers"]
        told.append(
            f"{split.offloaded} of {layers} layers stay with the host: `-ngl {layers + 1 - split.offloaded}`, "
            "which counts the output as a layer"
        )
        if split.host is None:
            told.append(f"the host is taken to be like {host_of(split).name}: nobody said what it is")
    return told
