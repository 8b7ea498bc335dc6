"""Random configurations of encoders, encoder-decoders, towers and models of text and images, for `draw.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

_BERT_TASKS = "ForSequenceClassification ForTokenClassification ForQuestionAnswering"

CLASSES: dict[str, tuple[str, str]] = {
    "albert": ("Albert", f"Model ForPreTraining ForMaskedLM ForMultipleChoice {_BERT_TASKS}"),
    "electra": ("Electra", f"Model ForPreTraining ForMaskedLM {_BERT_TASKS}"),
    "deberta-v2": ("DebertaV2", f"Model ForMaskedLM {_BERT_TASKS}"),
    "modernbert": ("ModernBert", f"Model ForMaskedLM {_BERT_TASKS}"),
    "t5": ("T5", "ForConditionalGeneration Model EncoderModel"),
    "bart": ("Bart", "ForConditionalGeneration Model ForSequenceClassification"),
    "whisper": ("Whisper", "ForConditionalGeneration Model"),
    "vit": ("ViT", "ForImageClassification Model"),
    "dinov2": ("Dinov2", "Model ForImageClassification"),
    "convnext": ("ConvNext", "ForImageClassification Model"),
    "swin": ("Swin", "ForImageClassification Model"),
    "clip": ("CLIP", "Model"),
    "siglip": ("Siglip", "Model"),
    "wav2vec2": ("Wav2Vec2", "Model ForCTC ForSequenceClassification"),
    "qwen3_vl": ("Qwen3VL", "ForConditionalGeneration Model"),
    "qwen3_vl_moe": ("Qwen3VLMoe", "ForConditionalGeneration Model"),
    "gemma3n_text": ("Gemma3n", "ForCausalLM TextModel"),
    "gemma4": ("Gemma4", "ForConditionalGeneration Model"),
    "gemma4_text": ("Gemma4", "ForCausalLM TextModel"),
}
"""Stem of the class names, and their endings; the first is the one taken where none is named."""

UNTIED = frozenset({"t5", "vit", "dinov2", "convnext", "swin", "clip", "siglip", "wav2vec2"})
"""Types whose classes have nothing to tie, or tie it always."""


def _bert(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice([2, 4])
    return {
        "vocab_size": rng.randint(50, 400),
        "hidden_size": heads * rng.choice([8, 16]),
        "num_hidden_layers": rng.randint(1, 5),
        "num_attention_heads": heads,
        "intermediate_size": rng.randint(10, 90),
        "max_position_embeddings": rng.randint(16, 64),
    }


def _albert(rng: random.Random) -> dict[str, Any]:
    return {**_bert(rng), "embedding_size": rng.choice([8, 12])}


def _modernbert(rng: random.Random) -> dict[str, Any]:
    found = _bert(rng)
    del found["max_position_embeddings"]
    return found


def _t5(rng: random.Random) -> dict[str, Any]:
    return {
        "vocab_size": rng.randint(50, 400),
        "d_model": rng.choice([16, 24]),
        "d_ff": rng.randint(10, 90),
        "num_heads": rng.choice([2, 3]),
        "num_layers": rng.randint(1, 4),
    }


def _bart(rng: random.Random) -> dict[str, Any]:
    return {
        "vocab_size": rng.randint(50, 400),
        "d_model": rng.choice([16, 24]),
        "encoder_layers": rng.randint(1, 4),
        "decoder_layers": rng.randint(1, 4),
        "encoder_attention_heads": rng.choice([2, 4]),
        "decoder_attention_heads": rng.choice([2, 4]),
        "encoder_ffn_dim": rng.randint(10, 90),
        "decoder_ffn_dim": rng.randint(10, 90),
        "max_position_embeddings": rng.randint(16, 64),
    }


def _whisper(rng: random.Random) -> dict[str, Any]:
    found = _bart(rng)
    del found["max_position_embeddings"]
    return found


def _layers(rng: random.Random) -> dict[str, Any]:
    found = _modernbert(rng)
    del found["vocab_size"]
    return found


def _dinov2(rng: random.Random) -> dict[str, Any]:
    found = _layers(rng)
    del found["intermediate_size"]
    return found


def _convnext(rng: random.Random) -> dict[str, Any]:
    return {
        "hidden_sizes": [8 * rng.randint(1, 3) * 2**i for i in range(4)],
        "depths": [rng.randint(1, 3) for _ in range(4)],
    }


def _swin(rng: random.Random) -> dict[str, Any]:
    return {"embed_dim": 24, "depths": [rng.randint(1, 3) for _ in range(3)], "num_heads": [3, 6, rng.choice([6, 12])]}


def _towers(rng: random.Random) -> dict[str, Any]:
    return {"text_config": _modernbert(rng), "vision_config": _layers(rng)}


def _wav2vec2(rng: random.Random) -> dict[str, Any]:
    return {**_layers(rng), "vocab_size": rng.randint(5, 40)}


def _qwen_text(rng: random.Random) -> dict[str, Any]:
    return {**_modernbert(rng), "num_attention_heads": 32, "hidden_size": 64}


def _qwen_tower(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice([2, 4])
    return {
        "depth": rng.randint(1, 4),
        "hidden_size": heads * 8,
        "num_heads": heads,
        "intermediate_size": rng.randint(10, 90),
        "out_hidden_size": 64,
    }


def _qwen_vl(rng: random.Random) -> dict[str, Any]:
    return {"text_config": _qwen_text(rng)}


def _qwen_vl_moe(rng: random.Random) -> dict[str, Any]:
    experts = {"num_experts": rng.randint(3, 6), "num_experts_per_tok": 2, "moe_intermediate_size": rng.randint(5, 20)}
    return {"text_config": {**_qwen_text(rng), **experts}}


def _gemma_text(rng: random.Random) -> dict[str, Any]:
    return {**_modernbert(rng), "num_attention_heads": 8, "num_hidden_layers": rng.choice([20, 21])}


def _gemma4(rng: random.Random) -> dict[str, Any]:
    return {"text_config": {**_gemma_text(rng), "num_hidden_layers": 7}}


SIZES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "albert": _albert,
    "electra": _bert,
    "deberta-v2": _bert,
    "modernbert": _modernbert,
    "t5": _t5,
    "bart": _bart,
    "whisper": _whisper,
    "vit": _layers,
    "dinov2": _dinov2,
    "convnext": _convnext,
    "swin": _swin,
    "clip": _towers,
    "siglip": _towers,
    "wav2vec2": _wav2vec2,
    "qwen3_vl": _qwen_vl,
    "qwen3_vl_moe": _qwen_vl_moe,
    "gemma3n_text": _gemma_text,
    "gemma4": _gemma4,
    "gemma4_text": _gemma_text,
}
"""By model type: the sizes that no class may guess."""


def one_of(**choices: list[Any]) -> Callable[[random.Random, dict[str, Any]], dict[str, Any]]:
    """Each key gets one of its values, or is left out where that is None."""

    def chosen(rng: random.Random, _given: dict[str, Any]) -> dict[str, Any]:
        drawn = {key: rng.choice(values) for key, values in choices.items()}
        return {key: value for key, value in drawn.items() if value is not None}

    return chosen


def _two_towers(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    text = {**given["text_config"], "max_position_embeddings": rng.choice([9, 20])}
    images = {**given["vision_config"], **{key: rng.choice(values) for key, values in _IMAGES.items()}}
    return {"text_config": text, "vision_config": images, "projection_dim": rng.choice([6, 512])}


def _qwen_switches(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    layers = given["text_config"]["num_hidden_layers"]
    text = {
        "num_key_value_heads": rng.choice([1, 4]),
        "head_dim": rng.choice([8, 20]),
        "attention_bias": rng.choice([True, False]),
        "tie_word_embeddings": rng.choice([True, False]),
    }
    if "num_experts" in given["text_config"]:
        text["decoder_sparse_step"] = rng.choice([1, 2])
        text["mlp_only_layers"] = sorted(rng.sample(range(layers), rng.randint(0, layers)))
    tower = {
        **_qwen_tower(rng),
        "in_channels": rng.choice([1, 3]),
        "patch_size": rng.choice([4, 16]),
        "temporal_patch_size": rng.choice([1, 2]),
        "spatial_merge_size": rng.choice([1, 2]),
        "num_position_embeddings": rng.choice([16, 2304]),
        "deepstack_visual_indexes": list(range(rng.randint(0, 3))),
    }
    return {"text_config": {**given["text_config"], **text}, "vision_config": tower}


def _gemma4_switches(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    layers = given["num_hidden_layers"]
    experts = rng.choice([True, False])
    drawn = {
        "num_key_value_heads": rng.choice([1, 2, 4]),
        "head_dim": rng.choice([8, 12]),
        "global_head_dim": rng.choice([16, 20]),
        "num_global_key_value_heads": rng.choice([None, 1, 2]),
        "attention_k_eq_v": rng.choice([True, False]),
        "attention_bias": rng.choice([True, False]),
        "sliding_window": rng.choice([6, 512]),
        "hidden_size_per_layer_input": rng.choice([0, 6]),
        "vocab_size_per_layer_input": rng.choice([40, 60]),
        "num_kv_shared_layers": rng.choice([0, 1]) if layers < 8 else rng.choice([0, 3, 7]),
        "use_double_wide_mlp": rng.choice([True, False]),
        "enable_moe_block": experts,
        "layer_types": rng.choice([None, ["full_attention"] + ["sliding_attention"] * (layers - 1)]),
    }
    if experts:
        drawn |= {"num_experts": rng.randint(3, 6), "top_k_experts": 2, "moe_intermediate_size": rng.randint(5, 20)}
    return {key: value for key, value in drawn.items() if value is not None}


def _gemma4_whole(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    text = {**given["text_config"], **_gemma4_switches(rng, given["text_config"])}
    tower = {
        **_layers(rng),
        "num_attention_heads": 4,
        "num_key_value_heads": rng.choice([2, 4]),
        "head_dim": 8,
        "patch_size": rng.choice([4, 16]),
        "position_embedding_size": rng.choice([16, 40]),
        "use_clipped_linears": rng.choice([True, False]),
        "standardize": rng.choice([True, False]),
    }
    return {"text_config": text, **({"vision_config": tower} if rng.random() < 0.7 else {})}


def _gemma3n_switches(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    layers = given["num_hidden_layers"]
    return {
        "intermediate_size": rng.choice([30, [rng.randint(10, 40) for _ in range(layers)]]),
        "num_key_value_heads": rng.choice([1, 4]),
        "head_dim": rng.choice([8, 12]),
        "attention_bias": rng.choice([True, False]),
        "sliding_window": rng.choice([6, 512]),
        "hidden_size_per_layer_input": rng.choice([4, 6]),
        "vocab_size_per_layer_input": rng.choice([40, 60]),
        "altup_num_inputs": rng.choice([2, 4]),
        "num_kv_shared_layers": rng.choice([0, 5, 15]),
        "laurel_rank": rng.choice([3, 64]),
    }


_IMAGES: dict[str, list[Any]] = {
    "image_size": [32, 50],
    "patch_size": [8, 16],
    "num_channels": [1, 3],
    "vision_use_head": [True, False],
}

SWITCHES: dict[str, Callable[[random.Random, dict[str, Any]], dict[str, Any]]] = {
    "albert": one_of(num_hidden_groups=[1, 2], inner_group_num=[1, 2], type_vocab_size=[1, 3]),
    "electra": one_of(embedding_size=[8, 16, 32], type_vocab_size=[1, 3]),
    "deberta-v2": one_of(
        embedding_size=[None, 12],
        position_biased_input=[True, False],
        type_vocab_size=[0, 2],
        relative_attention=[True, False],
        share_att_key=[True, False],
        pos_att_type=[None, "c2p", ["p2c"], "c2p|p2c", ["c2p", "p2c"]],
        max_relative_positions=[-1, 9],
        position_buckets=[-1, 7],
        norm_rel_ebd=["none", "layer_norm"],
        conv_kernel_size=[0, 3],
    ),
    "modernbert": one_of(
        norm_bias=[True, False],
        attention_bias=[True, False],
        mlp_bias=[True, False],
        classifier_bias=[True, False],
        decoder_bias=[True, False],
        global_attn_every_n_layers=[1, 2, 3],
        local_attention=[4, 8],
    ),
    "t5": one_of(
        d_kv=[8, 10],
        num_decoder_layers=[None, 1, 3],
        relative_attention_num_buckets=[8, 32],
        feed_forward_proj=["relu", "gated-gelu", "gelu", "gated-silu"],
    ),
    "bart": one_of(),
    "whisper": one_of(num_mel_bins=[80, 128], max_source_positions=[10, 1500], max_target_positions=[12, 448]),
    "vit": one_of(
        image_size=[32, 50],
        patch_size=[8, 16],
        num_channels=[1, 3],
        qkv_bias=[True, False],
        pooler_output_size=[None, 6],
    ),
    "dinov2": one_of(
        image_size=[32, 50],
        patch_size=[8, 14],
        num_channels=[1, 3],
        qkv_bias=[True, False],
        use_swiglu_ffn=[True, False],
        use_mask_token=[True, False],
        mlp_ratio=[2, 4],
    ),
    "convnext": one_of(num_channels=[1, 3], patch_size=[2, 4], layer_scale_init_value=[0.0, 1e-6]),
    "swin": one_of(
        image_size=[32, 56],
        patch_size=[2, 4],
        num_channels=[1, 3],
        window_size=[3, 7],
        mlp_ratio=[2.0, 4.0],
        qkv_bias=[True, False],
        use_absolute_embeddings=[True, False],
    ),
    "clip": _two_towers,
    "siglip": _two_towers,
    "wav2vec2": one_of(
        feat_extract_norm=["group", "layer"],
        do_stable_layer_norm=[True, False],
        conv_bias=[True, False],
        mask_time_prob=[0.0, 0.05],
        mask_feature_prob=[0.0, 0.1],
        num_conv_pos_embeddings=[4, 128],
        num_conv_pos_embedding_groups=[2, 16],
        classifier_proj_size=[5, 256],
        use_weighted_layer_sum=[True, False],
    ),
    "qwen3_vl": _qwen_switches,
    "qwen3_vl_moe": _qwen_switches,
    "gemma3n_text": _gemma3n_switches,
    "gemma4": _gemma4_whole,
    "gemma4_text": _gemma4_switches,
}
"""By model type: values for keys that a configuration may leave out, given its sizes."""
