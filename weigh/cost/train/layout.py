"""How a model is spread over devices for training, and which layouts are legal.

A Layout is the whole choice: degrees, microbatch, schedule, and what is computed again. `refusals` says everything
that is wrong with one, each in words that name the numbers; to add a rule, add it to `RULES`.
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
    found: dict[str, Any] = named(words)
    return replace(Layout(schedule="interleaved" if found.get("interleave", 1) > 1 else "1f1b"), **found)


def named(words: str) -> dict[str, int]:
    """The fields that the words name. Errors: LAYOUT-WORDS (exit code 2)."""
    known = (*DEGREES, "zero", "microbatch", "interleave")
    found: dict[str, int] = {}
    for word in filter(None, (word.strip() for word in words.split(","))):
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if name not in known or not equals or name in found:
            problem = "is named twice" if name in found else "is not known"
            raise _refusal("WORDS", f"`{word}` in --parallel {problem}", f"known: {', '.join(known)}, as in tp=8,pp=2")
        if not value.strip().isdecimal() or len(value.strip()) > 9:
            raise _refusal("WORDS", f"`{word}` in --parallel is no whole number", "as in tp=8,pp=2")
        found[name] = int(value)
    return found


def refusals(layout: Layout, model: Model, training: Training, devices: int) -> tuple[WeighError, ...]:
    """Everything that is wrong with the layout for this model, batch and number of devices; empty where it is legal.

    Rules: LAYOUT-DEGREE, then, where the degrees are numbers to compute with, LAYOUT-DEVICES and those of `RULES`:
    LAYOUT-HEADS, LAYOUT-LAYERS, LAYOUT-EXPERTS, LAYOUT-BATCH, LAYOUT-SEQUENCE, LAYOUT-SCHEDULE. All have exit code 2.
    """
    wrong = tuple(unusable(layout, training))
    if wrong:
        return wrong
    sizes = model.dimensions
    broken = (rule for rule in RULES if rule.broken(layout, training, sizes))
    return (*_count(layout, devices), *(_refusal(one.name, one.words(layout, training, sizes)) for one in broken))


def check(layout: Layout, model: Model, training: Training, devices: int) -> None:
    """Raise the first of `refusals`."""
    for refusal in refusals(layout, model, training, devices):
        raise refusal


def unusable(layout: Layout, training: Training) -> Iterator[WeighError]:
    """Numbers that are none to compute with, and words that name nothing."""
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


def _count(layout: Layout, devices: int) -> Iterator[WeighError]:
    if layout.devices != devices:
        product = " x ".join(f"{name} {getattr(layout, name)}" for name in ("tp", "pp", "dp", "cp"))
        hint = ""
        without = layout.tp * layout.pp * layout.cp
        if devices % without == 0:
            hint = f"dp={devices // without} would use all of them"
        yield _refusal("DEVICES", f"{product} = {layout.devices} devices, and there are {devices}", hint)


# --------------------------------------------------------------------------------------------------- rules


Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a layout illegal, and how that is said of one.

    `broken` takes a Layout, or many as one whose fields are arrays of the same length (`search.py`), and gives a truth
    or an array of them: it compares numbers and never branches on one.
    """

    name: str
    broken: Callable[[Any, Training, Sizes], Any]
    words: Callable[[Layout, Training, Sizes], str]


def _microbatches_left(at: Any, training: Training) -> Any:
    """Where the batch divides, the microbatches that the last round of an interleaved pipeline has."""
    even = training.batch % (at.dp * at.microbatch) == 0
    return even * (microbatches(at, training) % at.pp)


def _kv(at: Any, sizes: Sizes) -> Any:
    """Whether heads of keys are neither divided evenly nor repeated evenly."""
    kv = sizes.get("kv_heads", sizes.get("heads", 1))
    return (sizes.get("heads", 1) % at.tp == 0) & (kv % at.tp != 0) & (at.tp % kv != 0)


