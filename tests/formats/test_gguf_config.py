"""GGUF metadata as a Hugging Face configuration: key names of each class, and switches read off the tensors."""

from __future__ import annotations

from typing import Any

import pytest

from weigh.formats.gguf_config import ARCHITECTURES, translate
from weigh.formats.gguf_source import shortest

SIZES = {
    "block_count": 2,
    "embedding_length": 64,
    "feed_forward_length": 256,
    "context_length": 512,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "vocab_size": 100,
}
TABLE = {"token_embd.weight": (100, 64), "output.weight": (100, 64)}


def _translated(architecture: str, shapes: dict[str, tuple[int, ...]] | None = None, **more: Any) -> dict[str, Any]:
    keys = {**SIZES, **{name.replace("__", "."): value for name, value in more.items()}}
    metadata = {"general.architecture": architecture, **{f"{architecture}.{name}": keys[name] for name in keys}}
    found = translate({name: value for name, value in metadata.items() if value is not None}, TABLE | (shapes or {}))
    assert found is not None
    return found


@pytest.mark.parametrize("architecture", [None, 5, ["llama"]])
def test_without_an_architecture_nothing_is_translated(architecture: object) -> None:
    assert translate({"general.architecture": architecture}, {}) is None


def test_llama() -> None:
    assert _translated("llama", attention__layer_norm_rms_epsilon=9.999999747378752e-06, rope__freq_base=500000.0) == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "vocab_size": 100,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
    }


def test_an_unknown_architecture_passes_its_name_through() -> None:
    found = _translated("brand-new")
    assert found["model_type"] == "brand-new"
    assert found["hidden_size"] == 64
    assert "architectures" not in found


def test_a_head_that_is_not_stored_is_tied() -> None:
    metadata = {"general.architecture": "llama"}
    assert translate(metadata, {"token_embd.weight": (4, 8)}) == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 4,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
    }


