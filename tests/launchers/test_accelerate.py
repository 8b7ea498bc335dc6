"""The launcher of Accelerate: what it refuses, and that Accelerate reads back the layout that was planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.devices import find as find_device
from weigh.launchers.accelerate import ACCELERATE, CONFIGURATION
from weigh.launchers.launcher import Setup


def setup(layout: Layout, precision: str = "bf16", optimizer: str = "adamw") -> Setup:
    device = find_device(f"h100x{layout.devices}")
    given = find_optimizer(optimizer), find_precision(precision)
    return Setup(load("llama-3.1-8b"), layout, Training(64, 2048), *given, device)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout(pp=2), "pipeline"),
        (Layout(dp=2, zero=1), "optimizer's states"),
        (Layout(tp=2, dp=2), "together with FSDP2"),
        (Layout(dp=2, recompute="full"), "together with FSDP2"),
        (Layout(zero=3), "several devices"),
        (Layout(dp=2, zero=3, recompute="selective"), "products of attention"),
        (Layout(dp=2, zero=3, recompute="full", recompute_every=2), "one of 2"),
        (Layout(tp=2, dp=2, zero=3, sequence_parallel=True), "rows"),
    ],
)
def test_a_layout_that_it_cannot_express_is_refused(layout: Layout, words: str) -> None:
    refused = ACCELERATE.refuses(setup(layout))
    assert refused is not None
    assert words in refused.message


@pytest.mark.parametrize("changes", [{"precision": "fp8"}, {"optimizer": "muon"}])
def test_precisions_and_optimizers_that_it_is_not_given_are_refused(changes: dict[str, str]) -> None:
    assert ACCELERATE.refuses(setup(Layout(dp=2, zero=3), **changes)) is not None


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(dp=8),
        Layout(dp=8, zero=2),
        Layout(dp=16, zero=3, recompute="full"),
        Layout(tp=2, dp=2, cp=2, zero=3),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accelerate_reads_back_the_layout(tmp_path: Path, layout: Layout, precision: str) -> None:
    args = pytest.importorskip("accelerate.commands.config.config_args")
    launch = pytest.importorskip("accelerate.commands.launch")
    path = tmp_path / CONFIGURATION
    one = setup(layout, precision)
    assert ACCELERATE.refuses(one) is None
    path.write_text(ACCELERATE.write(one)[CONFIGURATION])
    read = args.ClusterConfig.from_json_file(path)
    assert (read.num_processes, read.num_machines) == (layout.devices, one.nodes)
    assert read.mixed_precision == {"fp32": "no", "bf16": "bf16"}[precision]
    assert read.distributed_type.value == ("FSDP" if layout.zero else "NO" if layout.devices == 1 else "MULTI_GPU")
    options = vars(launch.launch_command_parser().parse_args(["train.py"]))
    held = {**read.fsdp_config, **read.parallelism_config}
    assert set(held) <= set(options)
    if layout.zero:
        degrees = [held[f"parallelism_config_{name}_size"] for name in ("dp_replicate", "dp_shard", "tp", "cp")]
        assert degrees == [1, layout.dp, layout.tp, layout.cp]
        assert held["fsdp_version"] == 2
        assert held["fsdp_reshard_after_forward"] is (layout.zero == 3)
        assert held["fsdp_activation_checkpointing"] is (layout.recompute == "full")
    else:
        assert not held


def test_what_a_step_is_is_told_for_the_script() -> None:
    told = " ".join(ACCELERATE.notes(setup(Layout(dp=8, zero=3, microbatch=2))))
    assert "2 sequences of 2,048 tokens" in told
    assert "gradient_accumulation_steps=4" in told
    assert "adamw" in told


def test_several_machines_are_named_when_it_starts() -> None:
    script = ACCELERATE.write(setup(Layout(dp=16, zero=3)))["run.sh"]
    assert "NODE_RANK:?" in script
    assert '--main_process_ip "${MASTER%%:*}"' in script
