"""Hugging Face transformers as an Engine: `from_pretrained` and `generate` as they come, in PyTorch's allocator.

The cache grows as tokens come and holds exactly those. The prompt runs through in one pass, so that it, and not the
context, decides what is held beside the cache. What is live in a pass is in `live.py`.

Source: transformers 5.23 (cache_utils.py, generation/utils.py) with PyTorch 2.13; docs/transformers-memory.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weigh import parts
from weigh.codecs import by_id
from weigh.engines.nvidia import ADA, older_than
from weigh.engines.plain import main_float
from weigh.engines.transformers.live import EAGER, live_bytes, run_of, unmodelled
from weigh.numbers import Number, larger, least, smaller, whole
from weigh.once import once
from weigh.types import Basis, Device, Engine, Figure, Job, Model, Pass, State, Tensor, WeighError, Why, counted

VERSION = "transformers 5.23.0 with torch 2.13.0"
SOURCE = f"{VERSION}; docs/transformers-memory.md"

STATE_CODECS = ("f32", "f16", "bf16")
"""The cache is in the type that the model computes in; there is no other setting for it."""

HOSTS = frozenset({"host", "desktop", "laptop", "edge", "phone", "size"})
"""Kinds of device whose memory is the process's own."""

PLAIN = frozenset({"f64", "f32", "f16", "bf16"})

PROCESS_BYTES = (300e6, 400e6, 520e6)
"""Interpreter with PyTorch and transformers imported (238 MiB), and what building a model and a first short run add
(111 to 208 MiB); tokenizer left out. Measured, docs/transformers-memory.md."""
DRIVER_BYTES = (0.3e9, 0.5e9, 0.9e9)
"""CUDA context, kernels and workspace of the matrix products on a graphics processor. Assumed."""


def refuses(model: Model, device: Device) -> WeighError | None:
    """Models without tokens, whose passes are not modelled here, and devices that PyTorch has no backend for."""
    if "vocabulary" not in model.dimensions:
        what = f"is modelled for models of text only, not for `{model.model_type}`"
    elif device.kind == "tpu":
        what = f"does not run on {device.name}"
    else:
        return None
    return WeighError(
        f"transformers {what}",
        rule="ENGINE-UNSUPPORTED",
        hint="`weigh show` counts every model; `weigh engines` lists the runtimes that are modelled",
    )


_ANYWHERE = frozenset({"f64", "f32", "f16", "bf16"})
_BY_LIBRARY = frozenset(
    {"bnb_int8", "bnb_nf4", "gptq_int4_g128", "gptq_int8_g128", "awq_int4_g128", "int4_g128", "int4_g128_asym",
     "int8_g128", "int8_channel", "int8_channel_packed"}
)  # fmt: skip
"""bitsandbytes, GPTQModel, AWQ and compressed-tensors: CUDA, and the CPU."""
_FP8 = frozenset({"fp8_tensor", "fp8_channel", "fp8_block128"})


def cannot_read(codec: str, device: Device) -> str:
    """Plain floats anywhere, codecs of its quantization libraries on CUDA and CPUs, FP8 since Ada.

    Source: https://huggingface.co/docs/transformers/quantization/overview, read 2026-11-24.
    """
    if codec in _ANYWHERE:
        return ""
    if codec in _BY_LIBRARY:
        return "its quantization libraries have no kernels for Metal" if device.kind == "apple" else ""
    if codec in _FP8:
        fitting = (device.vendor == "NVIDIA" and not older_than(device, ADA)) or device.kind == "size"
        return "" if fitting else "FP8 needs an NVIDIA card since Ada"
    if by_id(codec).ggml_type is not None:
        return "it unpacks GGUF to plain floats while it loads: `--weights bf16` is what it then holds"
    return "it has no library for it"


def own_cache(tensors: Sequence[Tensor], _device: Device) -> str:
    """The cache is in the type that the model computes in: that of its plain tensors (norms, where others are not)."""
    return main_float(tensors) or "bf16"


@once()
def states(model: Model) -> tuple[State, ...]:
    """What all layers keep."""
    return tuple(state for part in model.parts for state in parts.remembers(part))


def value_bytes(job: Job) -> int:
    """Bytes of an activation: those of the weights where most are plain numbers, else of the cache."""
    sizes: dict[str, int] = {}
    for tensor in job.tensors:
        sizes[tensor.codec] = sizes.get(tensor.codec, 0) + tensor.nbytes
    most = max(sizes, key=lambda codec: sizes[codec]) if sizes else job.workload.state_codec
    return by_id(most if most in PLAIN else job.workload.state_codec).block_bytes


def weights(job: Job) -> Mapping[str, Figure]:
    """Every tensor of the file in the type that it is stored in (`dtype="auto"`, the default since version 5)."""
    held = sum(tensor.nbytes for tensor in job.tensors)
    return {"parameters": counted(held, "B", "all tensors as stored", SOURCE, tensors=len(job.tensors))}


def _rows(state: State, tokens: Number, source: int, *, everything: bool) -> Number:
    """Rows of one sequence that are allocated; `everything` = while a prompt runs, when a window holds all of it.

    A window keeps window - 1 rows as a view into an array that has one more. A convolution keeps its whole kernel
    width, one row more than it needs.
    """
    if state.kind == "conv":
        return state.rows + 1
    if state.window is not None and state.kind != "cross":
        return tokens // state.rate if everything else smaller(tokens, state.window) // state.rate
    return state.rows_after(tokens, source)


def _source(job: Job) -> int:
    return job.workload.prompt if job.workload.source is None else job.workload.source


