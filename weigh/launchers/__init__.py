"""Training frameworks: a planned training becomes the configuration of one, which it can start from.

To add one: write `launchers/<framework>.py` with a Launcher at its foot and name it in `LAUNCHERS`
(docs/add-a-launcher.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from weigh.cost.train.layout import Layout, Training, microbatches
from weigh.cost.train.optimizers import Optimizer, Precision
from weigh.launchers.accelerate import ACCELERATE
from weigh.launchers.launcher import STEPS, Launcher, Setup
from weigh.launchers.torchrun import TORCHRUN
from weigh.types import Cluster, Model, WeighError

LAUNCHERS: tuple[Launcher, ...] = (TORCHRUN, ACCELERATE)
PLAN = "plan.json"
"""The file that is written last, and says what the others are for."""


def find(name: str) -> Launcher:
    """The launcher of that id. Errors: LAUNCHER-UNKNOWN (exit code 2) with what there is."""
    found = next((launcher for launcher in LAUNCHERS if launcher.id == name.lower()), None)
    if found is not None:
        return found
    known = [launcher.id for launcher in LAUNCHERS]
    near = get_close_matches(name.lower(), known, n=1)
    raise WeighError(
        f"there is no launcher `{name}`",
        rule="LAUNCHER-UNKNOWN",
        hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}",
        exit_code=2,
    )


def emit(
    model: Model,
    layout: Layout,
    training: Training,
    optimizer: Optimizer,
    precision: Precision,
    cluster: Cluster,
    launcher: Launcher,
    steps: int = STEPS,
) -> Mapping[str, str]:
    """Name of each file to its text, with which the framework trains the model as the layout says; `PLAN` is last.

    The layout is a legal one (`layout.check`). Errors: LAUNCH-REFUSED, LAUNCH-FAMILY (exit code 2) where the framework
    cannot do it.
    """
    setup = Setup(model, layout, training, optimizer, precision, cluster, steps)
    refused = launcher.refuses(setup)
    if refused is not None:
        raise refused
    files = {**launcher.write(setup), "README.md": _readme(setup, launcher)}
    return {**files, PLAN: json.dumps(_plan(setup, launcher), indent=2) + "\n"}


def notes(setup: Setup, launcher: Launcher) -> tuple[str, ...]:
    """What the reader of the estimate must know of the run."""
    return launcher.notes(setup)


def _plan(setup: Setup, launcher: Launcher) -> dict[str, Any]:
    return {
        "launcher": launcher.id,
        "framework": launcher.version,
        "layout": {**asdict(setup.layout), "microbatches": microbatches(setup.layout, setup.training)},
        "training": {**asdict(setup.training), "steps": setup.steps},
        "precision": setup.precision.id,
        "optimizer": setup.optimizer.id,
        "devices": {"id": setup.cluster.device.id, "count": setup.layout.devices},
    }


def _readme(setup: Setup, launcher: Launcher) -> str:
    layout, training = setup.layout, setup.training
    degrees = ", ".join(f"{name} {getattr(layout, name)}" for name in ("tp", "pp", "dp", "cp", "ep", "zero"))
    told = "\n".join(f"- {note}" for note in launcher.notes(setup))
    return f"""# A training planned by weigh, for {launcher.name}

`bash run.sh` starts it{"" if setup.nodes == 1 else f" (on each of {setup.nodes} machines, with MASTER=host:port)"}. \
Written for {launcher.version}.

- {layout.devices} devices: {degrees}
- a step: {training.batch:,} sequences of {training.sequence:,} tokens, {setup.microbatches:,} microbatches of \
{layout.microbatch} a replica; {setup.steps:,} steps
- {setup.precision.id}, {setup.optimizer.id}, recompute {layout.recompute}

What to know:

{told}
"""
