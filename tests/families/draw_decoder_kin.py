"""Further decoders for `draw.py`, dense, with experts and recurrent. To add a type: a row in each of the tables."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Drawn = dict[str, Any]

_BASE = "ForCausalLM Model"
_ALL = _BASE + " ForSequenceClassification ForQuestionAnswering ForTokenClassification"

CLASSES: dict[str, tuple[str, str]] = {
    "arcee": ("Arcee", _ALL),
    "ministral": ("Ministral", _ALL),
    "ministral3": ("Ministral3", _ALL),
    "cwm": ("Cwm", _BASE),
    "internlm3": ("Llama", _BASE),
    "iquestcoder": ("Llama", _BASE),
    "ernie4_5": ("Ernie4_5", _BASE),
    "bitnet": ("BitNet", _BASE),
    "jais2": ("Jais2", _BASE),
    "diffllama": ("DiffLlama", _ALL),
    "granite_swa": ("GraniteSWA", _BASE),
    "hunyuan_v1_dense": ("HunYuanDenseV1", _BASE + " ForSequenceClassification"),
    "apertus": ("Apertus", _BASE + " ForTokenClassification"),
    "nanochat": ("NanoChat", _BASE),
    "vaultgemma": ("VaultGemma", _BASE),
    "gpt_bigcode": ("GPTBigCode", _BASE + " ForSequenceClassification ForTokenClassification"),
    "dots1": ("Dots1", _BASE),
    "solar_open": ("SolarOpen", _BASE),
    "exaone_moe": ("ExaoneMoe", _BASE),
    "hunyuan_v1_moe": ("HunYuanMoEV1", _BASE + " ForSequenceClassification"),
    "flex_olmo": ("FlexOlmo", _BASE),
    "aria_text": ("AriaText", _BASE),
    "granitemoeshared": ("GraniteMoeShared", _BASE),
    "glm4_moe_lite": ("Glm4MoeLite", _BASE),
    "youtu": ("Youtu", _BASE),
    "minicpm3": ("MiniCPM3", _BASE + " ForSequenceClassification"),
    "lfm2": ("Lfm2", _BASE),
    "lfm2_moe": ("Lfm2Moe", _BASE),
    "xlstm": ("xLSTM", _BASE),
    "kimi_linear": ("KimiLinear", _BASE),
    "zamba2": ("Zamba2", _BASE + " ForSequenceClassification"),
    "minimax_m3_vl_text": ("MiniMaxM3VL", "ForCausalLM TextModel"),
    "minimax_m3": ("MiniMaxM3", "ForCausalLM"),
}

UNTIED = frozenset({"xlstm", "kimi_linear"})
"""Types whose classes never tie their head."""

_PLAIN = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size"
_LATENT = _PLAIN + " kv_lora_rank q_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim"

_KEYS = {
    "ministral": _PLAIN + " head_dim",
    "hunyuan_v1_dense": _PLAIN + " head_dim",
    "bitnet": "vocab_size hidden_size num_hidden_layers heads_of_five intermediate_size",
    "gpt_bigcode": "vocab_size n_embd n_layer n_head n_positions",
    "dots1": _PLAIN + " moe_intermediate_size n_routed_experts n_shared_experts num_experts_per_tok",
    "solar_open": _PLAIN.replace("intermediate_size", "moe_intermediate_size n_routed_experts"),
    "exaone_moe": _PLAIN + " moe_intermediate_size num_experts",
    "hunyuan_v1_moe": _PLAIN + " head_dim num_experts",
    "flex_olmo": _PLAIN + " num_experts",
    "aria_text": _PLAIN + " moe_num_experts",
    "granitemoeshared": _PLAIN + " num_local_experts",
    "glm4_moe_lite": _LATENT + " moe_intermediate_size n_routed_experts",
    "youtu": _LATENT,
    "minicpm3": _LATENT.replace(" v_head_dim", ""),
    "lfm2_moe": _PLAIN + " moe_intermediate_size num_experts mixers",
    "xlstm": "vocab_size hidden_size num_hidden_layers num_heads",
    "kimi_linear": _LATENT.replace(" q_lora_rank", " moe_intermediate_size num_local_experts linear_num_heads")
    + " linear_head_dim",
    "zamba2": "vocab_size hidden_size num_hidden_layers num_attention_heads n_mamba_heads layers_block_type",
    **dict.fromkeys(
        ("minimax_m3_vl_text", "minimax_m3"),
        _PLAIN + " num_local_experts shared_intermediate_size dense_intermediate_size",
    ),
}

_ALIASES = {"heads_of_five": "num_attention_heads", "mixers": "layer_types", "even_kv_heads": "num_key_value_heads"}


def _sizes(model_type: str) -> Callable[[random.Random], Drawn]:
    """32 heads, since the documented numbers of KV heads have to divide them; BitNet documents 5."""

    def draw(rng: random.Random) -> Drawn:
        layers = rng.randint(1, 5)
        width = {"bitnet": 40, "xlstm": 128}.get(model_type, 32) * rng.choice([2, 4])
        drawn = {
            "vocab_size": rng.randint(50, 400),
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": 32,
            "heads_of_five": 20,
            "num_heads": 4,
            "intermediate_size": rng.randint(10, 90),
            "max_position_embeddings": rng.randint(16, 64),
            "head_dim": rng.choice([8, 16]),
            **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8),
            "moe_intermediate_size": rng.randint(5, 20),
            "n_shared_experts": rng.randint(1, 2),
            "num_experts_per_tok": rng.randint(1, 3),
            "kv_lora_rank": rng.randint(4, 20),
            "q_lora_rank": rng.randint(4, 20),
            "qk_nope_head_dim": 2 * rng.randint(1, 4),
            "qk_rope_head_dim": 2 * rng.randint(1, 4),
            "v_head_dim": rng.randint(2, 9),
            "n_embd": width,
            "n_layer": layers,
            "n_head": 32,
            "n_positions": rng.randint(16, 64),
            "mixers": [rng.choice(["conv", "full_attention"]) for _ in range(layers)],
            "linear_num_heads": rng.randint(1, 3),
            "linear_head_dim": rng.randint(2, 9),
            "n_mamba_heads": 8,
            "shared_intermediate_size": rng.randint(5, 20),
            "dense_intermediate_size": rng.randint(5, 20),
            "layers_block_type": ["linear_attention", *(rng.choice(["linear_attention", "hybrid"]) for _ in range(6))],
        }
        if model_type == "zamba2":
            drawn["num_hidden_layers"] = 7
        return {_ALIASES.get(key, key): drawn[key] for key in _KEYS.get(model_type, _PLAIN).split()}

    return draw


SIZES = {model_type: _sizes(model_type) for model_type in CLASSES}

_KIN = "num_key_value_heads head_dim"
_SLIDES = " sliding_window layer_types"

_SWITCHES = {
    "arcee": _KIN + " attention_bias mlp_bias",
    "ministral": _KIN + " nullable_window",
    "ministral3": _KIN + " nullable_window",
    "cwm": _KIN + " mlp_bias" + _SLIDES,
    "internlm3": _KIN,
    "iquestcoder": _KIN,
    "ernie4_5": _KIN + " use_bias",
    "bitnet": "attention_bias",
    "jais2": _KIN + " attention_bias mlp_bias",
    "diffllama": "even_kv_heads head_dim attention_bias",
    "granite_swa": "num_key_value_heads attention_bias mlp_bias" + _SLIDES,
    "hunyuan_v1_dense": _KIN + " attention_bias",
    "apertus": "num_key_value_heads attention_bias hidden_act",
    "nanochat": "num_key_value_heads attention_bias",
    "vaultgemma": _KIN + " attention_bias" + _SLIDES,
    "gpt_bigcode": "multi_query n_inner",
    "dots1": _KIN + " attention_bias first_k_dense_replace max_window_layers sliding_window",
    "solar_open": _KIN + " attention_bias n_shared_experts num_experts_per_tok",
    "exaone_moe": _KIN + " mlp_layer_types num_shared_experts num_experts_per_tok" + _SLIDES,
    "hunyuan_v1_moe": _KIN + " attention_bias moe_topk",
    "flex_olmo": "num_key_value_heads attention_bias num_experts_per_tok",
    "aria_text": _KIN + " attention_bias mlp_bias moe_topk_number moe_num_shared_experts",
    "granitemoeshared": "num_key_value_heads attention_bias num_experts_per_tok shared_intermediate_size",
    "glm4_moe_lite": "attention_bias nullable_rank mlp_layer_types n_shared_experts num_experts_per_tok",
    "youtu": "attention_bias nullable_rank",
    "minicpm3": "attention_bias mlp_bias nullable_rank v_head_dim",
    "lfm2": "num_key_value_heads conv_bias conv_L_cache block_auto_adjust_ff_dim block_multiple_of "
    "block_ffn_dim_multiplier mixers",
    "lfm2_moe": "num_key_value_heads conv_bias conv_L_cache num_dense_layers use_expert_bias num_experts_per_tok",
    "xlstm": "use_bias qk_dim_factor v_dim_factor ffn_proj_factor ffn_round_up_to_multiple_of",
    "kimi_linear": "attention_bias nullable_rank delta_layers mlp_layer_types n_shared_experts num_experts_per_tok "
    "linear_conv_kernel_dim",
    "zamba2": "add_bias_linear mamba_d_state mamba_d_conv mamba_ngroups num_mem_blocks adapter_rank "
    "use_shared_attention_adapter",
    "minimax_m3_vl_text": _KIN + " num_experts_per_tok sparse_layers mlp_layer_types index_n_heads index_head_dim",
    "minimax_m3": _KIN + " num_experts_per_tok sparse_attention_config moe_layer_freq",
}

_ALIASES |= {"nullable_window": "sliding_window", "nullable_rank": "q_lora_rank", "moe_topk_number": "moe_topk"}
_ALIASES |= {"delta_layers": "layer_types", "sparse_layers": "layer_types"}


def _switches(model_type: str) -> Callable[[random.Random, Drawn], Drawn]:
    def draw(rng: random.Random, given: Drawn) -> Drawn:
        flip = rng.choice
        layers = given.get("num_hidden_layers", 1)
        biased = flip([True, False])
        switched = "attention_bias mlp_bias use_bias multi_query conv_bias block_auto_adjust_ff_dim use_expert_bias"
        every = {
            **{key: flip([True, False]) for key in switched.split()},
            "num_key_value_heads": flip([1, 2, 8]),
            "even_kv_heads": flip([2, 8]),
            "head_dim": flip([8, 16, 20]),
            "sliding_window": flip([3, 7]),
            "nullable_window": flip([3, None]),
            "nullable_rank": flip([9, None]),
            "v_head_dim": rng.randint(2, 9),
            "layer_types": [flip(["full_attention", "sliding_attention"]) for _ in range(layers)],
            "mixers": [flip(["conv", "full_attention"]) for _ in range(layers)],
            "mlp_layer_types": [flip(["dense", "sparse"]) for _ in range(layers)],
            "hidden_act": flip(["xielu", "silu"]),
            "n_inner": flip([None, 30]),
            "first_k_dense_replace": rng.randint(0, layers),
            "max_window_layers": rng.randint(0, layers),
            "n_shared_experts": rng.randint(1, 3),
            "num_shared_experts": rng.randint(1, 3),
            "moe_num_shared_experts": rng.randint(1, 3),
            "num_experts_per_tok": rng.randint(1, 3),
            "moe_topk": flip([2, [rng.randint(1, 3) for _ in range(layers)]]),
            "moe_topk_number": rng.randint(1, 3),
            "shared_intermediate_size": flip([0, 11]),
            "conv_L_cache": rng.randint(2, 4),
            "block_multiple_of": flip([16, 32]),
            "block_ffn_dim_multiplier": flip([0.7, 1.0, 1.3]),
            "num_dense_layers": rng.randint(0, layers),
            "qk_dim_factor": flip([0.5, 1.0]),
            "v_dim_factor": flip([0.5, 1.0]),
            "ffn_proj_factor": flip([1.3, 2.667, 3.0]),
            "ffn_round_up_to_multiple_of": flip([16, 64]),
            "type_vocab_size": flip([1, 2, 3]),
            "delta_layers": [flip(["linear_attention", "full_attention"]) for _ in range(layers)],
            "sparse_layers": [flip(["minimax_m3_sparse", "full_attention"]) for _ in range(layers)],
            "index_n_heads": rng.randint(1, 3),
            "index_head_dim": rng.randint(2, 9),
            "moe_layer_freq": [flip([0, 1]) for _ in range(layers)],
            "sparse_attention_config": {"sparse_attention_freq": [flip([0, 1]) for _ in range(layers)]},
            "linear_conv_kernel_dim": rng.randint(2, 5),
            "add_bias_linear": biased,
            "mamba_d_state": rng.randint(4, 9),
            "mamba_d_conv": rng.randint(2, 5),
            "mamba_ngroups": flip([1, 2]),
            "num_mem_blocks": rng.randint(1, 3),
            "adapter_rank": rng.randint(2, 5),
            "use_shared_attention_adapter": flip([True, False]),
        }
        if model_type == "internlm3":
            chosen = {key: every[key] for key in _KIN.split()}
            return {**chosen, "attention_bias": biased, "mlp_bias": biased}
        return {_ALIASES.get(key, key): every[key] for key in _SWITCHES[model_type].split()}

    return draw


SWITCHES = {model_type: _switches(model_type) for model_type in CLASSES}
