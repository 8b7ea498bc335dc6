"""llama.cpp as an Engine: a job translated into llama.cpp's terms, and its buffers as Figures.

On a CPU the buffers are those of the log, to the byte where the architecture is in `EXACT`. On a graphics
processor the same rules give what is offloaded; the driver's own memory is an assumption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weigh import parts
from weigh.codecs import by_id
from weigh.engines.llama_cpp.amounts import Cache, decode_amounts, prompt_amounts
from weigh.engines.llama_cpp.buffers import (
    Settings,
    compute_buffer_bytes,
    output_buffer_bytes,
    state_bytes,
    weight_buffers,
)
from weigh.engines.llama_cpp.decoder import EXACT, Decoder, Layer
from weigh.engines.llama_cpp.resident import STATE_CODECS, VERSION, WINDOWED, overhead_bytes, windowed_states
from weigh.engines.llama_cpp.unreplayed import SPREAD, UNREPLAYED, compute_bytes
from weigh.families import family_of
from weigh.families.audit import promises
from weigh.numbers import whole
from weigh.once import once
from weigh.types import Basis, Device, Engine, Figure, Job, Model, State, Tensor, WeighError, Why, counted

SOURCE = f"llama.cpp as packed in {VERSION}; docs/llama-cpp-memory.md"

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "smollm3": "smollm3",
    "olmo": "olmo",
    "olmo2": "olmo2",
    "phi": "phi2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "bloom": "bloom",
    "falcon": "falcon",
    "mpt": "mpt",
    "bert": "bert",
}
"""`model_type` to llama.cpp's own name (gguf-py/gguf/constants.py, MODEL_ARCH_NAMES)."""

HOSTS = frozenset({"host", "desktop", "laptop", "edge", "phone", "size"})
"""Kinds of device whose memory is the process's own: nothing is offloaded, no driver context is added."""

DRIVER_BYTES = (0.3e9, 0.5e9, 0.8e9)
"""A context of the graphics driver with llama.cpp's kernels. Assumed from reports of 0.14 to 0.75 GB."""


def cannot_read(codec: str, _device: Device) -> str:
    """It runs every type that ggml has, on every backend, if slowly; what a file of another kind has is converted."""
    return "" if by_id(codec).ggml_type is not None else "ggml has no such type"


def own_cache(_tensors: Sequence[Tensor], _device: Device) -> str:
    """`--cache-type-k` and `--cache-type-v` are f16 by default, whatever the weights are."""
    return "f16"


@once()
def states(model: Model) -> tuple[State, ...]:
    """What the model's attention layers keep, with the windows that llama.cpp honours."""
    kept = tuple(state for part in model.parts for state in parts.remembers(part))
    return windowed_states(kept, architecture(model))


def refuses(model: Model, device: Device) -> WeighError | None:
    """Model types that llama.cpp has no graph for, and processors that it has no backend for."""
    if model.model_type not in ARCHITECTURES and model.model_type not in UNREPLAYED:
        what = f"does not run the model type `{model.model_type}`"
    elif device.kind == "tpu":
        what = f"does not run on {device.name}"
    else:
        return None
    return WeighError(
        f"llama.cpp {what}",
        rule="ENGINE-UNSUPPORTED",
        hint="`weigh show` counts every model; `weigh engines` lists the runtimes that are modelled",
    )


def architecture(model: Model) -> str:
    """llama.cpp's name for a model that it does not refuse."""
    return {**UNREPLAYED, **ARCHITECTURES}[model.model_type or ""]


def settings(job: Job) -> Settings:
    """llama-server's defaults, with the context, sequences and cache of the job."""
    work = job.workload
    return Settings(
        context=work.context,
        sequences=work.batch,
        key_codec=work.state_codec,
        value_codec=work.state_codec,
        flash=work.flash,
        threads=int(job.device.cores.value) if job.device.cores else 2,
    )


def decoder(job: Job) -> Decoder:
    """The model's layers as llama.cpp's graph builder sees them: heads, widths and the shapes of the tensors."""
    return _decoder(job.model, tuple(_shapes(job).items()))


