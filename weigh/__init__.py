"""weigh: what is in a model's parameters, and what they cost.

    import weigh

    model = weigh.load("llama-3.1-8b")  # a file, a folder, a configuration or a catalogue name
    print(weigh.count(model).total)
    print(weigh.estimate(model, on="rtx-4090", weights="q4_k_m")["memory"]["total"])

What the user can fix is raised as `WeighError`. Importing this module imports nothing else: each function brings
in what it needs, and the names of types are looked up when they are asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what typing calls so, without the import of typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from weigh.cost.params import Counts
    from weigh.cost.run.sweep import Sweep
    from weigh.types import Figure, Inventory, Limits, Model, Tensor, WeighError

__version__ = "0.1.0"

__all__ = [
    "Counts",
    "Figure",
    "Inventory",
    "Limits",
    "Model",
    "Tensor",
    "WeighError",
    "__version__",
    "count",
    "estimate",
    "load",
    "sweep",
    "values",
]

_TYPES = {"Counts": "weigh.cost.params"} | dict.fromkeys(
    ("Figure", "Inventory", "Limits", "Model", "Tensor", "WeighError"), "weigh.types"
)


def load(name: str | Path, limits: Limits | None = None) -> Model:
    """The model behind a file, a folder, a configuration (`config.json`), a name from `weigh catalogue` or of a store
    (Hugging Face cache, Ollama, LM Studio), or a hub id (`org/name`), of which only the headers are fetched.

    Tensors are described, never read; `model.inventory` is what the files say, `model.parts` what it means.
    Raises WeighError: `exit_code` 4 where nothing has this name, 3 where it is not a valid model, 5 beyond `limits`,
    6 where a hub id needs a network that is not there.
    """
    from weigh.commands import source

    return source.load(str(name), limits)


def count(model: Model) -> Counts:
    """Its parameters: `total`, `active`, `embedding`, `by_role`, `by_layer`, and the bytes of each.

    Of the file where there is one, else of the tensors that the configuration promises. All are exact integers.
    """
    from weigh.cost import params

    return params.count(model)


def estimate(
    model: Model,
    *,
    on: str = "this",
    engine: str = "llama.cpp",
    weights: str | None = None,
    kv: str | None = None,
    context: int | None = None,
    batch: int = 1,
    prompt: int | None = None,
    output: int | None = None,
) -> dict[str, Any]:
    """What it costs to run: the result of `weigh cost --json` with its Figures, and the `warnings`.

    `on` is a device, several (`h100x8`), a size (`8GB`) or `this` machine; `weights` a codec or recipe, None = as
    stored; `kv` the codec of the cache, None = the engine's own; `context`, `prompt` and `output` are in tokens a
    sequence. Figures are in bytes, seconds, FLOP, USD and joules.
    Raises WeighError where the architecture or a name is not known, or the file contradicts its configuration.
    """
    from weigh.commands.cost import obstacle, priced
    from weigh.commands.setting import locate, setting

    place = locate(on)
    refusal = obstacle(model, place, engine)
    if refusal is not None:
        raise refusal
    chosen = setting(
        model=model,
        place=place,
        engine=engine,
        weights=weights,
        kv=kv,
        context=context,
        batch=batch,
        prompt=prompt,
        output=output,
    )
    result, warnings = priced(chosen)
    return {**result, "warnings": warnings}


def sweep(
    model: Model,
    *,
    contexts: Sequence[int] | None = None,
    batches: Sequence[int] = (1,),
    weights: Sequence[str | None] = (None,),
    devices: Sequence[str] = ("this",),
    engine: str = "llama.cpp",
    kv: str | None = None,
    prompt: int | None = None,
    output: int | None = None,
) -> Sweep:
    """Every combination of contexts, batches, forms of the weights and devices: arrays in this order of axes.

    Memory with its interval in bytes, `fits` (1, 0, -1), seconds to the first token and a token, tokens a second, USD a
    million tokens out; NaN = not known. Each point is what `estimate` gives for it, and a million take seconds.
    `prompt` and `output` are shared, so that contexts change the memory alone.
    Raises WeighError as `estimate` does, and SWEEP for what is no axis.
    """
    from weigh.commands.sweep import swept

    return swept(
        model,
        contexts=contexts,
        batches=batches,
        weights=weights,
        devices=devices,
        engine=engine,
        kv=kv,
        prompt=prompt,
        output=output,
    )


def values(model: Model, name: str) -> NDArray[np.float32]:
    """The values of the stored tensor of that name, decoded to float32, in its shape (outermost axis first).

    Raises WeighError TENSOR-UNKNOWN where the model stores no such tensor, and those of `weigh.formats.values`.
    """
    from weigh import formats
    from weigh.types import WeighError

    tensor = next((tensor for tensor in model.inventory.tensors if tensor.name == name), None)
    if tensor is None:
        raise WeighError(
            f"no tensor `{name}` is stored",
            rule="TENSOR-UNKNOWN",
            path=model.inventory.source,
            hint="`weigh show MODEL --tensors` lists them" if model.inventory.tensors else "it has no weights",
        )
    return formats.values(model.inventory, tensor)


def __getattr__(name: str) -> object:
    """The types that the functions take and give."""
    if name not in _TYPES:
        raise AttributeError(f"module 'weigh' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_TYPES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
