"""Random configurations of state-space models, linear attention and their hybrids."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Drawn = dict[str, Any]

CLASSES: dict[str, tuple[str, str]] = {
    "mamba": ("Mamba", "ForCausalLM Model"),
    "falcon_mamba": ("FalconMamba", "ForCausalLM Model"),
    "mamba2": ("Mamba2", "ForCausalLM Model"),
    "jamba": ("Jamba", "ForCausalLM Model ForSequenceClassification"),
    "bamba": ("Bamba", "ForCausalLM Model"),
    "falcon_h1": ("FalconH1", "ForCausalLM Model"),
    "granitemoehybrid": ("GraniteMoeHybrid", "ForCausalLM Model"),
    "nemotron_h": ("NemotronH", "ForCausalLM Model"),
    "qwen3_next": (
        "Qwen3Next",
        "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    ),
    "qwen3_5_text": ("Qwen3_5", "ForCausalLM TextModel TextForSequenceClassification"),
    "qwen3_5_moe_text": ("Qwen3_5Moe", "ForCausalLM TextModel"),
    "qwen3_5": ("Qwen3_5", "ForConditionalGeneration Model"),
    "qwen3_5_moe": ("Qwen3_5Moe", "ForConditionalGeneration Model"),
    "minimax": ("MiniMax", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "recurrent_gemma": ("RecurrentGemma", "ForCausalLM Model"),
    "rwkv": ("Rwkv", "ForCausalLM Model"),
}

_DELTA = " linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim"
_EXPERTS = " num_experts num_experts_per_tok moe_intermediate_size shared_expert_intermediate_size"
_HEADS = "vocab_size hidden_size num_hidden_layers num_attention_heads"

_KEYS = {
    "mamba": "vocab_size hidden_size num_hidden_layers state_size",
    "falcon_mamba": "vocab_size hidden_size num_hidden_layers state_size",
    "mamba2": "vocab_size hidden_size num_hidden_layers state_size num_heads head_dim",
    "jamba": _HEADS + " intermediate_size num_experts",
    "bamba": _HEADS + " intermediate_size",
    "falcon_h1": _HEADS + " intermediate_size",
    "granitemoehybrid": _HEADS + " intermediate_size num_local_experts shared_intermediate_size",
    "nemotron_h": "vocab_size hidden_size num_attention_heads layers_block_type intermediate_size mamba_num_heads "
    "n_routed_experts num_experts_per_tok moe_intermediate_size moe_shared_expert_intermediate_size",
    "qwen3_next": _HEADS + " intermediate_size" + _DELTA + _EXPERTS,
    "qwen3_5_text": _HEADS + " intermediate_size" + _DELTA,
    "qwen3_5_moe_text": _HEADS + _DELTA + _EXPERTS,
    "minimax": _HEADS + " intermediate_size num_local_experts",
    "recurrent_gemma": _HEADS + " intermediate_size",
    "rwkv": "vocab_size hidden_size num_hidden_layers",
}

BLOCKS = ("linear_attention", "full_attention", "mlp", "moe")


def _sizes(model_type: str) -> Callable[[random.Random], Drawn]:
    """32 heads, since the documented numbers of KV heads have to divide them; Bamba's 128 divide twice its width."""

    def draw(rng: random.Random) -> Drawn:
        width, layers = 64 * rng.choice([1, 2]), rng.randint(4, 6)
        blocks = [*BLOCKS, *(rng.choice(BLOCKS) for _ in range(rng.randint(0, 3)))]
        rng.shuffle(blocks)
        keys = rng.randint(1, 3)
        drawn = {
            "vocab_size": rng.randint(50, 400),
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": 32,
            "intermediate_size": 2 * rng.randint(5, 45),
            "state_size": rng.randint(2, 9),
            "num_heads": width // 8,
            "head_dim": 16,
            "layers_block_type": blocks,
            "mamba_num_heads": 8 * rng.randint(1, 2),
            "num_experts": rng.randint(3, 6),
            "num_local_experts": rng.randint(3, 6),
            "n_routed_experts": rng.randint(3, 6),
            "num_experts_per_tok": rng.randint(1, 3),
            "moe_intermediate_size": rng.randint(5, 20),
            "shared_expert_intermediate_size": rng.randint(5, 20),
            "shared_intermediate_size": rng.randint(5, 20),
            "moe_shared_expert_intermediate_size": rng.randint(5, 20),
            "linear_num_key_heads": keys,
            "linear_num_value_heads": keys * rng.randint(1, 3),
            "linear_key_head_dim": rng.randint(2, 9),
            "linear_value_head_dim": rng.randint(2, 9),
        }
        return {key: drawn[key] for key in _KEYS[model_type].split()}

    return draw


def _whole(text_type: str) -> Callable[[random.Random], Drawn]:
    """Only the decoder's sizes: the class builds its default tower where the configuration has none."""

    def draw(rng: random.Random) -> Drawn:
        return {"text_config": {"model_type": text_type, **_sizes(text_type)(rng)}}

    return draw


SIZES: dict[str, Callable[[random.Random], Drawn]] = {
    **{model_type: _sizes(model_type) for model_type in _KEYS},
    "qwen3_5": _whole("qwen3_5_text"),
    "qwen3_5_moe": _whole("qwen3_5_moe_text"),
}

_QWEN = "attention_bias head_dim num_key_value_heads linear_conv_kernel_dim layer_types full_attention_interval"
_OF_MAMBA = "expand conv_kernel time_step_rank use_bias use_conv_bias intermediate_size"

