"""Adapters, frozen roles and a 4-bit base: what is refused, and by hand what is held and computed."""

from __future__ import annotations

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.memory import memory
from weigh.cost.train.model_states import held, model_states
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.tuning import ROLES, Tuning, check, effort, tuning
from weigh.types import WeighError

Words = tuple[int | None, str | None, bool, str | None]
ADAM, BF16 = find_optimizer("adamw"), find_precision("bf16")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ((None, None, True, None), "TUNING-RANK"),
        ((None, "all", False, None), "TUNING-RANK"),
        ((0, None, False, None), "TUNING-RANK"),
        ((8, "wings", False, None), "TUNING-TARGETS"),
        ((None, None, False, "wings"), "TUNING-ROLE"),
        ((8, None, False, "norm"), "TUNING-BASE"),
    ],
)
def test_words_that_make_no_tuning_are_refused(
    words: tuple[int | None, str | None, bool, str | None], rule: str
) -> None:
    with pytest.raises(WeighError) as caught:
        tuning(*words)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 2)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(WeighError) as caught:
        check(load("gpt2"), Tuning(freeze=frozenset(ROLES)))
    assert caught.value.rule == "TUNING-NOTHING"


def test_adapters_of_queries_and_values_by_hand() -> None:
    """Llama 2 7B, rank 8 on q and v: 32 layers x 2 x 8 x (4096 + 4096), 4,194,304, as peft counts them."""
    tuned = tuning(8, "attention_q,attention_v", False, None)
    trained = [one.parameters for one in held(load("llama-2-7b"), Layout(), 0, tuned) if one.trained]
    assert sum(trained) == 4_194_304


def test_only_what_is_trained_has_gradients_and_states() -> None:
    states = model_states(load("llama-2-7b"), Layout(), 0, ADAM, BF16, Tuning(8, frozenset({"attention_q"})))
    adapters = 32 * 8 * 2 * 4096
    assert (states.gradients, states.master, states.optimizer) == (2 * adapters, 4 * adapters, 8 * adapters)


def test_a_base_of_4_bit_takes_a_quarter_of_the_matrices() -> None:
    model = load("llama-2-7b")
    whole, packed = (model_states(model, Layout(), 0, ADAM, BF16, Tuning(8, quantized=q)) for q in (False, True))
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11_008)
    assert whole.parameters - packed.parameters == pytest.approx(matrices * (2 - 4.127 / 8), rel=1e-4)


def test_frozen_roles_cost_less_memory_and_less_compute() -> None:
    model, layout, training = load("llama-3.2-1b"), Layout(flash_attention=True), Training(1, 1024)
    ways = (Tuning(), Tuning(freeze=frozenset({"mlp_up"})), Tuning(16), Tuning(16, quantized=True))
    found = [memory(model, layout, training, ADAM, BF16, way).per_device.value for way in ways]
    assert found == sorted(found, reverse=True)
    assert effort(model, Tuning()).gradients == 1
    assert effort(model, Tuning(16)).gradients == 0 < effort(model, Tuning(16)).added < 0.03


def test_states_on_the_host_leave_the_device() -> None:
    model, training = load("llama-3.2-1b"), Training(1, 1024)
    here, there = (memory(model, Layout(), training, ADAM, BF16, offloaded=o) for o in (False, True))
    assert here.host is None
    assert there.host is not None
    moved = here.model_states.value - there.model_states.value
    assert moved == there.host.low == 12 * sum(one.parameters for one in held(model, Layout(), 0))
