"""Runtimes: how each allocates memory, and how near it comes to the roofline.

To add one: write `engines/<runtime>.py` with an Engine at its foot, name it in `ENGINES`, and put its efficiency
ranges into `engines/curves/<id>.toml` (docs/add-a-engine.md).
"""

from __future__ import annotations

from difflib import get_close_matches

from weigh.engines.llama_cpp import LLAMA_CPP
from weigh.engines.transformers import TRANSFORMERS
from weigh.engines.vllm import VLLM
from weigh.types import Engine, WeighError

ENGINES: tuple[Engine, ...] = (LLAMA_CPP, TRANSFORMERS, VLLM)


def find(name: str) -> Engine:
    """The engine of that id. Errors: WeighError ENGINE-UNKNOWN (exit code 2) with what there is."""
    found = next((engine for engine in ENGINES if engine.id == name.lower()), None)
    if found is not None:
        return found
    known = [engine.id for engine in ENGINES]
    near = get_close_matches(name.lower(), known, n=1)
    raise WeighError(
        f"there is no engine `{name}`",
        rule="ENGINE-UNKNOWN",
        hint=f"did you mean {near[0]}?" if near else f"modelled are {', '.join(known)}",
        exit_code=2,
    )
