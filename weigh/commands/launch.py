"""`weigh cost --train --emit LAUNCHER -o FOLDER` and `--run`: the planned training as files, and started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from weigh.cost.train.layout import Training
from weigh.launchers import emit, find
from weigh.launchers.files import put
from weigh.launchers.launcher import STEPS, Launcher, Setup
from weigh.launchers.run import Measured, require_memory, require_torch, run
from weigh.launchers.torchrun import TORCHRUN
from weigh.types import Figure, WeighError

RUN_STEPS = 8
"""Steps that are measured where none are named."""
RUN_SECONDS = 600.0
"""Most seconds that a run here may take."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be written, where, and whether it is started."""

    launcher: Launcher
    folder: Path | None
    start: bool
    steps: int | None

    def steps_of(self, tokens: float | None, training: Training) -> int:
        """Those named, else as many as the tokens take, else `STEPS`."""
        if self.steps is not None:
            return self.steps
        return STEPS if tokens is None else max(1, round(tokens / training.tokens))


def ask(launcher: str | None, out: str | None, start: bool, steps: int | None) -> Asked | None:
    """The words of the command line together, or None where nothing is asked. Errors: LAUNCH-ASKED (exit code 2)."""
    if launcher is None and not start:
        if out is not None or steps is not None:
            raise _usage(f"--{'out' if out is not None else 'steps'} goes with --emit or --run")
        return None
    chosen = TORCHRUN if launcher is None else find(launcher)
    if start and chosen.id != TORCHRUN.id:
        raise _usage(f"--run starts torchrun, not {chosen.id}")
    if out is None and not start:
        raise _usage("--emit writes files: name a folder for them", "-o FOLDER")
    if start:
        require_torch()
    return Asked(chosen, None if out is None else Path(out), start, steps)


def carry_out(asked: Asked, setup: Setup, result: dict[str, Any]) -> list[str]:
    """Write and run what is asked; adds `emitted` and `run` to the result, and gives what the reader must know."""
    files = emit(
        setup.model,
        setup.layout,
        setup.training,
        setup.optimizer,
        setup.precision,
        setup.cluster,
        asked.launcher,
        setup.steps,
    )
    if asked.start:
        require_memory(result["memory"]["per_device"].value, setup.layout.devices, _available())
    if asked.folder is not None:
        written = put(files, asked.folder)
        result["emitted"] = {
            "launcher": asked.launcher.id,
            "framework": asked.launcher.version,
            "folder": str(asked.folder),
            "files": [path.name for path in written],
        }
    if asked.start:
        with TemporaryDirectory(prefix="weigh-run-") as folder:
            put(files, Path(folder))
            measured = run(Path(folder), setup.layout.devices, asked.steps or RUN_STEPS, RUN_SECONDS)
        result["run"] = _beside(measured, setup.training, result)
    return list(asked.launcher.notes(setup)) if asked.folder is not None else []


def _available() -> int | None:
    from weigh.devices.detect import machine

    return machine().memory_available


def _beside(measured: Measured, training: Training, result: dict[str, Any]) -> dict[str, Any]:
    """What was measured, and how far the figures lie from it: +0.1 is ten per cent too much."""
    step = result["step"]
    return {
        "processes": measured.processes,
        "losses": list(measured.losses),
        "seconds": list(measured.seconds),
        "step_s": measured.step_s,
        "tokens_per_second": training.tokens / measured.step_s,
        "peak_bytes": measured.peak_bytes,
        "before_bytes": measured.before_bytes,
        "errors": {
            "step": None if step is None else _error(step, measured.step_s),
            "per_device": _error(result["memory"]["per_device"], measured.peak_bytes),
        },
    }


def _error(figure: Figure, found: float) -> float | None:
    return figure.value / found - 1 if found else None


def _usage(message: str, hint: str = "") -> WeighError:
    return WeighError(message, rule="LAUNCH-ASKED", hint=hint, exit_code=2)
