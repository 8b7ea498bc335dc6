"""Schedules of a pipeline: in which order each stage does its work, played through to tell what that costs.

The simulation is the judge. It proves that an order cannot deadlock, and tells how long a step takes, how long each
stage waits, and how many microbatches a stage holds at most. The closed forms of the literature, which a search over
many layouts can afford, are in `waiting` and `in_flight`; tests hold them against the simulation. To add a schedule: a
function that gives the order of one stage, and its name in `ORDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from weigh.numbers import Number, smaller
from weigh.types import WeighError

Work = Literal["forward", "backward", "weights"]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work of a stage: a chunk of its layers on a microbatch.

    `backward` gives the gradients of the inputs, and those of the weights too unless the schedule does these apart
    (`weights`), which nothing waits for.
    """

    work: Work
    microbatch: int
    chunk: int = 0
    """Which of the stage's runs of layers, where it has several: the model goes round the stages once a chunk."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, microbatches of a step, and runs of layers a stage."""

    stages: int
    microbatches: int
    chunks: int = 1

    def __post_init__(self) -> None:
        if min(self.stages, self.microbatches, self.chunks) < 1:
            raise WeighError("a pipeline has at least one stage, microbatch and chunk", rule="SCHEDULE-SIZE")


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of one chunk of one stage on one microbatch, and of sending its result to the next stage."""

    forward: float = 1.0
    backward: float = 2.0
    """Of both gradients, or of those of the inputs where the weights' are apart."""
    weights: float = 0.0
    send: float = 0.0


@dataclass(frozen=True, slots=True)
class Played:
    """A step played through."""

    seconds: float
    busy: tuple[float, ...]
    """Seconds of work of each stage."""
    held: tuple[int, ...]
    """Most chunks of microbatches whose activations each stage holds at once."""

    @property
    def bubble(self) -> float:
        """Time that the busiest stage waits, as a share of the time that it works: (p - 1) / m for 1F1B."""
        return self.seconds / max(self.busy) - 1


# -------------------------------------------------------------------------------------------------- orders


def gpipe(_stage: int, pipeline: Pipeline) -> list[Task]:
    """All forwards, then all backwards. Source: arXiv 1811.06965, section 2."""
    forwards = [Task("forward", i) for i in range(pipeline.microbatches)]
    return forwards + [Task("backward", i) for i in range(pipeline.microbatches)]


def one_forward_one_backward(stage: int, pipeline: Pipeline) -> list[Task]:
    """As many forwards as there are stages behind, then one forward and one backward by turns, then the rest.

    Source: arXiv 2006.09503 (PipeDream-Flush), section 2.2.
    """
    ahead = min(pipeline.stages - stage - 1, pipeline.microbatches)
    forwards = [Task("forward", i) for i in range(pipeline.microbatches)]
    backwards = [Task("backward", i) for i in range(pipeline.microbatches)]
    return _by_turns(forwards, backwards, ahead)


def interleaved(stage: int, pipeline: Pipeline) -> list[Task]:
    """1F1B where each stage has several runs of layers, taken in rounds of as many microbatches as there are stages.

    Source: arXiv 2104.04473, section 2.2. Error: SCHEDULE-ROUNDS where the microbatches do not fill whole rounds.
    """
    stages, chunks = pipeline.stages, pipeline.chunks
    if pipeline.microbatches % stages:
        raise WeighError(
            f"{pipeline.microbatches} microbatches do not fill rounds of {stages} stages",
            rule="SCHEDULE-ROUNDS",
            hint="interleaving takes a multiple of the stages as microbatches",
        )
    rounds = range(0, pipeline.microbatches, stages)
    forwards = [Task("forward", first + i, c) for first in rounds for c in range(chunks) for i in range(stages)]
    backwards = [Task("backward", t.microbatch, chunks - 1 - t.chunk) for t in forwards]
    ahead = min(2 * (stages - stage - 1) + (chunks - 1) * stages, len(forwards))
    return _by_turns(forwards, backwards, ahead)


def _by_turns(forwards: list[Task], backwards: list[Task], ahead: int) -> list[Task]:
    order = forwards[:ahead]
    for position, backward in enumerate(backwards):
        order += forwards[ahead + position : ahead + position + 1]
        order.append(backward)
    return order


def zero_bubble(stage: int, pipeline: Pipeline) -> list[Task]:
    """1F1B with the gradients of the weights apart and late, so that they fill what would be waiting (ZB-H1).

    Stage s puts off the weights' gradients of s microbatches, so that all stages hold as much as the first does in
    1F1B. Source: arXiv 2401.10241, section 2.2 and figure 2.
    """
    order: list[Task] = []
    done = 0
    seen = 0
    for task in one_forward_one_backward(stage, pipeline):
        order.append(task)
        if task.work == "backward":
            seen += 1
            if seen > stage:
                order.append(Task("weights", done))
                done += 1
    return order + [Task("weights", i) for i in range(done, pipeline.microbatches)]


ORDERS: Mapping[str, Callable[[int, Pipeline], list[Task]]] = {
    "gpipe": gpipe,
    "1f1b": one_forward_one_backward,
    "interleaved": interleaved,
    "zero-bubble": zero_bubble,
}


def orders(name: str, pipeline: Pipeline) -> list[list[Task]]:
    """The order of every stage. Errors: SCHEDULE-UNKNOWN (exit code 2), SCHEDULE-ROUNDS, SCHEDULE-CHUNKS."""
    if name not in ORDERS:
        known = ", ".join(ORDERS)
        raise WeighError(f"there is no schedule `{name}`", rule="SCHEDULE-UNKNOWN", hint=f"known: {known}", exit_code=2)
    if pipeline.chunks > 1 and name != "interleaved":
        text = f"the schedule {name} gives each stage one run of layers, not {pipeline.chunks}"
        raise WeighError(text, rule="SCHEDULE-CHUNKS", hint="several take --schedule interleaved")
    return [ORDERS[name](stage, pipeline) for stage in range(pipeline.stages)]