@once()
def _decoder(model: Model, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Decoder:
    outside: dict[str, tuple[int, ...]] = {}
    inside: dict[int, dict[str, tuple[int, ...]]] = {}
    for full_name, shape in shapes:
        first, _, rest = full_name.partition(".")
        number, _, name = rest.partition(".")
        if first == "blk" and number.isdecimal():
            inside.setdefault(int(number), {})[name] = shape
        else:
            outside[full_name] = shape
    honoured = architecture(model) in WINDOWED
    layers = []
    for part in model.parts:
        if part.kind != "attention" or part.layer is None:
            continue
        dims = part.dimensions
        layers.append(
            Layer(
                heads=dims.heads,
                kv_heads=dims.kv_heads,
                key_width=dims.key_dim,
                value_width=dims.value_dim,
                tensors=inside.get(part.layer, {}),
                windowed=honoured and dims.window is not None,
            )
        )
    sizes = model.dimensions
    return Decoder(
        architecture=architecture(model),
        layers=tuple(layers),
        width=sizes["width"],
        vocabulary=sizes["vocabulary"],
        tensors=outside,
        experts_used=sizes.get("experts_used", 0),
    )


def _shapes(job: Job) -> Mapping[str, tuple[int, ...]]:
    """Shapes by llama.cpp's names; of another runtime's file those that its conversion would have."""
    if _own_names(job):
        return _stored_shapes(job.tensors)
    return _promised(job.model)


@once()
def _promised(model: Model) -> Mapping[str, tuple[int, ...]]:
    promised = promises(model, family_of(model), "ggml")
    return {promise.name: promise.shape for promise in promised if not promise.optional}


@once()
def _stored_shapes(tensors: tuple[Tensor, ...]) -> Mapping[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in tensors}


def _own_names(job: Job) -> bool:
    return any(tensor.name.startswith(("token_embd.", "blk.", "output")) for tensor in job.tensors)


def weights(job: Job) -> Mapping[str, Figure]:
    """`mapped` and, on a CPU with kernels for it, `repacked`; on a graphics processor what is offloaded.

    There the token table stays with the host, unless a tied head needs it on the device too.
    """
    if not _own_names(job):
        size = sum(tensor.nbytes for tensor in job.tensors)
        return {"planned": counted(size, "B", "all tensors of the recipe's file", tensors=len(job.tensors))}
    if job.device.kind in HOSTS:
        # Wheels and packages are built for AVX2: the kernels of wider vectors are not in them.
        features = frozenset(name for name in job.device.features if not name.startswith("avx512"))
        buffers = weight_buffers(job.tensors, features)
        formula = {
            "mapped": "range of the file from the first to the last tensor that stays as it is",
            "repacked": "copies of the tensors rearranged for wide vectors",
        }
        return {
            name: counted(size, "B", formula[name], SOURCE, tensors=len(job.tensors))
            for name, size in buffers.items()
            if size or name == "mapped"
        }
    table = next((tensor.nbytes for tensor in job.tensors if tensor.name == "token_embd.weight"), 0)
    tied = not any(tensor.name == "output.weight" for tensor in job.tensors)
    held = sum(tensor.nbytes for tensor in job.tensors)
    if tied:
        how = "all tensors, the token table too: the head is tied to it"
        return {"offloaded": counted(held, "B", how, SOURCE, tensors=len(job.tensors))}
    how = "all_tensors - token_table, which the host keeps"
    return {"offloaded": counted(held - table, "B", how, SOURCE, all_tensors=held, token_table=table)}


def state(job: Job) -> Figure:
    """The KV cache of all sequences, allocated whole at the start."""
    kept = states(job.model)
    how = settings(job)
    windows = {entry.window for entry in kept if entry.window is not None}
    codec = by_id(how.key_codec)
    return counted(
        state_bytes(kept, how),
        "B",
        "sum over layers of kv_heads x (key + value width) x cells (window_cells where windowed) x sequences "
        "x block_bytes / block",
        SOURCE,
        layers=len(kept),
        windowed_layers=sum(entry.window is not None for entry in kept),
        kv_heads=sorted({entry.heads for entry in kept}),
        key_width=sorted({entry.key_width for entry in kept}),
        value_width=sorted({entry.value_width for entry in kept}),
        cells=how.cells,
        **({"window_cells": [how.window_cells(window) for window in sorted(windows)]} if windows else {}),
        sequences=how.sequences,
        codec=codec.id,
        block=codec.block,
        block_bytes=codec.block_bytes,
    )


def activations(job: Job) -> Mapping[str, Figure]:
    """The compute buffer by a replay of llama.cpp's allocator, and the buffer of the logits."""
    how = settings(job)
    if job.model.model_type in UNREPLAYED:
        return _unreplayed(job, how)
    built = decoder(job)
    window = next((entry.window for entry in states(job.model) if entry.window is not None), None)
    size = compute_buffer_bytes(built, how, window)
    exact = built.architecture in EXACT and job.device.kind in HOSTS
    # Other versions of llama.cpp build slightly other graphs; the one measured is met to the byte.
    spread = 0.05 if exact else 0.35
    basis: Basis = "derived" if exact else "assumed"
    note = "found equal to the log for this architecture on a CPU" if exact else "not compared with a log here"
    inputs = {"micro_batch": how.tokens, "cells": how.cells, "architecture": built.architecture, "note": note}
    why = Why("largest graph of a micro-batch, laid out as llama.cpp's allocator does", inputs, SOURCE)
    logits = output_buffer_bytes(built.vocabulary, how)
    return {
        "compute": Figure(size, size * (1 - spread), size * (1 + spread), "B", basis, why),
        "logits": counted(logits, "B", "vocabulary x sequences x 4", SOURCE, vocabulary=built.vocabulary),
        **_passed_on(job, built.width, how),
    }


COPIES = 4
"""Of every input, where several devices work on micro-batches at once (GGML_SCHED_MAX_COPIES)."""


def _passed_on(job: Job, width: int, how: Settings) -> Mapping[str, Figure]:
    """What a device keeps of its neighbours: copies of the inputs in a pipeline, a matrix that the host lends.

    With all layers on devices llama.cpp runs micro-batches one behind the other and keeps four copies of each input:
    of the stream (width x T x 4 bytes) and of the mask (cells x T x 2), of which one is in the graph. With layers on
    the host every matrix of theirs is copied in for a batch of 32 tokens and more.
    Source: src/llama-context.cpp (`pipeline_parallel`), ggml/src/ggml-backend.cpp (`n_copies`, `offload_op`).
    """
    found = {}
    if job.stages > 1 and not job.fetched:
        stream = width * how.tokens * 4
        mask = how.cells * how.tokens * (2 if how.flash else 4)
        size = COPIES * stream + (COPIES - 1) * mask
        inputs = {"copies": COPIES, "stream": stream, "mask": mask}
        why = Why("copies x stream + (copies - 1) x mask", inputs, SOURCE)
        found["copies"] = Figure(size, 0, size, "B", "assumed", why)
    if job.fetched:
        found["fetched"] = counted(job.fetched, "B", "the largest matrix of the layers on the host", SOURCE)
    return found


def _unreplayed(job: Job, how: Settings) -> Mapping[str, Figure]:
    """The compute buffer of a graph that nobody replayed, by its largest terms, and the buffer of the logits."""
    size = compute_bytes(job.model, how)
    low, high = (whole(share * size) for share in SPREAD)
    inputs = {"micro_batch": how.tokens, "cells": how.cells, "architecture": architecture(job.model)}
    why = Why("stream x 4 + largest layer + mask + logits; the graph is not replayed", inputs, SOURCE)
    vocabulary = job.model.dimensions["vocabulary"]
    logits = output_buffer_bytes(vocabulary, how)
    return {
        "compute": Figure(size, low, high, "B", "assumed", why),
        "logits": counted(logits, "B", "vocabulary x sequences x 4", SOURCE, vocabulary=vocabulary),
    }


def overhead(job: Job) -> Figure:
    """The program, its tokenizer and bookkeeping; on a graphics processor the driver's context."""
    if job.device.kind not in HOSTS:
        low, value, high = DRIVER_BYTES
        return Figure(value, low, high, "B", "assumed", Why("context of the graphics driver with its kernels"))
    how = settings(job)
    vocabulary = job.model.dimensions["vocabulary"]
    known_merges = merges(job.model)
    value, low, high = overhead_bytes(vocabulary, len(job.tensors), how, known_merges)
    why = Why(
        "code + fixed + per token + per merge + per tensor + per cache cell + per sequence",
        {"vocabulary": vocabulary, "merges": known_merges, "tensors": len(job.tensors), "cells": how.cells},
        SOURCE,
    )
    return Figure(whole(value), whole(low), whole(high), "B", "derived", why)


def amounts(job: Job) -> Mapping[str, Mapping[str, float]]:
    """Work of the prompts, and of the mean token of the output."""
    work = job.workload
    built = decoder(job)
    window = next((entry.window for entry in states(job.model) if entry.window is not None), None)
    cache = Cache(work.state_codec, work.flash, window)
    past = work.prompt + work.output // 2
    return {
        "prefill": prompt_amounts(built, job.tensors, cache, work.prompt, batch=work.batch),
        "decode": decode_amounts(built, job.tensors, cache, past, work.batch),
    }


def merges(model: Model) -> int | None:
    """Merges of a byte-pair vocabulary: 0 for the kinds that have none, None where the file does not tell."""
    metadata = model.inventory.metadata
    if metadata.get("tokenizer.ggml.model") in ("llama", "t5", "bert", "none"):
        return 0
    held = metadata.get("tokenizer.ggml.merges")
    if isinstance(held, Mapping):
        # Long arrays are kept as their type and length.
        return int(held["length"])
    return len(held) if isinstance(held, list | tuple) else None


LLAMA_CPP = Engine(
    id="llama.cpp",
    name="llama.cpp (llama-server's defaults)",
    dialect="ggml",
    state_codecs=STATE_CODECS,
    refuses=refuses,
    weights=weights,
    state=state,
    activations=activations,
    overhead=overhead,
    source=VERSION,
    notes=(
        "memory on a CPU: weights, KV cache and compute buffer equal to its log, see docs/llama-cpp-memory.md",
        "architectures whose graph is not replayed (latent attention, hybrids, gpt-oss): an assumed compute buffer",
        "memory on a graphics processor: the same rules, with an assumed driver context",
        "windows are honoured only where llama.cpp does (Gemma 2 and 3, not Mistral, Qwen 2 or Phi 3)",
    ),
    own_cache=own_cache,
    cannot_read=cannot_read,
    amounts=amounts,
)
