"""`weigh cost --train`: memory of a device, time of a step, days, money and energy to train a model."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any

from weigh.commands.cost import contradiction
from weigh.commands.setting import Place, locate
from weigh.commands.source import load
from weigh.cost.memory import fits
from weigh.cost.train.layout import Layout, Training, check, microbatches, parse
from weigh.cost.train.memory import drops, memory
from weigh.cost.train.optimizers import Optimizer, Precision, find_optimizer, find_precision
from weigh.cost.train.step import goodput, mfu, step
from weigh.cost.train.step import run as whole_run
from weigh.report.answer import Answer
from weigh.types import Figure, Model, WeighError

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
    sequence_parallel: bool = False,
    flash_attention: bool = False,
    precision: str = "bf16",
    optimizer: str = "adamw",
) -> Answer:
    """The Figures of training a model in a layout on devices.

    `tokens` of the whole run (`300B`); without them there are no days and no price. `batch` sequences a step; without
    it, as few as fill every pipeline. `parallel` is needed for more than one device.
    Errors: those of `layout.check`, of the registries and of understanding the model; TRAIN-TOKENS, TRAIN-LAYOUT,
    TRAIN-MODEL (exit code 2 but for the last).
    """
    model = load(name)
    _understood(model)
    place = locate(on)
    layout = _layout(parallel, place.cluster.count, schedule, recompute)
    layout = replace(
        layout,
        microbatch=layout.microbatch if microbatch is None else microbatch,
        sequence_parallel=sequence_parallel,
        flash_attention=flash_attention,
    )
    trained = model.dimensions.get("context", SEQUENCE)
    length = min(SEQUENCE, trained) if sequence is None else sequence
    training = Training(layout.dp * layout.microbatch * layout.pp if batch is None else batch, length)
    check(layout, model, training, place.cluster.count)
    whole = None if tokens is None else count_of(tokens)
    kind, number = find_optimizer(optimizer), find_precision(precision)
    result, warnings = _result(model, place, layout, training, kind, number, whole)
    if batch is None:
        warnings.append(f"no --batch: a step of {training.batch} sequences, as few as fill every pipeline")
    if length > trained:
        warnings.append(f"sequences of {length:,} are more than the {trained:,} tokens it was made for")
    if whole is None:
        warnings.append("no --tokens: how long the run lasts and what it costs is not told")
    given = {
        "model": name,
        "on": place.cluster.device.id,
        "devices": place.cluster.count,
        "train": True,
        "tokens": whole,
        "seq": length,
        "batch": training.batch,
        "precision": number.id,
        "optimizer": kind.id,
    }
    return Answer("cost", given, result, [*model.inventory.warnings, *model.warnings, *place.warnings, *warnings])


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


def _layout(parallel: str | None, devices: int, schedule: str | None, recompute: Any) -> Layout:
    if parallel is None and devices > 1:
        raise WeighError(
            f"a layout is needed for {devices} devices",
            rule="TRAIN-LAYOUT",
            hint=f"name it with --parallel, such as --parallel dp={devices},zero=3",
            exit_code=2,
        )
    layout = parse(parallel or "")
    return replace(layout, schedule=schedule or layout.schedule, recompute=recompute or layout.recompute)


def _result(
    model: Model,
    place: Place,
    layout: Layout,
    training: Training,
    optimizer: Optimizer,
    precision: Precision,
    tokens: float | None,
) -> tuple[dict[str, Any], list[str]]:
    needed = memory(model, layout, training, optimizer, precision)
    capacity = None if place.capacity is None else place.capacity / place.cluster.count
    warnings = _told(model, layout)
    seconds: Figure | None = None
    try:
        seconds = step(model, layout, training, place.cluster.device, optimizer, precision)
    except WeighError as unknown:
        if unknown.rule != "TRAIN-DEVICE":
            raise
        warnings.append(unknown.message)
    used = share = bare = planned = None
    if seconds is not None:
        used = mfu(model, training, place.cluster, precision, seconds)
        share = goodput()
        if tokens is not None:
            bare = whole_run(tokens, training, place.cluster, seconds)
            planned = whole_run(tokens, training, place.cluster, seconds, share)
    result = {
        "memory": {
            "per_device": needed.per_device,
            "model_states": needed.model_states,
            "activations": needed.activations,
            "buffers": needed.buffers,
        },
        "parts": dict(needed.parts),
        "stage": needed.stage,
        "capacity": None if capacity is None else int(capacity),
        "fits": fits(needed.per_device, capacity),
        "layout": {**asdict(layout), "microbatches": microbatches(layout, training)},
        "step": seconds,
        "mfu": used,
        "days": bare and bare.days,
        "usd": bare and bare.usd,
        "device_hours": bare and bare.device_hours,
        "joules": bare and bare.joules,
        "goodput": share,
        "planned": {
            "days": planned and planned.days,
            "usd": planned and planned.usd,
            "joules": planned and planned.joules,
        },
    }
    return result, warnings


def _told(model: Model, layout: Layout) -> list[str]:
    """What the figures take for granted."""
    told = []
    if drops(model):
        told.append("with dropout, as the model's class has it: its masks are part of the activations")
    if layout.ep > 1:
        told.append("the exchange of tokens between experts is not part of the time of a step")
    if layout.cp > 1:
        told.append("the exchange of keys and values between parts of a sequence is not part of the time of a step")
    return told
