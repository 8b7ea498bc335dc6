"""GGUF files to measure llama.cpp with: tiny-lm in half precision, and models of zeros in many shapes and codecs.

What a model's values are makes no difference to memory, so the models of shapes hold zeros (norms hold ones).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter

from weigh.codecs import by_id

BYTES_ONLY = 256


@dataclass(frozen=True)
class Blueprint:
    """A model to be written: its shape and the codec of its matrices."""

    architecture: str
    codec: str = "f16"
    layers: int = 4
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    hidden: int = 768
    vocabulary: int = 4096
    context: int = 32768
    window: int = 0
    experts: int = 0
    experts_used: int = 0
    embedding: str = ""
    """Codec of the embedding and the head; that of the matrices if empty."""
    tied: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def _byte_letters() -> list[str]:
    """The 256 printable characters that byte-level vocabularies write bytes with."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(BYTES_ONLY, 2 * BYTES_ONLY))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(BYTES_ONLY)]


def _vocabulary(size: int) -> tuple[list[str], list[str]]:
    """Byte-level tokens and the merges that make them: pairs of bytes, then triples, as many as asked."""
    letters = _byte_letters()
    tokens, merges, known = list(letters), [], set(letters)
    number = 0
    while len(tokens) < size:
        left = tokens[BYTES_ONLY + number // BYTES_ONLY - BYTES_ONLY if number < 65536 else number // BYTES_ONLY]
        right = letters[number % BYTES_ONLY]
        number += 1
        if left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    return tokens, merges


def _add_vocabulary(writer: GGUFWriter, tokens: list[str], merges: list[str], special: int, pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number == special else 1 for number in range(len(tokens))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(special)
    writer.add_eos_token_id(special)


def _add_dimensions(writer: GGUFWriter, plan: Blueprint) -> None:
    writer.add_context_length(plan.context)
    writer.add_embedding_length(plan.width)
    writer.add_block_count(plan.layers)
    writer.add_feed_forward_length(plan.hidden)
    writer.add_head_count(plan.heads)
    writer.add_head_count_kv(plan.kv_heads)
    if plan.architecture in _UNGATED | {"olmo"}:
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_layer_norm_rms_eps(1e-5)
    if plan.architecture not in {"gpt2", "bloom"}:
        writer.add_key_length(plan.head_dim)
        writer.add_value_length(plan.head_dim)
        writer.add_rope_dimension_count(plan.head_dim)
    if plan.window:
        writer.add_sliding_window(plan.window)
    if plan.experts:
        writer.add_expert_count(plan.experts)
        writer.add_expert_used_count(plan.experts_used)
        writer.add_expert_feed_forward_length(plan.hidden)
        writer.add_expert_shared_feed_forward_length(plan.hidden)
    if plan.architecture == "gptneox":
        writer.add_parallel_residual(True)
    if plan.architecture == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)


_JOINED = frozenset({"gpt2", "phi3", "gptneox", "falcon", "bloom"})
"""Queries, keys and values in one matrix."""
_BIASED = frozenset({"gpt2", "gptneox", "bloom", "phi2", "starcoder2"})
"""A bias beside every matrix and every norm."""
_UNGATED = _BIASED | {"falcon"}
_NORMS = {
    "falcon": ("attn_norm",),
    "phi2": ("attn_norm",),
    "olmo": (),
    "olmo2": ("post_attention_norm", "post_ffw_norm"),
    "gemma2": ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"),
    "gemma3": ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"),
}


def layer_shapes(plan: Blueprint) -> dict[str, tuple[int, ...]]:
    """Tensors of one layer, outputs first."""
    wide, narrow = plan.heads * plan.head_dim, plan.kv_heads * plan.head_dim
    norms = _NORMS.get(plan.architecture, ("attn_norm", "ffn_norm"))
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (plan.width,) for name in norms}
    if plan.architecture in _JOINED:
        shapes["attn_qkv.weight"] = (wide + 2 * narrow, plan.width)
    else:
        shapes["attn_q.weight"] = (wide, plan.width)
        shapes |= {f"attn_{part}.weight": (narrow, plan.width) for part in "kv"}
    shapes["attn_output.weight"] = (plan.width, wide)
    if plan.architecture in {"qwen2", "qwen2moe"}:
        shapes |= {"attn_q.bias": (wide,), "attn_k.bias": (narrow,), "attn_v.bias": (narrow,)}
    if plan.architecture in {"qwen3", "qwen3moe", "gemma3"}:
        shapes |= {f"attn_{part}_norm.weight": (plan.head_dim,) for part in "qk"}
    if plan.architecture == "olmo2":
        shapes |= {"attn_q_norm.weight": (wide,), "attn_k_norm.weight": (narrow,)}
    shapes |= _feed_forward_shapes(plan)
    if plan.architecture in _BIASED or plan.architecture == "falcon":
        kept = shapes if plan.architecture in _BIASED else norms_of(shapes)
        shapes |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in kept.items()}
    return shapes


