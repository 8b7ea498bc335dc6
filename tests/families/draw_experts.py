"""Random configurations of decoders with experts and with latent attention."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Drawn = dict[str, Any]

CLASSES: dict[str, tuple[str, str]] = {
    "olmoe": ("Olmoe", "ForCausalLM Model"),
    "granitemoe": ("GraniteMoe", "ForCausalLM Model"),
    "phimoe": ("Phimoe", "ForCausalLM Model ForSequenceClassification"),
    "minimax_m2": ("MiniMaxM2", "ForCausalLM Model"),
    "gpt_oss": ("GptOss", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "glm4_moe": ("Glm4Moe", "ForCausalLM Model"),
    "ernie4_5_moe": ("Ernie4_5_Moe", "ForCausalLM Model"),
    "mimo_v2_flash": ("MiMoV2Flash", "ForCausalLM Model"),
    "deepseek_v2": ("DeepseekV2", "ForCausalLM Model ForSequenceClassification"),
    "deepseek_v3": ("DeepseekV3", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "kimi_k2": ("DeepseekV3", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "deepseek_v32": ("DeepseekV32", "ForCausalLM Model"),
    "glm_moe_dsa": ("GlmMoeDsa", "ForCausalLM Model"),
    "deepseek_v4": ("DeepseekV4", "ForCausalLM Model"),
    "deepseek_ref": ("DeepseekV4", "ForCausalLM Model"),
    "llama4_text": ("Llama4", "ForCausalLM TextModel"),
    "llama4": ("Llama4", "ForConditionalGeneration"),
    "kimi_k25": ("Kimi_K25", "ForConditionalGeneration"),
}

STANDS_FOR = {"kimi_k2": "deepseek_v3", "deepseek_ref": "deepseek_v4"}
"""Types of released configurations, and the type of the class that they name."""

TEXT = {"llama4": "llama4_text", "kimi_k25": "deepseek_v3"}
"""Types whose sizes stand in a section, and the type of that."""

_PLAIN = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size"
_ROUTED = " moe_intermediate_size n_routed_experts"
_LATENT = _PLAIN + _ROUTED + " kv_lora_rank q_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim"

_KEYS = {
    "olmoe": _PLAIN + " num_experts",
    **dict.fromkeys(("granitemoe", "phimoe", "minimax_m2", "gpt_oss"), _PLAIN + " num_local_experts"),
    **dict.fromkeys(("glm4_moe", "mimo_v2_flash"), _PLAIN + _ROUTED),
    "ernie4_5_moe": _PLAIN + " moe_intermediate_size moe_num_experts",
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "kimi_k2"), _LATENT),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), _LATENT + " index_n_heads index_head_dim"),
    **dict.fromkeys(
        ("deepseek_v4", "deepseek_ref"),
        _PLAIN.replace(" intermediate_size", _ROUTED)
        + " head_dim q_lora_rank o_groups o_lora_rank index_n_heads index_head_dim",
    ),
    "llama4_text": _PLAIN + " num_local_experts",
}


def _sizes(model_type: str) -> Callable[[random.Random], Drawn]:
    """32 heads, since the documented numbers of KV heads have to divide them."""

    def draw(rng: random.Random) -> Drawn:
        experts = rng.randint(8, 12)
        drawn = {
            "vocab_size": rng.randint(50, 400),
            "hidden_size": 32 * rng.choice([2, 4]),
            "num_hidden_layers": rng.randint(1, 4),
            "num_attention_heads": 32,
            "intermediate_size": rng.randint(10, 90),
            "moe_intermediate_size": rng.randint(5, 20),
            **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), experts),
            "kv_lora_rank": rng.randint(4, 20),
            "q_lora_rank": rng.randint(4, 20),
            "qk_nope_head_dim": 2 * rng.randint(1, 4),
            "qk_rope_head_dim": 2 * rng.randint(1, 4),
            "v_head_dim": rng.randint(2, 9),
            "head_dim": rng.choice([16, 32]),
            "o_groups": rng.choice([1, 2, 4]),
            "o_lora_rank": rng.randint(2, 6),
            "index_n_heads": rng.randint(1, 3),
            "index_head_dim": rng.choice([8, 16]),
        }
        return {key: drawn[key] for key in _KEYS[model_type].split()}

    if model_type in TEXT:
        text = _sizes(TEXT[model_type])
        return lambda rng: {"text_config": text(rng)}
    return draw


SIZES = {model_type: _sizes(model_type) for model_type in CLASSES}

_INDEXED = "attention_bias first_k_dense_replace n_shared_experts num_experts_per_tok index_topk mlp_layer_types"
_SWITCHES = {
    "olmoe": "num_key_value_heads attention_bias num_experts_per_tok",
    "granitemoe": "num_key_value_heads attention_bias num_experts_per_tok",
    "phimoe": "num_key_value_heads attention_bias lm_head_bias sliding_window num_experts_per_tok",
    "minimax_m2": "num_key_value_heads head_dim num_experts_per_tok",
    "gpt_oss": "num_key_value_heads head_dim attention_bias sliding_window layer_types num_experts_per_tok",
    "glm4_moe": "num_key_value_heads head_dim attention_bias use_qk_norm first_k_dense_replace n_shared_experts "
    "num_experts_per_tok",
    "ernie4_5_moe": "num_key_value_heads use_bias moe_num_shared_experts moe_layer_start_index moe_layer_end_index "
    "moe_layer_interval moe_k",
    "mimo_v2_flash": "num_key_value_heads head_dim v_head_dim attention_bias sliding_window layer_types "
    "mlp_layer_types num_experts_per_tok",
    "deepseek_v2": "attention_bias mlp_bias q_lora_rank first_k_dense_replace n_shared_experts num_experts_per_tok",
    **dict.fromkeys(
        ("deepseek_v3", "kimi_k2"),
        "attention_bias q_lora_rank first_k_dense_replace n_shared_experts num_experts_per_tok",
    ),
    "deepseek_v32": _INDEXED,
    "glm_moe_dsa": _INDEXED + " index_topk_freq index_skip_topk_offset indexer_types",
    **dict.fromkeys(
        ("deepseek_v4", "deepseek_ref"),
        "mlp_bias hc_mult compress_ratios compress_rates num_hash_layers num_experts_per_tok sliding_window",
    ),
}
_SWITCHES["llama4_text"] = (
    "num_key_value_heads head_dim attention_bias num_experts_per_tok intermediate_size_mlp moe_layers no_rope_layers "
    "attention_chunk_size"
)
_ATTENTION = ("full_attention", "sliding_attention")


def _switches(model_type: str) -> Callable[[random.Random, Drawn], Drawn]:
    def draw(rng: random.Random, given: Drawn) -> Drawn:
        flip = rng.choice
        layers = given["num_hidden_layers"]
        window = [3, 7] if model_type not in ("phimoe", "gpt_oss") else [3, 7, None]
        every = {
            **{
                key: flip([True, False])
                for key in ("attention_bias", "mlp_bias", "lm_head_bias", "use_qk_norm", "use_bias")
            },
            "num_key_value_heads": flip([1, 2, 8]),
            "head_dim": flip([8, 16, 20]),
            "v_head_dim": flip([6, 12]),
            "sliding_window": flip(window),
            "layer_types": flip([None, [flip(_ATTENTION) for _ in range(layers)]]),
            "mlp_layer_types": flip([None, [flip(["dense", "sparse"]) for _ in range(layers)]]),
            "first_k_dense_replace": rng.randint(0, layers + 1),
            "n_shared_experts": rng.randint(1, 3),
            "num_experts_per_tok": rng.randint(1, 3),
            "moe_k": rng.randint(1, 3),
            "moe_num_shared_experts": rng.randint(0, 2),
            "moe_layer_start_index": rng.randint(0, layers),
            "moe_layer_end_index": flip([-1, layers - 1]),
            "moe_layer_interval": rng.randint(1, 2),
            "q_lora_rank": flip([None, 9]),
            "index_topk": rng.randint(1, 9),
            "index_topk_freq": rng.randint(1, 3),
            "index_skip_topk_offset": rng.randint(1, 3),
            "indexer_types": flip([None, ["full", *(flip(["full", "shared"]) for _ in range(layers - 1))]]),
            "hc_mult": rng.randint(1, 4),
            "compress_ratios": flip([None, [flip([0, 4, 128]) for _ in range(layers)]]),
            "compress_rates": flip([None, {"compressed_sparse_attention": 2, "heavily_compressed_attention": 6}]),
            "num_hash_layers": rng.randint(0, layers),
            "intermediate_size_mlp": rng.randint(10, 90),
            "moe_layers": sorted(rng.sample(range(layers), rng.randint(0, layers))),
            "no_rope_layers": [flip([0, 1]) for _ in range(layers)],
            "attention_chunk_size": rng.randint(2, 9),
        }
        # A null that the class takes for a key left out says nothing; that of these two does.
        chosen = {key: every[key] for key in _SWITCHES[model_type].split()}
        return {k: v for k, v in chosen.items() if v is not None or k in ("q_lora_rank", "sliding_window")}

    return {"llama4": _llama4_switches, "kimi_k25": _kimi_switches}.get(model_type, draw)


def _kimi_switches(rng: random.Random, given: Drawn) -> Drawn:
    """Those of the text, in its section, and a small vision tower."""
    images = {
        "hidden_size": 16,
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": 2,
        "intermediate_size": rng.randint(10, 40),
        "patch_size": rng.choice([7, 14]),
        "pos_emb_height": rng.randint(2, 6),
        "pos_emb_width": rng.randint(2, 6),
    }
    text = {**given["text_config"], **_switches("deepseek_v3")(rng, given["text_config"])}
    return {"text_config": text, "vision_config": images, "projection_hidden_size": 16}


def _llama4_switches(rng: random.Random, given: Drawn) -> Drawn:
    """Those of the text, in its section, and a small vision tower."""
    text = {**given["text_config"], **_switches("llama4_text")(rng, given["text_config"])}
    wide = rng.choice([16, 24])
    images = {
        "hidden_size": 16,
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": 2,
        "intermediate_size": rng.choice([32, 48]),
        "vision_output_dim": wide,
        "projector_input_dim": wide,
        "projector_output_dim": wide,
        "image_size": rng.choice([28, 56]),
        "patch_size": rng.choice([7, 14]),
        "num_channels": rng.choice([1, 3]),
    }
    return {"text_config": {**text, "tie_word_embeddings": rng.choice([True, False])}, "vision_config": images}


def released(model_type: str, name: str) -> str:
    """The name in released checkpoints, where the reference writes another than the one that it reads."""
    if model_type == "kimi_k25":
        name = name.replace("language_model.model.blocks.", "language_model.model.layers.")
        name = name.replace(".self_wqkv.", ".self_attn.q_proj.")
        return name.replace("model.mm_projector.", "mm_projector.").replace(".encoder.patch_embed.", ".patch_embed.")
    if model_type != "deepseek_v4":
        return name
    name = name.replace(".attn.norm.", ".attn.kv_norm.").replace("model.embed_tokens.", "model.embed.")
    return name.replace("model.hc_head.hc_", "model.hc_head_")


SWITCHES = {model_type: _switches(model_type) for model_type in CLASSES}
