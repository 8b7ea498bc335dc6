"""Memory of the device that holds the most: model states, activations of the microbatches in flight, buffers.

Every stage of the pipeline is summed up, and the largest told: with 1F1B mostly the first, which holds as many
microbatches as there are stages; the last where the logits weigh more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from weigh import parts
from weigh.cost.activations import Step, kept_bytes
from weigh.cost.train.layout import Layout, Training, microbatches, pipeline
from weigh.cost.train.model_states import ModelStates, held, model_states, stage_of
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.schedule import held as chunks_held
from weigh.cost.train.schedule import in_flight
from weigh.cost.train.tuning import LINEAR, READ_BY, WHOLE, Tuning, kept
from weigh.numbers import Number, chosen, rounded_up
from weigh.types import Figure, Model, Part, Pass, WeighError, Why
from weigh.types import Kept as Entry

LOGIT = 10
"""Bytes of a logit in the loss beside the float32 logarithm that the head keeps: the 16-bit logit that the caller
still holds, and two gradients in float32. Derived from what torch's cross entropy allocates in its backward pass; a
compiled or a fused loss needs less, and the lower end has none."""

SOURCE = "arXiv 2205.05198, section 4; what each part keeps is told by its kind (weigh/parts)"

_DROPS = ("resid_pdrop", "attn_pdrop", "embd_pdrop", "hidden_dropout", "attention_dropout", "hidden_dropout_prob",
          "attention_probs_dropout_prob", "dropout", "dropout_rate")  # fmt: skip
_DROP_BY_DEFAULT = frozenset({"gpt2", "opt", "bert", "roberta", "electra", "distilbert", "t5", "xglm", "ctrl"})
"""Classes of transformers whose configuration drops a tenth unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes on one device of a stage."""

    kept: int
    """From each forward pass to its backward pass, all microbatches in flight."""
    buffers: Mapping[str, int]
    """Beside them at the worst moment: `loss` or `recomputed`, whichever is more, and `gathered`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that one stage keeps of one microbatch; of many layouts where they are arrays."""

    layers: Number
    """Of the layers that keep everything."""
    again: Number
    """How many layers are computed again, and keep their input alone."""
    working: Number
    """Of the largest of these while it is computed again."""
    tables: Number
    head: Number


@dataclass(frozen=True, slots=True)
class StageMemory:
    """What one device of a stage holds at most."""

    stage: int
    states: ModelStates
    activations: Activations

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return int(self.states.total) + self.activations.kept + sum(self.activations.buffers.values())


@dataclass(frozen=True, slots=True)
class Memory:
    """Figures of the device that holds the most, in bytes."""

    per_device: Figure
    model_states: Figure
    activations: Figure
    buffers: Figure
    stage: int
    parts: Mapping[str, int] = field(default_factory=dict)
    """Bytes of parameters, gradients, master, optimizer and each buffer."""
    host: Figure | None = None
    """Bytes in the host's memory for this device, where the optimizer's states lie there."""


@dataclass(frozen=True, slots=True)
class Way:
    """How it is trained, beside the layout: what memory depends on in every function here."""

    optimizer: Optimizer
    precision: Precision
    tuned: Tuning = WHOLE
    offloaded: bool = False
    """Master copy and optimizer's states lie in the host's memory."""
    cached: bool = False
    """8-bit copies of the weights are kept from microbatch to microbatch, and inputs of products are kept in 8 bit:
    Transformer Engine does both, torchao neither."""


def drops(model: Model) -> bool:
    """Whether the model is trained with dropout: as its configuration says, or its class by default."""
    said = [value for key in _DROPS if (value := (model.inventory.configuration or {}).get(key)) is not None]
    if said:
        return any(isinstance(value, int | float) and value > 0 for value in said)
    return model.model_type in _DROP_BY_DEFAULT


def step_of(model: Model, layout: Layout, *, fused: bool = True) -> Step:
    """What a step keeps depends on: the layout's attention, tensor and sequence parallelism, and dropout."""
    attention: Literal["scores", "flash", "recomputed"] = "scores"
    if layout.flash_attention:
        attention = "flash"
    elif layout.recompute == "selective":
        attention = "recomputed"
    return Step(
        attention=attention,
        fused=fused,
        dropout=drops(model),
        tensor=layout.tp,
        sequence=layout.sequence_parallel,
    )


