"""Seconds over several devices and the host: the steps of `step.py`, stage by stage, with what goes between them.

A stage is what `split.py` dealt to it: its groups of parts, each divided by the degree of tensor parallelism. One step
runs through all stages one after the other. Every number that a sweep may vary (the batch) may be an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

from weigh import parts
from weigh.cost.compute import prompt_pass, source_of
from weigh.cost.links import NODE, Links, all_gather_s, all_reduce_s, links, send_s
from weigh.cost.run.load import Group, Load, decode_loads, prefill_loads
from weigh.cost.run.shares import before_the_layers, is_here
from weigh.cost.run.split import Held, Split, held_by
from weigh.cost.run.step import seconds
from weigh.engines.rates import Rates
from weigh.numbers import Number, larger, rounded_up, smaller
from weigh.types import Engine, Job, Part

SOURCE = (
    "arXiv 1909.08053, section 3 (two sums a layer over a ring); arXiv 2104.04473, section 2.2 (pipeline); "
    "llama.cpp src/llama-context.cpp (`pipeline_parallel`), ggml-cuda.cu (`offload_op`)"
)
VALUE_BYTES = 2
"""Of an activation that goes between devices."""
FLOAT_BYTES = 4
"""Of one that goes between the host and a device: llama.cpp's graph is in float32."""
MICRO_BATCH: Mapping[str, int] = {"llama.cpp": 512, "vllm": 2048}
"""Tokens of a prompt that are one stretch in a pipeline: `n_ubatch`, `max_num_batched_tokens`. Engines that are not
here send a prompt through the stages whole, so that one stage works at a time."""
PCIE = 16e9 * 16 * 128 / 130 / 8
"""Bytes a second in one direction of sixteen lanes of PCIe 4.0: what a card is taken to have that states no link."""
LENT = 32
"""Tokens from which on matrices of layers on the host are copied to the device and multiplied there."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one device of a stage runs."""

    groups: tuple[Group, ...]
    rates: Rates
    on_host: bool = False
    sums: int = 0
    """Collectives of one step: one behind every part that is divided."""
    gathers: bool = False
    """The logits are collected from all devices of the stage."""


@dataclass(frozen=True, slots=True)
class Line:
    """All stages of a model, in the order in which a token meets them, and the links between them."""

    stages: tuple[Stage, ...]
    split: Split
    wires: Links
    host_bytes_per_s: float
    """From the host to the device."""
    width: int
    vocabulary: int
    engine: str
    overlaps: bool
    """Several groups of sequences are on their way at once, one in each stage."""


# ------------------------------------------------------------------------------------------------- dividing


def line(job: Job, gathered: Sequence[Group], split: Split, engine: Engine, reached: Rates, host: Rates | None) -> Line:
    """The stages of a model that is spread so; `host` is what the host reaches, where it holds layers."""
    before = before_the_layers(job.model)
    stages = []
    for on_host, held in held_by(job.model, split, engine):
        tp = 1 if on_host else split.tp
        mine = tuple(
            replace(divided(group, tp), layers=here)
            for group in gathered
            if (here := _layers_here(group, held, before))
        )  # fmt: skip
        speed = host if on_host and host is not None else reached
        stages.append(Stage(mine, speed, on_host, _sums(gathered, held, before, tp), tp > 1 and held.last))
    up = job.device.host_bandwidth
    # What a step takes whatever it does (sampling, the graph) it takes once, not once a stage.
    passing = [replace(stage, rates=replace(stage.rates, step_s=0.0)) for stage in stages[:-1]]
    return Line(
        (*passing, *stages[-1:]),
        split,
        links(job.device) or Links(PCIE, PCIE),
        PCIE if up is None else up.value / 2,
        job.model.dimensions.get("width", 0),
        job.model.dimensions.get("vocabulary", 0),
        engine.id,
        engine.spreads == "tensor",
    )


def _layers_here(group: Group, held: Held, before: frozenset[str]) -> tuple[int | None, ...]:
    path = "" if group.part is None else group.part.path
    # The table gives rows to the first stage; the head reads its own copy where the two are tied.
    with_table = replace(held, table=held.first)
    return tuple(layer for layer in group.layers if is_here(layer, path, before, with_table))


