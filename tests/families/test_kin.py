"""What is particular to the further decoders: state, work and shared weights worked out by hand, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.test_counts import understood
from weigh import parts
from weigh.cost.compute import forward_flops
from weigh.cost.params import count
from weigh.types import Model, Pass, State, WeighError

SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}


def refused(kind: str, **values: Any) -> WeighError:
    with pytest.raises(WeighError) as caught:
        understood({"model_type": kind, **values})
    return caught.value


def states(model: Model) -> list[State]:
    return [state for part in model.parts for state in parts.remembers(part)]


# --------------------------------------------------------------------------------------------------- xLSTM


def test_xlstm_7b_keeps_a_matrix_a_head_and_no_more_with_every_token() -> None:
    """32 layers of 8 memories of 256 x 512, a normaliser of 256 and a number: 1,050,632 values a layer."""
    model = understood(
        {"model_type": "xlstm", "vocab_size": 50304, "hidden_size": 4096, "num_hidden_layers": 32, "num_heads": 8}
    )
    assert count(model).total == 6_865_424_896
    layer = [State("recurrent", width, heads=8) for width in (256 * 512, 256, 1)]
    assert states(model) == layer * 32


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"weight_mode": "fused"}, "CONFIG-VARIANT"),
        ({"embedding_dim": 32}, "CONFIG-VARIANT"),
        ({"qk_dim_factor": 0.001}, "CONFIG-VARIANT"),
        ({"v_dim_factor": 0.3}, "CONFIG-RANGE"),
        ({"ffn_proj_factor": "wide"}, "CONFIG-TYPE"),
    ],
)
def test_xlstms_that_are_not_understood_are_refused(values: dict[str, Any], rule: str) -> None:
    sizes = {"vocab_size": 10, "hidden_size": 64, "num_hidden_layers": 1, "num_heads": 4}
    assert refused("xlstm", **sizes, **values).rule == rule


# ---------------------------------------------------------------------------------- differential attention


def test_differential_attention_sums_two_values_where_llama_sums_one() -> None:
    """Each of 4 layers has 5 x 6 / 2 pairs of 8 heads, and 8 values more to sum for each; and four vectors of 8."""
    llama = understood({"model_type": "llama", **SMALL})
    other = understood({"model_type": "diffllama", **SMALL})
    assert forward_flops(other, Pass(5)) - forward_flops(llama, Pass(5)) == 2 * 4 * 15 * 8 * 8
    assert count(other).total - count(llama).total == 4 * 4 * 8
    assert states(other) == states(llama)
    assert refused("diffllama", **{**SMALL, "num_key_value_heads": 1}).rule == "CONFIG-RANGE"


# ---------------------------------------------------------------------------------------------------- LFM2


def test_lfm2_350m_as_released() -> None:
    """10 layers keep two inputs of a convolution, 6 keep keys and values of 8 heads of 64."""
    model = understood(
        {
            "model_type": "lfm2",
            "vocab_size": 65536,
            "hidden_size": 1024,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "block_ff_dim": 6656,
            "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        }
    )
    assert count(model).total == 354_483_968
    kept = states(model)
    assert [state.kind for state in kept].count("kv") == 6
    assert [state for state in kept if state.kind == "conv"] == [State("conv", 1024, rows=2)] * 10


def test_the_released_key_for_a_tied_head_wins() -> None:
    sizes = {**SMALL, "block_auto_adjust_ff_dim": False, "tie_word_embeddings": True}
    tied = count(understood({"model_type": "lfm2", **sizes})).total
    assert count(understood({"model_type": "lfm2", **sizes, "tie_embedding": False})).total == tied + 100 * 64


# -------------------------------------------------------------------------------------------------- Zamba 2

ZAMBA = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "n_mamba_heads": 8,
    "mamba_d_state": 4,
    "adapter_rank": 3,
    "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid", "hybrid"],
}


def zamba(**values: Any) -> Model:
    return understood({"model_type": "zamba2", **ZAMBA, **values})


def test_layers_that_share_a_block_keep_keys_and_values_of_their_own() -> None:
    assert [state.kind for state in states(zamba(num_mem_blocks=2))].count("kv") == 4
    assert {state.key_width for state in states(zamba()) if state.kind == "kv"} == {16}


def test_a_block_is_held_once_and_computed_by_every_layer_that_uses_it() -> None:
    one, two = zamba(num_mem_blocks=1), zamba(num_mem_blocks=2)
    norms, attention, block = 128 + 64, 3 * 128 * 128 + 64 * 128, 3 * 64 * 256
    assert count(two).total - count(one).total == norms + attention + block
    assert forward_flops(two, Pass(5)) == forward_flops(one, Pass(5))


def test_each_layer_runs_one_of_the_adapters_that_its_block_holds() -> None:
    pair = 3 * (64 + 2 * 256)
    thicker = zamba(adapter_rank=6)
    assert count(thicker).total - count(zamba()).total == 4 * pair
    assert forward_flops(thicker, Pass(5)) - forward_flops(zamba(), Pass(5)) == 4 * 2 * 5 * pair


def test_zambas_that_are_not_understood_are_refused() -> None:
    without = {key: value for key, value in ZAMBA.items() if key != "layers_block_type"}
    assert refused("zamba2", **without).rule == "CONFIG-MISSING"
    assert refused("zamba2", **{**ZAMBA, "num_hidden_layers": 5}).rule == "CONFIG-RANGE"
    grouped = {"num_key_value_heads": 2, "use_shared_attention_adapter": True}
    assert refused("zamba2", **ZAMBA, **grouped).rule == "CONFIG-VARIANT"


# ---------------------------------------------------------------------------------------------- Kimi Linear

KIMI = {
    "vocab_size": 163840,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "moe_intermediate_size": 1024,
    "num_hidden_layers": 27,
    "num_attention_heads": 32,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_experts": 256,
    "num_experts_per_token": 8,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [i for i in range(1, 28) if i not in (4, 8, 12, 16, 20, 24, 27)],
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
}


def test_kimi_linear_as_released() -> None:
    """49 B parameters, 3 B active, as its paper rounds; 20 layers keep 32 squares of 128, 7 a row of 576 a token."""
    model = understood({"model_type": "kimi_linear", **KIMI})
    assert count(model).total == 49_122_675_072
    kept = states(model)
    assert [state.row for state in kept if state.kind in ("latent", "rope")] == [512, 64] * 7
    assert [state for state in kept if state.kind == "conv"] == [State("conv", 3 * 32 * 128, rows=3)] * 20
    assert [state for state in kept if state.kind == "recurrent"] == [State("recurrent", 128 * 128, heads=32)] * 20


def test_layers_that_no_list_numbers_are_refused() -> None:
    broken = {**KIMI["linear_attn_config"], "kda_layers": [1, 2]}  # type: ignore[dict-item]
    assert refused("kimi_linear", **{**KIMI, "linear_attn_config": broken}).rule == "CONFIG-VARIANT"
    assert refused("kimi_linear", **{**KIMI, "linear_attn_config": 3}).rule == "CONFIG-VARIANT"


# --------------------------------------------------------------------------------------------- MiniMax M3

M3 = {
    **SMALL,
    "head_dim": 8,
    "num_local_experts": 4,
    "shared_intermediate_size": 5,
    "dense_intermediate_size": 9,
    "moe_layer_freq": [0, 1, 1, 1],
    "sparse_attention_config": {
        "sparse_attention_freq": [0, 0, 1, 1],
        "sparse_num_index_heads": 2,
        "sparse_index_dim": 6,
        "sparse_block_size": 2,
        "sparse_topk_blocks": 3,
    },
}


def test_m3_keeps_all_tokens_and_a_key_more_where_it_picks_blocks() -> None:
    model = understood({"model_type": "minimax_m3", **M3})
    assert [state.kind for state in states(model)] == ["kv", "kv", "index", "kv", "index", "kv"]
    assert {state.window for state in states(model)} == {None}
    assert [part.kind for part in model.parts if part.path in ("mlp", "moe")] == ["mlp", "moe", "moe", "moe"]
    assert [part.dimensions.top for part in model.parts if part.kind == "attention"] == [0, 0, 6, 6]


def test_m3_as_released_and_as_converted_are_the_same() -> None:
    converted = {
        **{key: value for key, value in M3.items() if key not in ("moe_layer_freq", "sparse_attention_config")},
        "layer_types": ["full_attention", "full_attention", "minimax_m3_sparse", "minimax_m3_sparse"],
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
        "index_n_heads": 2,
        "index_head_dim": 6,
        "index_block_size": 2,
        "index_topk_blocks": 3,
    }
    released = understood({"model_type": "minimax_m3", **M3})
    assert released.parts == understood({"model_type": "minimax_m3_vl_text", **converted}).parts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention_output_gate", True),
        ("qk_norm_type", "per_layer"),
        ("moe_layer_freq", [0, 1]),
        ("sparse_attention_config", 4),
    ],
)
def test_variants_of_m3_that_are_not_understood_are_refused(key: str, value: Any) -> None:
    assert refused("minimax_m3", **{**M3, key: value}).rule == "CONFIG-VARIANT"


# ------------------------------------------------------------------------------------------------- switches


def test_hunyuan_may_list_the_experts_used_by_layer() -> None:
    sizes = {**SMALL, "head_dim": 8, "num_experts": 8}
    two = understood({"model_type": "hunyuan_v1_moe", **sizes, "moe_topk": 2})
    assert two.parts == understood({"model_type": "hunyuan_v1_moe", **sizes, "moe_topk": [2, 2, 2, 2]}).parts
    assert refused("hunyuan_v1_moe", **sizes, moe_topk=[2, 2]).rule == "CONFIG-VARIANT"
    assert refused("hunyuan_v1_moe", **{**sizes, "head_dim": None}).rule == "CONFIG-MISSING"


def test_xielu_alone_brings_parameters_of_its_own() -> None:
    """Two slopes a layer, and two constants that are buffers."""
    learned = count(understood({"model_type": "apertus", **SMALL}))
    fixed = count(understood({"model_type": "apertus", **SMALL, "hidden_act": "silu"}))
    assert (learned.total - fixed.total, learned.buffers - fixed.buffers) == (4 * 2, 4 * 2)
    assert refused("apertus", **SMALL, hidden_act="swish2").rule == "CONFIG-VARIANT"


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("ministral", {}, [4096] * 4),
        ("ministral", {"sliding_window": None}, [None] * 4),
        ("ministral3", {}, [None] * 4),
        ("ministral3", {"sliding_window": 6}, [6] * 4),
        ("cwm", {}, [None, 8192, 8192, 8192]),
        ("granite_swa", {"sliding_window": 5}, [None, 5, 5, 5]),
        ("dots1", {"max_window_layers": 2}, [None, None, 4096, 4096]),
        ("exaone_moe", {}, [4096, 4096, 4096, None]),
        ("exaone_moe", {"sliding_window": None}, [None] * 4),
        ("vaultgemma", {}, [4096, None, 4096, None]),
    ],
)
def test_windows_by_layer(kind: str, values: dict[str, Any], expected: list[int | None]) -> None:
    """Each class's own rule: transformers 5.23, models/*/configuration_*.py."""
    routed = {"n_routed_experts": 8, "num_experts": 8, "moe_intermediate_size": 4, "n_shared_experts": 1}
    more = {"head_dim": 8, "num_experts_per_tok": 2, "num_key_value_heads": 2, **routed}
    model = understood({"model_type": kind, **SMALL, **more, **values})
    assert [part.dimensions.window for part in model.parts if part.kind == "attention"] == expected
