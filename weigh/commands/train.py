"""`weigh cost --train`: memory of a device, time of a step, days, money and energy to train a model."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from weigh.commands import launch
from weigh.commands.cost import contradiction
from weigh.commands.plan import LIMIT
from weigh.commands.plan import plan as search
from weigh.commands.setting import Place, locate
from weigh.commands.source import load
from weigh.commands.terms import terms
from weigh.cost.memory import fits
from weigh.cost.train.checkpoints import checkpoints
from weigh.cost.train.checkpoints import size as checkpoint_size
from weigh.cost.train.efficiency import efficiency, framework_of
from weigh.cost.train.layout import Layout, Training, check, microbatches, named, parse
from weigh.cost.train.memory import Way, drops, memory
from weigh.cost.train.model_states import held
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.step import Run, carbon, communication, goodput, mfu, step
from weigh.cost.train.step import run as whole_run
from weigh.cost.train.tuning import WHOLE, Tuning, tuning
from weigh.cost.train.tuning import check as check_tuning
from weigh.launchers.launcher import Setup
from weigh.report.answer import Answer
from weigh.types import Figure, Model, WeighError


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be trained, how, and what the run is to tell."""

    layout: Layout
    training: Training
    way: Way
    framework: str | None
    tokens: float | None
    gigabytes: float | None
    failures: float | None
    carbon: float | None


SEQUENCE = 2048
"""Tokens a sequence where none are named; less where the model was made for less."""
_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmbt]?)", re.IGNORECASE)
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def run(
    name: str,
    *,
    on: str = "this",
    tokens: str | None = None,
    sequence: int | None = None,
    batch: int | None = None,
    parallel: str | None = None,
    microbatch: int | None = None,
    schedule: str | None = None,
    recompute: str | None = None,
    recompute_every: int | None = None,
    sequence_parallel: bool | None = None,
    flash_attention: bool | None = None,
    precision: str = "bf16",
    optimizer: str = "adamw",
    framework: str | None = None,
    lora: int | None = None,
    lora_targets: str | None = None,
    qlora: bool = False,
    freeze: str | None = None,
    offload_optimizer: bool = False,
    checkpoint_gbs: float | None = None,
    failures_per_day: float | None = None,
    carbon_intensity: str | None = None,
    prices: str | None = None,
    emit: str | None = None,
    out: str | None = None,
    start: bool = False,
    steps: int | None = None,
    plan: bool = False,
    limit: int | None = None,
) -> Answer:
    """The Figures of training a model in a layout on devices.

    `tokens` of the whole run (`300B`); without them there are no days and no price. `batch` sequences a step; without
    it, as few as fill every pipeline. `parallel` is needed for more than one device, unless `plan` searches for the
    layout: then what is given stands and the rest is chosen, and `limit` layouts are shown. `lora` is the rank of
    adapters beside a frozen base, `freeze` roles that are not trained. `carbon_intensity` in grams of CO2 a
    kilowatt-hour or a grid's name, `prices` a file of the user's own. `emit` names the launcher whose files are written
    to the folder `out`; `start` runs those of torchrun here.
    Errors: those of `layout.check`, of the registries, of tunings and checkpoints, of launchers, and of understanding
    the model; TRAIN-TOKENS, TRAIN-LAYOUT, TRAIN-PLAN, TRAIN-MODEL (exit code 2 but for the last).
    """
    launching = launch.ask(emit, out, start, steps)
    model = load(name)
    _understood(model)
    bill = terms(prices=prices, carbon_intensity=carbon_intensity)
    place = bill.at(locate(on))
    trained = model.dimensions.get("context", SEQUENCE)
    length = min(SEQUENCE, trained) if sequence is None else sequence
    tuned = tuning(lora, lora_targets, qlora, freeze)
    check_tuning(model, tuned)
    way = Way(find_optimizer(optimizer), find_precision(precision), tuned, offload_optimizer)
    if framework is not None:
        efficiency(place.cluster.device, framework)
    words: dict[str, Any] = {
        "microbatch": microbatch,
        "schedule": schedule,
        "recompute": recompute,
        "recompute_every": recompute_every,
        "sequence_parallel": sequence_parallel,
        "flash_attention": flash_attention,
    }
    said = {name: value for name, value in words.items() if value is not None}
    planned = None
    _check_plan(way, plan=plan, limit=limit, every=recompute_every)
    if plan:
        fixed = _fixed(named(parallel or "") | said)
        planned = search(
            model, place, batch=batch, sequence=length, optimizer=way.optimizer, precision=way.precision, fixed=fixed,
            framework=framework, limit=LIMIT if limit is None else limit,
        )  # fmt: skip
        layout, training = planned.layout, planned.training
    else:
        layout = replace(_layout(parallel, place.cluster.count), **said)
        training = Training(layout.dp * layout.microbatch * layout.pp if batch is None else batch, length)
    check(layout, model, training, place.cluster.count)
    whole = None if tokens is None else count_of(tokens)
    grams = None if bill.g_per_kwh is None else bill.g_per_kwh.value
    asked = Asked(layout, training, way, framework, whole, checkpoint_gbs, failures_per_day, grams)
    result, warnings = _result(model, place, asked)
    if planned is not None:
        result["plan"] = planned.told
        warnings += planned.warnings
    elif batch is None:
        warnings.append(f"no --batch: a step of {training.batch} sequences, as few as fill every pipeline")
    if length > trained:
        warnings.append(f"sequences of {length:,} are more than the {trained:,} tokens it was made for")
    if whole is None:
        warnings.append("no --tokens: how long the run lasts and what it costs is not told")
    if launching is not None:
        _check_launch(way, result["fits"])
        setup = Setup(
            model, layout, training, way.optimizer, way.precision, place.cluster, launching.steps_of(whole, training)
        )
        warnings.extend(launch.carry_out(launching, setup, result))
    given = {**_given(asked, place), "model": name, "tokens": whole, "seq": length}
    return Answer("cost", given, result, [*model.inventory.warnings, *model.warnings, *place.warnings, *warnings])


