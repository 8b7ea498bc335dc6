"""The launcher of torchrun: what it refuses, that its files are safe, and that the script really trains."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from weigh.cli import cli
from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.devices import find as find_device
from weigh.launchers import emit, run
from weigh.launchers.files import put
from weigh.launchers.launcher import Setup
from weigh.launchers.shell import array
from weigh.launchers.torchrun import TORCHRUN
from weigh.types import WeighError

TINY = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64, "tie_word_embeddings": True, "dtype": "float32",
}  # fmt: skip


def configured(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**TINY, **changes}))
    return folder


def setup(model: str | Path, layout: Layout, *, precision: str = "fp32", optimizer: str = "adamw") -> Setup:
    training = Training(8, 16)
    device = find_device(f"h100x{layout.devices}")
    return Setup(load(str(model)), layout, training, find_optimizer(optimizer), find_precision(precision), device)


def written(one: Setup, folder: Path) -> Path:
    put(emit(one.model, one.layout, one.training, one.optimizer, one.precision, one.cluster, TORCHRUN, 4), folder)
    return folder


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout(pp=2), "pipeline"),
        (Layout(cp=2, zero=3), "context"),
        (Layout(dp=2, zero=1), "optimizer's states"),
        (Layout(recompute="selective"), "products of attention"),
        (Layout(tp=2, sequence_parallel=True), "rows"),
        (Layout(tp=4), "repeats no heads"),
    ],
)
def test_a_layout_that_the_script_cannot_do_is_refused_with_a_hint(tmp_path: Path, layout: Layout, words: str) -> None:
    refused = TORCHRUN.refuses(setup(configured(tmp_path / "m"), layout))
    assert refused is not None
    assert words in refused.message
    assert refused.hint


def test_the_vocabulary_must_divide(tmp_path: Path) -> None:
    refused = TORCHRUN.refuses(setup(configured(tmp_path / "m", vocab_size=63), Layout(tp=2)))
    assert refused is not None
    assert "vocabulary" in refused.message


@pytest.mark.parametrize(("name", "words"), [("qwen3-0.6b", "does not divide"), ("bert-base", "causal")])
def test_a_model_that_the_script_cannot_divide_or_train_is_refused(name: str, words: str) -> None:
    refused = TORCHRUN.refuses(setup(name, Layout(tp=2)))
    assert refused is not None
    assert words in refused.message


@pytest.mark.parametrize("changes", [{"precision": "fp8"}, {"optimizer": "muon"}, {"optimizer": "adafactor"}])
def test_precisions_and_optimizers_that_it_has_not_are_refused(changes: dict[str, str]) -> None:
    assert TORCHRUN.refuses(setup("gpt2", Layout(), **changes)) is not None


def test_keys_that_name_code_or_codecs_are_not_written(tmp_path: Path) -> None:
    source = configured(tmp_path / "m", auto_map={"AutoModel": "evil.Model"}, _name_or_path="/home/somebody")
    held = json.loads((written(setup(source, Layout()), tmp_path / "out") / "config.json").read_text())
    assert held["hidden_size"] == 32
    assert not {"auto_map", "_name_or_path"} & set(held)


def test_files_are_written_whole_with_their_digests_and_over_an_earlier_plan(tmp_path: Path) -> None:
    folder = written(setup(configured(tmp_path / "m"), Layout()), tmp_path / "a b" / "it's $(here)")
    first = json.loads((folder / "plan.json").read_text())
    assert set(first["files"]) == {"train.py", "config.json", "run.sh", "README.md"}
    written(setup(tmp_path / "m", Layout(dp=2, zero=3)), folder)
    second = json.loads((folder / "plan.json").read_text())
    assert second["layout"]["dp"] == 2
    assert second["files"]["train.py"] == first["files"]["train.py"]
    assert not [path for path in folder.iterdir() if path.name.endswith(".weigh-tmp")]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    with pytest.raises(WeighError) as refused:
        written(setup(configured(tmp_path / "m"), Layout()), place)
    assert refused.value.rule == "LAUNCH-FOLDER"
    assert place.read_text() == "mine"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("devices", [1, 8, 12, 16])
def test_the_shell_script_starts_as_many_processes_from_any_folder(tmp_path: Path, devices: int) -> None:
    folder = written(setup(configured(tmp_path / "m"), Layout(dp=devices, zero=3)), tmp_path / 'it\'s $(touch x) "q"')
    tool = tmp_path / "bin" / "torchrun"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o755)
    done = subprocess.run(
        ["bash", str(folder / "run.sh"), "--data", "my file"],
        cwd=tmp_path,
        env={"PATH": f"{tool.parent}:{os.environ['PATH']}", "MASTER": "first:29500"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    nodes = int(words[words.index("--nnodes") + 1]) if "--nnodes" in words else 1
    assert nodes * int(words[words.index("--nproc-per-node") + 1]) == devices
    assert words[-3:] == [str(folder / "train.py"), "--data", "my file"]
    assert not list(tmp_path.glob("x"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_words_of_an_array_reach_the_command_unchanged() -> None:
    words = ["--path", 'it\'s $(touch x) "q" `y`\n\\', "--flag", "--n", "3"]
    script = array("words", words) + '\nprintf "%s\\0" "${words[@]}"'
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0") == [
        *words, ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--emit torchrun", "LAUNCH-ASKED"),
        ("-o somewhere", "LAUNCH-ASKED"),
        ("--steps 5", "LAUNCH-ASKED"),
        ("--emit torchrum -o somewhere", "LAUNCHER-UNKNOWN"),
        ("--parallel pp=2 --on h100x2 --emit torchrun -o somewhere", "LAUNCH-REFUSED"),
    ],
)
def test_words_that_do_not_go_together_are_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, rule: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, ["cost", "gpt2", "--train", "--on", "h100", *words.split()])
    assert isinstance(done.exception, WeighError)
    assert (done.exception.rule, done.exception.exit_code) == (rule, 2)
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_and_says_what(tmp_path: Path) -> None:
    out = tmp_path / "plan"
    words = "cost llama-3.1-8b --train --on h100x8 --parallel dp=8,zero=3 --tokens 1B --batch 64 --emit torchrun"
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, [*words.split(), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["result"]["emitted"]["files"] == [
        "train.py", "config.json", "run.sh", "README.md", "plan.json"
    ]  # fmt: skip
    assert json.loads((out / "plan.json").read_text())["training"]["steps"] == round(1e9 / (64 * 2048))


# ------------------------------------------------------------------------------------------------ it really runs


def test_what_does_not_fit_here_is_not_started() -> None:
    with pytest.raises(WeighError) as refused:
        run.require_memory(8 * 2**30, 2, 16 * 2**30)
    assert (refused.value.rule, refused.value.exit_code) == ("RUN-MEMORY", 5)
    run.require_memory(8 * 2**30, 2, 17 * 2**30)
    run.require_memory(8 * 2**30, 2, None)


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(WeighError) as refused:
        run.require_torch()
    assert refused.value.exit_code == 2
    assert "weigh[torch]" in refused.value.hint


needs_torch = pytest.mark.skipif(
    run.find_spec("torch") is None or run.find_spec("transformers") is None, reason="torch"
)


def started(folder: Path, *words: str) -> list[dict[str, Any]]:
    """The steps of a run of two processes."""
    metrics = folder / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [str(folder / "train.py"), "--metrics", str(metrics), "--lr", "0.01", "--max-seconds", "60", *words]
    done = subprocess.run(
        [*command, *given], capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in metrics.read_text().splitlines()]


@needs_torch
@pytest.mark.slow
@pytest.mark.oracle
def test_from_one_checkpoint_every_layout_takes_the_same_steps(tmp_path: Path) -> None:
    """Divided parameters resumed as whole copies, and as tensor parallel with layers computed again."""
    model, kept = configured(tmp_path / "m"), tmp_path / "kept"
    first = written(setup(model, Layout(dp=2, zero=3, microbatch=2)), tmp_path / "zero3")
    before = started(first, "--steps", "2", "--checkpoint", str(kept), "--repeat")
    assert [row["step"] for row in before] == [1, 2]
    assert before[1]["loss"] < before[0]["loss"]
    losses = []
    for layout in (Layout(dp=2, microbatch=2), Layout(tp=2, microbatch=2, recompute="full")):
        folder = written(setup(model, layout), tmp_path / f"tp{layout.tp}")
        shutil.copytree(kept, folder / "from")
        rows = started(folder, "--steps", "4", "--checkpoint", str(folder / "from"), "--repeat")
        assert [row["step"] for row in rows] == [3, 4]
        assert rows[1]["loss"] < rows[0]["loss"] < before[1]["loss"]
        losses.append([(row["loss"], row["norm"]) for row in rows])
    assert losses[0] == [pytest.approx(pair, rel=1e-4) for pair in losses[1]]


@needs_torch
@pytest.mark.slow
@pytest.mark.oracle
def test_another_class_trains_on_a_file_of_tokens_in_bf16_with_flash_attention(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()
    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "attn_pdrop": 0.0}
    (model / "config.json").write_text(
        json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **sizes})
    )
    layout = Layout(dp=2, zero=2, flash_attention=True, recompute="full", recompute_every=2)
    folder = written(setup(model, layout, precision="bf16", optimizer="momentum"), tmp_path / "run")
    # One token again and again: the first thing that a model learns.
    (tmp_path / "tokens.bin").write_bytes(b"\x07\x00" * 8 * 17 * 3)
    rows = started(folder, "--steps", "4", "--data", str(tmp_path / "tokens.bin"))
    assert rows[-1]["loss"] < rows[0]["loss"]


@needs_torch
@pytest.mark.slow
@pytest.mark.oracle
def test_the_command_runs_it_and_tells_measured_beside_foretold(tmp_path: Path) -> None:
    model = configured(tmp_path / "m")
    words = "--train --on thisx2 --parallel dp=2,zero=3 --batch 4 --seq 16 --run --steps 3 --json"
    done = CliRunner(env={"COLUMNS": ""}).invoke(cli, ["cost", str(model), *words.split()])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["result"]["run"]
    assert found["processes"] == 2
    assert found["losses"][-1] < found["losses"][0]
    assert found["step_s"] > 0
    assert found["peak_bytes"] > 0
    assert found["errors"]["per_device"] is not None


@needs_torch
@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_the_one_that_started_them(tmp_path: Path) -> None:
    folder = written(setup(configured(tmp_path / "m"), Layout(dp=2, zero=3)), tmp_path / "run")
    code = f"from pathlib import Path; from weigh.launchers.run import run; run(Path({str(folder)!r}), 2, 10**9, 100)"
    starter = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        assert within(60, lambda: (folder / "metrics.jsonl").exists()), "it never took a step"
        assert len(running(folder)) >= 3
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert within(40, lambda: not running(folder)), running(folder)


def within(seconds: float, holds: Any) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.2)
    return False


def running(folder: Path) -> list[int]:
    """Processes whose command line names the folder's script."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(folder / "train.py").encode() in words:
                found.append(int(entry.name))
    return found


@needs_torch
@pytest.mark.slow
@pytest.mark.oracle
def test_time_up_is_an_error_and_ends_the_processes(tmp_path: Path) -> None:
    folder = written(setup(configured(tmp_path / "m"), Layout()), tmp_path / "run")
    with pytest.raises(WeighError) as refused:
        run.run(folder, 1, 10, 0.5)
    assert (refused.value.rule, refused.value.exit_code) == ("RUN-TIME", 5)
    assert not running(folder)


def test_setups_that_differ_in_a_switch_write_another_plan(tmp_path: Path) -> None:
    one = setup(configured(tmp_path / "m"), Layout())
    other = replace(one, layout=replace(one.layout, flash_attention=True))
    texts = [emit(x.model, x.layout, x.training, x.optimizer, x.precision, x.cluster, TORCHRUN) for x in (one, other)]
    assert texts[0]["plan.json"] != texts[1]["plan.json"]
    assert texts[0]["train.py"] == texts[1]["train.py"]
