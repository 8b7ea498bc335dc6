"""What a file holds against what its configuration promises, on inventories made in memory."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

import pytest

from tests.families import draw
from weigh.codecs import by_id
from weigh.cost.params import Counts, count
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import audit, differences, promises
from weigh.families.identify import identify
from weigh.types import Inventory, Model, Piece, Tensor, WeighError

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]} | {
    "vocab_size": 20,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]} | {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
QWEN_MOE = LLAMA | {
    "model_type": "qwen2_moe",
    "architectures": ["Qwen2MoeForCausalLM"],
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 7,
    "shared_expert_intermediate_size": 6,
}


def tensor(name: str, *shape: int, codec: str = "f32") -> Tensor:
    known = by_id(codec) if not codec.startswith("unknown:") else by_id("f32")
    nbytes = prod(shape) * known.block_bytes // known.block
    return Tensor(name, shape, codec, (Piece("model.safetensors", 0, nbytes),))


def promised(configuration: dict[str, Any], dialect: str = "hf", *, tied: bool = False) -> list[Tensor]:
    """The tensors of a whole file; `tied` ones only where asked for."""
    model = identify(Inventory("memory", "config", "hf", configuration=configuration))
    family = BY_MODEL_TYPE[configuration["model_type"]]
    listed = promises(model, family, dialect)
    return [tensor(promise.name, *promise.shape) for promise in listed if tied or not promise.optional]


def of_file(tensors: Iterable[Tensor], configuration: dict[str, Any] | None, dialect: Any = "hf") -> Model:
    return identify(Inventory("memory", "safetensors", dialect, tensors=tuple(tensors), configuration=configuration))


def expected(configuration: dict[str, Any]) -> Counts:
    return count(identify(Inventory("memory", "config", "hf", configuration=configuration)))


def told(model: Model) -> dict[str, tuple[str, ...]]:
    return dict(differences(audit(model)))


# -------------------------------------------------------------------------------------------- differences


def test_a_missing_tensor_is_named_and_not_counted() -> None:
    tensors = promised(LLAMA)
    lost = next(t for t in tensors if t.name == "model.layers.1.mlp.up_proj.weight")
    model = of_file([t for t in tensors if t is not lost], LLAMA)
    assert told(model) == {"missing": (lost.name,)}
    assert audit(model).contradicts
    counts = count(model)
    assert counts.total == expected(LLAMA).total - 8 * 12
    assert any(lost.name in warning and "missing" in warning for warning in counts.warnings)


def test_an_extra_tensor_is_named_and_counted_as_it_is() -> None:
    model = of_file([*promised(LLAMA), tensor("adapter.scale", 3)], LLAMA)
    assert told(model) == {"extra": ("adapter.scale",)}
    assert not audit(model).contradicts
    counts = count(model)
    assert counts.total == expected(LLAMA).total + 3
    assert counts.by_role["unknown"].parameters == 3


def test_a_wrong_shape_is_told_with_both_shapes() -> None:
    tensors = [
        tensor("model.norm.weight", 9) if t.name == "model.norm.weight" else t
        for t in promised(LLAMA)
    ]  # fmt: skip
    model = of_file(tensors, LLAMA)
    assert told(model) == {"wrong_shape": ("model.norm.weight is 9 instead of 8",)}
    assert audit(model).contradicts
    assert count(model).total == expected(LLAMA).total + 1


def test_a_tensor_stored_twice_under_two_names_is_told() -> None:
    model = of_file([*promised(LLAMA), tensor("norm.weight", 8)], LLAMA)
    assert told(model) == {"extra": ("norm.weight",)}


def test_another_number_of_layers_than_configured_is_a_contradiction() -> None:
    model = of_file(promised({**LLAMA, "num_hidden_layers": 1}), LLAMA)
    assert audit(model).contradicts
    assert all(name.startswith("model.layers.1.") for name in told(model)["missing"])


# ------------------------------------------------------------------------------------------ no difference


@pytest.mark.parametrize("model_type", BY_MODEL_TYPE)
def test_a_whole_file_counts_as_its_configuration_does(model_type: str) -> None:
    for name in draw.classes(model_type):
        sizes = draw.sizes(model_type, random.Random(name))
        configuration = {"model_type": model_type, "architectures": [name], **sizes}
        held, wanted = count(of_file(promised(configuration), configuration)), expected(configuration)
        assert held.audit is not None
        assert differences(held.audit) == {}
        assert held.total == wanted.total
        assert held.active == wanted.active
        assert held.active_without_embedding == wanted.active_without_embedding
        assert held.active_without_embedding_and_head == wanted.active_without_embedding_and_head
        assert (held.embedding, held.trainable, held.buffers) == (wanted.embedding, wanted.trainable, wanted.buffers)
        assert {role: tally.parameters for role, tally in held.by_role.items() if tally.parameters} == {
            role: tally.parameters for role, tally in wanted.by_role.items() if tally.parameters
        }
        assert {layer: tally.parameters for layer, tally in held.by_layer.items()} == {
            layer: tally.parameters for layer, tally in wanted.by_layer.items()
        }
        assert held.by_depth == wanted.by_depth
        assert held.bits_per_parameter == 32


@pytest.mark.parametrize("model_type", [kind for kind, family in BY_MODEL_TYPE.items() if "ggml" in family.names])
def test_a_whole_gguf_file_counts_as_its_configuration_does(model_type: str) -> None:
    sizes = draw.sizes(model_type, random.Random(model_type))
    configuration = {"model_type": model_type, "architectures": draw.classes(model_type)[:1], **sizes}
    if model_type == "bert":
        configuration["add_pooling_layer"] = False
    counts = count(of_file(promised(configuration, "ggml"), configuration, "ggml"))
    assert counts.audit is not None
    assert differences(counts.audit) == {}
    assert counts.total == expected(configuration).total
    assert counts.active == expected(configuration).active


def test_names_without_the_prefix_of_the_whole_model_are_the_same_tensors() -> None:
    tensors = [replace(t, name=t.name.removeprefix("model.")) for t in promised(LLAMA)]
    assert tensors[0].name == "embed_tokens.weight"
    model = of_file(tensors, LLAMA)
    assert told(model) == {}
    assert count(model).total == expected(LLAMA).total


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_is_stored_with_and_without_its_prefix(prefix: str) -> None:
    tensors = [replace(t, name=prefix + t.name.removeprefix("transformer.")) for t in promised(GPT2)]
    assert told(of_file(tensors, GPT2)) == {}


def test_norms_called_gamma_and_beta_are_gain_and_bias() -> None:
    tensors = [
        replace(t, name=t.name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"))
        for t in promised(BERT)
    ]
    assert any(t.name.endswith("LayerNorm.gamma") for t in tensors)
    model = of_file(tensors, BERT)
    assert told(model) == {}
    assert count(model).by_role["norm"].parameters == expected(BERT).by_role["norm"].parameters


def test_axes_of_length_one_may_be_dropped() -> None:
    name = "model.layers.0.mlp.shared_expert_gate.weight"
    tensors = [replace(t, shape=(8,)) if t.name == name else t for t in promised(QWEN_MOE)]
    assert told(of_file(tensors, QWEN_MOE)) == {}


# ---------------------------------------------------------------------------------------------- tied ones


def test_a_head_stored_though_tied_counts_once_and_its_bytes_count() -> None:
    tied = {**LLAMA, "tie_word_embeddings": True}
    model = of_file(promised(tied, tied=True), tied)
    assert told(model) == {"stored_though_tied": ("lm_head.weight",)}
    counts = count(model)
    assert counts.total == expected(tied).total
    assert counts.bytes == 4 * (expected(tied).total + 20 * 8)
    assert any("counted once" in warning for warning in counts.warnings)


def test_a_head_stored_in_the_place_of_the_table_is_the_table() -> None:
    tied = {**LLAMA, "tie_word_embeddings": True}
    tensors = [t for t in promised(tied, tied=True) if t.name != "model.embed_tokens.weight"]
    model = of_file(tensors, tied)
    assert told(model) == {}
    counts = count(model)
    assert counts.total == expected(tied).total
    assert counts.embedding == 20 * 8


def test_the_second_bias_of_berts_head_counts_once() -> None:
    with_both = of_file(promised(BERT, tied=True), BERT)
    assert set(told(with_both)["stored_though_tied"]) == {
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    }
    assert count(with_both).total == expected(BERT).total
    apart = {**BERT, "tie_word_embeddings": False}
    assert expected(apart).total == expected(BERT).total + 20 * 8 + 20


# ------------------------------------------------------------------------------------- shares of a tensor


def test_a_fused_matrix_is_shared_out_by_role() -> None:
    counts = count(of_file(promised(GPT2), GPT2))
    roles = {role: tally.parameters for role, tally in counts.by_role.items()}
    assert roles["attention_q"] == roles["attention_k"] == roles["attention_v"] == 2 * (8 * 8 + 8)
    fused = next(t for t in promised(GPT2) if t.name == "transformer.h.0.attn.c_attn.weight")
    assert fused.shape == (8, 24)


def test_a_fused_matrix_of_grouped_heads_has_a_larger_share_of_queries() -> None:
    phi = {**LLAMA, "model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
    roles = count(of_file(promised(phi), phi)).by_role
    assert roles["attention_q"].parameters == 2 * 8 * 8
    assert roles["attention_k"].parameters == roles["attention_v"].parameters == 2 * 4 * 8
    assert roles["mlp_gate"].parameters == roles["mlp_up"].parameters == 2 * 12 * 8


def test_shares_of_a_fused_matrix_add_up_to_its_bytes_whatever_they_are() -> None:
    fused = Tensor("transformer.h.0.attn.c_attn.weight", (8, 25), "f32", (Piece("model.safetensors", 0, 1001),))
    model = of_file([fused if t.name == fused.name else t for t in promised(GPT2)], GPT2)
    shares = next(h.shares for h in audit(model).holdings if h.tensor is fused)
    assert sum(share.nbytes for share in shares) == 1001
    assert sum(share.parameters or 0 for share in shares) == 200


def test_each_expert_may_have_its_own_tensor_or_all_one() -> None:
    wanted = expected(QWEN_MOE)
    apart = promised(QWEN_MOE)
    assert sum("mlp.experts." in t.name for t in apart) == 2 * 3 * 5
    stacked = [t for t in promised(QWEN_MOE, "ggml") if "_exps" in t.name]
    assert len(stacked) == 2 * 3
    held = count(of_file(apart, QWEN_MOE))
    assert (held.total, held.active) == (wanted.total, wanted.active)
    assert held.by_role["expert"].parameters == 2 * 5 * 3 * 7 * 8
    assert wanted.active == wanted.total - 2 * 3 * (3 * 7 * 8)


def test_a_lost_expert_is_missing_by_name() -> None:
    lost = "model.layers.1.mlp.experts.4.down_proj.weight"
    model = of_file([t for t in promised(QWEN_MOE) if t.name != lost], QWEN_MOE)
    assert told(model) == {"missing": (lost,)}


# --------------------------------------------------------------------------------------- not to be counted


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "transformer.h.0.attn.bias",
        "h.0.attn.masked_bias",
        "gpt_neox.layers.0.attention.bias",
        "gpt_neox.layers.0.attention.masked_bias",
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
        "bert.embeddings.position_ids",
        "rope_freqs.weight",
        "resnet.encoder.normalization.running_mean",
        "resnet.encoder.normalization.num_batches_tracked",
    ],
)
def test_buffers_are_set_apart_and_are_no_difference(name: str) -> None:
    model = of_file([*promised(LLAMA), tensor(name, 5)], LLAMA)
    counts = count(model)
    assert told(model) == {}
    assert counts.total == expected(LLAMA).total
    assert counts.buffers == 5
    assert counts.bytes - counts.counted_bytes == 20
    assert counts.bits_per_parameter == 32


@pytest.mark.parametrize(
    "name", ["transformer.h.0.ln_attn.bias", "model.layers.0.self_attn.q_proj.bias", "attention.dense.bias"]
)
def test_biases_that_are_trained_are_no_buffers(name: str) -> None:
    counts = count(of_file([tensor(name, 5)], None))
    assert (counts.total, counts.buffers) == (5, 0)


def test_layers_for_multi_token_prediction_are_set_apart() -> None:
    counts = count(of_file([*promised(LLAMA), tensor("mtp.layers.0.mlp.up_proj.weight", 3, 4)], LLAMA))
    assert counts.total == expected(LLAMA).total
    assert counts.mtp == 12


def test_values_of_an_unknown_type_have_bytes_and_no_count() -> None:
    strange = tensor("model.norm.weight", 8, codec="unknown:F5")
    model = of_file([strange if t.name == strange.name else t for t in promised(LLAMA)], LLAMA)
    counts = count(model)
    assert strange.parameters is None
    assert counts.unknown == (strange.name,)
    assert counts.total == expected(LLAMA).total - 8
    assert counts.bytes == 4 * expected(LLAMA).total
    assert counts.codecs["unknown:F5"] == {"tensors": 1, "parameters": 0, "bytes": 32}
    assert any("unknown type" in warning for warning in counts.warnings)


def test_a_fused_matrix_of_an_unknown_type_has_bytes_in_each_share() -> None:
    strange = tensor("transformer.h.0.attn.c_attn.weight", 8, 24, codec="unknown:F5")
    model = of_file([strange if t.name == strange.name else t for t in promised(GPT2)], GPT2)
    shares = next(h.shares for h in audit(model).holdings if h.tensor is strange)
    assert [share.parameters for share in shares] == [None, None, None]
    assert [share.nbytes for share in shares] == [256, 256, 256]


# ------------------------------------------------------------------------------------------ not understood


def test_weights_of_an_unknown_architecture_are_counted_with_roles_by_name() -> None:
    model = of_file(promised(LLAMA), {**LLAMA, "model_type": "llamas"})
    assert (model.family, model.parts) == (None, ())
    assert model.refusal is not None
    assert (model.refusal.rule, model.refusal.exit_code) == ("ARCH-UNKNOWN", 3)
    assert "`llamas`" in model.refusal.message
    assert "llama" in model.refusal.hint
    counts = count(model)
    assert counts.total == expected(LLAMA).total
    assert counts.active is None
    assert counts.embedding == 20 * 8
    assert counts.by_role.keys() == expected(LLAMA).by_role.keys()
    assert counts.by_depth == expected(LLAMA).by_depth


def test_a_known_architecture_with_a_missing_size_is_counted_from_the_file() -> None:
    short = {key: value for key, value in LLAMA.items() if key != "intermediate_size"}
    model = of_file(promised(LLAMA), short)
    assert model.family == "llama"
    assert model.refusal is not None
    assert model.refusal.rule == "CONFIG-MISSING"
    assert any("`intermediate_size`" in warning for warning in model.warnings)
    assert count(model).total == expected(LLAMA).total


def test_weights_without_a_configuration_are_counted_and_say_so() -> None:
    model = of_file(promised(LLAMA), None)
    assert model.refusal is not None
    assert model.refusal.rule == "CONFIG-ABSENT"
    assert count(model).total == expected(LLAMA).total


@pytest.mark.parametrize(
    ("configuration", "rule"),
    [
        ({**LLAMA, "model_type": "llamas"}, "ARCH-UNKNOWN"),
        ({key: value for key, value in LLAMA.items() if key != "hidden_size"}, "CONFIG-MISSING"),
        ({key: value for key, value in LLAMA.items() if key != "model_type"}, "CONFIG-MISSING"),
        ({**LLAMA, "model_type": ["llama"]}, "CONFIG-MISSING"),
        (None, "CONFIG-ABSENT"),
    ],
)
def test_without_weights_what_is_not_understood_is_refused(configuration: dict[str, Any] | None, rule: str) -> None:
    with pytest.raises(WeighError) as caught:
        of_file([], configuration)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 3)
