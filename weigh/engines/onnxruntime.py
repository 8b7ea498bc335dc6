"""ONNX Runtime as an Engine: an exported graph in a session; decoders with the caches of onnxruntime-genai.

A session holds every initializer once: on a CPU the matrices of products are packed for its kernels and the original is
given back, but for a table that is read by row too. Arrays of a pass lie in an arena that grows by doubling; from the
second request of a shape on they lie in one planned block beside what the first left. It takes models of images too.

Source: onnxruntime 1.32.0, measured in docs/onnxruntime-memory.md; microsoft/onnxruntime,
onnxruntime/core/framework/bfc_arena.cc at 009aae1; microsoft/onnxruntime-genai at a0c04eb, src/models/kv_cache.cpp and
windowed_kv_cache.cpp (caches), src/python/py/models/builder.py (which decoders it exports).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from weigh import parts
from weigh.codecs import by_id
from weigh.engines.nvidia import ADA, older_than
from weigh.engines.plain import main_float, sixteen_bit
from weigh.numbers import Number, larger, smaller, whole
from weigh.parts.applied import inner_pass
from weigh.types import Basis, Device, Engine, Figure, Job, Model, Part, Pass, State, Tensor, WeighError, Why, counted

VERSION = "onnxruntime 1.32.0"
SOURCE = f"{VERSION}; docs/onnxruntime-memory.md"
GENAI = "onnxruntime-genai at a0c04eb: src/models/kv_cache.cpp"

STATE_CODECS = ("f32", "f16", "bf16")
"""The cache is in the type of the graph's inputs and outputs."""

HOSTS = frozenset({"host", "desktop", "laptop", "edge", "phone", "size"})
"""Kinds of device whose memory is the process's own, and where the CPU's kernels run."""

EXPORTED = frozenset(
    {
        "chatglm", "ernie4_5", "gemma", "gemma2", "gemma3_text", "gpt_oss", "granite", "hunyuan_v1_dense", "internlm2",
        "llama", "mistral", "nemotron", "olmo", "phi", "phi3", "phimoe", "qwen2", "qwen3", "smollm3",
    }
)  # fmt: skip
"""Model types whose decoder onnxruntime-genai exports with one fused step of attention and a cache of fixed length."""

SLACK = 16
"""Rows that a window's cache has beyond the window on a CPU; none on a graphics processor."""

PROCESS_BYTES = (58e6, 64e6, 70e6)
"""Interpreter with numpy and onnxruntime imported (48 MB), and the library's pages that loading and a first short run
touch (11 to 15 and 3 MB). Measured, docs/onnxruntime-memory.md."""
KEPT_SHARE = (0.0, 0.5, 2.2)
"""What loading takes for a while beside the weights, as a share of them: the file as it is parsed, originals of what is
packed. It stays with the process until the C library gives it back. Measured, 0.1 to 2.1."""
DRIVER_BYTES = (0.4e9, 0.7e9, 1.5e9)
"""CUDA context, cuBLAS and cuDNN workspaces on a graphics processor. Assumed."""
SCORES = 4
"""Arrays of scores that an exported (unfused) attention holds at once: products, masked, and two of the softmax."""
HIDDEN = 4
"""Arrays of the hidden width that a feed-forward part holds at once, its activation written as single steps."""
FIRST, SECOND, MOST = 1.0, 2.0, 2.8
"""Of what is live: held after the first request of a shape, after further ones, and the most that was found."""

_KINDS_NOT_RUN = frozenset(
    {"latent_attention", "mamba", "mamba2", "gated_delta_net", "lightning_attention", "rg_lru", "time_mix",
     "channel_mix", "mlstm", "short_conv", "kimi_delta", "compressor", "block_indexer", "shared_attention"}
)  # fmt: skip