def _check_plan(way: Way, *, plan: bool, limit: int | None, every: int | None) -> None:
    """Errors: TRAIN-PLAN (exit code 2) for what a search does not vary, or without one."""
    if limit is not None and not plan:
        raise WeighError("--limit says how many layouts --plan shows", rule="TRAIN-PLAN", exit_code=2)
    if plan and (way.tuned != WHOLE or way.offloaded or every is not None):
        raise WeighError(
            "--plan searches layouts that train all parameters, with their states on the devices",
            rule="TRAIN-PLAN",
            hint="name a layout with --parallel for --lora, --qlora, --freeze, --offload-optimizer, --recompute-every",
            exit_code=2,
        )


def _check_launch(way: Way, verdict: str) -> None:
    """Errors: LAUNCH-TUNING (exit code 2), LAUNCH-FIT (1) for what a launcher would ignore, or start to see it fail."""
    if way.tuned != WHOLE or way.offloaded:
        raise WeighError(
            "the launchers train all parameters, with their states on the devices",
            rule="LAUNCH-TUNING",
            hint="leave out --lora, --qlora, --freeze and --offload-optimizer, or --emit and --run",
            exit_code=2,
        )
    if verdict == "no":
        raise WeighError(
            "the layout does not fit the devices, so nothing is written or started",
            rule="LAUNCH-FIT",
            hint="--plan searches one that fits; more devices, --recompute full or zero=3 need less of each",
            exit_code=1,
        )


def _given(asked: Asked, place: Place) -> dict[str, Any]:
    """What was asked, as the answer repeats it."""
    tuned = asked.way.tuned
    return {
        "on": place.cluster.device.id,
        "devices": place.cluster.count,
        "train": True,
        "batch": asked.training.batch,
        "precision": asked.way.precision.id,
        "optimizer": asked.way.optimizer.id,
        "framework": asked.framework or framework_of(asked.layout),
        "lora": tuned.rank,
        "qlora": tuned.quantized,
        "freeze": sorted(tuned.freeze),
        "offload_optimizer": asked.way.offloaded,
    }


def count_of(words: str) -> float:
    """`300B` as a number: k, M, B (10^9) and T. Error: TRAIN-TOKENS (exit code 2)."""
    found = _COUNT.fullmatch(words.strip())
    value = float(found[1]) * _SCALES[found[2].lower()] if found else 0.0
    if value < 1:
        raise WeighError(f"`{words}` is no number of tokens", rule="TRAIN-TOKENS", hint="as in 300B or 2T", exit_code=2)
    return value


def _understood(model: Model) -> None:
    refusal = contradiction(model)
    if refusal is not None:
        raise refusal
    if "vocabulary" not in model.dimensions or "layers" not in model.dimensions or "width" not in model.dimensions:
        raise WeighError(
            "what training takes is known for models of tokens in equal layers, and this is none",
            rule="TRAIN-MODEL",
            path=model.inventory.source,
        )


