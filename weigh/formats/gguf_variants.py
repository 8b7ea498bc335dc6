"""Switches that GGUF has no key for, read off the tensors, one function for each kind of model.

Each adds to the configuration that `gguf_config.translate` has begun. The tensor names are those of llama.cpp
(gguf-py/gguf/constants.py, TENSOR_NAMES), the keys those of the class in transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.formats.gguf_source import Source

Found = dict[str, Any]

GPT_OSS: Mapping[str, str | None] = {
    "expert_count": "num_local_experts",
    "expert_feed_forward_length": "intermediate_size",
    "feed_forward_length": None,
}
SIGMOID = 2
"""ExpertGatingFuncType.SIGMOID."""


def nothing(source: Source, found: Found) -> None:
    """The sizes tell all."""


def _switch(source: Source, found: Found, key: str, *tensors: str) -> None:
    """Whether the first layer has one of the tensors; nothing where the file holds no tensors to tell by."""
    if source.shapes:
        found[key] = any(source.has(tensor) for tensor in tensors)


def attention_bias(source: Source, found: Found) -> None:
    """One switch for the biases of queries, keys and values, and of the output where it has one."""
    _switch(source, found, "attention_bias", "attn_q.bias", "attn_qkv.bias")


def llama(source: Source, found: Found) -> None:
    """Biases of attention and MLP."""
    attention_bias(source, found)
    _switch(source, found, "mlp_bias", "ffn_up.bias")


def qwen2_moe(source: Source, found: Found) -> None:
    """Every layer has experts in llama.cpp; the experts' widths are read off the tensors where no key gives them."""
    _switch(source, found, "qkv_bias", "attn_q.bias")
    found["decoder_sparse_step"] = 1
    found["mlp_only_layers"] = []
    widths = {
        "moe_intermediate_size": source.rows("blk.0.ffn_up_exps.weight", axis=1),
        "shared_expert_intermediate_size": source.rows("blk.0.ffn_up_shexp.weight"),
    }
    for key, width in widths.items():
        if width is not None:
            found.setdefault(key, width)


def qwen3_next(source: Source, found: Found) -> None:
    """Linear attention is where the queries, keys and values of a layer lie in one tensor.

    The inner width of the linear layers is that of all value heads.
    """
    qwen2_moe(source, found)
    del found["qkv_bias"]
    attention_bias(source, found)
    layers = found.get("num_hidden_layers")
    if type(layers) is int and 0 < layers <= len(source.shapes):
        linear = [f"blk.{i}.attn_qkv.weight" in source.shapes for i in range(layers)]
        found["layer_types"] = ["linear_attention" if kind else "full_attention" for kind in linear]
    heads, width = found.get("linear_num_value_heads"), found.get("linear_value_head_dim")
    if type(heads) is int and type(width) is int and heads > 0 and width % heads == 0:
        found["linear_value_head_dim"] = width // heads


def mamba(source: Source, found: Found) -> None:
    """Biases of the projections and of the convolution."""
    _switch(source, found, "use_bias", "ssm_in.bias")
    _switch(source, found, "use_conv_bias", "ssm_conv1d.bias")


def mamba2(source: Source, found: Found) -> None:
    """The time steps' rank is the number of heads, and they divide the inner width, a multiple of the model's."""
    mamba(source, found)
    heads, inner = found.pop("time_step_rank", None), found.pop("intermediate_size", None)
    width = found.get("hidden_size")
    found["num_heads"] = heads
    if type(heads) is int and type(inner) is int and heads > 0 and inner % heads == 0:
        found["head_dim"] = inner // heads
    if type(width) is int and type(inner) is int and width > 0 and inner % width == 0:
        found["expand"] = inner // width


