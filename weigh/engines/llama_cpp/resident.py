"""llama.cpp on a CPU: what it reports when it loads a model, and what the process then holds in memory.

The log's buffers are in `buffers` and exact; this module adds what no line of the log states (the
tokenizer, the graph's bookkeeping, code) and sums everything up to the resident memory of the process.
To follow a newer llama.cpp, run `python -m benchmarks.llama_cpp_memory`: every difference names the rule to look at.

Source: llama.cpp as packed in xllamacpp 2026.10.11549; measurements in docs/llama-cpp-memory.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from weigh.codecs import by_id
from weigh.engines.llama_cpp.buffers import (
    CELLS,
    Settings,
    compute_buffer_bytes,
    output_buffer_bytes,
    state_bytes,
    weight_buffers,
)
from weigh.engines.llama_cpp.decoder import Decoder
from weigh.types import State, Tensor

VERSION = "xllamacpp 2026.10.11549"

STATE_CODECS = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")
"""Types that `--cache-type-k` and `--cache-type-v` take (common/arg.cpp); quantized values need flash attention."""

WINDOWED = frozenset(
    {
        "afmoe", "cohere2", "cohere2moe", "exaone-moe", "exaone4", "gemma-embedding", "gemma2", "gemma3", "gemma3n",
        "gemma4", "gpt-oss", "granite-swa", "laguna", "lfm2", "llama4", "maple", "mellum", "mimo2", "muse-glimmer",
        "olmo2", "plamo3", "smallthinker", "step35",
    }
)  # fmt: skip
"""ggml architectures whose sliding windows llama.cpp honours (`swa_type` in src/models/). All others, such as
Mistral and Mixtral (`llama`), `qwen2` and `phi3`, keep the whole context whatever the configuration says."""

CODE = 4.44 * 2**20
"""Bytes of llama.cpp's own program that loading and running touch; measured, 4.38 to 4.57 MiB."""

_FIXED = 4.15 * 2**20
_A_TOKEN = 215
_A_MERGE = 195
_A_TENSOR = 9_400
_TENSORS_FREE = 110
_A_CELL = 53
_A_SEQUENCE = 45_000

_CONVERTED: Mapping[str, float] = {"f32": 0, "f16": 2, "bf16": 2, "q4_1": 36 / 32, "q5_1": 36 / 32}
"""Bytes a value of a matrix product's input after conversion (`vec_dot_type`, ggml/src/ggml-cpu/ggml-cpu.c):
as the weight itself, q8_1 for codecs with a minimum, else q8_0 or q8_k."""


def windowed_states(states: Sequence[State], architecture: str) -> tuple[State, ...]:
    """The states with the windows that llama.cpp honours; None where it keeps the whole context."""
    if architecture in WINDOWED:
        return tuple(states)
    return tuple(replace(state, window=None) for state in states)


def overhead_bytes(
    vocabulary: int, tensors: int, settings: Settings, merges: int | None = None
) -> tuple[float, float, float]:
    """What the process holds beside the log's buffers: value, low and high.

    4.44 MiB of the program's own pages + 4.15 MiB fixed (server, chat template, threads)
    + 215 B a token (its text, twice, and two hash tables) + 195 B a merge of a byte-pair vocabulary (both halves
    as strings in a hash table) + 9.4 kB a tensor beyond the first 110 (descriptors, and the graph's nodes, which
    llama.cpp reserves at 8 a tensor but at least 1024) + 53 B a cache cell + 45 kB a further sequence.
    Where the number of merges is not known it is that of the tokens, and low is without any.
    Source: fitted to models of zeros with 1 k to 262 k tokens and 11 to 866 tensors; docs/llama-cpp-memory.md.
    Ignores: what a server adds while it works: prompt cache, context checkpoints, grammars, long requests.
    Off by: up to 10 % on the models measured; the interval is 15 % below to 25 % above.
    """
    known = vocabulary if merges is None else merges
    rest = (
        _FIXED
        + _A_TOKEN * vocabulary
        + _A_TENSOR * max(0, tensors - _TENSORS_FREE)
        + _A_CELL * settings.cells * settings.streams
        + _A_SEQUENCE * (settings.sequences - 1)
    )
    value = CODE + rest + _A_MERGE * known
    low = CODE + 0.85 * (rest + _A_MERGE * (merges or 0))
    return value, low, CODE + 1.25 * (rest + _A_MERGE * known)