def _layout(parallel: str | None, devices: int) -> Layout:
    if parallel is None and devices > 1:
        raise WeighError(
            f"a layout is needed for {devices} devices",
            rule="TRAIN-LAYOUT",
            hint=f"search for it with --plan, or name it with --parallel, such as --parallel dp={devices},zero=3",
            exit_code=2,
        )
    return parse(parallel or "")


def _fixed(said: dict[str, Any]) -> dict[str, Any]:
    """What the user says of the layout, once it is known to be a Layout's: `named` and the options check words."""
    if said.get("interleave", 1) > 1:
        said.setdefault("schedule", "interleaved")
    return said


def _result(model: Model, place: Place, asked: Asked) -> tuple[dict[str, Any], list[str]]:
    layout, training, way = asked.layout, asked.training, asked.way
    framework = asked.framework or framework_of(layout)
    needed = memory(
        model,
        layout,
        training,
        way.optimizer,
        way.precision,
        way.tuned,
        offloaded=way.offloaded,
        cached=framework == "megatron",
    )
    capacity = None if place.capacity is None else place.capacity / place.cluster.count
    warnings = _told(model, asked)
    seconds: Figure | None = None
    try:
        seconds = step(
            model,
            layout,
            training,
            place.cluster.device,
            way.optimizer,
            way.precision,
            framework,
            way.tuned,
            offloaded=way.offloaded,
        )
    except WeighError as unknown:
        if unknown.rule != "TRAIN-DEVICE":
            raise
        warnings.append(unknown.message)
    result = {
        "memory": {
            "per_device": needed.per_device,
            "model_states": needed.model_states,
            "activations": needed.activations,
            "buffers": needed.buffers,
            "host": needed.host,
        },
        "parts": dict(needed.parts),
        "parameters": _parameters(model, way.tuned),
        "stage": needed.stage,
        "capacity": None if capacity is None else int(capacity),
        "fits": fits(needed.per_device, capacity),
        "layout": {**asdict(layout), "microbatches": microbatches(layout, training)},
        **_time(model, place, asked, seconds),
        "checkpoints": _checkpoints(model, asked),
    }
    return result, warnings


def _parameters(model: Model, tuned: Tuning) -> dict[str, int]:
    """How many there are on one device that holds everything, adapters included, and how many of them are trained."""
    everything = held(model, Layout(), 0, tuned)
    return {
        "total": sum(one.parameters for one in everything),
        "trained": sum(one.parameters for one in everything if one.trained),
    }


def _time(model: Model, place: Place, asked: Asked, seconds: Figure | None) -> dict[str, Any]:
    """The step, and the run where its tokens are told; None where the device states too little."""
    used = share = bare = planned = wires = None
    if seconds is not None:
        used = mfu(model, asked.training, place.cluster, asked.way.precision, seconds, asked.way.tuned)
        share, wires = goodput(), communication(seconds)
        if asked.tokens is not None:
            bare = whole_run(asked.tokens, asked.training, place.cluster, seconds)
            planned = whole_run(asked.tokens, asked.training, place.cluster, seconds, share)
    return {
        "step": seconds,
        "communication": wires,
        "mfu": used,
        "days": bare and bare.days,
        "usd": bare and bare.usd,
        "device_hours": bare and bare.device_hours,
        "joules": bare and bare.joules,
        "grams_co2": _grams(bare, asked.carbon),
        "goodput": share,
        "planned": {
            "days": planned and planned.days,
            "usd": planned and planned.usd,
            "joules": planned and planned.joules,
            "grams_co2": _grams(planned, asked.carbon),
        },
    }


def _grams(found: Run | None, carbon_intensity: float | None) -> Figure | None:
    if found is None or found.joules is None or carbon_intensity is None:
        return None
    return carbon(found.joules, carbon_intensity)


def _checkpoints(model: Model, asked: Asked) -> dict[str, Figure | None]:
    way = asked.way
    saved = checkpoint_size(model, way.optimizer, way.precision, way.tuned)
    found = checkpoints(saved, asked.gigabytes, asked.failures)
    return {"bytes": found.size, "write": found.write, "interval": found.interval, "useful": found.useful}


def _told(model: Model, asked: Asked) -> list[str]:
    """What the figures take for granted."""
    told = []
    if drops(model):
        told.append("with dropout, as the model's class has it: its masks are part of the activations")
    if asked.layout.ep > 1:
        told.append("experts are taken to have equally many tokens; no measured exchange between them was fitted")
    if asked.framework is None:
        words = framework_of(asked.layout)
        told.append(f"no --framework: the time is that of kernels of `{words}`, which most use for such a layout")
    if asked.way.tuned.quantized:
        told.append("the 4-bit base is NF4 with double quantization; tables, norms and the head stay in 16 bit")
    return told
