"""Memory of the device that holds the most: model states, activations of the microbatches in flight, buffers.

Every stage of the pipeline is summed up, and the largest told: with 1F1B mostly the first, which holds as many
microbatches as there are stages; the last where the logits weigh more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from weigh import parts
from weigh.cost.activations import Step, kept_bytes
from weigh.cost.train.layout import Layout, Training, pipeline
from weigh.cost.train.model_states import ModelStates, held, model_states, stage_of
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.schedule import held as chunks_held
from weigh.types import Figure, Model, Part, Pass, WeighError, Why

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
class StageMemory:
    """What one device of a stage holds at most."""

    stage: int
    states: ModelStates
    activations: Activations

    @property
    def total(self) -> int:
        """Bytes of everything."""
        return self.states.total + self.activations.kept + sum(self.activations.buffers.values())


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


def activations(model: Model, layout: Layout, training: Training, stage: int, *, fused: bool = True) -> Activations:
    """What a stage keeps of its layers, tables and head for all microbatches in flight, and buffers beside it.

    A stage of 1F1B holds one microbatch for each stage behind it and its own, an interleaved one (p - 1) / (p v) of
    its layers more (`schedule.held`). Full recomputation keeps the input of each layer, divided only by sequence
    parallelism, and makes one layer's activations again at a time, when the last stage's logits are gone.
    Source: `SOURCE`; for the in-flight factor, section 4.2.3.
    With context parallelism a device has its share of the tokens, whose scores are over all places.
    Error: TRAIN-KEPT where a part does not say what it keeps.
    """
    mine = training.sequence // layout.cp
    work = Pass(mine, training.sequence - mine, batch=layout.microbatch, outputs=mine)
    step = step_of(model, layout, fused=fused)
    layers, outside = _by_layer(model, layout, stage, work, step)
    rows = mine * layout.microbatch
    divided = layout.tp if layout.sequence_parallel else 1
    stream = -(-rows * model.dimensions["width"] // divided)
    again = [size for layer, size in layers.items() if _recomputed(layer, layout)]
    kept = sum(layers.values()) - sum(again) + len(again) * stream * step.value_bytes
    in_flight = chunks_held(layout.schedule, pipeline(layout, training), stage)
    whole = -(-kept * in_flight // layout.interleave)
    logits = 0
    if stage == 0:
        # A chunk behind the first has no tables: of the chunks in flight one in `interleave` holds what they keep.
        mask = stream if step.dropout else 0
        whole += (outside["tables"] + mask) * -(-in_flight // layout.interleave)
    if stage == layout.pp - 1:
        whole += outside["head"]
        logits = -(-rows * model.dimensions.get("vocabulary", 0) // layout.tp) * LOGIT
    working = max(again, default=0)
    buffers = {"loss": logits} if logits >= working else {"recomputed": working}
    return Activations(whole, buffers)


def _recomputed(layer: int, layout: Layout) -> bool:
    return layout.recompute == "full" and layer % layout.recompute_every == 0


def _by_layer(
    model: Model, layout: Layout, stage: int, work: Pass, step: Step
) -> tuple[dict[int, int], dict[str, int]]:
    """Bytes of one microbatch in each layer of the stage, and of the tables and the head if they lie there."""
    layers: dict[int, int] = {}
    outside = {"tables": 0, "head": 0}
    shared: dict[str, int] = {}
    for part in model.parts:
        if stage_of(part, model, layout) != stage:
            continue
        for name, size, one_array in _kept(part, work, step):
            if one_array:
                shared[name] = max(size, shared.get(name, 0))
            elif part.layer is None:
                outside["tables" if part.kind == "embedding" else "head"] += size
            else:
                layers[part.layer] = layers.get(part.layer, 0) + size
    outside["tables"] += sum(shared.values())
    return layers, outside


def _kept(part: Part, work: Pass, step: Step) -> list[tuple[str, int, bool]]:
    entries = parts.keeps(part, work)
    found = [] if entries is None else [(entry, kept_bytes(entry, step)) for entry in entries]
    if entries is None or any(size is None for _, size in found):
        raise WeighError(
            f"what `{part.address}` ({part.kind}) keeps for the backward pass is not known in this way of training",
            rule="TRAIN-KEPT",
            hint="--flash-attention may make it known" if step.attention != "flash" else "",
        )
    return [(entry.name, size or 0, entry.shared) for entry, size in found]


def gathered(model: Model, layout: Layout, stage: int, precision: Precision) -> int:
    """Bytes that ZeRO-3 holds whole for a while: two groups of parameters and the gradients of one.

    A group is a layer, a table or the head, as FSDP2 wraps them: one computes while the next is fetched.
    Source: arXiv 2304.11277, section 4 (the rate limiter allows two).
    """
    if layout.zero < 3:
        return 0
    groups: dict[str, int] = {}
    for one in held(model, layout, stage):
        groups[one.group] = groups.get(one.group, 0) + one.parameters
    largest = sorted(groups.values())[-2:]
    return sum(largest) * precision.parameter + largest[-1] * precision.gradient


def stage_memory(
    model: Model, layout: Layout, training: Training, optimizer: Optimizer, precision: Precision, stage: int
) -> StageMemory:
    """States, activations and buffers of one device of a stage."""
    found = activations(model, layout, training, stage)
    whole = gathered(model, layout, stage, precision)
    buffers = {**found.buffers, "gathered": whole}
    states = model_states(model, layout, stage, optimizer, precision)
    return StageMemory(stage, states, replace(found, buffers=buffers))


def memory(model: Model, layout: Layout, training: Training, optimizer: Optimizer, precision: Precision) -> Memory:
    """Of the device that holds the most, in bytes. The layout is legal (`layout.check`).

    The value is that of fused kernels and gradients as the precision says. The upper end: elementwise steps one by
    one (activations), gradients summed in float32 (states). Ignores: the driver's context, buffers of collectives,
    fragments of the allocator. Off by: -4 to +9 % on rows of torchtitan (one of 70 B
    parameters with tensor parallelism by -27 %), tests/published/test_training_memory.py.
    """
    inner = range(1, layout.pp - 1) if layout.pp <= 3 else (1,)
    stages = sorted({0, *inner, layout.pp - 1} & set(range(layout.pp)))
    worst = max(
        (stage_memory(model, layout, training, optimizer, precision, stage) for stage in stages),
        key=lambda one: one.total,
    )
    upper = replace(precision, gradient=precision.gradient_high)
    most = model_states(model, layout, worst.stage, optimizer, upper).total
    kept = worst.activations.kept
    kept_high = activations(model, layout, training, worst.stage, fused=False).kept
    given = {"stage": worst.stage, "microbatches": pipeline(layout, training).microbatches}
    states = worst.states
    pieces = {
        "parameters": states.parameters,
        "gradients": states.gradients,
        "master": states.master,
        "optimizer": states.optimizer,
    }
    held_states = Figure(
        states.total, states.total, most, "B", "derived",
        Why("parameters + gradients + master + optimizer, each / n where ZeRO divides it", {**pieces, **given},
            f"arXiv 1910.02054; {precision.source}; {optimizer.source}"),
    )  # fmt: skip
    held_activations = Figure(
        kept, kept, max(kept, kept_high), "B", "derived",
        Why("sum over the stage's layers of what is kept x chunks in flight / interleave",
            {"in_flight": chunks_held(layout.schedule, pipeline(layout, training), worst.stage), **given}, SOURCE),
    )  # fmt: skip
    buffers = sum(worst.activations.buffers.values())
    held_buffers = Figure(
        buffers, 0, 2 * buffers, "B", "assumed",
        Why("max(logits of the loss, a layer computed again) + parameters gathered", dict(worst.activations.buffers)),
    )  # fmt: skip
    sums = (states.total + kept + buffers, states.total + kept, most + max(kept, kept_high) + 2 * buffers)
    whole = Why(
        "model_states + activations + buffers, of the stage that holds the most",
        {"model_states": states.total, "activations": kept, "buffers": buffers, **given},
    )
    per_device = Figure(*sums, "B", "derived", whole)
    return Memory(
        per_device, held_states, held_activations, held_buffers, worst.stage, {**pieces, **worst.activations.buffers}
    )