def layer_windows(source: Source, found: Found) -> None:
    """Which layers slide, where the file lists them."""
    listed = source.metadata.get(f"{source.architecture}.attention.sliding_window_pattern")
    layers = found.get("num_hidden_layers")
    if isinstance(listed, list) and listed and len(listed) == layers:
        found["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in listed]
    elif type(listed) is int and listed > 0:
        found["sliding_window_pattern"] = listed


def gemma3(source: Source, found: Found) -> None:
    """The converter leaves the window out where no layer slides; llama.cpp takes every sixth as global by itself."""
    layer_windows(source, found)
    if "sliding_window" not in found:
        found["sliding_window_pattern"] = 1
    local = source.value("rope.freq_base_swa")
    if local is not None:
        found["rope_local_base_freq"] = local


def olmo2(source: Source, found: Found) -> None:
    """OLMo 3 is an OLMo 2 with windows."""
    attention_bias(source, found)
    layer_windows(source, found)
    if "sliding_window" in found:
        found["model_type"] = "olmo3"
        found["architectures"] = ["Olmo3ForCausalLM"]


def starcoder2(source: Source, found: Found) -> None:
    """One switch for all biases."""
    _switch(source, found, "use_bias", "attn_q.bias")


def stablelm(source: Source, found: Found) -> None:
    """Without a norm before the MLP, that reads what attention reads."""
    _switch(source, found, "use_qkv_bias", "attn_q.bias")
    _switch(source, found, "qk_layernorm", "attn_q_norm.weight")
    if source.shapes:
        found["use_parallel_residual"] = not source.has("ffn_norm.weight")


def cohere(source: Source, found: Found) -> None:
    """Biases, and norms of queries and keys."""
    attention_bias(source, found)
    if found["model_type"] == "cohere":
        _switch(source, found, "use_qk_norm", "attn_q_norm.weight")
    layer_windows(source, found)


def seed_oss(source: Source, found: Found) -> None:
    """The output's bias has a switch of its own."""
    attention_bias(source, found)
    _switch(source, found, "attention_out_bias", "attn_output.bias")


def exaone4(source: Source, found: Found) -> None:
    """The converter leaves the window out where no layer slides."""
    layer_windows(source, found)
    found.setdefault("sliding_window", None)


def phi(source: Source, found: Found) -> None:
    """Norms of queries and keys."""
    _switch(source, found, "qk_layernorm", "attn_q_norm.weight")


def phi3(source: Source, found: Found) -> None:
    """A window of 0 stands for none."""
    if not found.get("sliding_window"):
        found["sliding_window"] = None
    length = source.value("rope.scaling.original_context_length")
    if length is not None:
        found["original_max_position_embeddings"] = length


def learned_positions(source: Source, found: Found) -> None:
    """The table of positions says how many there are, whatever context is announced."""
    rows = source.rows("position_embd.weight")
    if rows is not None:
        found["n_positions"] = rows
    if found["model_type"] == "gpt_bigcode":
        found["multi_query"] = source.value("attention.head_count_kv") == 1


def neox(source: Source, found: Found) -> None:
    """`rotary_pct` is what other classes call `partial_rotary_factor`."""
    attention_bias(source, found)
    found["rotary_pct"] = found.pop("partial_rotary_factor", 1.0)
    parallel = source.value("use_parallel_residual")
    if parallel is not None:
        found["use_parallel_residual"] = parallel


def falcon(source: Source, found: Found) -> None:
    """Falcon 7B has one KV head, 40B and 180B have groups of them and, most of them, two norms a layer."""
    heads, groups = found.get("num_attention_heads"), found.get("num_kv_heads")
    found["new_decoder_architecture"] = groups not in (None, 1, heads)
    found["multi_query"] = groups == 1
    _switch(source, found, "bias", "attn_qkv.bias")
    found["parallel_attn"] = not source.has("ffn_norm.weight")
    found["alibi"] = False
    if found["new_decoder_architecture"]:
        found["num_ln_in_parallel_attn"] = 2 if source.has("attn_norm_2.weight") else 1


def mpt(source: Source, found: Found) -> None:
    """Attention has its own configuration inside."""
    alibi = source.value("attention.max_alibi_bias")
    attention: Found = {"alibi": bool(alibi), "clip_qkv": source.value("attention.clamp_kqv")}
    if alibi:
        attention["alibi_bias_max"] = alibi
    groups = source.metadata.get(f"{source.architecture}.attention.head_count_kv")
    if groups is not None:
        attention["kv_n_heads"] = groups
    found["attn_config"] = attention
    if source.shapes:
        found["no_bias"] = not source.has("attn_qkv.bias")
    width, hidden = found.get("d_model"), source.value("feed_forward_length")
    if type(width) is int and type(hidden) is int and width > 0 and hidden % width == 0:
        found["expansion_ratio"] = hidden // width


def bert(source: Source, found: Found) -> None:
    """llama.cpp leaves the pooler out. RoBERTa and DistilBERT are stored as BERT too; the tables say how many rows."""
    found["add_pooling_layer"] = False
    found.pop("tie_word_embeddings", None)
    tables = {"max_position_embeddings": "position_embd.weight", "type_vocab_size": "token_types.weight"}
    for key, tensor in tables.items():
        rows = source.rows(tensor)
        if rows is not None:
            found[key] = rows
    if "type_vocab_size" not in found and source.shapes:
        found["type_vocab_size"] = 0


def phimoe(source: Source, found: Found) -> None:
    """Biases of attention and of the head."""
    attention_bias(source, found)
    if source.shapes:
        found["lm_head_bias"] = "output.bias" in source.shapes


def glm4_moe(source: Source, found: Found) -> None:
    """Biases of attention, and norms of heads, which only the larger of the models have."""
    attention_bias(source, found)
    _switch(source, found, "use_qk_norm", "attn_q_norm.weight")


def deepseek2(source: Source, found: Found) -> None:
    """Latent attention: llama.cpp writes the width of the compressed key, and the heads' own in `*_mla`.

    V3 weighs its experts by a sigmoid and has a correction bias, V2 by a softmax.
    """
    rotary = source.value("rope.dimension_count")
    key = source.value("attention.key_length_mla") or source.value("attention.key_length")
    found["v_head_dim"] = source.value("attention.value_length_mla") or source.value("attention.value_length")
    if type(rotary) is int and type(key) is int:
        found["qk_rope_head_dim"] = rotary
        found["qk_nope_head_dim"] = key - rotary
    found["num_key_value_heads"] = found.get("num_attention_heads")
    found.setdefault("q_lora_rank", None)
    found.pop("head_dim", None)
    dense = found.get("first_k_dense_replace")
    corrected = isinstance(dense, int) and f"blk.{dense}.exp_probs_b.bias" in source.shapes
    if source.value("expert_gating_func") == SIGMOID or corrected:
        found["model_type"] = "deepseek_v3"
        found["architectures"] = ["DeepseekV3ForCausalLM"]


def gpt_oss(source: Source, found: Found) -> None:
    """Biases in attention; every other layer slides by the class's own rule."""
    attention_bias(source, found)
    layer_windows(source, found)
