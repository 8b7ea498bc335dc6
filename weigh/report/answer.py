"""What a command found, in the shape in which it is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weigh.types import WeighError


@dataclass(frozen=True, slots=True)
class Answer:
    """The inputs as understood, the result as plain data, and warnings."""

    command: str
    inputs: dict[str, Any]
    result: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    refusal: WeighError | None = None
    """Why the rest of the result is missing: printed after it, and the exit code."""

    def document(self) -> dict[str, Any]:
        """The JSON document that `--json` prints."""
        return {
            "schema": f"weigh/{self.command}/1",
            "inputs": self.inputs,
            "result": self.result,
            "warnings": self.warnings,
        }
