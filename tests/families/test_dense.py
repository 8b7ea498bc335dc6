"""What is particular to the dense decoders: state, work and names worked out by hand, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.families import draw
from weigh import parts
from weigh.cost.compute import forward_flops
from weigh.cost.params import count
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import audit, promises
from weigh.families.identify import identify
from weigh.formats.gguf_config import translate
from weigh.types import Inventory, Model, Pass, Piece, State, Tensor, WeighError

SIZES = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}


def understood(model_type: str, **values: Any) -> Model:
    """The class of the whole model, of the sizes above."""
    whole = {"model_type": model_type, "architectures": draw.classes(model_type)[:1], **SIZES, **values}
    return identify(Inventory("memory", "config", "hf", configuration=whole))


def refused(model_type: str, **values: Any) -> WeighError:
    with pytest.raises(WeighError) as caught:
        understood(model_type, **values)
    return caught.value


def states(model: Model) -> list[State]:
    return [state for part in model.parts for state in parts.remembers(part)]


def state_bytes(model: Model, tokens: int, value_bytes: int = 2) -> int:
    """Bytes of the exact cache of one sequence: rows of keys and values of the tokens that can be attended to."""
    return sum(
        min(tokens, state.window or tokens) * state.heads * (state.key_width + state.value_width) * value_bytes
        for state in states(model)
    )


def names(model: Model) -> dict[str, tuple[int, ...]]:
    family = BY_MODEL_TYPE[str(model.model_type)]
    return {promise.name: promise.shape for promise in promises(model, family, "hf")}


# ------------------------------------------------------------------------------------------- what is kept


def test_gpt_neo_keeps_256_tokens_in_every_other_layer() -> None:
    """1.3B: 24 layers of 16 heads of 128, 12 of them local; 2 x 2,048 values a token and layer, 2 bytes each."""
    values = {"hidden_size": 2048, "num_layers": 24, "num_heads": 16, "max_position_embeddings": 2048}
    model = understood("gpt_neo", vocab_size=50257, **values)
    assert state_bytes(model, 2048) == 12 * 2 * 2048 * 2 * (2048 + 256)


def test_command_r_has_no_grouped_heads_and_keeps_as_much_as_it_computes() -> None:
    """v01: 40 layers, 64 heads of 128: 2 x 8,192 values a token and layer, 1.25 MiB a token in 16 bits."""
    model = understood(
        "cohere",
        hidden_size=8192,
        num_hidden_layers=40,
        num_attention_heads=64,
        num_key_value_heads=64,
        intermediate_size=22528,
        vocab_size=256000,
    )
    assert state_bytes(model, 1) == 40 * 2 * 8192 * 2 == 1.25 * 2**20
    assert count(model).total == 34_980_831_232


def test_command_r7b_keeps_everything_in_each_fourth_layer_only() -> None:
    model = understood("cohere2", num_hidden_layers=8, sliding_window=16)
    assert [state.window for state in states(model)] == [16, 16, 16, None] * 2
    assert state_bytes(model, 100) == (6 * 16 + 2 * 100) * 2 * 2 * 8 * 2


def test_a_searched_model_keeps_nothing_where_it_does_not_attend() -> None:
    attending = {"attention": {"no_op": False, "n_heads_in_group": 4}, "ffn": {"ffn_mult": 5.25}}
    bare = {"attention": {"no_op": True, "n_heads_in_group": None}, "ffn": {"ffn_mult": 0.5}}
    empty = {"attention": {"no_op": True}, "ffn": {"no_op": True}}
    model = understood("nemotron-nas", num_hidden_layers=3, block_configs=[attending, bare, empty])
    assert [(state.heads, state.key_width) for state in states(model)] == [(2, 8)]
    hidden = [part.dimensions.hidden for part in model.parts if part.kind == "mlp"]
    assert hidden == [256, 256]  # 224 and 21, rounded up
    assert sorted({part.layer for part in model.parts if part.kind == "norm" and part.layer is not None}) == [0, 1]


# ---------------------------------------------------------------------------------------------- published


def super_49b() -> list[dict[str, Any]]:
    """The blocks of Llama-3.3-Nemotron-Super-49B as kinds and numbers: heads that share a KV head, and `ffn_mult`."""
    kinds = [(8, 5.25, 48), (8, 2.625, 1), (None, 5.25, 1), (None, 3.28125, 1), (None, 2.625, 5)]
    kinds += [(None, 1.3125, 10), (None, 1.0, 8), (None, 0.5, 6)]
    return [
        {"attention": {"no_op": group is None, "n_heads_in_group": group}, "ffn": {"no_op": False, "ffn_mult": factor}}
        for group, factor, number in kinds
        for _ in range(number)
    ]


def test_a_searched_model_as_published() -> None:
    """49.9 B parameters are stated of its conversions; 49 layers of 8 KV heads of 128 keep 200,704 B a token."""
    model = understood(
        "nemotron-nas",
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        vocab_size=128256,
        block_configs=super_49b(),
    )
    assert count(model).total == 49_867_145_216
    assert state_bytes(model, 1) == 49 * 8 * 2 * 128 * 2 == 200_704


def test_mimo_is_qwen_2_with_a_further_layer_that_is_counted_apart() -> None:
    """7B: 7,622,619,136 as Qwen2ForCausalLM counts them; with the layer that predicts more tokens 7.83 B."""
    sizes = {
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 11008,
        "vocab_size": 151680,
    }
    model = understood("mimo", **sizes, num_nextn_predict_layers=1)
    layer = 2 * 4096**2 + 2 * 1024 * 4096 + 4096 + 2 * 1024 + 3 * 4096 * 11008 + 2 * 4096
    assert (count(model).total, count(model).mtp) == (7_622_619_136, layer + 2 * 4096**2 + 3 * 4096)
    without = understood("mimo", **sizes)
    assert count(without).total == count(model).total == count(understood("qwen2", **sizes)).total
    assert count(without).mtp == 0
    step = Pass(3)
    assert forward_flops(model, step) == forward_flops(without, step)
    assert states(model) == states(without)
    assert names(model)["model.mtp_layers.0.self_attn.q_proj.bias"] == (4096,)
    assert names(model)["model.mtp_layers.0.input_proj.weight"] == (4096, 8192)


# -------------------------------------------------------------------------------------------------- names


def test_stablelm_has_a_tensor_for_the_norm_of_each_head() -> None:
    model = understood("stablelm", qk_layernorm=True)
    held = names(model)
    assert [name for name in held if "layers.1." in name and "norms" in name] == [
        *(f"model.layers.1.self_attn.q_layernorm.norms.{head}.weight" for head in range(8)),
        *(f"model.layers.1.self_attn.k_layernorm.norms.{head}.weight" for head in range(2)),
    ]
    assert held["model.layers.0.self_attn.q_layernorm.norms.7.weight"] == (8,)
    tensors = tuple(Tensor(name, shape, "f32", (Piece("a", 0, 0),)) for name, shape in held.items())
    file = Inventory("memory", "safetensors", "hf", tensors, configuration=model.inventory.configuration)
    found = audit(identify(file))
    assert (found.missing, found.extra, found.wrong_shape) == ((), (), ())
    assert sum(share.parameters or 0 for holding in found.holdings for share in holding.shares) == count(model).total


def test_cohere_keeps_the_norms_of_all_heads_in_one_tensor() -> None:
    held = names(understood("cohere", use_qk_norm=True))
    assert held["model.layers.0.self_attn.q_norm.weight"] == (8, 8)
    assert held["model.layers.0.self_attn.k_norm.weight"] == (2, 8)


def test_norms_of_single_heads_cost_no_products() -> None:
    step = Pass(7)
    assert forward_flops(understood("cohere", use_qk_norm=True), step) == forward_flops(understood("cohere"), step)


# ------------------------------------------------------------------------------------- variants, by reading


@pytest.mark.parametrize(
    ("model_type", "values", "rule"),
    [
        ("xglm", {"add_cross_attention": True}, "CONFIG-VARIANT"),
        ("mimo", {"attention_bias": False}, "CONFIG-VARIANT"),
        ("mimo", {"use_sliding_window": True}, "CONFIG-VARIANT"),
        ("helium", {"head_dim": 16}, "CONFIG-RANGE"),
        ("exaone4", {"sliding_window_pattern": "LLLG"}, "CONFIG-TYPE"),
        ("gpt_neo", {}, "CONFIG-RANGE"),
        ("gpt_neo", {"attention_types": 3}, "CONFIG-TYPE"),
        ("gpt_neo", {"attention_types": [[["global"]]]}, "CONFIG-TYPE"),
        ("gpt_neo", {"attention_types": [[["global"], 2.0]]}, "CONFIG-TYPE"),
        ("gpt_neo", {"attention_types": [[["sparse"], 2]]}, "CONFIG-VARIANT"),
        ("gpt_neo", {"attention_types": [[["global"], 10**12]]}, "CONFIG-RANGE"),
        ("gpt_neo", {"attention_types": [[["global"], 1]]}, "CONFIG-RANGE"),
    ],
)
def test_what_a_class_cannot_be_is_refused(model_type: str, values: dict[str, Any], rule: str) -> None:
    drawn = draw.sizes(model_type, random.Random(1))
    layers = {"num_layers": 2} if model_type == "gpt_neo" else {}
    assert refused(model_type, **{**drawn, **layers, **values}).rule == rule


ATTENTION = {"no_op": False, "n_heads_in_group": 4}
FFN = {"no_op": False, "ffn_mult": 2.625}


@pytest.mark.parametrize(
    ("blocks", "rule"),
    [
        ([{"attention": ATTENTION, "ffn": FFN}], "CONFIG-RANGE"),
        ([{"attention": ATTENTION}] * 2, "CONFIG-TYPE"),
        ([ATTENTION, None], "CONFIG-TYPE"),
        ({"0": ATTENTION}, "CONFIG-TYPE"),
        ([{"attention": {**ATTENTION, "replace_with_linear": True}, "ffn": FFN}] * 2, "CONFIG-VARIANT"),
        ([{"attention": {**ATTENTION, "window_length": 512}, "ffn": FFN}] * 2, "CONFIG-VARIANT"),
        ([{"attention": ATTENTION, "ffn": {**FFN, "sparsify": [1]}}] * 2, "CONFIG-VARIANT"),
        ([{"attention": {**ATTENTION, "n_heads_in_group": 3}, "ffn": FFN}] * 2, "CONFIG-RANGE"),
        ([{"attention": {**ATTENTION, "n_heads_in_group": None}, "ffn": FFN}] * 2, "CONFIG-TYPE"),
        ([{"attention": ATTENTION, "ffn": {**FFN, "ffn_mult": "2"}}] * 2, "CONFIG-TYPE"),
        ([{"attention": ATTENTION, "ffn": {**FFN, "ffn_mult": float("nan")}}] * 2, "CONFIG-RANGE"),
        ([{"attention": ATTENTION, "ffn": {**FFN, "ffn_mult": 1e-9}}] * 2, "CONFIG-RANGE"),
        ([{"attention": {**ATTENTION, "no_op": 1}, "ffn": FFN}] * 2, "CONFIG-TYPE"),
    ],
)
def test_blocks_of_a_searched_model_that_are_not_understood_are_refused(blocks: Any, rule: str) -> None:
    assert refused("nemotron-nas", block_configs=blocks).rule == rule


@pytest.mark.parametrize(
    ("model_type", "given", "expected"),
    [
        ("olmo3", {}, [4096, 4096]),
        ("olmo3", {"sliding_window": None}, [None, None]),
        ("olmo3", {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}, [None, 8]),
        ("starcoder2", {}, [None, None]),
        ("starcoder2", {"sliding_window": 8}, [8, 8]),
        ("cohere", {"sliding_window": 8}, [None, None]),
        ("cohere2", {}, [4096, 4096]),
        ("cohere2", {"sliding_window": 8, "sliding_window_pattern": 2}, [8, None]),
        ("exaone4", {}, [4096, 4096]),
        ("exaone4", {"sliding_window": 8, "sliding_window_pattern": 2}, [8, None]),
        ("exaone4", {"sliding_window": None}, [None, None]),
        ("exaone4", {"layer_types": ["sliding_attention", "full_attention"]}, [4096, None]),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}, [None, 256]),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["local"], 2]], "window_size": 8}, [8, 8]),
    ],
)
def test_windows_by_layer(model_type: str, given: dict[str, Any], expected: list[int | None]) -> None:
    """Each class's own rule: transformers 5.23, models/*/configuration_*.py."""
    model = understood(model_type, **{**draw.sizes(model_type, random.Random(1)), "num_hidden_layers": 2, **given})
    assert [part.dimensions.window for part in model.parts if part.kind == "attention"] == expected


