"""Checkpoints of a training run: how large, how long to write, how often, and what share of the time is left for work.

Time is lost by writing, by the work since the last checkpoint when something fails, and by reading it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, sqrt

from weigh.cost.train.layout import Layout
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.cost.train.tuning import WHOLE, Tuning
from weigh.types import Figure, Model, WeighError, Why

DAY = 86_400
YOUNG = "hal.inria.fr/hal-02514107 (abstract): sqrt(2 M C), the formula of Young and Daly"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Figures of one checkpoint and of writing them; None where the speed or the failures were not told."""

    size: Figure
    write: Figure | None = None
    interval: Figure | None = None
    useful: Figure | None = None
    """Share of the time that is work which is not done twice."""


def size(model: Model, optimizer: Optimizer, precision: Precision, tuned: Tuning = WHOLE) -> Figure:
    """Bytes of a checkpoint from which training goes on: what the optimizer moves, its states, and the parameters.

    With a master copy the parameters follow from it: the lower end leaves them out, as frameworks do that hold the
    parameters in float32 and cast them (FSDP2). Without one they are saved themselves. Gradients are not saved. Of
    adapters only these are saved: the base does not change. Source: arXiv 1910.02054, section 3.1, for what there is.
    """
    states = model_states(model, Layout(), 0, optimizer, precision, tuned)
    trained = states.gradients // precision.gradient * precision.parameter
    frozen = 0 if tuned.rank is not None else states.parameters - trained
    whole = trained + frozen + states.master + states.optimizer
    least = whole - (trained if states.master else 0)
    given = {
        "parameters": trained + frozen,
        "master": states.master,
        "optimizer": states.optimizer,
    }
    return Figure(whole, least, whole, "B", "derived", Why("parameters + master + optimizer", given))


def checkpoints(saved: Figure, gigabytes: float | None, failures: float | None) -> Checkpoints:
    """Time to write `saved` bytes at so many GB a second of the whole store, and the best interval.

    `failures` a day of the whole cluster. Errors: CHECKPOINT-RATE (exit code 2) for numbers that are not above 0, and
    for failures without a speed.
    """
    if gigabytes is None:
        if failures is not None:
            raise _refusal("the best interval depends on how long a checkpoint takes", "add --checkpoint-gbs 20")
        return Checkpoints(saved)
    if not 0 < gigabytes < float("inf"):
        raise _refusal(f"checkpoints at {gigabytes} GB/s: the speed must be above 0", "as in --checkpoint-gbs 20")
    value, low, high = (end / (gigabytes * 1e9) for end in (saved.value, saved.low, saved.high))
    given = {"bytes": saved.value, "gigabytes_per_second": gigabytes}
    write = Figure(value, low, high, "s", "derived", Why("bytes / speed of the store", given))
    if failures is None:
        return Checkpoints(saved, write)
    if not 0 < failures < float("inf"):
        raise _refusal(f"{failures} failures a day: their number must be above 0", "as in --failures-per-day 3")
    between = DAY / failures
    every = [best_interval(seconds, between) for seconds in (value, low, high)]
    inputs = {"write": value, "seconds_between_failures": between}
    formula = Why("sqrt(2 x write x seconds between failures)", inputs, YOUNG)
    interval = Figure(every[0], every[1], every[2], "s", "derived", formula)
    # The longer a checkpoint takes, the less time is left.
    shares = [useful_share(one, took, between) for one, took in zip(every, (value, low, high), strict=True)]
    why = Why("T / (M e^(C / M) (e^((T + C) / M) - 1))", {"interval": every[0], **inputs}, "derived; restarts read it")
    return Checkpoints(saved, write, interval, Figure(shares[0], shares[2], shares[1], "of the time", "derived", why))


def best_interval(write: float, between: float) -> float:
    """Seconds of work between checkpoints that lose the least time: sqrt(2 C M).

    Per second of work C / T is lost by writing and, with failures M apart, on average half an interval for each,
    T / (2 M); the derivative of the sum is 0 at T = sqrt(2 C M). Source: `YOUNG`. Ignores terms of C / M, which are
    small as long as a checkpoint is short against the time between failures.
    """
    return sqrt(2 * write * between)


def useful_share(interval: float, write: float, between: float) -> float:
    """Work done / time taken, where failures come at random (exponential), M apart, and a restart reads the checkpoint.

    A stretch of T + C seconds without failure is expected to take M (e^((T + C) / M) - 1) seconds when each failure
    begins it anew; e^(R / M) times that where each new beginning first takes R seconds, here R = C: what was written
    is read at the same speed. Derived: E = (1 - q) (T + C) + q (E of a failure + R + E), solved for E.
    Ignores: finding the fault, replacing the device, starting the processes: minutes to hours in practice.
    """
    stretch = (interval + write) / between
    if stretch > 500:
        return 0.0
    return interval / (between * exp(write / between) * expm1(stretch))


def _refusal(message: str, hint: str) -> WeighError:
    return WeighError(message, rule="CHECKPOINT-RATE", hint=hint, exit_code=2)
