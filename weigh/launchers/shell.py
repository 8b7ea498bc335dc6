"""`run.sh` of every launcher: where it is started, how many processes on how many machines, and words that are safe."""

from __future__ import annotations

from shlex import quote

from weigh.launchers.launcher import Setup

_ONE = '--standalone --nproc-per-node "$processes"'
_MANY = (
    '--nnodes "$nodes" --nproc-per-node "$processes" --rdzv-backend c10d '
    '--rdzv-id "${RUN_ID:-weigh}" --rdzv-endpoint "${MASTER:?name the first machine: MASTER=host:29500}"'
)


def start(setup: Setup, command: str, *, before: str = "") -> str:
    """A script for `command`, in which `{places}` becomes torchrun's words for the machines.

    `before` are further lines that set things up. Nothing that a model's file says may stand in either unquoted.
    """
    many = setup.nodes > 1
    places = _MANY if many else _ONE
    lines = [
        "#!/usr/bin/env bash",
        f"# {setup.layout.devices} processes; start this on each of {setup.nodes} machines, with the same MASTER."
        if many
        else f"# {setup.layout.devices} processes on this machine.",
        "set -euo pipefail",
        'here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"',
        f"nodes={setup.nodes}",
        f"processes={setup.devices_per_node}",
    ]
    lines += [before] if before else []
    return "\n".join([*lines, f"exec {command.replace('{places}', places)}", ""])


def array(name: str, words: list[str]) -> str:
    """A bash array, a word or an option with its value a line, each quoted."""
    lines = [f"{name}=("]
    for word in words:
        option = word.startswith("--") or len(lines) == 1
        if option:
            lines.append(f"  {quote(word)}")
        else:
            lines[-1] += f" {quote(word)}"
    return "\n".join([*lines, ")"])