def state_bytes(job: Job, tokens: Number, *, everything: bool = False) -> Number:
    """The cache of all sequences after so many tokens: latent rows are kept short, as they are since version 5.

    The state of a recurrence is in float32, whatever the model computes in.
    """
    each = by_id(job.workload.state_codec).block_bytes
    kept = Counter(state for state in states(job.model) if not state.shared_with)
    size = sum(
        layers
        * state.row
        * _rows(state, tokens, _source(job), everything=everything)
        * (4 if state.kind == "recurrent" else each)
        for state, layers in kept.items()
    )
    return job.workload.batch * size


def state(job: Job) -> Figure:
    """The dynamic cache when the context is full."""
    work = job.workload
    return counted(
        state_bytes(job, work.context),
        "B",
        "sum over layers of heads x (key + value width) x min(context, window) x sequences x value_bytes; "
        "of convolutions the whole kernel, of recurrences in float32",
        SOURCE,
        states=len(states(job.model)),
        context=work.context,
        sequences=work.batch,
        value_bytes=by_id(work.state_codec).block_bytes,
    )


@dataclass(frozen=True, slots=True)
class Peaks:
    """Bytes beside the weights in the two moments that can be the largest."""

    prompt_state: int
    prompt: int
    """Live while the prompt runs."""
    full_state: int
    step: int
    """Live while the last token runs."""

    def beyond(self, spread: float) -> Number:
        """What the larger moment holds beyond the full cache, with the live arrays off by so much."""
        live = 1 + spread
        return larger(self.prompt_state + self.prompt * live, self.full_state + self.step * live) - self.full_state


def peaks(job: Job) -> Peaks:
    """The prompt in one pass, and one token behind a full cache.

    With the prompt: the largest layer's live arrays, or at the end the logits of the last position, which are copied
    to float32. With one token: the keys (or values) of one layer twice, since the cache grows by concatenation, beside
    the logits of the step before; or the layer's own arrays.
    """
    work, size = job.workload, value_bytes(job)
    prompt = max(1, min(work.prompt, least(work.context)))
    fused = any(".gate_up_proj." in tensor.name and ".experts." not in tensor.name for tensor in job.tensors)
    passes = {
        "prompt": Pass(tokens=prompt, batch=work.batch, source=work.source),
        "step": Pass(tokens=1, past=larger(0, work.context - 1), batch=work.batch, source=work.source),
    }
    live = {
        name: live_bytes(job.model, run_of(job.model, step, size, fused_gate=fused)) for name, step in passes.items()
    }
    vocabulary, width = job.model.dimensions["vocabulary"], job.model.dimensions.get("width", 0)
    kept = states(job.model)
    generating = any(entry.kind != "cross" for entry in kept)
    logits = work.batch * vocabulary * (size + 4) if generating else 0
    ends = 2 * work.batch * prompt * width * size + logits
    cache = by_id(work.state_codec).block_bytes
    growing = {entry for entry in kept if entry.kind in ("kv", "latent", "rope")}
    longest: Number = 0
    for entry in growing:
        rows = _rows(entry, work.context, 0, everything=False)
        longest = larger(longest, rows * entry.heads * max(entry.key_width, entry.value_width))
    grown = work.batch * longest * cache + work.batch * vocabulary * 4
    return Peaks(
        state_bytes(job, prompt, everything=True),
        larger(live["prompt"], ends),
        state_bytes(job, work.context),
        larger(larger(live["step"], grown), logits) if generating else 0,
    )


def activations(job: Job) -> Mapping[str, Figure]:
    """What the larger of two moments holds beyond the full cache: the prompt's pass, or the last token's."""
    found = peaks(job)
    missing = unmodelled(job.model)
    on_host = job.device.kind in HOSTS
    spread = 0.6 if missing else (0.1 if on_host else 0.35)
    basis: Basis = "derived" if on_host and not missing else "assumed"
    note = f"not looked at: {', '.join(missing)}" if missing else "live arrays counted on a CPU"
    inputs = {
        "prompt_state": found.prompt_state,
        "prompt_live": found.prompt,
        "full_state": found.full_state,
        "step_live": found.step,
        "attention": "eager" if job.model.model_type in EAGER else "sdpa",
        "note": note,
    }
    formula = "max(prompt_state + prompt_live, full_state + step_live) - full_state"
    value, low, high = (whole(found.beyond(change)) for change in (0.0, -spread, spread))
    return {"passes": Figure(value, low, high, "B", basis, Why(formula, inputs, SOURCE))}


def overhead(job: Job) -> Figure:
    """The process on a CPU; on a graphics processor the driver's context, since the process is in other memory."""
    if job.device.kind in HOSTS:
        low, value, high = PROCESS_BYTES
        why = Why("interpreter with torch and transformers imported, and what the first passes add", {}, SOURCE)
        return Figure(value, low, high, "B", "derived", why)
    low, value, high = DRIVER_BYTES
    return Figure(value, low, high, "B", "assumed", Why("context of the graphics driver, kernels and workspace"))


TRANSFORMERS = Engine(
    id="transformers",
    name="Hugging Face transformers (generate, dynamic cache)",
    dialect="hf",
    state_codecs=STATE_CODECS,
    refuses=refuses,
    weights=weights,
    state=state,
    activations=activations,
    overhead=overhead,
    source=VERSION,
    notes=(
        "memory on a CPU: what PyTorch allocates, compared by term in docs/transformers-memory.md",
        "the prompt runs in one pass: long prompts take much more than long contexts",
        "the cache is in the type that the model computes in",
        "left out: images and sound, beams, static and quantized caches, compiled graphs, what loading itself takes",
    ),
    own_cache=own_cache,
    cannot_read=cannot_read,
)
