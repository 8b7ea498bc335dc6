"""State-space models, linear attention and their hybrids: states, work, and what their configurations tell apart."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.families import draw
from weigh import parts
from weigh.cost.params import count
from weigh.engines.llama_cpp.buffers import Settings, state_bytes
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import promises
from weigh.families.identify import identify
from weigh.formats.gguf_config import translate
from weigh.parts import GatedDeltaNet, LightningAttention, Mamba, Mamba2, Moe, RgLru, TimeMix
from weigh.types import Inventory, Model, Part, Pass, State, WeighError


def understood(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def plain(model_type: str) -> dict[str, Any]:
    first = draw.classes(model_type)[0]
    return {"model_type": model_type, "architectures": [first], **draw.sizes(model_type, random.Random(model_type))}


def recurrent(model: Model) -> list[State]:
    states = [state for part in model.parts for state in parts.remembers(part)]
    return [state for state in states if state.kind in ("conv", "shift", "recurrent")]


def held(model: Model) -> int:
    """Values that a sequence keeps whatever its length."""
    return sum(state.values(1) for state in recurrent(model))


QWEN35_27B = {
    "model_type": "qwen3_5_text",
    "architectures": ["Qwen3_5ForCausalLM"],
    "vocab_size": 248320,
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "num_hidden_layers": 64,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 48,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "tie_word_embeddings": False,
}

# ------------------------------------------------------------------------------------------------- states


def test_a_hybrid_of_27_billion_keeps_149_6_mib_a_sequence() -> None:
    """48 layers of 48 x 128 x 128 values and 3 rows of 10,240, in float32: llama.cpp reports 149.6 MiB.

    Source: ggml-org/llama.cpp#23792.
    """
    model = understood(QWEN35_27B)
    assert [state.kind for state in recurrent(model)] == ["conv", "recurrent"] * 48
    assert held(model) * 4 == 48 * (48 * 128 * 128 + 3 * 10_240) * 4
    assert held(model) * 4 / 2**20 == pytest.approx(149.6, abs=0.05)
    settings = Settings()
    one = state_bytes(recurrent(model), settings)
    assert one == held(model) * 4 * settings.sequences
    attention = [state for part in model.parts for state in parts.remembers(part) if state.kind == "kv"]
    assert [(state.key_width, state.heads) for state in attention] == [(256, 4)] * 16


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        (Mamba(width=768, inner=1536, state=16, rank=48, kernel=4), (3 * 1536, 1536 * 16)),
        (Mamba2(width=1536, heads=48, head_dim=64, groups=1, state=128, kernel=4), (3 * 3328, 48 * 64 * 128)),
        (GatedDeltaNet(5120, 16, 48, 128, 128, 4), (3 * 10240, 48 * 128 * 128)),
        (LightningAttention(6144, 64, 128, 256), (0, 64 * 128 * 128)),
        (RgLru(2560, 2560, 10, 4), (3 * 2560, 2560)),
        (TimeMix(768, 768), (768, 3 * 768)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_and_states_of_released_sizes(dimensions: Any, expected: tuple[int, int]) -> None:
    states = parts.remembers(parts.part("mixer", dimensions))
    ahead = sum(state.values(1) for state in states if state.kind != "recurrent")
    assert (ahead, sum(state.values(1) for state in states if state.kind == "recurrent")) == expected


# --------------------------------------------------------------------------------------------------- work


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        # 2 x (projections + convolution + recurrence)
        (Mamba(2, 4, 3, 1, 5), 2 * (2 * 8 + 4 * 7 + 1 * 4 + 4 * 2 + 5 * 4 + 2 * 4 * 3)),
        (Mamba2(2, 2, 3, 1, 4, 5), 2 * (2 * (6 + 14 + 2) + 6 * 2 + 5 * 14 + 2 * 6 * 4)),
        (GatedDeltaNet(2, 1, 2, 3, 4, 5), 2 * (2 * (14 + 8 + 4) + 8 * 2 + 5 * 14 + 3 * 2 * 3 * 4)),
        (LightningAttention(2, 2, 3, 4), 2 * (4 * 2 * 6 + 6 * 2 + 2 * 2 * 9)),
        (RgLru(2, 6, 3, 4), 2 * (2 * 2 * 6 + 6 * 2 + 2 * 3 * 4 + 4 * 6)),
        (TimeMix(2, 3), 2 * 4 * 2 * 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_work_of_a_token_by_hand(dimensions: Any, expected: int) -> None:
    part = parts.part("mixer", dimensions)
    assert parts.forward(part, Pass(1)) == expected
    assert parts.forward(part, Pass(7, past=100, batch=3)) == 21 * expected


def test_routed_experts_work_on_the_latent_width() -> None:
    """Router 4 x 8, two of its experts 2 x 5 x 3, the shared block 2 x 8 x 7, in and out 2 x 8 x 3."""
    moe = Moe(8, 5, 4, 2, gated=False, shared_hidden=7, latent=3)
    assert parts.forward(parts.part("moe", moe), Pass(1)) == 2 * (4 * 8 + 2 * 2 * 5 * 3 + 2 * 8 * 7 + 2 * 8 * 3)
    shapes = {slot.key: slot.shape for slot in parts.slots(parts.part("moe", moe))}
    assert shapes["experts.up.weight"] == (4, 5, 3)
    assert shapes["latent_up.weight"] == (8, 3)


# ------------------------------------------------------------------------------------------ configurations


def kinds(model: Model) -> str:
    letters = {"mamba": "M", "mamba2": "M", "attention": "*", "mlp": "-", "moe": "E"}
    return "".join(letters[part.kind] for part in model.parts if part.kind in letters and part.layer is not None)


def test_a_pattern_of_letters_is_a_list_of_blocks() -> None:
    whole = plain("nemotron_h")
    listed = {**whole, "layers_block_type": ["mamba", "moe", "attention", "mlp"]}
    letters = {key: value for key, value in whole.items() if key != "layers_block_type"}
    assert kinds(understood(listed)) == "ME*-"
    assert understood({**letters, "hybrid_override_pattern": "ME*-"}).parts == understood(listed).parts
    assert kinds(understood({**listed, "hybrid_override_pattern": "MMMM"})) == "ME*-"
    with pytest.raises(WeighError) as caught:
        understood({**letters, "hybrid_override_pattern": "MX"})
    assert caught.value.rule == "CONFIG-VARIANT"


AHEAD = {"num_nextn_predict_layers": 1, "mtp_layers_block_type": ["attention", "moe"]}


def ahead(model: Model) -> list[Part]:
    return [part for part in model.parts if part.path.startswith("mtp.")]


@pytest.mark.parametrize(
    ("model_type", "keys"), [("nemotron_h", AHEAD), ("qwen3_5_text", {"mtp_num_hidden_layers": 1})]
)
def test_layers_that_predict_further_tokens_stand_apart(model_type: str, keys: dict[str, Any]) -> None:
    """They are counted as mtp, named, and not run."""
    without, model = understood(plain(model_type)), understood({**plain(model_type), **keys})
    assert count(model).total == count(without).total
    assert count(model).active == count(without).active
    slots = [slot for part in ahead(model) for slot in parts.slots(part)]
    assert {slot.role for slot in slots} <= {"mtp", "buffer"}
    assert count(model).mtp == sum(slot.parameters for slot in slots if slot.role == "mtp") > 0
    assert all(parts.forward(part, Pass(3)) == 0 for part in ahead(model))
    assert len(recurrent(model)) == len(recurrent(without))
    names = {promise.name for promise in promises(model, BY_MODEL_TYPE[model_type], "hf")}
    own = {name for name in names if name.startswith("mtp.")}
    expected = {
        "nemotron_h": {"mtp.layers.0.eh_proj.weight", "mtp.layers.0.mixer.q_proj.weight", "mtp.layers.1.norm.weight"},
        "qwen3_5_text": {"mtp.fc.weight", "mtp.layers.0.self_attn.q_proj.weight", "mtp.norm.weight"},
    }
    assert expected[model_type] <= own


def test_an_image_tower_is_counted_as_vision_and_not_run_over_text() -> None:
    model = understood({**plain("qwen3_5"), "vision_config": {"depth": 1, "hidden_size": 16, "intermediate_size": 8}})
    tower = [part for part in model.parts if part.path.startswith("visual.")]
    assert {slot.role for part in tower for slot in parts.slots(part)} == {"vision"}
    assert sum(parts.forward(part, Pass(3)) for part in tower) == 0
    text = {**plain("qwen3_5"), "architectures": ["Qwen3_5ForCausalLM"]}
    seen = sum(slot.parameters for part in tower for slot in parts.slots(part))
    assert count(model).total - seen == count(understood(text)).total


def test_a_tower_that_is_left_out_is_the_documented_one_and_said_to_be_assumed() -> None:
    model = understood(plain("qwen3_5"))
    assert "depth = 27" in model.assumptions
    assert "hidden_size = 1152" in model.assumptions


def test_without_a_list_every_fourth_layer_attends() -> None:
    model = understood({**QWEN35_27B, "num_hidden_layers": 8})
    assert [part.layer for part in model.parts if part.kind == "attention"] == [3, 7]
    model = understood({**QWEN35_27B, "num_hidden_layers": 8, "full_attention_interval": 2})
    assert [part.layer for part in model.parts if part.kind == "attention"] == [1, 3, 5, 7]


def test_jamba_attends_and_routes_by_period_and_offset() -> None:
    model = understood({**plain("jamba"), "num_hidden_layers": 16})
    assert [part.layer for part in model.parts if part.kind == "attention"] == [4, 12]
    assert [part.layer for part in model.parts if part.kind == "moe"] == list(range(1, 16, 2))
    with pytest.raises(WeighError):
        understood({**plain("jamba"), "attn_layer_offset": 8})


@pytest.mark.parametrize(
    ("model_type", "wrong"),
    [
        ("mamba2", {"expand": 3}),
        ("bamba", {"mamba_d_head": 3}),
        ("minimax", {"layer_types": ["linear_attention"]}),
        ("qwen3_next", {"layer_types": ["linear_attention"]}),
        ("nemotron_h", {**AHEAD, "mtp_layers_block_type": ["mamba"]}),
        ("qwen3_5_text", {"mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": True}),
        ("recurrent_gemma", {"block_types": ["recurrent", "windowed"]}),
        ("qwen3_5", {"text_config": [1]}),
        ("qwen3_5", {"vision_config": 7}),
    ],
)
def test_what_does_not_hang_together_is_refused(model_type: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(WeighError) as caught:
        understood({**plain(model_type), **wrong})
    assert caught.value.rule in ("CONFIG-RANGE", "CONFIG-VARIANT", "CONFIG-TYPE")


# --------------------------------------------------------------------------------------------------- gguf


def test_metadata_of_a_delta_net_becomes_its_configuration() -> None:
    values = {
        "ssm.conv_kernel": 4,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.time_step_rank": 32,
        "ssm.inner_size": 4096,
    }
    metadata = {"general.architecture": "qwen3next"} | {f"qwen3next.{key}": value for key, value in values.items()}
    metadata |= {"qwen3next.block_count": 2}
    shapes = {"blk.0.attn_qkv.weight": (8192, 8), "blk.1.attn_q.weight": (8, 8)}
    found = translate(metadata, shapes)
    assert found is not None
    assert found["linear_num_value_heads"] == 32
    assert found["linear_value_head_dim"] == 128
    assert found["layer_types"] == ["linear_attention", "full_attention"]


def test_metadata_of_mamba_2_becomes_heads() -> None:
    sizes = {"ssm.time_step_rank": 48, "ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.group_count": 1}
    metadata: dict[str, Any] = {"general.architecture": "mamba2", "mamba2.embedding_length": 1536}
    metadata |= {"mamba2.block_count": 2, "mamba2.vocab_size": 50, "mamba2.ssm.conv_kernel": 4}
    metadata |= {f"mamba2.{key}": value for key, value in sizes.items()}
    found = translate(metadata, {"blk.0.ssm_conv1d.bias": (3328,)})
    assert found is not None
    assert (found["num_heads"], found["head_dim"], found["expand"]) == (48, 64, 2)
    assert found["use_conv_bias"] and not found["use_bias"]
    mixer = next(part.dimensions for part in understood(found).parts if part.kind == "mamba2")
    assert mixer == Mamba2(width=1536, heads=48, head_dim=64, groups=1, state=128, kernel=4)


def test_a_granite_without_experts_keeps_the_block_that_always_runs() -> None:
    whole = plain("granitemoehybrid")
    model = understood({**whole, "num_local_experts": 0})
    assert not any(part.kind == "moe" for part in model.parts)
    hidden = {part.dimensions.hidden for part in model.parts if part.kind == "mlp"}
    assert hidden == {whole["shared_intermediate_size"]}
    names = {promise.name for promise in promises(model, BY_MODEL_TYPE["granitemoehybrid"], "hf")}
    assert "model.layers.0.shared_mlp.input_linear.weight" in names


def test_falcon_h1_attends_and_recurs_in_every_layer() -> None:
    model = understood({**plain("falcon_h1"), "num_hidden_layers": 2})
    assert [part.kind for part in model.parts if part.layer == 1] == ["norm", "attention", "mamba2", "norm", "mlp"]
    assert {state.kind for part in model.parts for state in parts.remembers(part)} == {"kv", "conv", "recurrent"}