def work_bytes(tensors: Sequence[Tensor], tokens: int, experts_used: int = 0) -> int:
    """Scratch of the CPU backend: the largest input of a matrix product, converted to what the kernel reads.

    tokens x columns x bytes a value of the conversion; the input of an expert's second matrix has one row a used
    expert. Allocated when a batch needs it and kept.
    Source: ggml/src/ggml-cpu/ggml-cpu.c (`ggml_graph_plan`). Ignores: scratch of attention and of tiled kernels.
    """
    largest = 0.0
    for tensor in tensors:
        if len(tensor.shape) < 2 or tensor.name == "token_embd.weight":
            continue
        default = 292 / 256 if by_id(tensor.codec).block == 256 else 34 / 32
        each = _CONVERTED.get(tensor.codec, default)
        rows = max(1, experts_used) if "down_exps" in tensor.name else 1
        largest = max(largest, tensor.shape[-1] * rows * each)
    return int(largest * tokens)


def touched_compute_bytes(decoder: Decoder, settings: Settings, prompt: int, window: int | None = None) -> int:
    """Pages of the compute buffer that a prompt of so many tokens makes resident.

    The buffer is reserved for the largest micro-batch over the whole context but not written: a shorter prompt
    touches what the same graph takes for its own tokens and cells. Two arrays of width x tokens, for vectors
    given in place of ids, are never written.
    Ignores: places that only pages in between share, so that small prompts touch more, by under 1 MiB.
    """
    tokens = min(prompt, settings.tokens)
    used = min(settings.context, -(-(prompt + 1) // CELLS) * CELLS)
    small = replace(settings, context=used, sequences=1, micro_batch=tokens, unified=False)
    touched: int = compute_buffer_bytes(decoder, small, window) - 2 * decoder.width * tokens * 4
    return touched


def resident_bytes(
    tensors: Sequence[Tensor],
    states: Sequence[State],
    decoder: Decoder,
    settings: Settings,
    features: frozenset[str],
    *,
    prompt: int = 1,
    window: int | None = None,
    merges: int | None = None,
) -> tuple[float, float, float]:
    """Memory of the process beyond what it had before loading, after a prompt and one token: value, low, high.

    mapped + repacked weights + KV cache + output buffer (all written or read at once: the cache and the output
    are cleared when made, the file is mapped with MAP_POPULATE) + the touched part of the compute buffer
    + scratch + overhead. High takes the whole compute buffer, which a long prompt over a full context touches.
    Source: src/llama-mmap.cpp, src/llama-kv-cache.cpp; measured, docs/llama-cpp-memory.md.
    Off by: under 3 % on the models measured. Mapped pages are the kernel's to drop when memory is short.
    """
    value, low, high = overhead_bytes(decoder.vocabulary, len(tensors), settings, merges)
    exact = sum(weight_buffers(tensors, features).values())
    exact += state_bytes(states, settings) + output_buffer_bytes(decoder.vocabulary, settings)
    tokens = min(prompt, settings.tokens)
    scratch = work_bytes(tensors, tokens, decoder.experts_used)
    touched = touched_compute_bytes(decoder, settings, prompt, window)
    whole = compute_buffer_bytes(decoder, settings, window)
    full_scratch = work_bytes(tensors, settings.tokens, decoder.experts_used)
    return exact + touched + scratch + value, exact + 0.8 * touched + low, exact + whole + full_scratch + high
