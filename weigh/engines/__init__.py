"""Runtimes: how each allocates memory, and how near it comes to the roofline.

To add one: write `engines/<runtime>.py` with an Engine at its foot, name it in `ENGINES`, and put its efficiency
ranges into `engines/curves/<id>.toml` (docs/add-a-engine.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from weigh.engines.llama_cpp import LLAMA_CPP
from weigh.engines.onnxruntime import ONNXRUNTIME
from weigh.engines.plain import FLOATS
from weigh.engines.tensorrt_llm import TENSORRT_LLM
from weigh.engines.transformers import TRANSFORMERS
from weigh.engines.vllm import VLLM
from weigh.types import Device, Engine, Tensor, WeighError

ENGINES: tuple[Engine, ...] = (LLAMA_CPP, TRANSFORMERS, VLLM, TENSORRT_LLM, ONNXRUNTIME)


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


def own_cache(engine: Engine, tensors: Sequence[Tensor], device: Device) -> str:
    """Codec of the KV cache where nobody names one."""
    return engine.state_codecs[0] if engine.own_cache is None else engine.own_cache(tensors, device)


def why_not(engine: Engine, codec: str, device: Device) -> str:
    """Why the engine does not run weights in that codec on the device; empty where it does."""
    return "" if engine.cannot_read is None else engine.cannot_read(codec, device)


def check_codecs(engine: Engine, tensors: Sequence[Tensor], device: Device) -> None:
    """WeighError ENGINE-CODEC where it cannot run what the matrices are stored in, on this device."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if len(tensor.shape) > 1:
            sizes[tensor.codec] = sizes.get(tensor.codec, 0) + tensor.nbytes
    ordered = sorted(sizes, key=lambda codec: -sizes[codec])
    for codec in ordered:
        if codec in FLOATS and codec != ordered[0]:
            # Tables that a recipe leaves in plain floats are loaded in the type that the rest computes in.
            continue
        reason = why_not(engine, codec, device)
        if reason:
            raise WeighError(
                f"{engine.id} does not run weights in {codec} on {device.name}: {reason}",
                rule="ENGINE-CODEC",
                hint="choose another form with --weights, or another --engine; `weigh engines` lists them",
            )
