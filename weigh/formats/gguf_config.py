"""Translates GGUF metadata into the Hugging Face configuration keys of the same model.

`general.architecture` becomes `model_type`; sizes get the key names that this model type's class reads; switches that
GGUF has no key for are read off the tensors (a bias is there or it is not). An architecture that is not listed passes
its name through with Llama's key names.
To add one: a line in `ARCHITECTURES`, with the keys that differ from `PLAIN` and, where sizes alone do not tell all,
a function in `gguf_variants.py`.

Source of the GGUF keys: github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py and conversion/*.py; of the Hugging
Face keys: transformers 5.23, configuration_*.py of each model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from weigh.formats import gguf_variants as variants
from weigh.formats.gguf_source import Source

PLAIN: Mapping[str, str] = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "head_dim": "head_dim",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
    "expert_used_count": "num_experts_per_tok",
    "expert_count": "num_experts",
    "expert_feed_forward_length": "moe_intermediate_size",
    "nextn_predict_layers": "num_nextn_predict_layers",
}
"""GGUF key without the architecture in front, to the key that Llama introduced and most classes took over."""

Keys = Mapping[str, str | None]
Finish = Callable[[Source, dict[str, Any]], None]


class Target(NamedTuple):
    """What an architecture is called in transformers."""

    model_type: str
    causal: str | None
    """Class named in `architectures`; None where it is not known, which leaves the choice to the family."""
    keys: Keys = MappingProxyType({})
    """Where names differ from `PLAIN`; None where the class has no such key."""
    finish: Finish = variants.nothing


def _without(*keys: str) -> Keys:
    return dict.fromkeys(keys)


_NO_ROPE_KEYS = _without("attention.head_count_kv", "head_dim", "rope.freq_base")
_GPT2: Keys = {
    **_NO_ROPE_KEYS,
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    "feed_forward_length": "n_inner",
    "context_length": "n_positions",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
_BLOOM: Keys = {
    **_NO_ROPE_KEYS,
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    "context_length": "seq_length",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "feed_forward_length": None,
}
_MPT: Keys = {
    **_NO_ROPE_KEYS,
    "embedding_length": "d_model",
    "block_count": "n_layers",
    "attention.head_count": "n_heads",
    "context_length": "max_seq_len",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "feed_forward_length": None,
}
_FALCON: Keys = {
    "attention.head_count_kv": "num_kv_heads",
    "feed_forward_length": "ffn_hidden_size",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "head_dim": None,
}
_LOCAL_EXPERTS: Keys = {"expert_count": "num_local_experts", "expert_feed_forward_length": None}
_SHARED: Keys = {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"}
_ROUTED: Keys = {
    "expert_count": "n_routed_experts",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "expert_weights_scale": "routed_scaling_factor",
    "expert_weights_norm": "norm_topk_prob",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
}
_LATENT: Keys = {**_ROUTED, "attention.kv_lora_rank": "kv_lora_rank", "attention.q_lora_rank": "q_lora_rank"}
_MAMBA: Keys = {
    "ssm.state_size": "state_size",
    "ssm.conv_kernel": "conv_kernel",
    "ssm.inner_size": "intermediate_size",
    "ssm.time_step_rank": "time_step_rank",
    "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
    **_without("feed_forward_length", "attention.head_count", "attention.head_count_kv", "head_dim", "context_length"),
}
_DELTA: Keys = {
    "ssm.conv_kernel": "linear_conv_kernel_dim",
    "ssm.state_size": "linear_key_head_dim",
    "ssm.group_count": "linear_num_key_heads",
    "ssm.time_step_rank": "linear_num_value_heads",
    "ssm.inner_size": "linear_value_head_dim",
    "full_attention_interval": "full_attention_interval",
}
_GEMMA_WINDOWS: Keys = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}

ARCHITECTURES: Mapping[str, Target] = {
    "llama": Target("llama", "LlamaForCausalLM", {}, variants.llama),
    "mixtral": Target("mixtral", "MixtralForCausalLM", _LOCAL_EXPERTS),
    "qwen2": Target("qwen2", "Qwen2ForCausalLM"),
    "qwen2moe": Target("qwen2_moe", "Qwen2MoeForCausalLM", _SHARED, variants.qwen2_moe),
    "qwen3": Target("qwen3", "Qwen3ForCausalLM", {}, variants.attention_bias),
    "qwen3moe": Target("qwen3_moe", "Qwen3MoeForCausalLM", {}, variants.attention_bias),
    "qwen3next": Target("qwen3_next", "Qwen3NextForCausalLM", {**_SHARED, **_DELTA}, variants.qwen3_next),
    "qwen35": Target("qwen3_5_text", "Qwen3_5ForCausalLM", _DELTA, variants.qwen3_next),
    "qwen35moe": Target("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", {**_SHARED, **_DELTA}, variants.qwen3_next),
    "gemma": Target("gemma", "GemmaForCausalLM"),
    "gemma2": Target("gemma2", "Gemma2ForCausalLM", _GEMMA_WINDOWS, variants.layer_windows),
    "gemma3": Target("gemma3_text", "Gemma3ForCausalLM", _GEMMA_WINDOWS, variants.gemma3),
    "gemma3n": Target("gemma3n_text", "Gemma3nForCausalLM"),
    "gemma4": Target("gemma4_text", "Gemma4ForCausalLM"),
    "phi2": Target("phi", "PhiForCausalLM", {}, variants.phi),
    "phi3": Target("phi3", "Phi3ForCausalLM", {}, variants.phi3),
    "phimoe": Target("phimoe", "PhimoeForCausalLM", _LOCAL_EXPERTS, variants.phimoe),
    "smollm3": Target("smollm3", "SmolLM3ForCausalLM", {}, variants.attention_bias),
    "olmo": Target("olmo", "OlmoForCausalLM", {"attention.clamp_kqv": "clip_qkv"}, variants.attention_bias),
    "olmo2": Target("olmo2", "Olmo2ForCausalLM", {}, variants.olmo2),
    "olmoe": Target("olmoe", "OlmoeForCausalLM", {"expert_feed_forward_length": None}, variants.attention_bias),
    "gpt2": Target("gpt2", "GPT2LMHeadModel", _GPT2, variants.learned_positions),
    "gptj": Target("gptj", "GPTJForCausalLM", {**_GPT2, "rope.dimension_count": "rotary_dim"}),
    "gptneox": Target("gpt_neox", "GPTNeoXForCausalLM", _without("attention.head_count_kv", "head_dim"), variants.neox),
    "bloom": Target("bloom", "BloomForCausalLM", _BLOOM),
    "falcon": Target("falcon", "FalconForCausalLM", _FALCON, variants.falcon),
    "mpt": Target("mpt", "MptForCausalLM", _MPT, variants.mpt),
    "bert": Target("bert", "BertModel", _NO_ROPE_KEYS, variants.bert),
    "modern-bert": Target("modernbert", None),
    "nomic-bert": Target("nomic_bert", "NomicBertModel", _NO_ROPE_KEYS, variants.bert),
    "starcoder": Target("gpt_bigcode", "GPTBigCodeForCausalLM", _GPT2, variants.learned_positions),
    "starcoder2": Target(
        "starcoder2", "Starcoder2ForCausalLM", {"attention.layer_norm_epsilon": "norm_epsilon"}, variants.starcoder2
    ),
    "stablelm": Target("stablelm", "StableLmForCausalLM", _without("head_dim"), variants.stablelm),
    "command-r": Target("cohere", "CohereForCausalLM", {"logit_scale": "logit_scale"}, variants.cohere),
    "cohere2": Target("cohere2", "Cohere2ForCausalLM", {"logit_scale": "logit_scale"}, variants.cohere),
    "granite": Target("granite", "GraniteForCausalLM", {}, variants.llama),
    "granitemoe": Target("granitemoe", "GraniteMoeForCausalLM", _LOCAL_EXPERTS, variants.attention_bias),
    "deepseek": Target("deepseek", "DeepseekForCausalLM", _ROUTED),
    "deepseek2": Target("deepseek_v2", "DeepseekV2ForCausalLM", _LATENT, variants.deepseek2),
    "glm4": Target("glm4", "Glm4ForCausalLM", {}, variants.attention_bias),
    "glm4moe": Target("glm4_moe", "Glm4MoeForCausalLM", _ROUTED, variants.glm4_moe),
    "gpt-oss": Target("gpt_oss", "GptOssForCausalLM", variants.GPT_OSS, variants.gpt_oss),
    "minimax-m2": Target("minimax_m2", "MiniMaxM2ForCausalLM", {**_LOCAL_EXPERTS}, variants.attention_bias),
    "mamba": Target("mamba", "MambaForCausalLM", _MAMBA, variants.mamba),
    "mamba2": Target("mamba2", "Mamba2ForCausalLM", {**_MAMBA, "ssm.group_count": "n_groups"}, variants.mamba2),
    "ernie4_5": Target("ernie4_5", "Ernie4_5ForCausalLM"),
    "arcee": Target("arcee", "ArceeForCausalLM", {}, variants.llama),
    "hunyuan-dense": Target("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", {}, variants.attention_bias),
    "dots1": Target("dots1", "Dots1ForCausalLM", _ROUTED, variants.attention_bias),
    "seed_oss": Target("seed_oss", "SeedOssForCausalLM", {}, variants.seed_oss),
    "mistral3": Target("ministral3", "Ministral3ForCausalLM"),
    "nemotron": Target("nemotron", "NemotronForCausalLM", {"attention.layer_norm_epsilon": "norm_eps"}, variants.llama),
    "exaone4": Target("exaone4", "Exaone4ForCausalLM", {}, variants.exaone4),
}


def translate(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The configuration that a GGUF file implies, None where it names no architecture.

    `shapes` maps the names of the file's tensors to their logical shapes. What the file does not say is left out; a
    value of the wrong type is passed on as it is, for the family to refuse with the key's name.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        return None
    source = Source(architecture, metadata, shapes)
    target = ARCHITECTURES.get(_narrowed(source), Target(architecture, None))
    found: dict[str, Any] = {"model_type": target.model_type}
    if target.causal is not None:
        found["architectures"] = [target.causal]
    for key, name in {**PLAIN, **target.keys}.items():
        value = source.value(key)
        if name is not None and value is not None:
            found[name] = value
    if shapes:
        found["tie_word_embeddings"] = "output.weight" not in shapes
    _rope(source, found)
    target.finish(source, found)
    return found


def _narrowed(source: Source) -> str:
    """llama.cpp runs Mixtral as a Llama with experts."""
    experts = source.value("expert_count")
    return "mixtral" if source.architecture == "llama" and type(experts) is int and experts > 0 else source.architecture


def _rope(source: Source, found: dict[str, Any]) -> None:
    """Scaling of rotary positions, and the share of each head that rotates."""
    kind = source.value("rope.scaling.type")
    if isinstance(kind, str) and kind != "none":
        scaling: dict[str, Any] = {"rope_type": kind}
        names = {"factor": "factor", "original_context_length": "original_max_position_embeddings"}
        for key, name in names.items():
            value = source.value(f"rope.scaling.{key}")
            if value is not None:
                scaling[name] = value
        found["rope_scaling"] = scaling
    turned, width = source.value("rope.dimension_count"), source.value("head_dim")
    if type(turned) is int and type(width) is int and 0 < turned < width and "kv_lora_rank" not in found:
        found["partial_rotary_factor"] = turned / width