def refuses(model: Model, device: Device) -> WeighError | None:
    """Layers that no exporter known here writes, and tensor processors."""
    kinds = sorted({part.kind for part in model.parts} & _KINDS_NOT_RUN)
    if kinds:
        what = f"is not modelled for layers of the kind {', '.join(kinds)}"
    elif device.kind == "tpu":
        what = f"does not run on {device.name}"
    else:
        return None
    return WeighError(
        f"ONNX Runtime {what}",
        rule="ENGINE-UNSUPPORTED",
        hint="`weigh show` counts every model; `weigh engines` lists the runtimes that are modelled",
    )


_INTEGERS = frozenset({"i8", "u8", "int8_channel", "int8_g128", "int4_g128", "int4_g128_asym", "i4", "u4"})
"""QLinear steps and MatMulNBits."""


def cannot_read(codec: str, device: Device) -> str:
    """Plain floats, 8- and 4-bit integers; bf16 and FP8 only on a card (a CPU has no kernels: measured)."""
    if codec in _INTEGERS or codec in ("f32", "f16", "f64"):
        return ""
    if codec == "bf16":
        return "the CPU's kernels take no bf16" if device.kind in HOSTS else ""
    if codec.startswith(("f8_", "fp8_")):
        return "FP8 needs an NVIDIA card since Ada" if device.kind in HOSTS or older_than(device, ADA) else ""
    return f"no step of a graph takes {codec}"


def loads_as(codec: str, device: Device) -> str:
    """On a CPU bf16 is exported as float32, as onnxruntime-genai does; everything else stays as it is."""
    return "f32" if codec == "bf16" and device.kind in HOSTS else codec


def own_cache(tensors: Sequence[Tensor], device: Device) -> str:
    """The type that the graph computes in: float32 on a CPU, elsewhere that of the weights."""
    if device.kind in HOSTS:
        return "f32"
    return "f32" if main_float(tensors) == "f32" else sixteen_bit(tensors)


def value_bytes(job: Job) -> int:
    """Bytes of an activation: those of the cache's type, which is the graph's."""
    return by_id(own_cache(job.tensors, job.device)).block_bytes


# --------------------------------------------------------------------------------------------------- weights


def weights(job: Job) -> Mapping[str, Figure]:
    """Every initializer once; on a CPU matrices in f16 become float32, and a tied table is packed beside its original.

    Packing gives the original back, so that it takes nothing but where a table is also read row by row.
    """
    held = sum(tensor.nbytes for tensor in job.tensors)
    found = {"initializers": counted(held, "B", "all tensors as stored", SOURCE, tensors=len(job.tensors))}
    if job.device.kind not in HOSTS:
        return found
    widened = sum(tensor.nbytes for tensor in job.tensors if tensor.codec == "f16" and len(tensor.shape) == 2)
    widened -= sum(tensor.nbytes for tensor in _tables(job) if tensor.codec == "f16")
    if widened:
        found["widened"] = counted(widened, "B", "matrices in f16 once more: packed as float32", SOURCE)
    return found


def packed_table_bytes(job: Job) -> int:
    """The copy that a tied head has of the token table, packed in float32, on a CPU."""
    if job.device.kind not in HOSTS or not _generates(job.model):
        return 0
    tables = _tables(job)
    return sum((tensor.parameters or 0) * 4 for tensor in tables[:1]) if len(tables) == 1 else 0


def _tables(job: Job) -> list[Tensor]:
    """Tensors with a row a token: the table, and the head where it has its own."""
    vocabulary = job.model.dimensions.get("vocabulary")
    return [tensor for tensor in job.tensors if len(tensor.shape) == 2 and tensor.shape[0] == vocabulary]


# ----------------------------------------------------------------------------------------------------- state


def _states(model: Model) -> tuple[State, ...]:
    return tuple(state for part in model.parts for state in parts.remembers(part) if not state.shared_with)


def _generates(model: Model) -> bool:
    return any(parts.remembers(part) for part in model.parts)


