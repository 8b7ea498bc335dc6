"""Random configurations of models that read images beside text: a decoder's sizes in a section, and a small tower."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Drawn = dict[str, Any]

_CLASS = "ForConditionalGeneration"

CLASSES: dict[str, tuple[str, str]] = {
    "llava": ("Llava", _CLASS),
    "llava_next": ("LlavaNext", _CLASS),
    "llava_onevision": ("LlavaOnevision", _CLASS),
    "paligemma": ("PaliGemma", _CLASS),
    "gemma3": ("Gemma3", _CLASS),
    "mistral3": ("Mistral3", _CLASS),
    "idefics3": ("Idefics3", _CLASS),
    "smolvlm": ("SmolVLM", _CLASS),
    "internvl": ("InternVL", _CLASS),
    "qwen2_vl": ("Qwen2VL", _CLASS),
    "qwen2_5_vl": ("Qwen2_5_VL", _CLASS),
    "step3p7": ("Step3p7", _CLASS),
    "mllama": ("Mllama", _CLASS),
}

UNTIED = frozenset({"mllama"})
"""Types whose classes never tie their head."""

TEXTS = {
    "llava": ("llama", "mistral", "qwen2", "gemma2"),
    "llava_next": ("llama", "mistral", "qwen2"),
    "llava_onevision": ("qwen2",),
    "paligemma": ("gemma", "gemma2"),
    "gemma3": ("gemma3_text",),
    "mistral3": ("mistral", "ministral3"),
    "idefics3": ("llama",),
    "smolvlm": ("llama",),
    "internvl": ("qwen2", "qwen3", "llama", "phi3"),
    "qwen2_vl": ("qwen2_vl_text",),
    "qwen2_5_vl": ("qwen2_5_vl_text",),
    "step3p7": ("step3p5",),
    "mllama": ("mllama_text_model",),
}


def _text(rng: random.Random, kind: str) -> Drawn:
    """Sizes of every text; 32 heads, since the documented numbers of KV heads have to divide them."""
    sizes = {
        "model_type": kind,
        "vocab_size": rng.randint(50, 400),
        "hidden_size": 32 * rng.choice([2, 4]),
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": 32,
        "intermediate_size": rng.randint(10, 90),
    }
    if kind == "step3p5":
        sizes |= {"n_routed_experts": 8, "moe_intermediate_size": 7, "share_expert_dim": 9}
        sizes["num_hidden_layers"] = rng.randint(3, 5)
    if kind == "mllama_text_model":
        sizes["pad_token_id"] = 0
    # The others' tokens for padding lie within the vocabulary; those of Phi 3 do not.
    return {**sizes, "pad_token_id": 0} if kind == "phi3" else sizes


def _sizes(model_type: str) -> Callable[[random.Random], Drawn]:
    return lambda rng: {"text_config": _text(rng, TEXTS[model_type][0])}


SIZES = {model_type: _sizes(model_type) for model_type in CLASSES}


def _vit(rng: random.Random) -> Drawn:
    return {
        "hidden_size": 16,
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": 2,
        "intermediate_size": rng.randint(10, 40),
        "image_size": rng.choice([28, 56]),
        "patch_size": rng.choice([7, 14]),
        "num_channels": rng.choice([1, 3]),
    }


def _tower(rng: random.Random, model_type: str) -> Drawn:
    flip = rng.choice
    drawn = _vit(rng)
    if model_type.startswith("qwen"):
        width = {"embed_dim": 16, "hidden_size": 24} if model_type == "qwen2_vl" else {"hidden_size": 16}
        sizes = {"depth": drawn["num_hidden_layers"], "num_heads": 2, "in_channels": drawn["num_channels"], **width}
        more = {"mlp_ratio": 3} if model_type == "qwen2_vl" else {"intermediate_size": 20, "out_hidden_size": 24}
        return {**sizes, **more, "patch_size": flip([7, 14]), "spatial_merge_size": flip([1, 2])}
    if model_type in ("llava_onevision", "paligemma", "gemma3"):
        return {**drawn, "model_type": "siglip_vision_model", "vision_use_head": flip([True, False])}
    if model_type == "mllama":
        heads = {"attention_heads": drawn.pop("num_attention_heads"), "vision_output_dim": 16 * rng.randint(1, 3)}
        ratios = [[1, 1], [1, 2], [2, 1]]
        more = {"num_global_layers": rng.randint(1, 2), "max_num_tiles": 2, "supported_aspect_ratios": ratios}
        return {**drawn, **heads, **more, "intermediate_layers_indices": [0]}
    if model_type == "step3p7":
        return {**drawn, "mlp_ratio": flip([1.7, 2.0])}
    if model_type == "internvl":
        keys = ("attention_bias", "use_qk_norm", "use_mask_token", "use_mean_pooling")
        switched = {key: flip([True, False]) for key in keys}
        return {**drawn, **switched, "use_absolute_position_embeddings": flip([True, False])}
    kinds = {"mistral3": "pixtral", "idefics3": "idefics3_vision", "smolvlm": "smolvlm_vision"}
    return {**drawn, "model_type": kinds.get(model_type, "clip_vision_model")}


def _step(rng: random.Random, layers: int) -> Drawn:
    """Switches of Step 3.7's text."""
    flip = rng.choice
    kinds = [flip(["full_attention", "sliding_attention"]) for _ in range(layers)]
    return {
        "layer_types": kinds,
        "sliding_window": 5,
        "num_sliding_attention_heads": flip([None, 16]),
        "mlp_layer_types": flip([None, [flip(["dense", "sparse"]) for _ in range(layers)]]),
        "attention_bias": flip([True, False]),
        "mlp_bias": flip([True, False]),
        "gating": flip([True, "other"]),
        "num_experts_per_tok": rng.randint(1, 3),
    }


def _switches(model_type: str) -> Callable[[random.Random, Drawn], Drawn]:
    def draw(rng: random.Random, given: Drawn) -> Drawn:
        flip = rng.choice
        text = {**given["text_config"], **_text(rng, flip(TEXTS[model_type])), "num_key_value_heads": flip([1, 2, 8])}
        images = _tower(rng, model_type)
        more: Drawn = {"text_config": text, "vision_config": images}
        if model_type.startswith("llava") or model_type == "mistral3":
            more["multimodal_projector_bias"] = flip([True, False])
            more["vision_feature_layer"] = flip([-1, [-1, -2]])
        if model_type == "mllama":
            text["cross_attention_layers"] = sorted(rng.sample(range(text["num_hidden_layers"]), 1))
        if model_type == "step3p7":
            more["projector_bias"] = flip([True, False])
            text |= _step(rng, text["num_hidden_layers"])
        if model_type == "paligemma":
            more["projection_dim"] = text["hidden_size"]
        if model_type == "mistral3":
            more["spatial_merge_size"] = flip([1, 2])
        if model_type in ("idefics3", "smolvlm"):
            more["scale_factor"] = flip([1, 2])
        if model_type == "internvl":
            more["downsample_ratio"] = flip([0.5, 1.0])
        return more

    return draw


SWITCHES = {model_type: _switches(model_type) for model_type in CLASSES}


def released(model_type: str, name: str) -> str:
    """The name in released checkpoints, which have a word more than what the reference writes since 5.0."""
    if model_type in CLASSES and not model_type.startswith(("mistral3", "internvl", "idefics3", "smolvlm", "qwen")):
        return name.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return name
