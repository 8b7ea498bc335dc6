"""Counts by convention, role, layer and depth, and what a parameter takes to store."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.families import draw
from weigh import catalogue
from weigh.cost.params import Counts, configured_codec, count
from weigh.families import BY_MODEL_TYPE
from weigh.families.identify import identify
from weigh.types import NOT_COUNTED, Inventory, WeighError


def counts_of(name: str) -> Counts:
    return count(identify(Inventory("memory", "catalogue", "hf", configuration=catalogue.entry(name).configuration)))


def configured(configuration: dict[str, Any]) -> Counts:
    return count(identify(Inventory("memory", "config", "hf", configuration=configuration)))


def sizes(model_type: str) -> dict[str, Any]:
    drawn = draw.sizes(model_type, random.Random(model_type))
    return {"model_type": model_type, "architectures": draw.classes(model_type)[:1], **drawn}


# -------------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", ["float3", "", 7, ["float16"], {"a": 1}], ids=repr)
def test_a_dtype_that_nobody_knows_is_refused(dtype: Any) -> None:
    if dtype == "":
        assert configured({**sizes("llama"), "dtype": dtype}).bits_per_parameter == 32
        return
    with pytest.raises(WeighError) as caught:
        configured({**sizes("llama"), "dtype": dtype})
    assert caught.value.rule == "CONFIG-VARIANT"
    assert "dtype" in caught.value.message


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("float32", 32), ("float16", 16), ("torch.bfloat16", 16), ("bfloat16", 16), ("float64", 64), ("half", 16)],
)
def test_a_configuration_is_sized_at_its_dtype(dtype: str, bits: int) -> None:
    for key in ("dtype", "torch_dtype"):
        counts = configured({**sizes("llama"), key: dtype})
        assert counts.bits_per_parameter == bits
        assert counts.bytes == counts.total * bits // 8
        assert counts.warnings == ()


def test_without_a_dtype_sizes_are_those_of_float32_and_it_is_said() -> None:
    counts = configured(sizes("llama"))
    assert counts.bits_per_parameter == 32
    assert any("float32" in warning for warning in counts.warnings)


def test_a_quantization_is_named_and_not_applied() -> None:
    model = identify(
        Inventory(
            "memory",
            "config",
            "hf",
            configuration={**sizes("llama"), "dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}},
        )
    )
    codec, warnings = configured_codec(model)
    assert codec.id == "bf16"
    assert warnings == ("`quantization_config` (fp8) is not applied to sizes",)


# ---------------------------------------------------------------------------------------------- conventions


def test_mixtral_runs_two_of_eight_experts() -> None:
    """12.88 B with everything on a token's path; https://arxiv.org/abs/2401.04088 rounds to 47B and 13B."""
    counts = counts_of("mixtral-8x7b")
    expert = 3 * 4096 * 14336
    assert counts.total == 46_702_792_704
    assert counts.active == counts.total - 32 * 6 * expert == 12_879_925_248
    assert counts.active_without_embedding == counts.active - 32000 * 4096
    assert counts.active_without_embedding_and_head == counts.active - 2 * 32000 * 4096


def test_qwen3_235b_runs_eight_of_128_experts() -> None:
    """https://arxiv.org/abs/2505.09388: 235B in total, 22B active, which is the convention with everything."""
    counts = counts_of("qwen3-235b-a22b")
    assert counts.total == pytest.approx(235e9, rel=0.005)
    assert counts.active == pytest.approx(22e9, rel=0.01)


def test_a_dense_model_is_active_as_a_whole() -> None:
    counts = counts_of("llama-3.1-8b")
    assert counts.active == counts.total == 8_030_261_248
    assert counts.active_without_embedding == counts.total - 128256 * 4096
    assert counts.active_without_embedding_and_head == counts.total - 2 * 128256 * 4096


def test_a_tied_head_is_subtracted_once() -> None:
    counts = counts_of("gpt2")
    assert counts.active == counts.total
    assert counts.embedding == 50257 * 768
    assert counts.active_without_embedding == counts.total - 50257 * 768
    assert counts.active_without_embedding_and_head == counts.active_without_embedding


def test_sinusoidal_positions_are_counted_and_not_trained() -> None:
    counts = configured({**sizes("distilbert"), "sinusoidal_pos_embds": True})
    positions = counts.by_role["position"].parameters
    assert positions > 0
    assert counts.trainable == counts.total - positions
    assert configured(sizes("distilbert")).trainable == counts.total


def test_running_statistics_are_buffers_with_bytes_of_their_own() -> None:
    counts = counts_of("resnet-50")
    normalised = counts.by_role["norm"].parameters // 2
    assert counts.buffers == 2 * normalised + 53
    assert counts.bytes - counts.counted_bytes == 4 * counts.buffers
    assert counts.bits_per_parameter == 32


# ----------------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize("model_type", BY_MODEL_TYPE)
def test_roles_layers_and_depths_each_sum_to_the_whole(model_type: str) -> None:
    rng = random.Random(model_type)
    plain = sizes(model_type)
    for configuration in (plain, {**plain, **draw.switches(model_type, rng, plain)}):
        counts = configured(configuration)
        by_role = {role: tally for role, tally in counts.by_role.items() if role not in NOT_COUNTED}
        assert sum(tally.parameters for tally in by_role.values()) == counts.total
        assert sum(tally.parameters for tally in counts.by_layer.values()) == counts.total
        assert sum(counts.by_depth.values()) == counts.total
        assert min(counts.by_depth.values()) >= 0
        assert sum(tally.bytes for tally in counts.by_role.values()) == counts.bytes
        assert sum(tally.bytes for tally in counts.by_layer.values()) == counts.bytes
        assert sum(group["bytes"] for group in counts.codecs.values()) == counts.bytes
        assert counts.total > 0
        assert counts.active is not None
        assert counts.active <= counts.total


def test_layers_are_listed_in_order_behind_what_stands_outside() -> None:
    layers = list(counts_of("llama-3.1-8b").by_layer)
    assert layers == [None, *range(32)]


def test_the_tables_of_gpt_2_stand_before_its_layers() -> None:
    depth = counts_of("gpt2").by_depth
    assert depth["input"] == (50257 + 1024) * 768
    assert depth["output"] == 2 * 768
    assert depth["first"] == depth["middle"] == depth["last"] == 4 * 7_087_872


def test_a_role_without_parameters_is_no_row_of_a_dense_model() -> None:
    assert not {"expert", "router", "conv", "unknown"} & counts_of("llama-3.1-8b").by_role.keys()