def divided(group: Group, tp: int) -> Group:
    """The group as one device of `tp` has it: parts cut, weights in proportion, states of its own heads."""
    if group.part is None or tp == 1:
        return group
    mine = parts.cut(group.part, tp)
    left = {routed: _left(group.part, mine, routed=routed) for routed in (True, False)}
    weights = tuple(
        replace(one, nbytes=one.nbytes * left[one.chance < 1], rows=-(-one.rows // tp)) for one in group.weights
    )
    return replace(group, part=mine, weights=weights, states=parts.remembers(mine))


def _left(whole: Part, mine: Part, *, routed: bool) -> float:
    """Share of the values of a part's arrays that one device holds; of its experts, or of all others."""
    held, here = (
        sum(prod(slot.shape) for slot in parts.slots(part) if (slot.experts is not None) == routed)
        for part in (whole, mine)
    )
    return here / held if held else 1.0


def _sums(gathered: Iterable[Group], held: Held, before: frozenset[str], tp: int) -> int:
    """Parts that are divided, tables included; the pieces of the head are gathered instead."""
    found = 0
    for group in gathered:
        if group.part is None or parts.cut(group.part, tp) == group.part:
            continue
        if not any(slot.role == "head" for slot in parts.slots(group.part)):
            found += len(_layers_here(group, held, before))
    return found


# --------------------------------------------------------------------------------------------------- seconds


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one step; each may be an array."""

    devices: Number
    """What devices compute and read, one stage after the other."""
    host: Number
    links: Number
    """Sums, gathers and sends between devices, and what goes to and from the host."""

    @property
    def total(self) -> Number:
        """All of it."""
        return self.devices + self.host + self.links


def decode_s(line: Line, job: Job, batch: Number, *, rows: Number = 1) -> Spent:
    """Of one token for each of `batch` sequences, or of `rows` tokens each where several are looked at together.

    With stages that several groups of sequences go through at once, each has batch / pp of them: a token still takes
    all stages, and all groups get one in that time.
    """
    work = job.workload
    at_once = larger(1.0, batch / line.split.pp) if line.overlaps else batch
    devices: Number = 0.0
    host: Number = 0.0
    moved: Number = 0.0
    for stage in line.stages:
        loads = decode_loads(
            stage.groups,
            prompt=work.prompt,
            output=work.output,
            batch=at_once * rows,
            codec=work.state_codec,
            source=source_of(work),
        )
        spent = seconds([_read_once(load, rows) for load in loads], stage.rates)
        if stage.on_host:
            host = host + spent
        else:
            devices = devices + spent
        moved = moved + _between(line, stage, at_once * rows, at_once * rows)
    return Spent(devices, host, moved + _sends(line, at_once * rows, at_once * rows))


def _read_once(load: Load, rows: Number) -> Load:
    """Tokens of one sequence that are looked at together read its state once."""
    return load if isinstance(rows, int) and rows == 1 else replace(load, state_bytes=load.state_bytes / rows)


def prefill_s(line: Line, job: Job) -> Spent:
    """Of the pass over all prompts.

    In stretches a pipeline fills and then all its stages work: (sum of the stages + (m - 1) x the slowest) / m for m
    stretches. Of layers on the host every matrix is copied to the device once a stretch of 512 tokens, and computed
    there, where a stretch has 32 tokens or more; with fewer the host computes.
    """
    step = prompt_pass(job.model, job.workload)
    tokens = step.tokens * step.batch
    most = MICRO_BATCH.get(line.engine)
    stretches = rounded_up(tokens, smaller(most, tokens)) if most else 1
    device = next(stage.rates for stage in line.stages if not stage.on_host)
    each, host, lent = [], 0.0, 0.0
    for stage in line.stages:
        lends = stage.on_host and tokens >= LENT
        speed = device if lends else stage.rates
        loads = prefill_loads(stage.groups, step, codec=job.workload.state_codec, most=speed.stretch)
        steps = rounded_up(tokens, smaller(speed.stretch, tokens))
        spent = seconds(loads, speed, steps=steps)
        if stage.on_host and not lends:
            host += spent
            continue
        each.append(spent + stretches * _between(line, stage, tokens / stretches, step.outputs * step.batch))
        if lends:
            lent += stretches * _stored(stage.groups) / line.host_bytes_per_s
    piece = [one / stretches for one in each]
    whole = sum(piece) + (stretches - 1) * (sum(piece) if line.split.offloaded else reduce(larger, piece))
    sent = stretches * _sends(line, tokens / stretches, step.outputs * step.batch)
    return Spent(whole, host, sent + lent)


def _stored(groups: Iterable[Group]) -> float:
    """Bytes of the matrices of layers, all of them: batches need nearly all experts."""
    return sum(
        group.count * sum(one.nbytes for one in group.weights) for group in groups if group.layers[0] is not None
    )


def _between(line: Line, stage: Stage, tokens: Number, outputs: Number) -> Number:
    """Collectives of one step inside a stage: rows of the stream are summed, logits gathered."""
    if line.split.tp == 1 or stage.on_host:
        return 0.0
    tp = line.split.tp
    summed = stage.sums * all_reduce_s(tokens * line.width * VALUE_BYTES, tp, line.wires)
    logits = all_gather_s(outputs * line.vocabulary * VALUE_BYTES, tp, line.wires) if stage.gathers else 0.0
    return summed + logits


def _sends(line: Line, tokens: Number, outputs: Number) -> Number:
    """From each stage to the next, and to the host and back where it holds layers."""
    stream = tokens * line.width * VALUE_BYTES
    moved: Number = 0.0
    for stage in range(1, line.split.pp):
        far = (stage * line.split.tp) // NODE != ((stage - 1) * line.split.tp) // NODE
        moved = moved + send_s(stream / line.split.tp, line.wires, far=far)
    if line.split.offloaded:
        up = Links(line.host_bytes_per_s, line.host_bytes_per_s)
        moved = moved + send_s(tokens * line.width * FLOAT_BYTES, up, far=False)
        moved = moved + send_s(outputs * line.vocabulary * FLOAT_BYTES, up, far=False)
    return moved