def norms_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those with one axis."""
    return {name: shape for name, shape in shapes.items() if len(shape) == 1}


def _feed_forward_shapes(plan: Blueprint) -> dict[str, tuple[int, ...]]:
    up, down = (plan.hidden, plan.width), (plan.width, plan.hidden)
    if plan.experts:
        shapes: dict[str, tuple[int, ...]] = {f"ffn_{part}_exps.weight": (plan.experts, *up) for part in ("gate", "up")}
        shapes["ffn_down_exps.weight"] = (plan.experts, *down)
        shapes["ffn_gate_inp.weight"] = (plan.experts, plan.width)
        if plan.architecture == "qwen2moe":
            shapes |= {f"ffn_{part}_shexp.weight": up for part in ("gate", "up")}
            shapes |= {"ffn_down_shexp.weight": down, "ffn_gate_inp_shexp.weight": (plan.width,)}
        return shapes
    if plan.architecture == "phi3":
        return {"ffn_up.weight": (2 * plan.hidden, plan.width), "ffn_down.weight": down}
    gate = {} if plan.architecture in _UNGATED else {"ffn_gate.weight": up}
    return {**gate, "ffn_up.weight": up, "ffn_down.weight": down}


def _add_tensor(writer: GGUFWriter, name: str, shape: tuple[int, ...], codec: str) -> None:
    if len(shape) == 1 or "ffn_gate_inp" in name:
        writer.add_tensor(name, np.ones(shape, np.float32))
        return
    kind = by_id(codec)
    assert kind.ggml_type is not None
    raw = GGMLQuantizationType(kind.ggml_type)
    assert GGML_QUANT_SIZES[raw] == (kind.block, kind.block_bytes)
    if codec in {"f32", "f16"}:
        writer.add_tensor(name, np.zeros(shape, np.float32 if codec == "f32" else np.float16))
        return
    row = shape[-1] // kind.block * kind.block_bytes
    writer.add_tensor(name, np.zeros((*shape[:-1], row), np.uint8), raw_dtype=raw)


def write_zeros(plan: Blueprint, path: Path) -> Path:
    """A model of the blueprint's shape with nothing in it."""
    writer = GGUFWriter(path, plan.architecture)
    _add_dimensions(writer, plan)
    tokens, merges = _vocabulary(plan.vocabulary)
    _add_vocabulary(writer, tokens, merges, special=0, pre="gpt-2")
    edge = plan.embedding or plan.codec
    _add_tensor(writer, "token_embd.weight", (plan.vocabulary, plan.width), edge)
    if plan.architecture == "gpt2":
        _add_tensor(writer, "position_embd.weight", (plan.context, plan.width), "f32")
    outer = ["output_norm"] * (plan.architecture != "olmo") + ["token_embd_norm"] * (plan.architecture == "bloom")
    for name in outer:
        _add_tensor(writer, f"{name}.weight", (plan.width,), "f32")
        if plan.architecture in _UNGATED:
            _add_tensor(writer, f"{name}.bias", (plan.width,), "f32")
    if not plan.tied:
        _add_tensor(writer, "output.weight", (plan.vocabulary, plan.width), edge)
    if plan.architecture == "phi2":
        _add_tensor(writer, "output.bias", (plan.vocabulary,), "f32")
    for number in range(plan.layers):
        for name, shape in layer_shapes(plan).items():
            _add_tensor(writer, f"blk.{number}.{name}", shape, plan.codec)
    _finish(writer)
    return path


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ------------------------------------------------------------------------------------------------------ tiny-lm

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys from halves (Hugging Face) to pairs (ggml's llama): both rotate the same angles."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_llama(folder: Path, path: Path) -> Path:
    """A Hugging Face llama folder (one safetensors file, byte-level tokenizer) as a half-precision GGUF."""
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    plan = Blueprint(
        "llama",
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config["head_dim"],
        hidden=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
    )
    writer = GGUFWriter(path, "llama")
    _add_dimensions(writer, plan)
    vocabulary = {**tokenizer["model"]["vocab"], **{one["content"]: one["id"] for one in tokenizer["added_tokens"]}}
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    pairs = [one if isinstance(one, str) else " ".join(one) for one in tokenizer["model"]["merges"]]
    _add_vocabulary(writer, tokens, pairs, special=config["bos_token_id"], pre="gpt-2")
    for name, values in load_file(folder / "model.safetensors").items():
        _add_llama_tensor(writer, name, values, heads, kv_heads)
    _finish(writer)
    return path


def _add_llama_tensor(writer: GGUFWriter, name: str, values: np.ndarray, heads: int, kv_heads: int) -> None:
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in fixed:
        target = fixed[name]
    else:
        _, _, number, rest = name.split(".", 3)
        part = _NAMES[rest.removesuffix(".weight")]
        target = f"blk.{number}.{part}.weight"
        if part in {"attn_q", "attn_k"}:
            values = _interleaved(values, heads if part == "attn_q" else kv_heads)
    writer.add_tensor(target, values.astype(np.float32 if values.ndim == 1 else np.float16))