def activations(
    model: Model, layout: Layout, training: Training, stage: int, *, fused: bool = True, way: Way | None = None
) -> Activations:
    """What a stage keeps of its layers, tables and head for all microbatches in flight, and buffers beside it.

    A stage of 1F1B holds one microbatch for each stage behind it and its own, an interleaved one (p - 1) / (p v) of
    its layers more (`schedule.held`). Full recomputation keeps the input of each layer, divided only by sequence
    parallelism, and makes one layer's activations again at a time, when the last stage's logits are gone.
    Source: `SOURCE`; for the in-flight factor, section 4.2.3.
    With context parallelism a device has its share of the tokens, whose scores are over all places.
    Error: TRAIN-KEPT where a part does not say what it keeps.
    """
    step = step_of(model, layout, fused=fused)
    layers, outside = _by_layer(model, layout, stage, step_pass(layout, training), step, way)
    again = [size for layer, size in layers.items() if _recomputed(layer, layout)]
    mine = Kept(
        sum(layers.values()) - sum(again), len(again), max(again, default=0), outside["tables"], outside["head"]
    )
    whole, logits = in_all(mine, model.dimensions, layout, training, step, stage)
    return Activations(whole, {"loss": logits} if logits >= mine.working else {"recomputed": mine.working})


def step_pass(layout: Layout, training: Training) -> Pass:
    """One microbatch on one device: its share of each sequence, whose other places come before it."""
    mine = training.sequence // layout.cp
    return Pass(mine, training.sequence - mine, batch=layout.microbatch, outputs=mine)


def in_all(
    mine: Kept, sizes: Mapping[str, int], layout: Layout, training: Training, step: Step, stage: Number
) -> tuple[Number, Number]:
    """Bytes kept of all microbatches in flight, and of the logits of the loss."""
    rows = training.sequence // layout.cp * layout.microbatch
    stream = rounded_up(rows * sizes["width"], chosen(layout.sequence_parallel, layout.tp, 1))
    held_at_once = in_flight(layout.schedule, layout.pp, microbatches(layout, training), layout.interleave, stage)
    whole = rounded_up((mine.layers + mine.again * stream * step.value_bytes) * held_at_once, layout.interleave)
    # A chunk behind the first has no tables: of the chunks in flight one in `interleave` holds what they keep.
    tables = (mine.tables + (stream if step.dropout else 0)) * rounded_up(held_at_once, layout.interleave)
    last = stage == layout.pp - 1
    logits = rounded_up(rows * sizes.get("vocabulary", 0), layout.tp) * LOGIT
    return whole + chosen(stage == 0, tables, 0) + chosen(last, mine.head, 0), chosen(last, logits, 0)


def _recomputed(layer: int, layout: Layout) -> bool:
    return layout.recompute == "full" and layer % layout.recompute_every == 0


def _by_layer(
    model: Model, layout: Layout, stage: int, work: Pass, step: Step, way: Way | None
) -> tuple[dict[int, int], dict[str, int]]:
    """Bytes of one microbatch in each layer of the stage, and of the tables and the head if they lie there."""
    layers: dict[int, int] = {}
    outside = {"tables": 0, "head": 0}
    shared: dict[str, int] = {}
    for part in model.parts:
        if stage_of(part, model, layout) != stage:
            continue
        for name, size, one_array in of_part(part, _entries(part, work, step, way), step, cached=_caches(way)):
            if one_array:
                shared[name] = max(size, shared.get(name, 0))
            elif part.layer is None:
                outside["tables" if part.kind == "embedding" else "head"] += size
            else:
                layers[part.layer] = layers.get(part.layer, 0) + size
    outside["tables"] += sum(shared.values())
    return layers, outside


