"""Starts the script of torchrun on this machine: as many processes as the layout has devices, over gloo on a CPU.

They end with us: when time is up, when the reader interrupts, and when we are killed (the script looks whether the
process that started it is still there).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from weigh.types import WeighError

STARTER = "WEIGH_STARTER"
"""Variable in which the script finds the process without which it ends: `torchrun_script.STARTER`."""
PROCESS_BYTES = 450 * 2**20
"""What a process takes before there is a model: Python, torch and transformers. Measured once: 390.8 MB resident with
torch 2.13 for the CPU and transformers 5.23; the rest is room."""
WARM = 1
"""First steps that are not counted: they allocate."""
PATIENCE_S = 20.0
"""Seconds that the processes have to end by themselves before they are killed."""
STDERR = 2
_POSIX = os.name == "posix"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the processes told."""

    processes: int
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    """Of each step."""
    peak_bytes: int
    """Resident at most, of the process that held the most, less what it held before there was a model."""
    before_bytes: int

    @property
    def step_s(self) -> float:
        """The middle one of the steps that count."""
        return median(self.seconds[WARM:] or self.seconds)


def require_memory(per_device: float, processes: int, available: int | None) -> None:
    """Refuse what does not fit into this machine's memory by the estimate. Error: RUN-MEMORY (exit code 5)."""
    needed = processes * (per_device + PROCESS_BYTES)
    if available is not None and needed > available:
        raise WeighError(
            f"{processes} processes would take {needed / 2**30:.1f} GiB here, and {available / 2**30:.1f} GiB are free",
            rule="RUN-MEMORY",
            hint="a smaller model, batch or sequence, or --emit torchrun -o FOLDER and start it elsewhere",
            exit_code=5,
        )


def require_torch() -> None:
    """Error: EXTRA-MISSING (exit code 2) with the line that installs what is missing."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise WeighError(
            f"running needs the package {' and '.join(missing)}",
            rule="EXTRA-MISSING",
            hint="pip install 'weigh[torch]'",
            exit_code=2,
        )


def run(folder: Path, processes: int, steps: int, seconds: float) -> Measured:
    """Train `steps` steps, each on the first batch, so that the loss must fall; at most `seconds`.

    What the processes print goes to our standard error. Errors: EXTRA-MISSING, RUN-TIME (exit code 5), RUN-FAILED.
    """
    require_torch()
    metrics = folder / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        str(folder / "train.py"), "--steps", str(steps), "--repeat", "--metrics", str(metrics),
        "--max-seconds", str(seconds), "--timeout", str(seconds),
    ]  # fmt: skip
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=STDERR,
        start_new_session=_POSIX,
        env=_environment(processes),
    )
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired as cause:
        raise WeighError(
            f"the processes had not ended after {seconds:g} s",
            rule="RUN-TIME",
            hint="fewer --steps, a smaller model, batch or sequence",
            exit_code=5,
        ) from cause
    finally:
        _end(child)
    if code:
        raise WeighError(
            f"the processes ended with exit code {code}; what they said stands above", rule="RUN-FAILED", path=folder
        )
    return _read(metrics, processes)


def _environment(processes: int) -> Mapping[str, str]:
    """Ours, with the cores divided among the processes unless the reader has divided them."""
    share = max(1, (os.cpu_count() or 1) // processes)
    return {"OMP_NUM_THREADS": str(share), **os.environ, STARTER: str(os.getpid()), "TOKENIZERS_PARALLELISM": "false"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask torchrun to end its processes, which are in sessions of their own; kill it where it does not."""
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()


def _read(metrics: Path, processes: int) -> Measured:
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    if not lines:
        raise WeighError("the processes told of no step", rule="RUN-FAILED", path=metrics)
    rows = [json.loads(line) for line in lines]
    return Measured(
        processes,
        tuple(row["loss"] for row in rows),
        tuple(row["seconds"] for row in rows),
        max(row["peak_bytes"] - row["before_bytes"] for row in rows),
        rows[0]["before_bytes"],
    )