def _runs(at: Layout) -> str:
    return f"pp x interleave = {at.pp * at.interleave} runs" if at.interleave > 1 else f"pp = {at.pp} stages"


RULES: tuple[Rule, ...] = (
    Rule(
        "SEQUENCE",
        lambda at, _step, _sizes: (at.tp == 1) & at.sequence_parallel,
        lambda *_: "sequence parallelism divides what tensor parallelism leaves whole: tp is 1",
    ),
    Rule(
        "HEADS",
        lambda at, _step, sizes: (at.tp > 1) & ("heads" not in sizes),
        lambda *_: "tensor parallelism divides heads, and the model tells of none",
    ),
    Rule(
        "HEADS",
        lambda at, _step, sizes: sizes.get("heads", 0) % at.tp != 0,
        lambda at, _step, sizes: f"{sizes['heads']} heads do not divide by tp = {at.tp}",
    ),
    Rule(
        "HEADS",
        lambda at, _step, sizes: _kv(at, sizes),
        lambda at, _step, sizes: (
            f"{sizes['kv_heads']} heads of keys neither divide by tp = {at.tp} nor are repeated evenly"
        ),
    ),
    Rule(
        "LAYERS",
        lambda at, _step, sizes: sizes.get("layers", 0) % (at.pp * at.interleave) != 0,
        lambda at, _step, sizes: f"{sizes['layers']} layers do not divide into {_runs(at)}",
    ),
    Rule(
        "EXPERTS",
        lambda at, _step, sizes: (at.ep > 1) & (not sizes.get("experts")),
        lambda at, _step, _sizes: f"ep = {at.ep}, and the model has no experts",
    ),
    Rule(
        "EXPERTS",
        lambda at, _step, sizes: sizes.get("experts", 0) % at.ep != 0,
        lambda at, _step, sizes: f"{sizes['experts']} experts do not divide by ep = {at.ep}",
    ),
    Rule(
        "EXPERTS",
        lambda at, _step, _sizes: at.shards % at.ep != 0,
        lambda at, _step, _sizes: f"ep = {at.ep} does not divide dp x cp = {at.shards}",
    ),
    Rule(
        "BATCH",
        lambda at, step, _sizes: step.batch % (at.dp * at.microbatch) != 0,
        lambda at, step, _sizes: f"{step.batch} sequences do not divide by dp x microbatch = {at.dp * at.microbatch}",
    ),
    Rule(
        "SCHEDULE",
        lambda at, step, _sizes: (at.schedule == "interleaved") & (_microbatches_left(at, step) != 0),
        lambda at, step, _sizes: (
            f"interleaving takes a multiple of pp = {at.pp} as microbatches, not {microbatches(at, step)}"
        ),
    ),
    Rule(
        "SEQUENCE",
        lambda at, step, _sizes: step.sequence % at.cp != 0,
        lambda at, step, _sizes: f"{step.sequence} tokens do not divide by cp = {at.cp}",
    ),
    Rule(
        "SEQUENCE",
        lambda at, step, _sizes: (
            at.sequence_parallel & (step.sequence % at.cp == 0) & (step.sequence // at.cp % at.tp != 0)
        ),
        lambda at, step, _sizes: f"{step.sequence} tokens do not divide by cp x tp = {at.cp * at.tp}",
    ),
    Rule(
        "SCHEDULE",
        lambda at, _step, _sizes: (at.interleave > 1) & (at.schedule != "interleaved"),
        lambda at, _step, _sizes: f"the schedule {at.schedule} gives each stage one run of layers",
    ),
    Rule(
        "SCHEDULE",
        lambda at, _step, _sizes: (at.interleave > 1) & (at.pp == 1),
        lambda *_: "there is nothing to interleave with one stage",
    ),
)
"""Every reason; to add one, add it here."""


def _refusal(rule: str, message: str, hint: str = "") -> WeighError:
    return WeighError(message, rule=f"LAYOUT-{rule}", hint=hint, exit_code=2)