def _entries(part: Part, work: Pass, step: Step, way: Way | None) -> Iterable[Entry] | None:
    """What the part says that it keeps, without what only the gradients of frozen matrices would read."""
    entries = parts.keeps(part, work)
    if entries is None or way is None:
        return entries
    return kept(part, entries, way.tuned, flash=step.attention == "flash", rows=work.tokens * work.batch)


def _caches(way: Way | None) -> bool:
    return way is not None and way.cached


def of_part(part: Part, entries: Iterable[Entry] | None, step: Step, *, cached: bool) -> list[tuple[str, Number, bool]]:
    """Name, bytes on one device and whether it is one array of all parts, of what a part keeps. Error: TRAIN-KEPT.

    `cached`: inputs of a layer's products are kept in 8 bit.
    """
    found = [] if entries is None else [(entry, kept_bytes(entry, step)) for entry in entries]
    if entries is None or any(size is None for _, size in found):
        raise WeighError(
            f"what `{part.address}` ({part.kind}) keeps for the backward pass is not known in this way of training",
            rule="TRAIN-KEPT",
            hint="--flash-attention may make it known" if step.attention != "flash" else "",
        )
    read = READ_BY.get(part.kind, {}) if cached and part.layer is not None else {}
    sizes: list[Number] = [size for _, size in found]
    return [
        (entry.name, size // 2 if entry.name in read else size, entry.shared)
        for (entry, _), size in zip(found, sizes, strict=True)
    ]


def gathered(model: Model, layout: Layout, stage: int, way: Way) -> int:
    """Bytes that ZeRO-3 holds whole for a while: two groups of parameters and the gradients of one.

    A group is a layer, a table or the head, as FSDP2 wraps them: one computes while the next is fetched.
    Source: arXiv 2304.11277, section 4 (the rate limiter allows two).
    """
    if layout.zero < 3:
        return 0
    groups: dict[str, int] = {}
    moved: dict[str, int] = {}
    for one in held(model, layout, stage, way.tuned):
        groups[one.group] = groups.get(one.group, 0) + one.stored_bytes(way.precision)
        moved[one.group] = moved.get(one.group, 0) + (one.parameters * way.precision.gradient if one.trained else 0)
    return sum(sorted(groups.values())[-2:]) + max(moved.values())


def casts(model: Model, layout: Layout, stage: int, way: Way) -> int:
    """Bytes of the 8-bit copies of a stage's weights, in rows and in columns, where they are kept.

    A Hopper card multiplies operands in one order only, so that the backward pass reads a transposed copy; the 16-bit
    weights stay, since the optimizer and the next cast read them. Source: nvidia.github.io/TransformerEngine,
    features, low-precision training, performance considerations ("Handling transposes").
    """
    if not way.cached:
        return 0
    matrices = (one for one in held(model, layout, stage) if one.role in LINEAR and len(one.shape) > 1)
    return 2 * sum(int(one.parameters) for one in matrices)


def stage_memory(model: Model, layout: Layout, training: Training, way: Way, stage: int) -> StageMemory:
    """States, activations and buffers of one device of a stage."""
    found = activations(model, layout, training, stage, way=way)
    buffers = dict(found.buffers)
    buffers["gathered"] = gathered(model, layout, stage, way)
    if copies := casts(model, layout, stage, way):
        buffers["casts"] = copies
    states = model_states(model, layout, stage, way.optimizer, way.precision, way.tuned)
    if way.offloaded:
        states = replace(states, master=0, optimizer=0)
    return StageMemory(stage, states, replace(found, buffers=buffers))


def host_memory(model: Model, layout: Layout, stage: int, way: Way) -> Figure | None:
    """Bytes in the host's memory for one device: its share of master copy and states, and of the gradients it is given.

    None where nothing lies there. Source: arXiv 2101.06840 (unverified). Ignores: pinned buffers beside them, the upper
    end has the gradients once more in float32.
    """
    if not way.offloaded:
        return None
    found = model_states(model, layout, stage, way.optimizer, way.precision, way.tuned)
    kept_there = found.master + found.optimizer
    share = found.gradients // (layout.shards if layout.zero == 1 else 1)
    value = kept_there + share
    wider = share * 4 // way.precision.gradient
    given = {"master": found.master, "optimizer": found.optimizer, "gradients": share}
    why = Why("master + optimizer + gradients", given, "arXiv 2101.06840 (unverified)")
    return Figure(value, kept_there, value + wider, "B", "derived", why)


def memory(
    model: Model,
    layout: Layout,
    training: Training,
    optimizer: Optimizer,
    precision: Precision,
    tuned: Tuning = WHOLE,
    *,
    offloaded: bool = False,
    cached: bool = False,
) -> Memory:
    """Of the device that holds the most, in bytes. The layout is legal (`layout.check`).

    The value is that of fused kernels and gradients as the precision says. The upper end: elementwise steps one by
    one (activations), gradients summed in float32 (states). Ignores: the driver's context, buffers of collectives,
    fragments of the allocator. Errors on published rows: `weigh validate "memory per device"`.
    """
    way = Way(optimizer, precision, tuned, offloaded, cached and precision.id == "fp8")
    inner = range(1, layout.pp - 1) if layout.pp <= 3 else (1,)
    stages = sorted({0, *inner, layout.pp - 1} & set(range(layout.pp)))
    worst = max((stage_memory(model, layout, training, way, stage) for stage in stages), key=lambda one: one.total)
    upper = replace(way, precision=replace(precision, gradient=precision.gradient_high))
    most = stage_memory(model, layout, training, upper, worst.stage).states.total
    eager = activations(model, layout, training, worst.stage, fused=False, way=replace(way, cached=False)).kept
    told = _figures(layout, training, way, worst, most, max(worst.activations.kept, eager))
    return replace(told, host=host_memory(model, layout, worst.stage, way))


def _figures(layout: Layout, training: Training, way: Way, worst: StageMemory, most: int, eager: int) -> Memory:
    """The Figures of the worst stage; `most` and `eager` are the upper ends of its states and activations."""
    states, kept_most = worst.states, worst.activations.kept
    given = {"stage": worst.stage, "microbatches": pipeline(layout, training).microbatches}
    pieces = {
        "parameters": states.parameters,
        "gradients": states.gradients,
        "master": states.master,
        "optimizer": states.optimizer,
    }
    source = f"arXiv 1910.02054; {way.precision.source}; {way.optimizer.source}"
    of_states = Why(
        "parameters + gradients + master + optimizer, each / n where ZeRO divides it", {**pieces, **given}, source
    )
    in_flight = chunks_held(layout.schedule, pipeline(layout, training), worst.stage)
    of_kept = Why(
        "sum over the stage's layers of what is kept x chunks in flight / interleave",
        {"in_flight": in_flight, **given},
        SOURCE,
    )
    buffers = sum(worst.activations.buffers.values())
    of_buffers = Why(
        "max(logits of the loss, a layer computed again) + parameters gathered + 8-bit copies",
        dict(worst.activations.buffers),
    )
    whole = Why(
        "model_states + activations + buffers, of the stage that holds the most",
        {"model_states": states.total, "activations": kept_most, "buffers": buffers, **given},
    )
    ends = (states.total + kept_most + buffers, states.total + kept_most, most + eager + 2 * buffers)
    return Memory(
        Figure(*ends, "B", "derived", whole),
        Figure(states.total, states.total, most, "B", "derived", of_states),
        Figure(kept_most, kept_most, eager, "B", "derived", of_kept),
        Figure(buffers, 0, 2 * buffers, "B", "assumed", of_buffers),
        worst.stage,
        {**pieces, **worst.activations.buffers},
    )
