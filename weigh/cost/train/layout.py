"""How a model is spread over devices for training, and which layouts are legal.

A Layout is the whole choice: degrees, microbatch, schedule, and what is computed again. `refusals` says everything
that is wrong with one, each in words that name the numbers; to add a rule, add a check to `_CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from weigh.cost.train.schedule import ORDERS, Pipeline
from weigh.types import Model, WeighError

Recompute = Literal["none", "selective", "full"]
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
DEGREES = ("tp", "pp", "dp", "cp", "ep")


@dataclass(frozen=True, slots=True)
class Layout:
    """Degrees of parallelism and what goes with them. The devices are tp x pp x dp x cp."""

    tp: int = 1
    """Tensor parallel: heads, hidden values and the vocabulary are divided."""
    pp: int = 1
    """Pipeline stages."""
    dp: int = 1
    """Data parallel."""
    cp: int = 1
    """Context parallel: each sequence is divided."""
    ep: int = 1
    """Expert parallel, among the devices of data and context parallelism."""
    zero: int = 0
    """Over data and context parallelism are divided: 1 the optimizer's states, 2 also gradients, 3 also parameters."""
    microbatch: int = 1
    """Sequences that a device computes at once."""
    interleave: int = 1
    """Runs of layers a stage."""
    schedule: str = "1f1b"
    recompute: Recompute = "none"
    """What is computed again in the backward pass: nothing, the products of attention, or whole layers."""
    sequence_parallel: bool = False
    flash_attention: bool = False
    recompute_every: int = 1
    """With full recomputation, of so many layers one is computed again and the others keep everything."""

    @property
    def devices(self) -> int:
        """All of them."""
        return self.tp * self.pp * self.dp * self.cp

    @property
    def shards(self) -> int:
        """Devices with the same dense parameters, over which ZeRO divides."""
        return self.dp * self.cp


@dataclass(frozen=True, slots=True)
class Training:
    """What a step trains on, whatever the layout: sequences a step and tokens a sequence."""

    batch: int
    sequence: int

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.batch * self.sequence


def microbatches(layout: Layout, training: Training) -> int:
    """Microbatches that each pipeline computes in a step."""
    return training.batch // (layout.dp * layout.microbatch)


def pipeline(layout: Layout, training: Training) -> Pipeline:
    """The layout's pipeline for `schedule.py`."""
    return Pipeline(layout.pp, microbatches(layout, training), layout.interleave)


def parse(words: str) -> Layout:
    """`tp=8,pp=64,dp=6,zero=1` as a Layout; what is left out is 1, and `zero` 0.

    With interleave > 1 the schedule is `interleaved`. Errors: LAYOUT-WORDS (exit code 2).
    """
    known = (*DEGREES, "zero", "microbatch", "interleave")
    found: dict[str, Any] = {}
    for word in filter(None, (word.strip() for word in words.split(","))):
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if name not in known or not equals or name in found:
            problem = "is named twice" if name in found else "is not known"
            raise _refusal("WORDS", f"`{word}` in --parallel {problem}", f"known: {', '.join(known)}, as in tp=8,pp=2")
        if not value.strip().isdecimal() or len(value.strip()) > 9:
            raise _refusal("WORDS", f"`{word}` in --parallel is no whole number", "as in tp=8,pp=2")
        found[name] = int(value)
    return replace(Layout(schedule="interleaved" if found.get("interleave", 1) > 1 else "1f1b"), **found)


def refusals(layout: Layout, model: Model, training: Training, devices: int) -> tuple[WeighError, ...]:
    """Everything that is wrong with the layout for this model, batch and number of devices; empty where it is legal.

    Rules: LAYOUT-DEGREE, then, where the degrees are numbers to compute with, LAYOUT-DEVICES, LAYOUT-HEADS,
    LAYOUT-LAYERS, LAYOUT-EXPERTS, LAYOUT-BATCH, LAYOUT-SEQUENCE, LAYOUT-ZERO, LAYOUT-SCHEDULE. All have exit code 2.
    """
    wrong = tuple(_degrees(layout, training))
    if wrong:
        return wrong
    sizes = model.dimensions
    return (*_count(layout, devices), *(error for check in _CHECKS for error in check(layout, training, sizes)))


def check(layout: Layout, model: Model, training: Training, devices: int) -> None:
    """Raise the first of `refusals`."""
    for refusal in refusals(layout, model, training, devices):
        raise refusal


Checks = Iterator[WeighError]


