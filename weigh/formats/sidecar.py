"""Reads the `config.json` that lies beside a model's weights and tells what they are.

It is the one sidecar that weigh reads of its own accord; a new one is a new function here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import json_text
from weigh.types import Limits, WeighError

NAME = "config.json"


@dataclass(frozen=True, slots=True)
class Beside:
    """What lay beside the weights."""

    configuration: Mapping[str, Any] | None = None
    files: tuple[tuple[str, int], ...] = ()
    warnings: tuple[str, ...] = ()


def configuration(folder: Path, limits: Limits) -> Beside:
    """The folder's `config.json`. Weights can be read without it, so one that cannot be read is a warning."""
    if not files.exists(folder, NAME):
        return Beside()
    try:
        return required(folder, NAME, limits)
    except WeighError as cause:
        return Beside(warnings=(f"{NAME} is not used: {cause.message} ({cause.rule})",))


def required(folder: Path, name: str, limits: Limits) -> Beside:
    """A configuration that must be readable, because the user named it or its folder."""
    with files.opened(folder, name) as file:
        return Beside(json_text.configuration(file, limits), ((name, file.size),))