_SWITCHES = {
    "mamba": _OF_MAMBA,
    "falcon_mamba": _OF_MAMBA,
    "mamba2": "conv_kernel n_groups use_bias use_conv_bias",
    "jamba": "num_key_value_heads mamba_d_state mamba_d_conv mamba_expand mamba_dt_rank mamba_conv_bias "
    "mamba_proj_bias attn_layer_period attn_layer_offset expert_layer_period expert_layer_offset num_experts_per_tok",
    "bamba": "num_key_value_heads attention_bias mlp_bias mamba_n_groups mamba_d_state mamba_d_conv mamba_d_head "
    "mamba_n_heads mamba_conv_bias mamba_proj_bias attn_layer_indices",
    "falcon_h1": "num_key_value_heads head_dim attention_bias mlp_bias mamba_n_groups mamba_d_state mamba_d_conv "
    "mamba_n_heads mamba_d_ssm mamba_conv_bias mamba_proj_bias mamba_rms_norm projectors_bias",
    "granitemoehybrid": "num_key_value_heads head_dim attention_bias layer_types num_experts_per_tok mamba_n_groups "
    "mamba_d_state mamba_d_conv mamba_n_heads mamba_conv_bias mamba_proj_bias",
    "nemotron_h": "num_key_value_heads head_dim attention_bias mlp_bias use_bias mamba_proj_bias use_conv_bias "
    "mamba_head_dim n_groups ssm_state_size conv_kernel moe_latent_size",
    "qwen3_next": f"{_QWEN} decoder_sparse_step mlp_only_layers",
    "qwen3_5_text": _QWEN,
    "qwen3_5_moe_text": _QWEN,
    "minimax": "num_key_value_heads head_dim layer_types block_size",
    "recurrent_gemma": "num_key_value_heads attention_bias lru_width conv1d_width attention_window_size block_types",
    "rwkv": "attention_hidden_size intermediate_size context_length",
}


def _switches(model_type: str) -> Callable[[random.Random, Drawn], Drawn]:
    """Random values for the keys that a configuration of the type may leave out."""

    def draw(rng: random.Random, given: Drawn) -> Drawn:
        flip, layers = rng.choice, given.get("num_hidden_layers", 4)
        mixers = [flip(["linear_attention", "full_attention"]) for _ in range(layers)]
        bools = "use_bias use_conv_bias mamba_conv_bias mamba_proj_bias attention_bias mlp_bias mamba_rms_norm"
        every: Drawn = {
            **{key: flip([True, False]) for key in bools.split()},
            "expand": rng.randint(1, 3),
            "conv_kernel": rng.randint(2, 5),
            "time_step_rank": flip(["auto", 3, 10]),
            "intermediate_size": rng.randint(5, 60),
            "n_groups": flip([1, 2, 4]),
            "num_key_value_heads": flip([1, 2, 32]),
            "head_dim": flip([2, 8, 12]),
            "mamba_d_state": rng.randint(2, 9),
            "mamba_d_conv": rng.randint(2, 5),
            "mamba_expand": rng.randint(1, 3),
            "mamba_dt_rank": flip(["auto", 3, 10]),
            "attn_layer_period": 3,
            "attn_layer_offset": rng.randint(0, 2),
            "expert_layer_period": flip([1, 2]),
            "expert_layer_offset": 0,
            "num_experts_per_tok": rng.randint(1, 3),
            "mamba_n_groups": flip([1, 2, 4]),
            "mamba_d_head": "auto",
            "projectors_bias": flip([True, False]),
            "mamba_d_ssm": flip([None, 64, 96]),
            "mamba_n_heads": flip([4, 8, 16]),
            "attn_layer_indices": sorted(rng.sample(range(layers), rng.randint(0, 2))),
            "mamba_head_dim": flip([4, 6]),
            "ssm_state_size": rng.randint(2, 9),
            "moe_latent_size": flip([None, 7]),
            "linear_conv_kernel_dim": rng.randint(2, 5),
            "layer_types": flip([mixers, None]),
            "full_attention_interval": rng.randint(1, 4),
            "decoder_sparse_step": flip([1, 2]),
            "mlp_only_layers": sorted(rng.sample(range(layers), rng.randint(0, layers))),
            "block_size": rng.randint(2, 9),
            "lru_width": flip([None, 96]),
            "conv1d_width": rng.randint(2, 5),
            "attention_window_size": rng.randint(3, 9),
            "block_types": flip([["recurrent", "attention"], ["attention"], ["recurrent", "recurrent", "attention"]]),
            "attention_hidden_size": flip([None, 24]),
            "context_length": rng.randint(16, 64),
        }
        return {key: every[key] for key in _SWITCHES[model_type].split()}

    return draw


def _vision(rng: random.Random, outputs: int) -> Drawn:
    heads = rng.randint(1, 3)
    return {
        "depth": rng.randint(1, 3),
        "hidden_size": 4 * heads,
        "num_heads": heads,
        "intermediate_size": rng.randint(5, 20),
        "in_channels": rng.choice([1, 3]),
        "patch_size": rng.randint(2, 4),
        "temporal_patch_size": rng.randint(1, 2),
        "spatial_merge_size": rng.randint(1, 3),
        "num_position_embeddings": rng.choice([4, 9]),
        "out_hidden_size": outputs,
    }


def _switches_of_whole(text_type: str) -> Callable[[random.Random, Drawn], Drawn]:
    def draw(rng: random.Random, given: Drawn) -> Drawn:
        text = given["text_config"]
        inner = {**text, **_switches(text_type)(rng, text)}
        return {"text_config": inner, "vision_config": _vision(rng, text["hidden_size"])}

    return draw


SWITCHES: dict[str, Callable[[random.Random, Drawn], Drawn]] = {
    **{model_type: _switches(model_type) for model_type in _SWITCHES},
    "qwen3_5": _switches_of_whole("qwen3_5_text"),
    "qwen3_5_moe": _switches_of_whole("qwen3_5_moe_text"),
}
