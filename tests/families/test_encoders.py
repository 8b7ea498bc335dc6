"""What encoders, encoder-decoders and towers remember and compute, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from weigh import parts
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.types import Inventory, Model, Part, Pass, State, WeighError

WHISPER = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
GEMMA4 = {
    "model_type": "gemma4_text",
    "architectures": ["Gemma4ForCausalLM"],
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_kv_shared_layers": 3,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 2,
    "vocab_size_per_layer_input": 50,
}


def understood(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def states(configuration: dict[str, Any]) -> dict[str, State]:
    return {part.address: state for part in understood(configuration).parts for state in parts.remembers(part)}


def the(model: Model, address: str) -> Part:
    return next(part for part in model.parts if part.address == address)


def test_whisper_keeps_its_half_minute_beside_the_words() -> None:
    assert states(WHISPER) == {
        "layers.1.decoder.0.attention": State("kv", 8, 8, 2),
        "layers.1.decoder.0.cross": State("cross", 8, 8, 2, 1500),
    }


def test_the_encoder_runs_once_a_sequence_over_all_of_its_places() -> None:
    mlp = the(understood(WHISPER), "layers.0.encoder.0.mlp")
    assert parts.forward(mlp, Pass(1)) == 1500 * 2 * 2 * 16 * 32
    assert parts.forward(mlp, Pass(1, past=1)) == 0
    assert parts.forward(mlp, Pass(7, batch=3)) == 3 * parts.forward(mlp, Pass(1))


def test_keys_of_the_source_are_made_once() -> None:
    cross = the(understood(WHISPER), "layers.1.decoder.0.cross")
    first, later = parts.forward(cross, Pass(1)), parts.forward(cross, Pass(1, past=1))
    assert first - later == 2 * 2 * 1500 * 16 * 16
    assert later == 2 * 2 * 16 * 16 + 2 * 2 * 1500 * 16


def test_borrowed_keys_have_no_matrices_and_name_their_lender() -> None:
    model = understood(GEMMA4)
    kept = states(GEMMA4)
    assert kept["layers.5.attention"] == State("kv", 512, 512, 2)
    assert kept["layers.8.attention"] == State("kv", 256, 256, 4, 512)
    assert kept["layers.9.attention"] == State("kv", 256, 256, 4, 512, "layers.8.attention")
    assert kept["layers.11.attention"] == State("kv", 512, 512, 2, None, "layers.5.attention")
    held = {slot.key for slot in parts.slots(the(model, "layers.11.attention"))}
    assert held == {"q.weight", "o.weight", "q_norm.weight"}
    assert "v.weight" not in {slot.key for slot in parts.slots(the(model, "layers.5.attention"))}


def test_a_vision_transformer_attends_among_the_patches_of_each_image() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    images = {"image_size": 32, "patch_size": 16}
    model = understood({"model_type": "vit", "architectures": ["ViTModel"], **sizes, **images})
    attention = the(model, "layers.0.attention")
    assert parts.forward(attention, Pass(3)) == 3 * (4 * 2 * 5 * 16 * 16 + 2 * 2 * 5 * 5 * 16)
    assert parts.remembers(attention) == ()


def test_layers_that_share_weights_are_counted_once_and_run_often() -> None:
    sizes = {
        "vocab_size": 50,
        "embedding_size": 8,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
    }
    albert = {"model_type": "albert", "architectures": ["AlbertModel"], **sizes}
    few, many = (understood({**albert, "num_hidden_layers": layers}) for layers in (1, 6))
    assert count(few).total == count(many).total
    path = "layers.0.groups.0.layers.0.mlp"
    assert parts.forward(the(many, path), Pass(4)) == 6 * parts.forward(the(few, path), Pass(4))


def test_a_tower_left_out_is_the_class_default_and_said() -> None:
    text = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 1,
        "num_attention_heads": 32,
    }
    model = understood({"model_type": "qwen3_vl", "text_config": text})
    assert model.dimensions["vision_layers"] == 27
    assert any(line.startswith("vision_config = ") for line in model.assumptions)


@pytest.mark.parametrize("key", ["class_embed_type", "addition_embed_type", "attention_type"])
def test_a_variant_of_the_unet_that_is_not_understood_is_refused(key: str) -> None:
    sizes = {"block_out_channels": [32, 32, 32, 32], "cross_attention_dim": 8}
    with pytest.raises(WeighError) as caught:
        understood({"_class_name": "UNet2DConditionModel", **sizes, key: 5})
    assert caught.value.rule == "CONFIG-VARIANT"


def test_a_resnet_without_stages_is_refused() -> None:
    with pytest.raises(WeighError) as caught:
        understood({"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [], "depths": []})
    assert caught.value.rule == "CONFIG-RANGE"
