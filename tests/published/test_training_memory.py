"""Memory of a device in training: what papers work out and what frameworks measured, against ours.

Nothing here was fitted: every number of ours is derived. The misses are named with their error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Recompute, Training, refusals
from weigh.cost.train.memory import Memory, memory
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.families.identify import identify
from weigh.types import Inventory, Model

GIB = 2**30


def gpt(width: int, heads: int, layers: int) -> Model:
    """A GPT of the papers on Megatron-LM: 51,200 tokens, 2,048 places, dropout as GPT-2's class has it."""
    configuration = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": width,
        "n_head": heads,
        "n_layer": layers,
        "n_positions": 2048,
        "vocab_size": 51_200,
    }
    return identify(Inventory("gpt", "config", "hf", configuration=configuration))


def needed(model: Model, layout: Layout, training: Training) -> Memory:
    assert refusals(layout, model, training, layout.devices) == ()
    return memory(model, layout, training, find_optimizer("adamw"), find_precision("bf16"))


@dataclass(frozen=True)
class Megatron:
    """Figure 1 of arXiv 2205.05198: GiB, as calculon/llm/validation.py in github.com/calculon-ai/calculon has it.

    They are the paper's formulas, without tables, head and loss.
    """

    name: str
    width: int
    heads: int
    layers: int
    layout: Layout
    batch: int
    states: float
    """Parameters, gradients in float32, states: 18 bytes a parameter."""
    tensor: float
    """Activations with tensor parallelism alone."""
    both: float
    """With sequence parallelism and selective recomputation."""


INTERLEAVED = Layout(tp=8, interleave=3, schedule="interleaved")
MEGATRON = (
    Megatron("22B", 6144, 64, 48, Layout(tp=8, microbatch=4), 4, 45.5625, 59.25, 9.5625),
    Megatron("175B", 12_288, 96, 96, replace(INTERLEAVED, pp=8), 64, 45.5625, 66.84375, 12.3515625),
    Megatron("530B", 20_480, 128, 105, replace(INTERLEAVED, pp=35), 280, 31.640625, 114.0234375, 23.076171875),
    Megatron("1T", 25_600, 160, 128, Layout(tp=8, pp=64), 512, 32.958984375, 131.25, 26.5625),
)


@pytest.mark.parametrize("row", MEGATRON, ids=lambda row: row.name)
def test_activations_of_megatron_are_within_3_percent(row: Megatron) -> None:
    model, step = gpt(row.width, row.heads, row.layers), Training(row.batch, 2048)
    both = replace(row.layout, recompute="selective", sequence_parallel=True)
    for layout, published in ((row.layout, row.tensor), (both, row.both)):
        found = needed(model, layout, step).activations
        assert found.value / GIB == pytest.approx(published, rel=0.03)
        assert found.value / GIB > published, "tables, masks and head are left out of the paper's"


@pytest.mark.parametrize("row", MEGATRON, ids=lambda row: row.name)
def test_memory_a_device_of_megatron_is_within_8_percent(row: Megatron) -> None:
    """Our value takes gradients in 16 bit, our upper end in float32 as Megatron-LM does: theirs lies between."""
    both = replace(row.layout, recompute="selective", sequence_parallel=True)
    found = needed(gpt(row.width, row.heads, row.layers), both, Training(row.batch, 2048))
    assert found.per_device.value / GIB == pytest.approx(row.states + row.both, rel=0.08)
    assert found.model_states.value / GIB < row.states < found.model_states.high / GIB


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_full_recomputation_keeps_the_inputs_alone(recompute: Recompute) -> None:
    """2 s b h a layer (section 5), all of it on every device without sequence parallelism."""
    found = needed(gpt(6144, 64, 48), Layout(tp=8, microbatch=4, recompute=recompute), Training(4, 2048))
    inputs = 2 * 2048 * 4 * 6144 * 48
    outside = found.activations.value - inputs
    assert (recompute == "full") == (0 < outside < 0.1 * inputs)


@dataclass(frozen=True)
class Titan:
    """GiB a device of Llama 3.1: github.com/pytorch/torchtitan, benchmarks/llama3_h100_202412_torchtitan.md."""

    name: str
    gibibytes: float
    sequence: int
    layout: Layout
    error: float
    """Ours less theirs, in percent, as it is now."""
    model: str = "llama-3.1-8b"


# "Selective" in these rows is one layer in two, computed again as a whole.
EVERY_OTHER = Layout(zero=3, microbatch=2, recompute="full", recompute_every=2, flash_attention=True)
WHOLE = Layout(zero=3, recompute="full", flash_attention=True)
TITAN = (
    Titan("8 devices", 82.4, 8192, replace(EVERY_OTHER, dp=8), -1),
    Titan("8 devices, compiled", 77.0, 8192, replace(EVERY_OTHER, dp=8), 6),
    Titan("8 devices, compiled, float8", 76.8, 8192, replace(EVERY_OTHER, dp=8), 6),
    Titan("128 devices", 67.0, 8192, replace(EVERY_OTHER, dp=128), 1),
    Titan("128 devices, compiled", 62.0, 8192, replace(EVERY_OTHER, dp=128), 9),
    Titan("128 devices, compiled, float8", 61.8, 8192, replace(EVERY_OTHER, dp=128), 9),
    Titan("32 k tokens", 83.9, 32_768, replace(WHOLE, dp=8), -3),
    Titan("64 k tokens", 84.2, 65_536, replace(WHOLE, dp=4, cp=2), -4),
    Titan("128 k tokens", 84.0, 131_072, replace(WHOLE, dp=2, cp=4), -3),
    Titan("256 k tokens", 84.5, 262_144, replace(WHOLE, cp=8), -4),
    Titan(
        "70B", 71.9, 8192, replace(WHOLE, dp=32, tp=8, microbatch=16, sequence_parallel=True), -27, "llama-3.1-70b"
    ),
)  # fmt: skip


@pytest.mark.parametrize("row", TITAN, ids=lambda row: row.name)
def test_memory_of_torchtitan(row: Titan) -> None:
    training = Training(row.layout.dp * row.layout.microbatch, row.sequence)
    ours = needed(load(row.model), row.layout, training).per_device
    assert 100 * (ours.value / GIB / row.gibibytes - 1) == pytest.approx(row.error, abs=0.6)
    assert ours.low / GIB < row.gibibytes < ours.high / GIB


def test_eight_of_eleven_rows_are_within_8_percent() -> None:
    assert sum(abs(row.error) <= 8 for row in TITAN) == 8
