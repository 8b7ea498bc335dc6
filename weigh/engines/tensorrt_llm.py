"""TensorRT-LLM (its PyTorch backend) as an Engine: weights, pools of pages by window, and what its profiling finds.

It gives 90 % of the memory that weights and activations leave to pages of keys and values. Here the state is the pages
that the job needs, so that the total is the least device that can run it. Nothing of this was run for weigh: the pages
follow the source and its logs, the rest is assumed.

Source: NVIDIA/TensorRT-LLM, tensorrt_llm/_torch/pyexecutor/resource_manager.py at 001541b (bytes of a token),
_torch/pyexecutor/config_utils.py at 00679c6 (windows, types of recurrent states), docs/source/features/kvcache.md at
0076e93 (pools), cpp/include/tensorrt_llm/batch_manager/kvCacheManager.h (one page more for a window), and
docs/source/features/quantization.md at 09d4c79 (codecs by generation).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weigh import parts
from weigh.codecs import by_id
from weigh.engines.nvidia import ADA, AMPERE, BLACKWELL, HOPPER, capability, older_than, spoken
from weigh.engines.plain import sixteen_bit
from weigh.engines.vllm import widest_step
from weigh.numbers import Number, smaller
from weigh.types import Device, Engine, Figure, Job, Model, Tensor, WeighError, Why, counted

VERSION = "TensorRT-LLM, PyTorch backend, at 001541b"
SOURCE = f"{VERSION}: tensorrt_llm/_torch/pyexecutor/resource_manager.py"

STATE_CODECS = ("f16", "bf16", "f8_e4m3", "nvfp4")
"""`kv_cache_config.dtype`: auto (the model's 16 bit), fp8, nvfp4 (4 bit and an 8-bit scale for 16 values)."""

BLOCK = 32
"""Tokens a page (`KvCacheConfig.tokens_per_block`)."""
TOKENS = 8192
"""Tokens of one step at most (`max_num_tokens`)."""
SEQUENCES = 2048
"""Sequences of one step at most (`max_batch_size`)."""
GRAPHS_BYTES = (0.05e9, 0.5e9, 2.5e9)
"""Captured graphs. Assumed, as of vLLM's."""
OUTSIDE_BYTES = (0.5e9, 1.2e9, 3.0e9)
"""Context of the driver, kernels, workspaces of attention and of communication, MPI. Assumed: its own test allows a
model of 2.2 GB 2.5 GB more (pull request 6487)."""

_GROWING = frozenset({"kv", "latent", "rope", "index"})
_FIXED = frozenset({"conv", "recurrent", "shift"})
_KINDS_NOT_RUN = frozenset({"time_mix", "channel_mix", "mlstm", "rg_lru", "lightning_attention", "short_conv"})


def refuses(model: Model, device: Device) -> WeighError | None:
    """Models without tokens, recurrences that it has no layer for, and all but NVIDIA's cards since Ampere."""
    kinds = sorted({part.kind for part in model.parts} & _KINDS_NOT_RUN)
    found = capability(device)
    if "vocabulary" not in model.dimensions:
        what = f"is modelled for models of text only, not for `{model.model_type}`"
    elif kinds:
        what = f"has no layer of the kind {', '.join(kinds)}"
    elif device.kind != "size" and device.vendor != "NVIDIA":
        what = f"runs on NVIDIA's cards only, not on {device.name}"
    elif found is not None and found < AMPERE:
        what = f"needs compute capability {spoken(AMPERE)} (Ampere), and {device.name} has {spoken(found)}"
    else:
        return None
    return WeighError(
        f"TensorRT-LLM {what}",
        rule="ENGINE-UNSUPPORTED",
        hint="`weigh show` counts every model; `weigh engines` lists the runtimes that are modelled",
    )


_SINCE = {
    "f8_e4m3": (ADA, "FP8"),
    "fp8_tensor": (ADA, "FP8 with a scale a matrix"),
    "fp8_channel": (HOPPER, "FP8 with a scale a row"),
    "fp8_block128": (HOPPER, "FP8 with a scale a block"),
    "nvfp4": (BLACKWELL, "NVFP4"),
    "mxfp4": (BLACKWELL, "MXFP4"),
}
"""Codec to the first generation with kernels for it, and its name there."""
_ANYWHERE = frozenset(
    {"f32", "f16", "bf16", "int4_g128", "int4_g128_asym", "gptq_int4_g128", "awq_int4_g128", "int8_channel"}
)
"""Codecs that every generation since Ampere runs (W4A16 AWQ and GPTQ, W8A8 of SmoothQuant)."""


def cannot_read(codec: str, device: Device) -> str:
    """By its table of hardware; FP8 with a scale a row is Hopper's alone there, which is not held against Blackwell."""
    if codec in _ANYWHERE:
        return ""
    if codec not in _SINCE:
        return f"it has no kernels for {codec}"
    least, name = _SINCE[codec]
    if older_than(device, least):
        return f"{name} needs compute capability {spoken(least)}, and {device.name} is older"
    return ""


# --------------------------------------------------------------------------------------------------- weights


def weights(job: Job) -> Mapping[str, Figure]:
    """Every tensor as stored; fused matrices (q, k and v; gate and up) take what their pieces take."""
    held = sum(tensor.nbytes for tensor in job.tensors)
    return {"loaded": counted(held, "B", "all tensors as stored", VERSION, tensors=len(job.tensors))}


# --------------------------------------------------------------------------------------------------- pages


@dataclass(frozen=True, slots=True)
class Pool:
    """Layers that share pages: the same bytes a token, and the same window."""

    a_token: int
    window: int | None = None
    cross: bool = False

    def pages(self, tokens: Number, source: int) -> Number:
        """Of one sequence: whole pages, and one more beside those of a window that is not the whole length."""
        if self.cross:
            return -(-source // BLOCK)
        whole = -(-tokens // BLOCK)
        return whole if self.window is None else smaller(-(-self.window // BLOCK) + 1, whole)


def pools(model: Model, codec: str) -> Counter[Pool]:
    """Pools by the number of their layers.

    Windows are kept short only where layers with and without one mix; where all have the same, every layer keeps the
    whole length, as it does unless `max_attention_window` is set. Chunked attention keeps the whole length.
    """
    mixed = _mixes_windows(model)
    found: Counter[Pool] = Counter()
    for part in model.parts:
        kept = [state for state in parts.remembers(part) if not state.shared_with]
        growing = [state for state in kept if state.kind in _GROWING]
        if growing:
            chunked = getattr(part.dimensions, "chunked", False)
            windows = {state.window for state in growing}
            window = max(w for w in windows if w is not None) if None not in windows else None
            row = sum(-(-_row_bytes(state.row, codec) // state.rate) for state in growing)
            found[Pool(row, window if mixed and not chunked else None)] += 1
        for state in kept:
            if state.kind == "cross":
                found[Pool(_row_bytes(state.row, codec), cross=True)] += 1
    return found


def _row_bytes(values: int, codec: str) -> int:
    kind = by_id(codec)
    return -(-values * kind.block_bytes // kind.block)


def _mixes_windows(model: Model) -> bool:
    """Whether layers with a window stand beside layers without one."""
    kept = [state.window for part in model.parts for state in parts.remembers(part) if state.kind in _GROWING]
    return None in kept and any(window is not None for window in kept)


def recurrent_bytes(model: Model) -> int:
    """Convolutions and recurrences of one sequence, in the model's 16 bit unless `mamba_ssm_cache_dtype` says more.

    That key widens the state of the recurrence; what a convolution keeps stays in 16 bit.
    """
    configuration = model.inventory.configuration or {}
    text = configuration.get("text_config")
    told = configuration.get("mamba_ssm_cache_dtype") or (
        text.get("mamba_ssm_cache_dtype") if isinstance(text, Mapping) else None
    )
    wide = 4 if str(told).endswith("float32") else 2
    return sum(
        state.row * state.rows * (wide if state.kind == "recurrent" else 2)
        for part in model.parts
        for state in parts.remembers(part)
        if state.kind in _FIXED and not state.shared_with
    )


def state(job: Job) -> Figure:
    """Pages that all sequences need when the context is full, and recurrent states. The pool takes what is left."""
    work = job.workload
    found = pools(job.model, work.state_codec)
    source = work.prompt if work.source is None else work.source
    fixed = recurrent_bytes(job.model)
    paged = sum(pool.a_token * BLOCK * pool.pages(work.context, source) * layers for pool, layers in found.items())
    inputs: dict[str, Any] = {
        "sequences": work.batch,
        "context": work.context,
        "block": BLOCK,
        "layers_by_bytes_a_token": {pool.a_token: layers for pool, layers in found.items()},
        "windows": sorted({pool.window for pool in found if pool.window is not None}),
        "recurrent_bytes": fixed,
    }
    size = work.batch * (paged + fixed)
    why = Why("sequences x (sum over pools of layers x pages x block x bytes + recurrent_bytes)", inputs, SOURCE)
    return Figure(size, size, size, "B", "derived", why)


# ----------------------------------------------------------------------------------------------- activations


def activations(job: Job) -> Mapping[str, Figure]:
    """The peak of the profiling pass over as many tokens as a step may have, and the captured graphs.

    tokens x (2 width + widest layer) x 2 + sequences x vocabulary x 6: logits in 16 bit and once in float32. Assumed.
    """
    sizes = job.model.dimensions
    layer = max((widest_step(part) for part in job.model.parts), default=0)
    generating = bool(pools(job.model, job.workload.state_codec)) or recurrent_bytes(job.model) > 0
    sequences = SEQUENCES if generating else 0
    vocabulary = sizes.get("vocabulary", 0)
    size = TOKENS * (2 * sizes.get("width", 0) + layer) * 2 + sequences * vocabulary * 6
    inputs = {
        "tokens": TOKENS,
        "sequences": sequences,
        "width": sizes.get("width", 0),
        "widest_layer": layer,
        "vocabulary": vocabulary,
    }
    why = Why("tokens x (2 width + widest_layer) x 2 + sequences x vocabulary x 6", inputs, VERSION)
    low, value, high = GRAPHS_BYTES
    return {
        "profiled": Figure(size, size * 0.3, size * 2.5, "B", "assumed", why),
        "graphs": Figure(value, low, high, "B", "assumed", Why("captured graphs, none with cuda_graph_config: null")),
    }


def overhead(_job: Job) -> Figure:
    """The driver's context, workspaces and what is allocated beside PyTorch."""
    low, value, high = OUTSIDE_BYTES
    return Figure(value, low, high, "B", "assumed", Why("context of the driver, workspaces, memory outside of PyTorch"))


def own_cache(tensors: Sequence[Tensor], _device: Device) -> str:
    """`auto`: the model's 16 bit."""
    return sixteen_bit(tensors)


TENSORRT_LLM = Engine(
    id="tensorrt-llm",
    name="TensorRT-LLM (PyTorch backend, its defaults)",
    dialect="hf",
    state_codecs=STATE_CODECS,
    refuses=refuses,
    weights=weights,
    state=state,
    activations=activations,
    overhead=overhead,
    source=VERSION,
    notes=(
        "the state is the pages that the job needs: TensorRT-LLM gives pages 90 % of what memory is left",
        "pages follow the source and its logs; activations, graphs and the driver's memory are assumed",
        "windows are kept short only where layers with and without one mix (Gemma 3, gpt-oss)",
        "left out: LoRA, images; engines built with trtllm-build",
    ),
    spreads="tensor",
    own_cache=own_cache,
    cannot_read=cannot_read,
)