@pytest.mark.parametrize(
    ("model_type", "absent", "null"),
    [("olmo3", 8, 8), ("granite", 8, 8), ("cohere", 8, 8), ("cohere2", 8, 8), ("starcoder2", 2, 8), ("glm", 2, 8)],
)
def test_kv_heads_left_out_are_the_documented_number(model_type: str, absent: int, null: int) -> None:
    """Eight heads here."""
    sizes = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
    whole = {"model_type": model_type, "architectures": draw.classes(model_type)[:1], **sizes}
    for given, expected in (({}, absent), ({"num_key_value_heads": None}, null)):
        model = identify(Inventory("memory", "config", "hf", configuration={**whole, **given}))
        assert model.dimensions["kv_heads"] == expected


# ---------------------------------------------------------------------------------------------------- gguf

GGUF = {
    "embedding_length": 64,
    "block_count": 2,
    "feed_forward_length": 48,
    "attention.head_count": 8,
    "attention.head_count_kv": 2,
    "context_length": 128,
    "vocab_size": 100,
}


@pytest.mark.parametrize(
    ("architecture", "model_type", "extra", "tensors", "expected"),
    [
        ("starcoder2", "starcoder2", {}, ("attn_q.bias",), {"use_bias": True}),
        ("starcoder2", "starcoder2", {}, (), {"use_bias": False}),
        ("stablelm", "stablelm", {}, ("attn_q.bias", "ffn_norm.weight"), {"use_qkv_bias": True}),
        ("stablelm", "stablelm", {}, ("attn_q_norm.weight",), {"qk_layernorm": True, "use_parallel_residual": True}),
        ("command-r", "cohere", {}, ("attn_q_norm.weight",), {"use_qk_norm": True}),
        ("cohere2", "cohere2", {"attention.sliding_window": 16}, (), {"sliding_window": 16}),
        ("granite", "granite", {}, ("attn_q.bias",), {"attention_bias": True, "mlp_bias": False}),
        ("nemotron", "nemotron", {}, (), {"attention_bias": False, "mlp_bias": False}),
        ("glm4", "glm4", {}, ("attn_q.bias",), {"attention_bias": True}),
        ("seed_oss", "seed_oss", {}, ("attn_q.bias",), {"attention_bias": True, "attention_out_bias": False}),
        ("exaone4", "exaone4", {}, (), {"sliding_window": None}),
        ("olmo2", "olmo3", {"attention.sliding_window": 16}, (), {"sliding_window": 16}),
    ],
)
def test_metadata_of_gguf_says_what_the_class_reads(
    architecture: str, model_type: str, extra: dict[str, Any], tensors: tuple[str, ...], expected: dict[str, Any]
) -> None:
    metadata = {f"{architecture}.{key}": value for key, value in {**GGUF, **extra}.items()}
    shapes = {"token_embd.weight": (100, 64), **{f"blk.0.{name}": (64,) for name in tensors}}
    found = translate({"general.architecture": architecture, **metadata}, shapes)
    assert found is not None
    assert found["model_type"] == model_type
    assert expected.items() <= found.items()
    model = identify(Inventory("memory", "gguf", "ggml", configuration=found))
    assert model.dimensions["layers"] == 2
    windows = {part.dimensions.window for part in model.parts if part.kind == "attention"}
    assert windows == ({16} if extra else {None})
