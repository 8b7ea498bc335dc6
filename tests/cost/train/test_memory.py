"""Memory of the worst stage: what moves it, and what it cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.memory import Memory, activations, drops, memory
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.types import WeighError

STEP = Training(32, 1024)
ONE = Layout(microbatch=2)


def needed(name: str, layout: Layout, training: Training = STEP) -> Memory:
    return memory(load(name), layout, training, find_optimizer("adamw"), find_precision("bf16"))


def test_the_first_stage_holds_most_with_1f1b() -> None:
    found = needed("gpt2-large", Layout(pp=4))
    kept = [activations(load("gpt2-large"), Layout(pp=4), STEP, stage).kept for stage in range(4)]
    assert found.stage == 0
    assert kept[0] > kept[1] > kept[2] > kept[3]
    assert kept[1] == 3 * kept[2] // 2, "three microbatches of the same layers against two"


def test_the_last_stage_holds_most_where_the_vocabulary_weighs_more() -> None:
    assert needed("gpt2", Layout(pp=2, recompute="full", microbatch=8)).stage == 1


@pytest.mark.parametrize("change", [{"tp": 2}, {"flash_attention": True}, {"recompute": "full"}, {"cp": 2}])
def test_what_saves_activations_saves_them(change: dict[str, object]) -> None:
    less = needed("llama-3.2-1b", replace(ONE, **change))  # type: ignore[arg-type]
    assert less.activations.value < needed("llama-3.2-1b", ONE).activations.value


def test_zero_saves_states_and_nothing_of_activations() -> None:
    found = [needed("llama-3.2-1b", replace(ONE, dp=4, zero=zero)) for zero in range(4)]
    states = [one.model_states.value for one in found]
    assert states == sorted(states, reverse=True)
    assert len({one.activations.value for one in found}) == 1
    assert found[3].parts["gathered"] > 0 == found[2].parts["gathered"]


def test_all_figures_keep_their_order_and_sum() -> None:
    found = needed("mixtral-8x7b", Layout(dp=8, ep=8, zero=1, flash_attention=True))
    for figure in (found.per_device, found.model_states, found.activations, found.buffers):
        assert figure.low <= figure.value <= figure.high
    parts = (found.model_states, found.activations, found.buffers)
    assert found.per_device.value == sum(figure.value for figure in parts)


def test_dropout_is_the_configuration_s_or_the_class_s() -> None:
    assert drops(load("gpt-3-175b"))
    assert not drops(load("llama-3.1-8b"))


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(WeighError) as caught:
        needed("resnet-50", Layout())
    assert caught.value.rule == "TRAIN-KEPT"
