"""What is particular to models that read images beside text: released shapes, what is left out, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.test_counts import understood
from weigh import parts
from weigh.cost.compute import forward_flops
from weigh.cost.params import count
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import promises
from weigh.types import Model, Pass, WeighError

SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "image_size": 224,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
QWEN2_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
TOWER = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}


def composite(kind: str, **values: Any) -> Model:
    return understood({"model_type": kind, **values})


def refused(kind: str, **values: Any) -> WeighError:
    with pytest.raises(WeighError) as caught:
        composite(kind, **values)
    return caught.value


def names(model: Model) -> dict[str, tuple[int, ...]]:
    return {promise.name: promise.shape for promise in promises(model, BY_MODEL_TYPE[str(model.model_type)], "hf")}


# ------------------------------------------------------------------------------------------------- released

RELEASED: dict[str, tuple[dict[str, Any], int]] = {
    "llava 1.5 7B": (
        {
            "model_type": "llava",
            "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 1024,
                "image_size": 336,
                "intermediate_size": 4096,
                "num_attention_heads": 16,
                "num_hidden_layers": 24,
                "patch_size": 14,
            },
        },
        7_063_427_072,
    ),
    "paligemma 3B": (
        {
            "model_type": "paligemma",
            "text_config": {
                "model_type": "gemma",
                "hidden_size": 2048,
                "intermediate_size": 16384,
                "num_attention_heads": 8,
                "num_hidden_layers": 18,
                "num_key_value_heads": 1,
                "vocab_size": 257216,
            },
            "vision_config": SIGLIP,
        },
        2_923_466_480,
    ),
    "gemma 3 4B": (
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "sliding_window": 1024,
            },
            "vision_config": {**SIGLIP, "image_size": 896},
        },
        4_300_079_472,
    ),
    "qwen 2 vl 7B": (
        {
            "model_type": "qwen2_vl",
            **QWEN2_7B,
            "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": 3584},
        },
        8_291_375_616,
    ),
    "qwen 2.5 vl 7B": (
        {
            "model_type": "qwen2_5_vl",
            **QWEN2_7B,
            "vision_config": {
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "out_hidden_size": 3584,
            },
        },
        8_292_166_656,
    ),
    "llama 3.2 vision 11B": (
        {"model_type": "mllama", "text_config": {}, "vision_config": {"image_size": 560}},
        10_670_220_835,
    ),
}
"""The keys that decide, as released configurations have them, flat or with sections that leave defaults out. The counts
are those of the classes of transformers 5.23 on the meta device, tied tensors once."""


@pytest.mark.parametrize("name", RELEASED)
def test_released_shapes_are_counted_to_the_last_parameter(name: str) -> None:
    configuration, total = RELEASED[name]
    assert count(understood(configuration)).total == total


@pytest.mark.oracle
@pytest.mark.parametrize("name", RELEASED)
def test_the_classes_count_released_shapes_alike(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.families import draw

    configuration, total = RELEASED[name]
    built = draw.reference({**configuration, "architectures": draw.classes(configuration["model_type"])})
    assert draw.total(built) == total


def test_sizes_that_a_section_leaves_out_are_the_documented_ones_and_told() -> None:
    model = understood(RELEASED["gemma 3 4B"][0])
    assert model.dimensions["heads"] == 8
    assert "text_config.num_attention_heads = 8" in model.assumptions
    assert any("num_attention_heads" in warning and "gemma3_text" in warning for warning in model.warnings)


# ---------------------------------------------------------------------------------------- text and its tower


def test_text_alone_does_not_run_the_tower() -> None:
    seeing = composite("llava", text_config=SMALL, vision_config={**TOWER, "image_size": 28})
    writing = understood({"model_type": "llama", **SMALL})
    assert forward_flops(seeing, Pass(7)) == forward_flops(writing, Pass(7))
    assert [parts.remembers(part) for part in seeing.parts if parts.remembers(part)] == [
        parts.remembers(part) for part in writing.parts if parts.remembers(part)
    ]
    assert {part.layer for part in seeing.parts if part.path.startswith("vision")} == {None}


def test_a_tower_that_is_left_out_is_the_published_default_and_assumed() -> None:
    """Of LLaVA the large CLIP for images of 336: 303,507,456 parameters."""
    model = composite("llava", text_config=SMALL)
    tower = [part for part in model.parts if part.path.startswith("vision.")]
    assert sum(slot.parameters for part in tower for slot in parts.slots(part)) == 303_507_456
    assert any(line.startswith("vision_config") for line in model.assumptions)


def test_decoders_with_other_names_keep_them_inside() -> None:
    """Gemma 2 has another norm under a name that Gemma has for one of its two."""
    older = names(composite("paligemma", text_config={**SMALL, "model_type": "gemma", "head_dim": 8}))
    newer = names(composite("paligemma", text_config={**SMALL, "model_type": "gemma2", "head_dim": 8}))
    layer = "language_model.model.layers.1."
    assert layer + "post_attention_layernorm.weight" in older
    assert layer + "pre_feedforward_layernorm.weight" not in older
    assert {layer + "post_attention_layernorm.weight", layer + "pre_feedforward_layernorm.weight"} <= set(newer)
    phi = names(composite("internvl", text_config={**SMALL, "model_type": "phi3"}))
    assert phi[layer + "self_attn.qkv_proj.weight"] == (64 + 2 * 16, 64)


def test_the_text_may_tie_the_head_where_the_class_listens_to_it() -> None:
    text = {**SMALL, "tie_word_embeddings": True}
    untied = count(composite("llava", text_config=SMALL)).total
    assert untied - count(composite("llava", text_config=text)).total == 100 * 64
    assert count(composite("llava_next", text_config=text)).total > count(composite("llava", text_config=text)).total


def test_several_layers_of_the_tower_side_by_side_widen_the_projector() -> None:
    one = names(composite("llava", text_config=SMALL, vision_config=TOWER))
    three = names(composite("llava", text_config=SMALL, vision_config=TOWER, vision_feature_layer=[-1, -2, -3]))
    assert one["multi_modal_projector.linear_1.weight"] == (64, 16)
    assert three["multi_modal_projector.linear_1.weight"] == (64, 48)


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        ("llava", {}, "CONFIG-MISSING"),
        ("llava", {"text_config": []}, "CONFIG-TYPE"),
        ("llava", {"text_config": {**SMALL, "model_type": "mamba"}}, "CONFIG-VARIANT"),
        ("llava", {"text_config": SMALL, "vision_config": {**TOWER, "model_type": "swin"}}, "CONFIG-VARIANT"),
        ("llava", {"text_config": SMALL, "vision_config": {**TOWER, "image_size": [28, 14]}}, "CONFIG-VARIANT"),
        ("llava", {"text_config": SMALL, "architectures": ["LlavaQwenForCausalLM"]}, "CONFIG-VARIANT"),
        ("internvl", {"text_config": SMALL, "downsample_ratio": 0}, "CONFIG-VARIANT"),
        ("mistral3", {"text_config": {**SMALL, "hidden_size": "wide"}}, "CONFIG-TYPE"),
        ("qwen2_vl", {"vision_config": {}}, "CONFIG-MISSING"),
        ("qwen2_5_vl", {**SMALL, "vision_config": {"num_heads": 3, "hidden_size": 16}}, "CONFIG-RANGE"),
        ("step3p7", {"text_config": SMALL}, "CONFIG-MISSING"),
    ],
)
def test_what_is_not_understood_is_refused(kind: str, values: dict[str, Any], rule: str) -> None:
    assert refused(kind, **values).rule == rule


# ----------------------------------------------------------------------------------------------- Step 3.7

STEP = {**SMALL, "n_routed_experts": 4, "moe_intermediate_size": 6, "share_expert_dim": 7, "num_hidden_layers": 4}


def test_layers_of_step_that_slide_have_heads_of_their_own_number() -> None:
    text = {
        **STEP,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "sliding_window": 9,
        "attention_other_setting": {"num_attention_heads": 6},
    }
    model = composite("step3p7", text_config=text)
    attention = [part.dimensions for part in model.parts if part.kind == "attention"]
    assert [(each.heads, each.window) for each in attention] == [(8, None), (6, 9)] * 2
    assert [part.kind for part in model.parts if part.path in ("mlp", "moe")] == ["mlp"] * 3 + ["moe"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gating", 3),
        ("moe_layers_enum", "1,x"),
        ("layer_types", ["full_attention"]),
        ("per_layer_config", {"0": {"num_attention_heads": 4}}),
    ],
)
def test_variants_of_step_that_are_not_understood_are_refused(key: str, value: Any) -> None:
    assert refused("step3p7", text_config={**STEP, key: value}).rule == "CONFIG-VARIANT"
