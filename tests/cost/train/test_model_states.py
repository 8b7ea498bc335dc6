"""Bytes of parameters, gradients and states: by hand, by shape, and all pieces together are the whole."""

from __future__ import annotations

import pytest

from weigh.commands.source import load
from weigh.cost.params import count
from weigh.cost.train.layout import Layout
from weigh.cost.train.model_states import held, model_states
from weigh.cost.train.optimizers import OPTIMIZERS, find_optimizer, find_precision
from weigh.types import WeighError

ADAM, BF16 = find_optimizer("adamw"), find_precision("bf16")


@pytest.mark.parametrize("name", ["gpt2", "llama-3.1-8b", "mixtral-8x7b"])
def test_one_device_holds_all_parameters(name: str) -> None:
    model = load(name)
    assert sum(one.parameters for one in held(model, Layout(), 0)) == count(model).total


def test_all_stages_together_hold_every_parameter_once() -> None:
    model, layout = load("llama-3.1-8b"), Layout(pp=4, interleave=2, schedule="interleaved")
    pieces = [sum(one.parameters for one in held(model, layout, stage)) for stage in range(4)]
    assert sum(pieces) == count(model).total
    assert pieces[1] == pieces[2] < pieces[0]


def test_a_tied_head_behind_a_pipeline_is_a_copy() -> None:
    model = load("gpt2")
    pieces = [sum(one.parameters for one in held(model, Layout(pp=2), stage)) for stage in range(2)]
    assert sum(pieces) == count(model).total + 50_257 * 768


def test_tensor_parallelism_cuts_a_layer_by_hand() -> None:
    """Llama 3.1 8B over 16: q, o and the block by 16, 8 heads of keys repeated, two norms whole."""
    width, hidden = 4096, 14_336
    mine = sum(one.parameters for one in held(load("llama-3.1-8b"), Layout(tp=16), 0) if one.group == "layers.0")
    assert mine == 2 * width * width // 16 + 2 * 1024 // 8 * width + 3 * width * hidden // 16 + 2 * width


def test_biases_after_a_cut_product_stay_whole() -> None:
    ones = [one for one in held(load("gpt2"), Layout(tp=2), 0) if one.group == "layers.0" and len(one.shape) == 1]
    assert sorted(one.shape[0] for one in ones if one.role in ("attention_o", "mlp_down")) == [768, 768]
    assert [one.shape[0] for one in ones if one.role == "mlp_up"] == [1536]


def test_experts_are_spread_and_divided_over_those_that_hold_the_same() -> None:
    model, layout = load("mixtral-8x7b"), Layout(dp=16, ep=8, zero=1)
    experts = [one for one in held(model, layout, 0) if one.role == "expert"]
    assert {one.shape[0] for one in experts} == {1}
    assert {one.shards for one in experts} == {2}
    expected = 32 * 3 * 4096 * 14_336
    assert sum(one.parameters for one in experts) == expected
    rest = count(model).total - 8 * expected
    states = model_states(model, layout, 0, ADAM, BF16)
    assert states.optimizer == pytest.approx(8 * expected / 2 + 8 * rest / 16, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "shape", "role", "expected"),
    [
        ("sgd", (64, 64), "mlp_up", 0),
        ("momentum", (64, 64), "mlp_up", 4 * 4096),
        ("adamw", (64, 64), "mlp_up", 8 * 4096),
        ("lion", (64, 64), "mlp_up", 4 * 4096),
        ("adafactor", (64, 32), "mlp_up", 4 * (64 + 32)),
        ("adafactor", (8, 64, 32), "expert", 4 * 8 * (64 + 32)),
        ("adafactor", (64,), "norm", 4 * 64),
        ("muon", (64, 64), "mlp_up", 4 * 4096),
        ("muon", (64, 64), "embedding", 8 * 4096),
        ("muon", (64,), "norm", 8 * 64),
        ("adamw-8bit", (64, 64), "mlp_up", 2 * (4096 + 4 * 16)),
        ("adamw-8bit", (64,), "norm", 8 * 64),
    ],
)
def test_states_of_a_tensor(name: str, shape: tuple[int, ...], role: str, expected: int) -> None:
    assert OPTIMIZERS[name].state(shape, role) == expected


def test_float32_without_a_master_takes_as_much_as_mixed_precision() -> None:
    model = load("gpt2")
    mixed, plain = (model_states(model, Layout(), 0, ADAM, find_precision(name)) for name in ("bf16", "fp32"))
    assert mixed.total == plain.total == 16 * count(model).total
    assert plain.master == 0


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    for find, rule in ((find_optimizer, "OPTIMIZER-UNKNOWN"), (find_precision, "PRECISION-UNKNOWN")):
        with pytest.raises(WeighError) as caught:
            find("adamx")
        assert caught.value.rule == rule
        assert "known:" in caught.value.hint