def fixed_length(model: Model) -> bool:
    """Whether past and present are one buffer as long as the context, rather than a longer one each step."""
    return model.model_type in EXPORTED


def state_bytes(job: Job) -> Number:
    """Keys and values of all sequences: rows of the whole context, of a window its rows and `SLACK`."""
    work = job.workload
    each = by_id(work.state_codec).block_bytes
    source = work.prompt if work.source is None else work.source
    slack = SLACK if job.device.kind in HOSTS else 0
    windowed = fixed_length(job.model)
    total: Number = 0
    for state in _states(job.model):
        rows = state.rows_after(work.context, source)
        if state.kind == "kv":
            short = state.window is not None and windowed
            rows = smaller(work.context, (state.window or 0) + slack) if short else work.context
        total += state.row * rows * each
    return total * work.batch


def state(job: Job) -> Figure:
    """The cache for the whole context; a window is kept short by onnxruntime-genai, and not by other exports."""
    work = job.workload
    size = state_bytes(job)
    inputs = {
        "states": len(_states(job.model)),
        "context": work.context,
        "sequences": work.batch,
        "value_bytes": by_id(work.state_codec).block_bytes,
        "slack": SLACK if job.device.kind in HOSTS else 0,
    }
    formula = "sum over layers of heads x (key + value width) x min(context, window + slack) x sequences x value_bytes"
    return Figure(size, size, size, "B", "derived", Why(formula, inputs, GENAI))


# ----------------------------------------------------------------------------------------------- activations


@dataclass(frozen=True, slots=True)
class Live:
    """Bytes that are alive at once in the largest step of a pass."""

    value: Number
    low: Number
    """With attention in one fused kernel that writes no scores."""
    high: Number
    """With attention written as single steps."""
    outputs: Number = 0
    """What the pass gives back: held once while the next one runs."""


def _attention(dims: parts.Attention, step: Pass, each: int, scores: int) -> Number:
    rows = step.batch * step.tokens
    widths = dims.width + dims.heads * dims.value_dim + dims.heads * dims.key_dim + dims.kv_heads * dims.key_dim
    return each * (rows * widths + scores * step.batch * dims.heads * step.tokens * (step.past + step.tokens))


def _feed_forward(dims: parts.Mlp | parts.Moe, step: Pass, each: int) -> Number:
    used = dims.used if isinstance(dims, parts.Moe) else 1
    return each * step.batch * step.tokens * (HIDDEN * used * dims.hidden + 2 * dims.width)


def _plain(part: Part, step: Pass, each: int) -> Number:
    """Of any other kind: what each of its matrices gives, twice."""
    given = sum(slot.shape[0] for slot in parts.slots(part) if len(slot.shape) == 2)
    return 2 * each * step.batch * step.tokens * given


_SMALL = frozenset({"embedding", "linear", "norm", "array", "conv"})


def live(model: Model, step: Pass, each: int) -> Live:
    """The largest of the layers; of convolutions the largest pair of neighbours' results.

    Attention: its input, queries, keys and result, and `SCORES` arrays of heads x tokens x tokens. Feed-forward:
    `HIDDEN` arrays of its width. What comes out: logits of every token, or the last layer's rows.
    """
    value: Number = 0
    low: Number = 0
    high: Number = 0
    scores = 1 if fixed_length(model) else SCORES
    for part in {(part.kind, part.dimensions): part for part in model.parts if part.kind not in _SMALL}.values():
        dims, seen = part.dimensions, step
        if part.kind == "applied":
            dims, seen = dims.inner, inner_pass(dims, step)
        if isinstance(dims, parts.Attention):
            value = larger(value, _attention(dims, seen, each, scores))
            low = larger(low, _attention(dims, seen, each, 0))
            high = larger(high, _attention(dims, seen, each, SCORES))
            continue
        size = _feed_forward(dims, seen, each) if isinstance(dims, parts.Mlp | parts.Moe) else _plain(part, seen, each)
        value, low, high = larger(value, size), larger(low, size), larger(high, size)
    maps = [part.dimensions.positions * part.dimensions.outputs for part in model.parts if part.kind == "conv"]
    pairs = [first + second for first, second in pairwise(maps)]
    rows = each * step.batch * step.tokens
    if "vocabulary" not in model.dimensions:
        convolved = rows * max([*pairs, *maps], default=0)
        return Live(larger(value, convolved), larger(low, convolved), larger(high, convolved))
    outputs = rows * model.dimensions["vocabulary" if _generates(model) else "width"]
    return Live(value, low, high, outputs)


