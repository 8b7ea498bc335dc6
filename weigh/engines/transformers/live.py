"""What a forward pass of transformers holds at once, beside weights and cache: the largest set of live arrays.

PyTorch frees an array when the last name for it goes. Which names are alive while a layer works follows from the
classes' code: the stream and its copies, and what the layer itself made so far. To add a kind of layer, run
`python -m benchmarks.transformers_memory`, read the sizes that are alive at the peak, and write them down in `OWN`.

Source: transformers 5.23, models/*/modeling_*.py and integrations/; sizes checked in docs/transformers-memory.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from weigh import parts
from weigh.numbers import Number, larger
from weigh.once import once
from weigh.parts import Attention, LatentAttention, Mamba, Mamba2, Mlp, Moe
from weigh.types import Model, Part, Pass

STREAMS = 4
"""Copies of the stream that are alive in the second half of a block: the embedded tokens, the layer's input, the sum
behind attention, and its norm."""
_STREAMS: Mapping[str, int] = {"bert": 3, "roberta": 3, "gpt2": 6}
"""GPT-2 also keeps the embedded positions and what attention gave; an encoder needs no embedded tokens."""

EAGER = frozenset(
    {
        "bloom", "codegen", "deepseek_v4", "esm", "gemma2", "gpt_neo", "gpt_oss", "gptj", "mpt", "openai", "t5gemma",
        "vaultgemma", "xglm",
    }
)  # fmt: skip
"""Model types whose attention writes its scores: their classes do not say `_supports_sdpa = True`."""

STEPWISE = frozenset({"gpt2", "gpt_neo", "gptj", "codegen", "phi", "openai"})
"""Model types whose `gelu_new` is computed step by step in Python."""

CHUNK = 256
"""Tokens that Mamba-2 scans at once (`chunk_size`)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One pass as the live arrays depend on it. `step.tokens` new tokens, `step.past` in the cache before."""

    step: Pass
    value_bytes: int
    """Of an activation: the type that the model computes in."""
    eager: bool
    """Attention writes its scores, rather than calling a kernel that does not."""
    stepwise: bool
    fused_gate: bool
    """One matrix gives gate and up together, so that both stay alive."""
    streams: int = STREAMS

    @property
    def rows(self) -> int:
        """New tokens of all sequences."""
        return self.step.tokens * self.step.batch


def run_of(model: Model, step: Pass, value_bytes: int, *, fused_gate: bool) -> Run:
    """The pass in the way in which the model's class computes."""
    kind = model.model_type or ""
    return Run(step, value_bytes, kind in EAGER, kind in STEPWISE, fused_gate, _STREAMS.get(kind, STREAMS))


def _attention(part: Attention, run: Run) -> Number:
    """Three copies of the stream; then queries four times while they are rotated, or what the products need.

    Written scores: heads x new x all in float32 twice, and in the type of the model where that is another; keys and
    values once for every head. With a mask (a window that the tokens pass) or heads wider than 256: the same copies of
    keys and values, and the mask as numbers. Otherwise the kernel reads keys and values where they lie.
    """
    b, step = run.value_bytes, run.step
    seen = step.past + step.tokens
    query, result = run.rows * part.heads * part.key_dim, run.rows * part.heads * part.value_dim
    stream = 3 * run.rows * part.width
    groups = part.heads // max(1, part.kv_heads)
    repeated = step.batch * seen * part.heads * (part.key_dim + part.value_dim) if groups > 1 else 0
    rotating = 4 * query + run.rows * part.kv_heads * (part.key_dim + part.value_dim)
    if run.eager or part.sinks:
        scores = step.batch * part.heads * step.tokens * seen
        return b * (stream + 2 * query + repeated) + scores * (8 if b == 4 else 8 + b)
    masked = part.window is not None and step.tokens > 1 and seen > part.window
    if step.tokens > 1 and (masked or part.key_dim > 256 or part.key_dim != part.value_dim):
        mask = step.batch * step.tokens * seen
        return b * (stream + larger(rotating, query + 2 * result + repeated + mask))
    return b * (stream + larger(rotating, query + 2 * result))


def _latent(part: LatentAttention, run: Run) -> int:
    """Keys and values expanded for every head. Their widths differ, so that PyTorch writes the scores, in float32.

    Three streams + expanded (nope + value) + queries and keys, each also scaled (in 16 bit also in float32) + the
    rotated part + scores twice in float32, a byte to tell masked rows, and a mask.
    """
    step, b = run.step, run.value_bytes
    seen = step.batch * (step.past + step.tokens)
    pairs = (run.rows + seen) * part.heads * (part.nope_dim + part.rope_dim)
    expanded = seen * part.heads * (part.nope_dim + part.value_dim)
    values = 0 if b == 4 else 4 * seen * part.heads * part.value_dim
    scores = part.heads * step.tokens * seen
    short = run.rows * (part.heads * part.rope_dim + part.kv_rank + part.rope_dim)
    mask = 4 * step.tokens * (step.past + step.tokens)
    own = b * (3 * run.rows * part.width + expanded + short) + pairs * (8 if b == 4 else 9) + 9 * scores
    return own + values + mask


