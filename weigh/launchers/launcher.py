"""What a launcher is told and gives: `Setup`, the whole of a planned training; `Launcher`, the plug-in record.

`refusals` for what several launchers cannot do stand here too, so that they are told in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weigh.cost.train.layout import Layout, Training, microbatches
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.types import Cluster, Model, WeighError

STEPS = 1000
"""Steps of a run whose tokens are not told."""
NODE = 8
"""Devices of a node, where there are more than fit on one."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A planned training: the model, how it is spread, what a step is, and on what."""

    model: Model
    layout: Layout
    training: Training
    optimizer: Optimizer
    precision: Precision
    cluster: Cluster
    steps: int = STEPS

    @property
    def microbatches(self) -> int:
        """Microbatches of each replica in a step."""
        return microbatches(self.layout, self.training)

    @property
    def devices_per_node(self) -> int:
        """Processes that each machine starts: as many as fit on one and divide them all."""
        return max(count for count in range(1, NODE + 1) if self.layout.devices % count == 0)

    @property
    def nodes(self) -> int:
        """Machines that it takes."""
        return self.layout.devices // self.devices_per_node


@dataclass(frozen=True, slots=True)
class Launcher:
    """Plug-in: a training framework, and the files that make it train as a layout says."""

    id: str
    name: str
    version: str
    """Of the framework whose configuration this is."""
    refuses: Callable[[Setup], WeighError | None]
    """Why it cannot train so, or None. Exit code 2."""
    write: Callable[[Setup], Mapping[str, str]]
    """Name of each file to its text. The setup is one that it does not refuse."""
    notes: Callable[[Setup], tuple[str, ...]]
    """In what the run will differ from the estimate, and what is left to the reader."""
    source: str
    """Repository and commit, or package, in which every key that it writes was read."""


def refusal(launcher: str, message: str, hint: str = "") -> WeighError:
    """The error of a launcher that cannot train so."""
    return WeighError(f"{launcher} {message}", rule="LAUNCH-REFUSED", hint=hint, exit_code=2)


def first(*errors: WeighError | None) -> WeighError | None:
    """The first that there is."""
    return next((error for error in errors if error is not None), None)


def only_degrees(setup: Setup, launcher: str, allowed: tuple[str, ...], hint: str) -> WeighError | None:
    """Refuse a degree above 1 that the launcher does not have."""
    names = {"tp": "tensor", "pp": "pipeline", "cp": "context", "ep": "expert"}
    for degree, words in names.items():
        value = getattr(setup.layout, degree)
        if value > 1 and degree not in allowed:
            return refusal(launcher, f"has no {words} parallelism ({degree} = {value})", hint)
    return None


def only_optimizers(setup: Setup, launcher: str, allowed: tuple[str, ...]) -> WeighError | None:
    """Refuse an optimizer that the launcher does not have."""
    if setup.optimizer.id in allowed:
        return None
    return refusal(launcher, f"is given no optimizer `{setup.optimizer.id}` by weigh", f"known: {', '.join(allowed)}")


def only_precisions(setup: Setup, launcher: str, allowed: tuple[str, ...]) -> WeighError | None:
    """Refuse a precision that the launcher does not have."""
    if setup.precision.id in allowed:
        return None
    return refusal(launcher, f"is given no precision `{setup.precision.id}` by weigh", f"known: {', '.join(allowed)}")


def no_selective(setup: Setup, launcher: str) -> WeighError | None:
    """Refuse to compute the products of attention alone again."""
    if setup.layout.recompute != "selective":
        return None
    hint = "--flash-attention keeps no scores; --recompute full or none"
    return refusal(launcher, "does not compute the products of attention alone again", hint)


def every_layer(setup: Setup, launcher: str) -> WeighError | None:
    """Refuse to compute only some of the layers again."""
    if setup.layout.recompute_every == 1:
        return None
    return refusal(launcher, f"computes all layers again or none, not one of {setup.layout.recompute_every}")
