"""Time over devices: what divides, what goes over links, how a pipeline fills, what the host costs; by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.families.test_experts import DEEPSEEK_V3
from weigh.commands.cost import timed
from weigh.commands.setting import Setting, locate, setting
from weigh.commands.source import load
from weigh.cost.links import COLLECTIVE_S, Links, all_gather_s, all_reduce_s, links, send_s
from weigh.cost.run.latency import grouped
from weigh.cost.run.several import line_of
from weigh.cost.run.split import Split
from weigh.cost.run.stages import Line, decode_s, prefill_s
from weigh.families.identify import identify
from weigh.types import Inventory

WIRES = Links(450e9, 50e9)

SMALL = {**DEEPSEEK_V3, "num_hidden_layers": 4, "n_routed_experts": 16, "dtype": "bfloat16"}


def on(model: Any, device: str, engine: str = "vllm", **more: Any) -> Setting:
    held = load(model) if isinstance(model, str) else model
    return setting(model=held, place=locate(device), engine=engine, **more)


def stages_of(chosen: Setting) -> Line:
    found = line_of(chosen.job, chosen.engine, grouped(chosen.model, chosen.loaded.holdings), chosen.split)
    assert found is not None
    return found


def test_a_device_of_which_nothing_is_known_has_no_time() -> None:
    found = timed(on("llama-3.1-8b", "24GBx2", "llama.cpp"))
    assert (found.ttft, found.tpot, found.tokens_per_second) == (None, None, None)


def test_a_sum_goes_round_a_ring_twice_and_one_device_sends_nothing() -> None:
    assert all_reduce_s(1e6, 1, WIRES) == all_gather_s(1e6, 1, WIRES) == 0
    assert all_reduce_s(1e6, 4, WIRES) == pytest.approx(2 * 3 / 4 * 1e6 / 450e9 + COLLECTIVE_S)
    assert all_gather_s(1e6, 4, WIRES) == pytest.approx(3 / 4 * 1e6 / 450e9 + COLLECTIVE_S)
    assert all_reduce_s(1e6, 16, WIRES) == pytest.approx(2 * 15 / 16 * 1e6 / 400e9 + COLLECTIVE_S)
    assert send_s(1e6, WIRES, far=True) == pytest.approx(1e6 / 50e9 + COLLECTIVE_S)
    assert all_reduce_s(np.array([0.0, 1e6]), 2, WIRES).shape == (2,)


def test_a_card_states_no_link_and_a_board_states_both() -> None:
    assert links(locate("24GB").cluster.device) is None
    assert links(locate("h100").cluster.device) == Links(450e9, 50e9)


def test_two_sums_a_layer_one_of_the_table_and_the_logits_gathered() -> None:
    chosen = on("llama-3.1-8b", "h100x4", kv="bf16", batch=8)
    found = stages_of(chosen)
    assert [stage.sums for stage in found.stages] == [2 * 32 + 1]
    spent = decode_s(found, chosen.job, 8)
    by_hand = 65 * all_reduce_s(8 * 4096 * 2, 4, WIRES) + all_gather_s(8 * 128_256 * 2, 4, WIRES)
    assert spent.links == pytest.approx(by_hand)


def test_devices_that_divide_every_layer_take_their_share_of_the_time() -> None:
    """Everything that is read divides by four but for the gains of the norms."""
    one, four = (on("llama-3.1-70b", f"h100x{n}", kv="bf16", parallel=f"tp={n}") for n in (1, 4))
    whole, quarter = (decode_s(stages_of(chosen), chosen.job, 1).devices for chosen in (one, four))
    launches = (
        sum(g.count * g.kernels for g in stages_of(one).stages[0].groups) * stages_of(one).stages[0].rates.kernel_s
    )
    assert (quarter - launches) / (whole - launches) == pytest.approx(0.25, rel=0.001)


def test_one_device_takes_what_it_takes_without_a_layout() -> None:
    chosen = on("llama-3.1-8b", "h100", kv="bf16", batch=4)
    spent = decode_s(stages_of(chosen), chosen.job, 4)
    direct = timed(chosen).tpot
    assert direct is not None
    assert spent.total == spent.devices == pytest.approx(direct.value)
    prompt = timed(chosen).ttft
    assert prompt is not None
    assert prefill_s(stages_of(chosen), chosen.job).total == pytest.approx(prompt.value)


def test_one_token_takes_all_stages_one_after_the_other() -> None:
    one, two = on("llama-3.1-8b", "rtx-4090", "llama.cpp"), on("llama-3.1-8b", "rtx-4090x2", "llama.cpp")
    alone, parted = (decode_s(stages_of(chosen), chosen.job, 1) for chosen in (one, two))
    assert parted.devices == pytest.approx(alone.devices)
    assert 0 < parted.links < 1e-4


def test_a_pipeline_overlaps_the_stretches_of_a_prompt_where_the_engine_does() -> None:
    """4 stretches of 512 over two stages: (4 + 1) of 8 halves. transformers sends the prompt whole."""
    one, two = (on("llama-3.1-8b", f"rtx-4090{n}", "llama.cpp", prompt=2048) for n in ("", "x2"))
    alone, parted = (prefill_s(stages_of(chosen), chosen.job) for chosen in (one, two))
    assert parted.devices / alone.devices == pytest.approx(5 / 8, rel=0.05)
    one, two = (on("llama-3.1-8b", f"rtx-4090{n}", "transformers", prompt=2048) for n in ("", "x2"))
    alone, parted = (prefill_s(stages_of(chosen), chosen.job) for chosen in (one, two))
    assert parted.devices == pytest.approx(alone.devices)


def test_copies_multiply_the_tokens_and_leave_the_time_of_one() -> None:
    one = timed(on("llama-3.1-8b", "h100x2", parallel="tp=2", batch=8))
    four = timed(on("llama-3.1-8b", "h100x8", parallel="tp=2,dp=4", batch=32))
    assert one.tpot is not None
    assert four.tpot is not None
    assert four.tpot.value == pytest.approx(one.tpot.value)
    assert four.tokens_per_second is not None
    assert four.tokens_per_second.value == pytest.approx(32 / one.tpot.value)


def test_every_layer_on_the_host_makes_a_token_slower() -> None:
    times = []
    for layers in (0, 8, 16, 32):
        found = timed(on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q4_0", offload=layers)).tpot
        assert found is not None
        times.append(found.value)
    assert times == sorted(times)
    # Eight layers more are eight layers' bytes at the host's rate instead of the device's.
    assert (times[2] - times[1]) * 2 == pytest.approx(times[3] - times[2], rel=0.02)


def test_a_long_prompt_borrows_the_matrices_of_the_host_and_a_short_one_does_not() -> None:
    """1,024 tokens are two stretches: every matrix of the eight layers goes to the card twice."""
    long = on("llama-3.1-8b", "rtx-4090", "llama.cpp", weights="q4_0", offload=8, prompt=1024)
    found = stages_of(long)
    held = sum(t.nbytes for t in long.job.tensors if t.name.startswith("blk.") and int(t.name.split(".")[1]) < 8)
    spent = prefill_s(found, long.job)
    assert spent.host == 0
    assert spent.links == pytest.approx(2 * held / found.host_bytes_per_s, rel=0.05)
    short = replace(long.job, workload=replace(long.job.workload, prompt=16))
    spent = prefill_s(found, short)
    assert spent.host > 0
    assert spent.links < 1e-3


def test_experts_and_latent_rows_divide_as_they_lie() -> None:
    """The latent row is read whole by every device, the experts' bytes by one in eight."""
    model = identify(Inventory("deepseek-v3", "config", "hf", configuration=SMALL))
    one, eight = (stages_of(on(model, f"h200x{n}", kv="bf16", parallel=f"tp={n}")) for n in (1, 8))
    names = {}
    for found in (one, eight):
        for group in found.stages[0].groups:
            names.setdefault(group.name, []).append(group)
    whole, part = (names["attention"][n] for n in (0, len(names["attention"]) // 2))
    assert [state.row for state in part.states] == [state.row for state in whole.states]
    moe = names["moe"]
    experts = [next(one.nbytes for one in group.weights if one.chance < 1) for group in (moe[0], moe[-1])]
    assert experts[1] == pytest.approx(experts[0] / 8)


def test_many_batches_go_through_the_same_lines_as_one() -> None:
    chosen = on("mixtral-8x7b", "h100x8", parallel="tp=4,pp=2")
    found = stages_of(chosen)
    batches = np.array([1.0, 2.0, 7.0, 64.0])
    together = decode_s(found, chosen.job, batches)
    for place, batch in enumerate(batches):
        alone = decode_s(found, chosen.job, float(batch))
        assert together.total[place] == pytest.approx(alone.total)


def test_words_and_devices_of_a_split() -> None:
    assert Split(4, 2, 4, 3).words == "tp=4,pp=2,ep=4,dp=3"
    assert Split(4, 2, 4, 3).devices == 24
