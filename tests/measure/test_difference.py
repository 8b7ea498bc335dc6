"""What differs between two models is found, by as much as it differs, and called by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weigh.commands import diff
from weigh.measure import difference
from weigh.measure.difference import compared, together
from weigh.measure.rounding import Rounding, least
from weigh.types import Tensor, WeighError

safetensors_numpy = pytest.importorskip("safetensors.numpy")
gguf = pytest.importorskip("gguf")

Arrays = dict[str, NDArray[Any]]

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "dtype": "float32",
}


def weights(seed: int = 0) -> Arrays:
    """Of LLAMA, drawn anew for each seed."""
    draw = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (128, 64), "model.norm": (64,), "lm_head": (128, 64)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {at + "input_layernorm": (64,), at + "post_attention_layernorm": (64,)}
        shapes |= {at + "self_attn.q_proj": (64, 64), at + "self_attn.k_proj": (32, 64)}
        shapes |= {at + "self_attn.v_proj": (32, 64), at + "self_attn.o_proj": (64, 64)}
        shapes |= {at + "mlp.gate_proj": (96, 64), at + "mlp.up_proj": (96, 64), at + "mlp.down_proj": (64, 96)}
    return {f"{name}.weight": draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def folder(path: Path, arrays: Arrays, configuration: Mapping[str, Any] = LLAMA) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(configuration))
    safetensors_numpy.save_file(arrays, path / "model.safetensors")
    return path


def paired(matrix: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rotary halves of each head as pairs, the order of llama.cpp."""
    rows = matrix.shape[0] // heads
    order = [head * rows + half * rows // 2 + i for head in range(heads) for i in range(rows // 2) for half in (0, 1)]
    return matrix[order]


GGML = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def ggml_name(name: str) -> str:
    for ours, theirs in GGML.items():
        if name.endswith(f"{ours}.weight"):
            layer = f"blk.{name.split('.')[2]}." if ".layers." in name else ""
            return f"{layer}{theirs}.weight"
    raise KeyError(name)


def gguf_file(path: Path, arrays: Arrays, kind: Any = None) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(256)
    writer.add_vocab_size(128)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, array in arrays.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            array = paired(array, 4 if "q_proj" in name else 2)
        if kind is None or array.ndim == 1:
            writer.add_tensor(ggml_name(name), np.ascontiguousarray(array))
        else:
            writer.add_tensor(ggml_name(name), gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def found(left: Path, right: Path) -> dict[str, Any]:
    return diff.run(str(left), str(right)).result


def rows(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["changes"]}


# ------------------------------------------------------------------------------------------------ the relation


def test_a_copy_is_identical(tmp_path: Path) -> None:
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", weights()))
    assert result["relation"] == "identical"
    assert result["change"]["relative"] == 0
    assert result["change"]["equal"] == result["change"]["parameters"] == sum(a.size for a in weights().values())
    assert result["configuration"] == {}


def test_the_same_numbers_in_a_wider_type_are_the_same_values(tmp_path: Path) -> None:
    half = {name: array.astype(np.float16) for name, array in weights().items()}
    wide = {name: array.astype(np.float32) for name, array in half.items()}
    result = found(folder(tmp_path / "a", half), folder(tmp_path / "b", wide))
    assert result["relation"] == "same values"
    assert result["tensors"]["same_values"]["tensors"] == len(half)


def test_a_conversion_to_gguf_is_the_same_values(tmp_path: Path) -> None:
    result = found(folder(tmp_path / "a", weights()), gguf_file(tmp_path / "b.gguf", weights()))
    assert result["relation"] == "same values"
    query = rows(result)["model.layers.1.self_attn.q_proj.weight"]
    assert query["name_b"] == "blk.1.attn_q.weight"
    assert query["undone"] == "rotary pairs"
    assert query["relative"] == 0


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_quantized_copy_is_requantized(kind: str, turned: bool, tmp_path: Path) -> None:
    original = folder(tmp_path / "a", weights())
    rounded = gguf_file(tmp_path / "b.gguf", weights(), gguf.GGMLQuantizationType[kind])
    result = found(rounded, original) if turned else found(original, rounded)
    assert result["relation"] == "requantized"
    assert result["tensors"]["changed"]["tensors"] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_copy_in_16_bits_is_requantized(dtype: str, tmp_path: Path) -> None:
    kinds = pytest.importorskip("ml_dtypes") if dtype == "bfloat16" else np
    narrow = {name: array.astype(getattr(kinds, dtype)) for name, array in weights().items()}
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", narrow))
    assert result["relation"] == "requantized"


def test_two_quantizations_of_one_model_are_requantized(tmp_path: Path) -> None:
    one = gguf_file(tmp_path / "a.gguf", weights(), gguf.GGMLQuantizationType.Q8_0)
    other = gguf_file(tmp_path / "b.gguf", weights(), gguf.GGMLQuantizationType.Q4_0)
    assert found(one, other)["relation"] == "requantized"


def nudged(arrays: Arrays, only: Callable[[str], bool], by: float) -> Arrays:
    draw = np.random.default_rng(9)
    return {
        name: array + np.float32(by) * draw.standard_normal(array.shape).astype(np.float32) if only(name) else array
        for name, array in arrays.items()
    }


def test_a_training_of_some_layers_is_a_fine_tune_and_tells_which(tmp_path: Path) -> None:
    trained = nudged(weights(), lambda name: "self_attn" in name and ".1." in name, 0.01)
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", trained))
    assert result["relation"] == "fine-tuned"
    assert {row["name"] for row in result["changes"] if row["kind"] == "changed"} == {
        f"model.layers.1.self_attn.{letter}_proj.weight" for letter in "qkvo"
    }
    by_layer = {row["layer"]: row["relative"] for row in result["by_layer"]}
    assert by_layer[0] == by_layer[None] == 0 < by_layer[1]
    assert result["by_role"]["attention_q"]["relative"] == pytest.approx(0.01 / np.sqrt(2), rel=0.1)


def test_a_small_training_in_another_codec_is_not_taken_for_rounding(tmp_path: Path) -> None:
    trained = nudged(weights(), lambda name: True, 0.05)
    rounded = gguf_file(tmp_path / "b.gguf", trained, gguf.GGMLQuantizationType.Q4_0)
    assert found(folder(tmp_path / "a", weights()), rounded)["relation"] == "fine-tuned and requantized"


def test_another_seed_is_trained_apart(tmp_path: Path) -> None:
    result = found(folder(tmp_path / "a", weights(0)), folder(tmp_path / "b", weights(1)))
    assert result["relation"] == "trained apart"


def test_another_architecture(tmp_path: Path) -> None:
    other = {"wte.weight": np.zeros((8, 4), np.float32)}
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", other, {"model_type": "nothing"}))
    assert result["relation"] == "other architecture"
    assert len(result["only_in_a"]) == len(weights())
    assert [row["name"] for row in result["only_in_b"]] == ["wte.weight"]


def test_a_table_of_another_size_is_told(tmp_path: Path) -> None:
    longer = weights()
    longer["lm_head.weight"] = np.zeros((130, 64), np.float32)
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", longer))
    assert result["reshaped"] == [{"name": "lm_head.weight", "a": [128, 64], "b": [130, 64]}]
    assert result["relation"] != "identical"


def test_keys_of_the_configuration_that_differ(tmp_path: Path) -> None:
    other = {**LLAMA, "rope_theta": 5e5}
    result = found(folder(tmp_path / "a", weights()), folder(tmp_path / "b", weights(), other))
    assert result["configuration"] == {"rope_theta": [None, 5e5]}


def test_a_configuration_has_no_weights_to_compare(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(WeighError) as caught:
        diff.run(str(tmp_path / "config.json"), str(folder(tmp_path / "b", weights())))
    assert caught.value.rule == "DIFF-WEIGHTS"


def test_a_tensor_of_unknown_codec_is_told_and_the_others_are_compared(tmp_path: Path) -> None:
    one, other = weights(), weights()
    one["odd"] = np.array([1 + 2j], np.complex64)
    other["odd"] = np.array([2 + 2j], np.complex64)
    result = found(folder(tmp_path / "a", one), folder(tmp_path / "b", other))
    assert rows(result)["odd"]["kind"] == "not_compared"
    assert result["tensors"]["identical"]["tensors"] == len(weights())


@pytest.mark.parametrize(("most", "passes"), [(0.0, False), (0.005, False), (0.02, True)])
def test_the_gate(most: float, passes: bool, tmp_path: Path) -> None:
    trained = nudged(weights(), lambda name: name == "lm_head.weight", 0.01)
    answer = diff.run(str(folder(tmp_path / "a", weights())), str(folder(tmp_path / "b", trained)))
    refusal = diff.exceeds(answer, most)
    assert (refusal is None) == passes
    assert refusal is None or (refusal.exit_code == 1 and "lm_head.weight" in refusal.message)


# ---------------------------------------------------------------------------------------- experts, fused matrices


MIXTRAL = {
    **LLAMA,
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 1,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
}


def mixtral() -> Arrays:
    draw = np.random.default_rng(3)
    arrays = {
        name: array
        for name, array in weights().items()
        if ".mlp." not in name and not name.startswith("model.layers.1")
    }
    arrays["model.layers.0.block_sparse_moe.gate.weight"] = draw.standard_normal((3, 64)).astype(np.float32)
    for expert in range(3):
        for name, shape in (("w1", (96, 64)), ("w2", (64, 96)), ("w3", (96, 64))):
            stem = f"model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight"
            arrays[stem] = draw.standard_normal(shape).astype(np.float32)
    return arrays


def test_experts_apart_and_stacked_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    real = difference.values
    monkeypatch.setattr(difference, "values", lambda inventory, one: decoded.append(one.name) or real(inventory, one))
    arrays = mixtral()
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "llama")
    for name, value in (("block_count", 1), ("embedding_length", 64), ("feed_forward_length", 96)):
        writer.add_uint32(f"llama.{name}", value)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(256)
    writer.add_vocab_size(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(3)
    writer.add_expert_used_count(2)
    for name, array in arrays.items():
        if "block_sparse_moe" in name:
            continue
        heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
        writer.add_tensor(ggml_name(name), np.ascontiguousarray(paired(array, heads) if heads else array))
    writer.add_tensor("blk.0.ffn_gate_inp.weight", arrays["model.layers.0.block_sparse_moe.gate.weight"])
    for ours, theirs in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
        stack = [arrays[f"model.layers.0.block_sparse_moe.experts.{e}.{ours}.weight"] for e in range(3)]
        if ours == "w2":
            stack[1] = stack[1] * np.float32(1.5)
        writer.add_tensor(f"blk.0.ffn_{theirs}_exps.weight", np.stack(stack))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    result = found(folder(tmp_path / "a", arrays, MIXTRAL), tmp_path / "b.gguf")
    assert not result["only_in_a"] and not result["only_in_b"]
    changed = [row for row in result["changes"] if row["kind"] != "same_values" and row["kind"] != "identical"]
    assert [row["name"] for row in changed] == ["model.layers.0.block_sparse_moe.experts.1.w2.weight"]
    assert changed[0]["relative"] == pytest.approx(0.5)
    assert changed[0]["cosine"] == pytest.approx(1.0)
    assert [decoded.count(f"blk.0.ffn_{name}_exps.weight") for name in ("gate", "up", "down")] == [1, 1, 1]


# ------------------------------------------------------------------------------------------------- the numbers


def test_the_sums_are_those_of_the_definition() -> None:
    draw = np.random.default_rng(5)
    a = draw.standard_normal(1000).astype(np.float32)
    b = (a + draw.standard_normal(1000) * 0.1).astype(np.float32)
    b[::7] = a[::7]
    wide_a, wide_b = a.astype(float), b.astype(float)
    change = compared(a, b)
    assert change.relative == pytest.approx(np.linalg.norm(wide_b - wide_a) / np.linalg.norm(wide_a))
    assert change.cosine == pytest.approx(wide_a @ wide_b / np.linalg.norm(wide_a) / np.linalg.norm(wide_b))
    assert change.largest == np.abs(wide_b - wide_a).max()
    assert change.equal == int((a == b).sum())
    halves = together(compared(a[:300], b[:300]), compared(a[300:], b[300:]))
    assert halves.difference == pytest.approx(change.difference)
    assert (halves.values, halves.equal, halves.largest) == (change.values, change.equal, change.largest)


def test_what_is_no_number_is_counted_and_not_summed() -> None:
    nan, inf = float("nan"), float("inf")
    a = np.array([1, nan, nan, inf, inf, 2], np.float32)
    b = np.array([1, nan, 0, inf, -inf, 3], np.float32)
    change = compared(a, b)
    assert (change.values, change.equal, change.unequal_nan) == (6, 3, 2)
    assert change.difference == 1.0
    assert change.left == 1.0 + 4.0


def test_zeros_and_nothing() -> None:
    zeros = np.zeros(4, np.float32)
    assert compared(zeros, zeros).relative == 0
    assert compared(zeros, zeros).cosine is None
    assert compared(zeros, zeros + 1).relative == float("inf")
    empty = np.zeros(0, np.float32)
    assert compared(empty, empty).values == 0


@pytest.mark.parametrize(("codec", "low", "high"), [("q8_0", 1.5, 2.5), ("q4_0", 1.5, 2.5), ("q5_0", 1.5, 2.5)])
def test_encoders_lie_a_little_above_the_least_change(codec: str, low: float, high: float) -> None:
    from weigh import codecs

    values = np.random.default_rng(2).standard_normal((64, 256)).astype(np.float32)
    kind = gguf.GGMLQuantizationType[codec.upper()]
    back = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
    relative = np.linalg.norm(back - values) / np.linalg.norm(values)
    assert low <= relative / least(codecs.by_id(codec)) <= high


def test_floats_round_by_what_their_significand_leaves() -> None:
    from weigh import codecs

    values = np.random.default_rng(2).standard_normal(100_000).astype(np.float32)
    relative = np.linalg.norm(values.astype(np.float16).astype(np.float32) - values) / np.linalg.norm(values)
    assert relative / least(codecs.by_id("f16")) == pytest.approx(1.1, abs=0.1)


def test_wide_types_do_not_round() -> None:
    assert Rounding.between(Tensor("a", (2,), "f32", ()), Tensor("a", (2,), "f32", ())) is None
    assert Rounding.between(Tensor("a", (2,), "f16", ()), Tensor("a", (2,), "f16", ())) is None
    assert Rounding.between(Tensor("a", (2,), "unknown:X", ()), Tensor("a", (2,), "f32", ())) is None