def activations(job: Job) -> Mapping[str, Figure]:
    """The arena after two requests: what the first left, the planned block of the second, and what they gave back."""
    work, each = job.workload, value_bytes(job)
    tokens = larger(1, smaller(work.prompt, work.context))
    step = Pass(tokens=tokens, batch=work.batch, source=work.source, images=work.images)
    found = live(job.model, step, each)
    on_host = job.device.kind in HOSTS
    known = not any(part.kind in ("cross_attention", "joint_attention", "moe") for part in job.model.parts)
    basis: Basis = "derived" if on_host and known and not fixed_length(job.model) else "assumed"
    inputs = {"live": found.value, "outputs": found.outputs, "value_bytes": each, "tokens": tokens, "batch": work.batch}
    why = Why("2 x live + 2 x outputs; low with fused attention and one request, high 2.8 x live", inputs, SOURCE)
    buffers = {
        "arena": Figure(
            whole(SECOND * found.value) + 2 * found.outputs,
            whole(FIRST * found.low) + found.outputs,
            whole(MOST * found.high) + 2 * found.outputs,
            "B",
            basis,
            why,
        )
    }
    table = packed_table_bytes(job)
    if table:
        how = "the tied head's packed copy of the token table, in float32"
        buffers["packed_table"] = Figure(table, table, table, "B", "derived", Why(how, {"tables": 1}, SOURCE))
    if _generates(job.model) and not fixed_length(job.model):
        size = state_bytes(job)
        how = "the cache once more: every step writes a longer one beside it"
        buffers["present"] = Figure(size, 0, size, "B", "derived", Why(how, {"state": size}, GENAI))
    return buffers


def overhead(job: Job) -> Figure:
    """The process on a CPU and what loading leaves with it; on a graphics processor the driver's context."""
    if job.device.kind not in HOSTS:
        low, value, high = DRIVER_BYTES
        return Figure(value, low, high, "B", "assumed", Why("context of the graphics driver, kernels and workspace"))
    held = sum(figure.value for figure in weights(job).values())
    low, value, high = (process + share * held for process, share in zip(PROCESS_BYTES, KEPT_SHARE, strict=True))
    how = "interpreter with numpy and onnxruntime, its code, and share x weights that loading leaves"
    why = Why(how, {"weights": held, "share": list(KEPT_SHARE)}, SOURCE)
    return Figure(round(value), round(low), round(high), "B", "derived", why)


ONNXRUNTIME = Engine(
    id="onnxruntime",
    name="ONNX Runtime (decoders as onnxruntime-genai exports them)",
    dialect="hf",
    state_codecs=STATE_CODECS,
    refuses=refuses,
    weights=weights,
    state=state,
    activations=activations,
    overhead=overhead,
    source=VERSION,
    notes=(
        "memory on a CPU: initializers and packed copies as measured in docs/onnxruntime-memory.md",
        "the second request of a shape takes a planned block beside what the first left: twice the live arrays",
        "loading takes up to twice the weights more for a while, most of which stays with the process",
        "takes models of images and encoders; decoders were not run, their caches follow onnxruntime-genai's source",
        "left out: graphs fused by hand, other execution providers, beams, adapters",
    ),
    own_cache=own_cache,
    cannot_read=cannot_read,
    loads_as=loads_as,
)