def _degrees(layout: Layout, training: Training) -> Checks:
    for name in (*DEGREES, "microbatch", "interleave", "recompute_every"):
        value = getattr(layout, name)
        if value < 1:
            yield _refusal("DEGREE", f"{name} = {value}: it must be at least 1")
    for field in fields(training):
        if getattr(training, field.name) < 1:
            yield _refusal("DEGREE", f"the {field.name} must be at least 1")
    if layout.zero not in range(4):
        yield _refusal("ZERO", f"zero = {layout.zero}: there are the stages 0 to 3")
    if layout.recompute not in RECOMPUTES:
        yield _refusal("DEGREE", f"there is no recomputation `{layout.recompute}`", f"known: {', '.join(RECOMPUTES)}")
    if layout.schedule not in ORDERS:
        yield _refusal("SCHEDULE", f"there is no schedule `{layout.schedule}`", f"known: {', '.join(ORDERS)}")


def _count(layout: Layout, devices: int) -> Checks:
    if layout.devices != devices:
        product = " x ".join(f"{name} {getattr(layout, name)}" for name in ("tp", "pp", "dp", "cp"))
        hint = ""
        without = layout.tp * layout.pp * layout.cp
        if devices % without == 0:
            hint = f"dp={devices // without} would use all of them"
        yield _refusal("DEVICES", f"{product} = {layout.devices} devices, and there are {devices}", hint)


def _tensor(layout: Layout, _training: Training, sizes: Mapping[str, int]) -> Checks:
    tp, heads = layout.tp, sizes.get("heads")
    if tp == 1:
        if layout.sequence_parallel:
            yield _refusal("SEQUENCE", "sequence parallelism divides what tensor parallelism leaves whole: tp is 1")
        return
    if heads is None:
        yield _refusal("HEADS", "tensor parallelism divides heads, and the model tells of none")
        return
    kv = sizes.get("kv_heads", heads)
    if heads % tp:
        yield _refusal("HEADS", f"{heads} heads do not divide by tp = {tp}")
    elif kv % tp and tp % kv:
        yield _refusal("HEADS", f"{kv} heads of keys neither divide by tp = {tp} nor are repeated evenly")


def _layers(layout: Layout, _training: Training, sizes: Mapping[str, int]) -> Checks:
    runs, layers = layout.pp * layout.interleave, sizes.get("layers", 0)
    if layers % runs:
        what = f"pp x interleave = {runs} runs" if layout.interleave > 1 else f"pp = {layout.pp} stages"
        yield _refusal("LAYERS", f"{layers} layers do not divide into {what}")


def _experts(layout: Layout, _training: Training, sizes: Mapping[str, int]) -> Checks:
    if layout.ep == 1:
        return
    experts = sizes.get("experts", 0)
    if not experts:
        yield _refusal("EXPERTS", f"ep = {layout.ep}, and the model has no experts")
    elif experts % layout.ep:
        yield _refusal("EXPERTS", f"{experts} experts do not divide by ep = {layout.ep}")
    if layout.shards % layout.ep:
        yield _refusal("EXPERTS", f"ep = {layout.ep} does not divide dp x cp = {layout.shards}")


def _batch(layout: Layout, training: Training, _sizes: Mapping[str, int]) -> Checks:
    at_once = layout.dp * layout.microbatch
    if training.batch % at_once:
        yield _refusal("BATCH", f"{training.batch} sequences do not divide by dp x microbatch = {at_once}")
        return
    count = microbatches(layout, training)
    if layout.schedule == "interleaved" and count % layout.pp:
        yield _refusal("SCHEDULE", f"interleaving takes a multiple of pp = {layout.pp} as microbatches, not {count}")


def _sequence(layout: Layout, training: Training, _sizes: Mapping[str, int]) -> Checks:
    divides = layout.cp * (layout.tp if layout.sequence_parallel else 1)
    if training.sequence % divides:
        what = "cp x tp" if layout.sequence_parallel else "cp"
        yield _refusal("SEQUENCE", f"{training.sequence} tokens do not divide by {what} = {divides}")


def _schedule(layout: Layout, _training: Training, _sizes: Mapping[str, int]) -> Checks:
    if layout.interleave > 1 and layout.schedule != "interleaved":
        yield _refusal("SCHEDULE", f"the schedule {layout.schedule} gives each stage one run of layers")
    if layout.interleave > 1 and layout.pp == 1:
        yield _refusal("SCHEDULE", "there is nothing to interleave with one stage")


_CHECKS: tuple[Callable[[Layout, Training, Mapping[str, int]], Checks], ...] = (
    _tensor,
    _layers,
    _experts,
    _batch,
    _sequence,
    _schedule,
)


def _refusal(rule: str, message: str, hint: str = "") -> WeighError:
    return WeighError(message, rule=f"LAYOUT-{rule}", hint=hint, exit_code=2)