def test_without_tensors_no_switch_is_guessed() -> None:
    found = translate({"general.architecture": "llama"}, {})
    assert found == {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def test_llama_with_experts_is_mixtral() -> None:
    found = _translated("llama", expert_count=8, expert_used_count=2)
    assert found["model_type"] == "mixtral"
    assert (found["num_local_experts"], found["num_experts_per_tok"]) == (8, 2)
    assert "num_experts" not in found
    assert _translated("llama", expert_count=0, expert_used_count=0)["model_type"] == "llama"


def test_biases_are_read_off_the_tensors() -> None:
    found = _translated("llama", {"blk.0.attn_q.bias": (64,), "blk.0.ffn_up.bias": (256,)})
    assert (found["attention_bias"], found["mlp_bias"]) == (True, True)


def test_sizes_that_are_equal_in_all_layers_become_one() -> None:
    found = _translated("llama", attention__head_count=[4, 4], feed_forward_length=[256, 128])
    assert found["num_attention_heads"] == 4
    assert found["intermediate_size"] == [256, 128]


def test_as_many_key_heads_as_heads_where_none_are_written() -> None:
    assert _translated("llama", attention__head_count_kv=None)["num_key_value_heads"] == 4


def test_a_written_head_width_goes_before_a_derived_one() -> None:
    assert _translated("qwen3", attention__key_length=32)["head_dim"] == 32
    assert "head_dim" not in _translated("llama", attention__head_count=0)
    assert "head_dim" not in _translated("llama", attention__head_count=5)


@pytest.mark.parametrize("tokens", [["a", "b", "c"], {"array": "string", "length": 3}])
def test_the_vocabulary_is_the_tokens_where_no_size_is_written(tokens: object) -> None:
    found = translate({"general.architecture": "llama", "tokenizer.ggml.tokens": tokens}, TABLE)
    assert found is not None
    assert found["vocab_size"] == 3


def test_layers_that_predict_further_tokens_are_not_counted() -> None:
    found = _translated("glm4moe", block_count=47, nextn_predict_layers=1)
    assert (found["num_hidden_layers"], found["num_nextn_predict_layers"]) == (46, 1)


def test_scaled_and_partial_rotation() -> None:
    found = _translated(
        "stablelm",
        rope__dimension_count=4,
        rope__scaling__type="yarn",
        rope__scaling__factor=4.0,
        rope__scaling__original_context_length=128,
    )
    assert found["partial_rotary_factor"] == 0.25
    assert found["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


def test_gpt2_uses_its_own_names() -> None:
    found = _translated("gpt2", {"position_embd.weight": (1024, 64)}, attention__layer_norm_epsilon=1e-5)
    assert {name: found[name] for name in ("n_embd", "n_layer", "n_head", "n_inner", "n_positions")} == {
        "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 256, "n_positions": 1024,
    }  # fmt: skip
    assert found["layer_norm_epsilon"] == 1e-5
    assert not {"hidden_size", "head_dim", "num_key_value_heads"} & set(found)


def test_bloom_and_mpt_use_their_own_names() -> None:
    bloom = _translated("bloom")
    assert (bloom["hidden_size"], bloom["n_layer"], bloom["n_head"], bloom["seq_length"]) == (64, 2, 4, 512)
    mpt = _translated("mpt", attention__head_count_kv=None, attention__max_alibi_bias=8.0)
    assert (mpt["d_model"], mpt["n_layers"], mpt["n_heads"], mpt["max_seq_len"]) == (64, 2, 4, 512)
    assert mpt["attn_config"] == {"alibi": True, "clip_qkv": None, "alibi_bias_max": 8.0}
    assert (mpt["expansion_ratio"], mpt["no_bias"]) == (4, True)


def test_falcon_7b_and_falcon_40b() -> None:
    small = _translated("falcon", attention__head_count_kv=1)
    assert (small["multi_query"], small["new_decoder_architecture"]) == (True, False)
    assert "num_ln_in_parallel_attn" not in small
    large = _translated("falcon", {"blk.0.attn_norm_2.weight": (64,)}, attention__head_count_kv=2)
    assert (large["multi_query"], large["new_decoder_architecture"]) == (False, True)
    assert (large["num_kv_heads"], large["num_ln_in_parallel_attn"]) == (2, 2)


def test_gpt_neox() -> None:
    found = _translated("gptneox", {"blk.0.attn_qkv.bias": (192,)}, rope__dimension_count=4, use_parallel_residual=True)
    assert found["model_type"] == "gpt_neox"
    assert (found["rotary_pct"], found["attention_bias"], found["use_parallel_residual"]) == (0.25, True, True)


def test_qwen_mixtures() -> None:
    experts = {
        "blk.0.ffn_up_exps.weight": (60, 32, 64),
        "blk.0.ffn_up_shexp.weight": (128, 64),
        "blk.0.attn_q.bias": (64,),
    }
    found = _translated("qwen2moe", experts, expert_count=60, expert_used_count=4)
    assert found["model_type"] == "qwen2_moe"
    assert (found["num_experts"], found["num_experts_per_tok"], found["qkv_bias"]) == (60, 4, True)
    assert (found["moe_intermediate_size"], found["shared_expert_intermediate_size"]) == (32, 128)
    found = _translated("qwen3moe", expert_count=128, expert_used_count=8, expert_feed_forward_length=768)
    assert (found["model_type"], found["moe_intermediate_size"]) == ("qwen3_moe", 768)


def test_gemma3_windows() -> None:
    assert "sliding_window_pattern" not in _translated("gemma3", attention__sliding_window=512)
    assert _translated("gemma3")["sliding_window_pattern"] == 1
    found = _translated("gemma3", attention__sliding_window=512, attention__sliding_window_pattern=[True, False])
    assert found["layer_types"] == ["sliding_attention", "full_attention"]
    assert found["model_type"] == "gemma3_text"


def test_olmo3_is_an_olmo2_with_windows() -> None:
    assert _translated("olmo2")["model_type"] == "olmo2"
    assert _translated("olmo2", attention__sliding_window=4096)["model_type"] == "olmo3"


def test_phi3_has_no_window_of_0() -> None:
    assert _translated("phi3", attention__sliding_window=0)["sliding_window"] is None
    assert _translated("phi3", attention__sliding_window=2047)["sliding_window"] == 2047


def test_bert_has_no_pooler_and_its_tables_say_their_rows() -> None:
    found = _translated("bert", {"position_embd.weight": (512, 64), "token_types.weight": (2, 64)})
    assert found["architectures"] == ["BertModel"]
    assert found["add_pooling_layer"] is False
    assert (found["max_position_embeddings"], found["type_vocab_size"]) == (512, 2)
    assert not {"tie_word_embeddings", "head_dim", "num_key_value_heads"} & set(found)


def test_deepseek_versions() -> None:
    latent = {
        "attention__kv_lora_rank": 512,
        "attention__key_length": 576,
        "attention__value_length": 512,
        "attention__key_length_mla": 192,
        "attention__value_length_mla": 128,
        "attention__head_count_kv": 1,
        "rope__dimension_count": 64,
        "leading_dense_block_count": 1,
        "expert_shared_count": 2,
        "expert_count": 64,
    }
    found = _translated("deepseek2", **latent)
    assert found["model_type"] == "deepseek_v2"
    assert (found["qk_rope_head_dim"], found["qk_nope_head_dim"], found["v_head_dim"]) == (64, 128, 128)
    assert (found["n_routed_experts"], found["n_shared_experts"], found["first_k_dense_replace"]) == (64, 2, 1)
    assert (found["num_key_value_heads"], found["q_lora_rank"]) == (4, None)
    assert _translated("deepseek2", **latent, expert_gating_func=2)["model_type"] == "deepseek_v3"
    corrected = _translated("deepseek2", {"blk.1.exp_probs_b.bias": (64,)}, **latent)
    assert corrected["architectures"] == ["DeepseekV3ForCausalLM"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("value", ["text", -1, 0, True, 1.5, [], [1, "a"], {"array": "u32", "length": 9}])
def test_values_of_a_wrong_type_are_passed_on(architecture: str, value: object) -> None:
    keys = [*SIZES, "attention.key_length", "rope.dimension_count", "rope.scaling.type", "expert_count",
            "nextn_predict_layers", "attention.sliding_window_pattern", "leading_dense_block_count",
            "attention.kv_lora_rank", "attention.max_alibi_bias", "attention.layer_norm_rms_epsilon"]  # fmt: skip
    metadata = {"general.architecture": architecture, **{f"{architecture}.{key}": value for key in keys}}
    assert translate(metadata, TABLE) is not None


def test_floats_are_written_as_short_as_they_are_meant() -> None:
    assert shortest(9.999999747378752e-06) == 1e-05
    assert shortest(0.1) == 0.1  # not a 32-bit float: left as it is
    assert shortest(1e300) == 1e300
    assert shortest(0.0625) == 0.0625
    assert shortest(float("inf")) == float("inf")