def _mlp(part: Mlp, run: Run) -> int:
    """Gate, up and their product (behind one matrix also its whole result); else before and after the activation."""
    copies = (4 if run.fused_gate else 3) if part.gated else (4 if run.stepwise else 2)
    return run.value_bytes * run.rows * (run.streams * part.width + copies * part.hidden)


def _moe(part: Moe, run: Run) -> int:
    """A copy of each token an expert, gate and up in one result, the activation and the product.

    Source: integrations/moe.py, `grouped_mm_experts_forward`, which is the default.
    """
    inner = part.latent or part.width
    routed = part.used * ((4 if part.gated else 2) * part.hidden + inner) + 3 * part.experts
    shared = part.width + 3 * part.shared_hidden
    return run.value_bytes * run.rows * (run.streams * part.width + max(routed, shared))


def _mamba(part: Mamba, run: Run) -> int:
    """Three arrays of inner x state values a token in float32, and nine of inner, of which five are in float32.

    That is the scan without kernels.

    Source: modeling_falcon_mamba.py, `slow_forward`. With the package mamba-ssm on a graphics processor the three are
    never written.
    """
    inner = 5 * 4 + 4 * run.value_bytes
    return run.rows * (12 * part.inner * part.state + inner * part.inner + run.value_bytes * 3 * part.width)


def _mamba2(part: Mamba2, run: Run) -> int:
    """Three matrices of heads x chunk values a token, ten of inner, and the projections before and behind the kernel.

    Source: modeling_mamba2.py, `torch_forward`, which pads to whole chunks.
    """
    inner = part.heads * part.head_dim
    both = inner + 2 * part.groups * part.state
    padded = run.step.batch * (-(-run.step.tokens // CHUNK) * CHUNK if run.step.tokens > 1 else 1)
    scanned = padded * (3 * part.heads * (CHUNK if run.step.tokens > 1 else 1) + 10 * inner + 4 * part.state)
    projected = run.rows * (inner + 2 * both + part.heads + 4 * part.width)
    return 4 * scanned + run.value_bytes * projected


OWN: Mapping[str, Callable[[Any, Run], int]] = {
    "attention": _attention,
    "latent_attention": _latent,
    "mlp": _mlp,
    "moe": _moe,
    "mamba": _mamba,
    "mamba2": _mamba2,
}
"""Kind of part to bytes that are alive at its peak, the stream included."""

SMALL = frozenset({"embedding", "linear", "norm", "array"})
"""Kinds that never hold the most."""


def _other(part: Part, run: Run) -> int:
    """Of a kind that was not looked at: the stream, and what each of its matrices gives, twice."""
    given = sum(slot.shape[0] for slot in parts.slots(part) if len(slot.shape) > 1)
    width = getattr(part.dimensions, "width", 0)
    return run.value_bytes * run.rows * (run.streams * width + 2 * given)


def unmodelled(model: Model) -> tuple[str, ...]:
    """Kinds of the model's layers whose live arrays nobody counted."""
    return tuple(sorted({part.kind for part in model.parts} - set(OWN) - SMALL))


@once()
def _different(model: Model) -> tuple[Part, ...]:
    """One of each of the layers' parts that can hold the most."""
    return tuple({(part.kind, part.dimensions): part for part in model.parts if part.kind not in SMALL}.values())


def live_bytes(model: Model, run: Run) -> int:
    """Most that one layer's work holds: the largest over the parts, with tables of rotations, masks and tokens.

    Written scores of the last layer stay alive until its block ends, and so count beside its feed-forward part.
    """
    own, kept, rotated, window = 0, 0, 0, None
    different = _different(model)
    for part in different:
        dims = part.dimensions
        if part.kind == "attention":
            rotated = max(rotated, 2 * dims.key_dim)
            window = dims.window or window
            if run.eager or dims.sinks:
                seen = run.step.past + run.step.tokens
                kept = larger(kept, run.value_bytes * run.step.batch * dims.heads * run.step.tokens * seen)
    for part in different:
        held = OWN[part.kind](part.dimensions, run) if part.kind in OWN else _other(part, run)
        own = larger(own, held + (kept if part.kind in ("mlp", "moe") else 0))
    outside = run.value_bytes * run.step.tokens * rotated + 24 * run.rows
    return own + outside + _masks(run, window)


def _masks(run: Run, window: int | None) -> int:
    """Bytes for the kernel where a window is passed; numbers, of each kind of layer one, where scores are written."""
    pairs = run.step.batch * run.step.tokens * (run.step.past + run.step.tokens)
    if run.eager:
        return pairs * run.value_bytes * (1 if window is None else 2)
    return pairs if window is not None and run.step.tokens > 1 and run.step.past + run.step.tokens > window else 0
