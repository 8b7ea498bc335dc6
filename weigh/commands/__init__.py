"""One file per command: `run(plain arguments)` gives plain data; nothing here prints.

To add one: write `commands/<name>.py` with a function `run`, and a click command in `cli.py` that calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found: the inputs as understood, the result as plain data, and warnings."""

    command: str
    inputs: dict[str, Any]
    result: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The JSON document that `--json` prints."""
        return {
            "schema": f"weigh/{self.command}/1",
            "inputs": self.inputs,
            "result": self.result,
            "warnings": self.warnings,
        }