# ---------------------------------------------------------------------------------------------- simulation


def play(order: Sequence[Sequence[Task]], pipeline: Pipeline, durations: Durations) -> Played:
    """Let every stage do its tasks in order, each as soon as what it needs is there.

    A forward needs that of the stage before (the last stage's of the chunk before), a backward that of the stage
    behind and its own forward, the gradients of weights their own backward. Sending takes its time and no one's work.

    Error: SCHEDULE-DEADLOCK, with who waits for what, where no stage can go on.
    """
    last = pipeline.stages - 1
    ready: dict[tuple[int, Task], float] = {}
    clocks = [0.0] * pipeline.stages
    busy = [0.0] * pipeline.stages
    held = [0] * pipeline.stages
    most = [0] * pipeline.stages
    apart = any(task.work == "weights" for stage in order for task in stage)
    seconds = {"forward": durations.forward, "backward": durations.backward, "weights": durations.weights}
    at = [0] * pipeline.stages
    going = True
    while going:
        going = False
        for stage, tasks in enumerate(order):
            while at[stage] < len(tasks):
                task = tasks[at[stage]]
                start = _start(task, stage, last, pipeline.chunks, ready, durations.send)
                if start is None:
                    break
                clocks[stage] = max(clocks[stage], start) + seconds[task.work]
                busy[stage] += seconds[task.work]
                ready[stage, task] = clocks[stage]
                held[stage] += _holding(task, apart)
                most[stage] = max(most[stage], held[stage])
                at[stage] += 1
                going = True
    stuck = [(stage, order[stage][place]) for stage, place in enumerate(at) if place < len(order[stage])]
    if stuck:
        told = "; ".join(f"stage {s} at {t.work} of microbatch {t.microbatch}" for s, t in stuck[:4])
        raise WeighError(f"the schedule deadlocks: {told}", rule="SCHEDULE-DEADLOCK")
    return Played(max(clocks), tuple(busy), tuple(most))


def _holding(task: Task, apart: bool) -> int:
    """A forward's activations are held until the gradients of the weights, the last that need them, are there."""
    if task.work == "forward":
        return 1
    return -1 if task.work == ("weights" if apart else "backward") else 0


def _start(
    task: Task, stage: int, last: int, chunks: int, ready: Mapping[tuple[int, Task], float], send: float
) -> float | None:
    """When the task's inputs are there; None where they are not made yet."""
    if task.work == "weights":
        return ready.get((stage, Task("backward", task.microbatch, task.chunk)))
    before = _before(task, stage, last, chunks)
    sent = 0.0 if before is None else ready.get(before)
    own = 0.0 if task.work == "forward" else ready.get((stage, Task("forward", task.microbatch, task.chunk)))
    if sent is None or own is None:
        return None
    travels = send if before is not None and before[0] != stage else 0.0
    return max(sent + travels, own)


def _before(task: Task, stage: int, last: int, chunks: int) -> tuple[int, Task] | None:
    """Whose result the task takes; None at the ends of the model."""
    if task.work == "forward":
        if stage:
            return stage - 1, task
        return (last, Task("forward", task.microbatch, task.chunk - 1)) if task.chunk else None
    if stage < last:
        return stage + 1, task
    return (0, Task("backward", task.microbatch, task.chunk + 1)) if task.chunk < chunks - 1 else None


# -------------------------------------------------------------------------------------------- closed forms


def bubble(name: str, pipeline: Pipeline, durations: Durations) -> float:
    """Waiting as a share of working, where sending takes no time: `waiting` of a pipeline."""
    return float(waiting(name, pipeline.stages, pipeline.microbatches, pipeline.chunks, durations))


def waiting(name: str, p: Number, m: Number, v: Number, durations: Durations) -> Number:
    """The same of p stages, m microbatches and v chunks a stage, which may be arrays.

    gpipe, 1f1b: (p - 1) / m, since the first microbatch fills the pipeline and the last empties it. interleaved:
    (p - 1) / (m v), since a chunk is v times shorter (arXiv 2104.04473, section 2.2). zero-bubble:
    (p - 1) (f + b - w) / (m (f + b + w)) where that is positive (arXiv 2401.10241, ZB-H1), with at least as many
    microbatches as stages; simulated, its waiting never differs by more than rounding where f = b = w.
    """
    if name == "zero-bubble":
        whole = durations.forward + durations.backward + durations.weights
        return (p - 1) * max(durations.forward + durations.backward - durations.weights, 0.0) / (m * whole)
    return (p - 1) / (m * v)


def held(name: str, pipeline: Pipeline, stage: int) -> int:
    """Most chunks of microbatches that a stage holds activations of: `in_flight` of a pipeline."""
    return int(in_flight(name, pipeline.stages, pipeline.microbatches, pipeline.chunks, stage))


def in_flight(name: str, p: Number, m: Number, v: Number, stage: Number) -> Number:
    """The same of p stages, m microbatches and v chunks a stage, which may be arrays.

    gpipe: all. 1f1b: its own and one for each stage behind it. interleaved: what is done ahead and one more.
    zero-bubble: as many as there are stages, on every stage.
    """
    if name == "gpipe":
        return m
    if name == "zero-bubble":
        return smaller(p, m)
    if name == "interleaved":
        return smaller(2 * (p - stage - 1) + (v - 1) * p + 1, m * v)
    return smaller(p - stage, m)
