"""vLLM (v1) as an Engine: weights, pages of keys and values, and what its profiling run leaves room for.

vLLM takes a share of the device's memory whatever the model (`gpu_memory_utilization`) and makes pages of what weights
and activations leave. Here the state is the pages that the job needs, so that the total is the least device that can
run it. Nothing of this was run for weigh: the pages follow the source, the rest is assumed and compared with logs.

Source: vllm-project/vllm at 001cabc1be16a59a70d720ed61a13b678c060a18, vllm/v1/kv_cache_interface.py (pages), and
vllm/v1/core/kv_cache_utils.py (groups), vllm/engine/arg_utils.py (defaults); logs in tests/engines/test_vllm.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weigh import parts
from weigh.codecs import by_id
from weigh.engines.nvidia import AMPERE, TURING, VOLTA, capability, spoken
from weigh.engines.plain import sixteen_bit
from weigh.numbers import Number, smaller
from weigh.once import once
from weigh.types import Device, Engine, Figure, Job, Model, Part, State, Tensor, WeighError, Why, counted

VERSION = "vLLM v1 at 001cabc"
SOURCE = f"{VERSION}: vllm/v1/kv_cache_interface.py"

STATE_CODECS = ("f16", "bf16", "f8_e4m3", "f8_e5m2")
"""`--kv-cache-dtype`: auto (the model's 16 bit), fp8_e4m3, fp8_e5m2; one byte a value, scales are a tensor's."""

BLOCK = 16
"""Tokens a page."""
PADDED = 64
"""Rows that token tables and heads are padded to a multiple of (layers/vocab_parallel_embedding.py)."""
LARGE = 70 * 2**30
"""Bytes of memory from which the server's defaults are larger, but for an A100."""
GRAPHS_BYTES = (0.1e9, 0.6e9, 3e9)
"""Captured graphs. Assumed: a log of a model of half a billion says 0.13 GiB, vLLM itself said 1 to 3."""
OUTSIDE_BYTES = (0.4e9, 0.8e9, 2.2e9)
"""Context of the driver, kernels, and what logs call non-torch memory (0.16 to 1.79 GiB). Assumed."""
HOSTS = frozenset({"host", "desktop", "laptop", "edge", "phone", "size"})

_GROWING = frozenset({"kv", "latent", "rope", "index"})
_FIXED = frozenset({"conv", "recurrent", "shift"})
_KINDS_NOT_RUN = frozenset({"time_mix", "channel_mix", "mlstm", "rg_lru"})


def refuses(model: Model, device: Device) -> WeighError | None:
    """Models without tokens, recurrences that vLLM has no layer for, and phones."""
    kinds = sorted({part.kind for part in model.parts} & _KINDS_NOT_RUN)
    if "vocabulary" not in model.dimensions:
        what = f"is modelled for models of text only, not for `{model.model_type}`"
    elif kinds:
        what = f"has no layer of the kind {', '.join(kinds)}"
    elif device.kind == "phone":
        what = f"does not run on {device.name}"
    else:
        return None
    return WeighError(
        f"vLLM {what}",
        rule="ENGINE-UNSUPPORTED",
        hint="`weigh show` counts every model; `weigh engines` lists the runtimes that are modelled",
    )


_SINCE = {
    "awq_int4_g128": TURING,
    "gptq_int4_g128": VOLTA,
    "gptq_int8_g128": VOLTA,
    "int4_g128": AMPERE,
    "int4_g128_asym": AMPERE,
    "int8_g128": AMPERE,
    "int8_channel_packed": AMPERE,
    "int8_channel": TURING,
    "bnb_int8": VOLTA,
    "bnb_nf4": VOLTA,
    "fp8_tensor": TURING,
    "fp8_channel": TURING,
    "fp8_block128": TURING,
    "f8_e4m3": TURING,
    "nvfp4": AMPERE,
    "mxfp4": AMPERE,
}
"""Quantized codec to the first generation of NVIDIA's that runs it. FP8 computes in 8 bit from Ada on; from Turing on
Marlin's kernels read it as weights alone, from Ampere on FP4 too (unverified for FP4).
Source: https://docs.vllm.ai/en/v0.15.1/features/quantization/ ("Supported Hardware"),
https://docs.vllm.ai/en/v0.32.0/features/quantization/llm_compressor/fp8/, read 2026-11-24."""
_ON_AMD = frozenset({"fp8_tensor", "fp8_channel", "fp8_block128", "f8_e4m3"})
_BY_GGUF = frozenset(
    {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq1_s", "iq1_m", "iq2_xxs",
     "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs"}
)  # fmt: skip
"""ggml types with kernels of its own (model_executor/layers/quantization/gguf.py), CUDA and ROCm."""
_ON_CPU = frozenset({"awq_int4_g128", "gptq_int4_g128", "int4_g128", "int4_g128_asym", "int8_channel"})


def cannot_read(codec: str, device: Device) -> str:
    """Plain 16 and 32 bit anywhere (bf16 since Ampere); quantized codecs by generation."""
    found = capability(device)
    if codec in ("f32", "f16", "bf16"):
        if codec == "bf16" and found is not None and found < AMPERE:
            return f"bf16 needs compute capability {spoken(AMPERE)}, and {device.name} has {spoken(found)}"
        return ""
    if device.kind in HOSTS and device.vendor != "NVIDIA":
        return "" if codec in _ON_CPU or device.kind == "size" else "on a CPU it has no kernels for it"
    if codec in _BY_GGUF:
        return "" if device.vendor in ("NVIDIA", "AMD") or device.kind == "size" else "GGUF needs CUDA or ROCm"
    if codec not in _SINCE:
        return "it has no kernels for it"
    if device.vendor == "AMD" and codec not in _ON_AMD:
        return "its kernels for it need CUDA"
    least = _SINCE[codec]
    if found is not None and found < least:
        return f"its kernels need compute capability {spoken(least)}, and {device.name} has {spoken(found)}"
    return ""


def loads_as(codec: str, device: Device) -> str:
    """`--dtype auto` makes float32 16 bit. Which one is unverified: bf16 here, f16 where the card has no bf16."""
    if codec == "f32":
        return "f16" if cannot_read("bf16", device) else "bf16"
    return "f16" if codec == "bf16" and cannot_read("bf16", device) else codec


def own_cache(tensors: Sequence[Tensor], _device: Device) -> str:
    """`--kv-cache-dtype auto`: the model's 16 bit."""
    return sixteen_bit(tensors)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens and sequences of one step at most: defaults of the server."""

    tokens: int
    sequences: int


def batch_of(device: Device) -> Batch:
    """`max_num_batched_tokens` and `max_num_seqs` where nobody sets them (arg_utils.py, get_batch_defaults)."""
    memory = device.memory_bytes.value if device.memory_bytes else 0
    # A stated 80 GB is 74.5 GiB, and the device reports what its vendor states or little less.
    large = memory >= LARGE and not device.id.startswith("a100") and device.kind not in HOSTS
    return Batch(8192, 1024) if large else Batch(2048, 256)


# --------------------------------------------------------------------------------------------------- weights


def weights(job: Job) -> Mapping[str, Figure]:
    """Every tensor as stored, with token tables and heads padded to a multiple of 64 rows.

    Fused matrices (q, k and v; gate and up) take what their pieces take.
    """
    held, padding = _held(job.tensors, job.model.dimensions["vocabulary"])
    how = "all tensors as stored + rows that pad the vocabulary to a multiple of 64"
    return {"loaded": counted(held + padding, "B", how, VERSION, tensors=len(job.tensors), padding=padding)}


@once()
def _held(tensors: tuple[Tensor, ...], vocabulary: int) -> tuple[int, int]:
    """Bytes of the tensors, and of the rows that pad tables of the vocabulary."""
    more = -vocabulary % PADDED
    tables = [tensor for tensor in tensors if len(tensor.shape) == 2 and tensor.shape[0] == vocabulary]
    return sum(tensor.nbytes for tensor in tensors), sum(tensor.nbytes // vocabulary * more for tensor in tables)


# --------------------------------------------------------------------------------------------------- pages


@dataclass(frozen=True, slots=True)
class Spec:
    """What one layer keeps, as its pages see it: bytes a token, or bytes a sequence."""

    a_token: int = 0
    a_sequence: int = 0
    window: int | None = None
    cross: bool = False

    def pages(self, block: int, tokens: Number, source: int, in_flight: int) -> Number:
        """Pages of `block` tokens of one sequence (`max_memory_usage_bytes` of each kind).

        A window holds window - 1 tokens and those in flight, and one page more since it may begin inside one.
        """
        if self.a_sequence:
            return 1
        if self.cross:
            return -(-source // block)
        if self.window is None:
            return -(-tokens // block)
        return -(-smaller(self.window - 1 + in_flight, tokens) // block) + 1


@once()
def specs(model: Model, codec: str) -> Counter[Spec]:
    """Layers by what they keep. Latent rows are one head with no values; an indexer's row lies beside them.

    Recurrent states keep the model's 16 bit when keys and values are in 8.
    """
    each = by_id(codec).block_bytes
    found: Counter[Spec] = Counter()
    for part in model.parts:
        kept = [state for state in parts.remembers(part) if not state.shared_with]
        growing = [state for state in kept if state.kind in _GROWING]
        if growing:
            found[_growing(growing, each)] += 1
        fixed = sum(state.row * state.rows for state in kept if state.kind in _FIXED)
        if fixed:
            found[Spec(a_sequence=fixed * max(2, each))] += 1
        for state in kept:
            if state.kind == "cross":
                found[Spec(a_token=state.row * each, cross=True)] += 1
    return found


def _growing(states: list[State], each: int) -> Spec:
    windows = {state.window for state in states}
    window = max(w for w in windows if w is not None) if None not in windows else None
    # A row that stands for several tokens takes its share of each.
    return Spec(a_token=-(-sum(state.row * each // state.rate for state in states) // 1), window=window)


def paged_bytes(found: Mapping[Spec, int], tokens: int, source: int, in_flight: int) -> Number:
    """Pages of one sequence in bytes, in all layers.

    One kind of layer: its own pages. Several kinds share a pool of pages of one size: that of the largest, a multiple
    of 16 tokens of the widest row; narrower rows get longer blocks, and a recurrent state a page of its own. The kinds
    are cut into groups of equally many layers, as many as the rarest kind has, or the commonest where that is less
    than half as many more; what is missing to a whole group is padding.
    """
    if not found:
        return 0
    if len(found) == 1:
        spec, layers = next(iter(found.items()))
        page = spec.a_sequence or BLOCK * spec.a_token
        return layers * page * spec.pages(BLOCK, tokens, source, in_flight)
    widest = max((BLOCK * spec.a_token for spec in found), default=0)
    fixed = max(spec.a_sequence for spec in found)
    page = max(widest, -(-fixed // widest) * widest) if widest else fixed
    fewest, most = min(found.values()), max(found.values())
    group = most if most < 1.5 * fewest else fewest
    total = 0
    for spec, layers in found.items():
        block = BLOCK * (page // (BLOCK * spec.a_token)) if spec.a_token else BLOCK
        total += -(-layers // group) * group * page * spec.pages(block, tokens, source, in_flight)
    return total


def state(job: Job) -> Figure:
    """Pages that all sequences need when the context is full. The pool takes what memory is left, which is more."""
    work = job.workload
    found = specs(job.model, work.state_codec)
    source = work.prompt if work.source is None else work.source
    in_flight = batch_of(job.device).tokens
    size = work.batch * paged_bytes(found, work.context, source, in_flight)
    inputs: dict[str, Any] = {
        "sequences": work.batch,
        "context": work.context,
        "block": BLOCK,
        "tokens_in_flight": in_flight,
        "layers_by_bytes_a_token": {spec.a_token: layers for spec, layers in found.items() if spec.a_token},
        "layers_by_bytes_a_sequence": {spec.a_sequence: layers for spec, layers in found.items() if spec.a_sequence},
    }
    why = Why("sequences x sum over groups of layers x pages x page_bytes", inputs, SOURCE)
    return Figure(size, size, size, "B", "derived", why)


# ----------------------------------------------------------------------------------------------- activations


def widest_step(part: Part) -> int:
    """Values a token that a layer's largest step holds: its matrices' results, fused, and the one behind them."""
    dims = part.dimensions
    if part.kind == "moe":
        inner = dims.latent or dims.width
        return int(dims.used * ((3 if dims.gated else 2) * dims.hidden + inner) + 3 * dims.shared_hidden)
    if part.kind == "mlp":
        return int((3 if dims.gated else 2) * dims.hidden)
    if part.kind in ("embedding", "linear", "norm"):
        return 0
    return 2 * sum(slot.shape[0] for slot in parts.slots(part) if len(slot.shape) == 2)


@once()
def _widest_layer(model: Model) -> int:
    return max((widest_step(part) for part in model.parts), default=0)


def activations(job: Job) -> Mapping[str, Figure]:
    """The peak of the profiling run with as many tokens as a step may have, and the captured graphs.

    tokens x (2 width + widest layer) x 2 + sequences x vocabulary x 10: logits in 16 bit, twice in float32 for
    sampling. Assumed: Llama-3-8B with 8,192 tokens and 256 sequences comes out at 1.1 GiB, and its log says 1.26.
    """
    most = batch_of(job.device)
    sizes = job.model.dimensions
    layer = _widest_layer(job.model)
    # A model that keeps nothing gives rows and no next tokens.
    sequences = most.sequences if specs(job.model, job.workload.state_codec) else 0
    size = most.tokens * (2 * sizes.get("width", 0) + layer) * 2 + sequences * sizes["vocabulary"] * 10
    inputs = {
        "tokens": most.tokens,
        "sequences": sequences,
        "width": sizes.get("width", 0),
        "widest_layer": layer,
        "vocabulary": sizes["vocabulary"],
    }
    why = Why("tokens x (2 width + widest_layer) x 2 + sequences x vocabulary x 10", inputs, VERSION)
    found = {"profiled": Figure(size, size * 0.4, size * 2.0, "B", "assumed", why)}
    if job.device.kind not in HOSTS:
        low, value, high = GRAPHS_BYTES
        how = "captured graphs, none with --enforce-eager"
        found["graphs"] = Figure(value, low, high, "B", "assumed", Why(how))
    return found


def overhead(_job: Job) -> Figure:
    """The driver's context and what is allocated beside PyTorch; on a CPU the process."""
    low, value, high = OUTSIDE_BYTES
    return Figure(value, low, high, "B", "assumed", Why("context of the driver and memory outside of PyTorch"))


VLLM = Engine(
    id="vllm",
    name="vLLM (v1 engine, the server's defaults)",
    dialect="hf",
    state_codecs=STATE_CODECS,
    refuses=refuses,
    weights=weights,
    state=state,
    activations=activations,
    overhead=overhead,
    source=VERSION,
    spreads="tensor",
    notes=(
        "the state is the pages that the job needs: vLLM makes pages of all memory that it is given",
        "pages and groups follow the source; activations, graphs and the driver's memory are assumed",
        "weights in float32 are loaded as 16 bit, as `--dtype auto` does; `--weights f32` keeps them",
        "left out: caches for recurrent prefixes, images",
    ),
    own_cache=own_cache,
    cannot_read=cannot_read,
    loads_as=loads_as,
)
