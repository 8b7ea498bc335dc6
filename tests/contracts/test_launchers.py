"""What every launcher must keep, whoever adds it: run over the registry, on models and layouts of several kinds."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from functools import cache
from pathlib import PurePosixPath

import pytest

from weigh.commands.source import load
from weigh.cost.train.layout import Layout, Training, check, parse
from weigh.cost.train.optimizers import OPTIMIZERS, PRECISIONS
from weigh.devices import find as find_device
from weigh.launchers import LAUNCHERS, PLAN, emit, find
from weigh.launchers.launcher import Launcher, Setup
from weigh.types import Model, WeighError

MODELS = ("gpt2", "llama-3.1-8b", "qwen3-0.6b", "mixtral-8x7b", "bert-base")
LAYOUTS = tuple(
    parse(words)
    for words in (
        "dp=1", "dp=8", "dp=8,zero=1", "dp=8,zero=2", "dp=8,zero=3", "tp=2,dp=4,zero=3", "tp=4,pp=2,dp=2",
        "pp=2,dp=2,cp=2", "pp=4,dp=4,interleave=3", "dp=8,zero=3,microbatch=4",
    )
)  # fmt: skip
EACH = pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: launcher.id)


@cache
def model(name: str) -> Model:
    return load(name)


def setup(name: str, layout: Layout, precision: str = "bf16", optimizer: str = "adamw") -> Setup:
    training = Training(layout.dp * layout.pp * layout.microbatch * 2, 512)
    cluster = find_device(f"h100x{layout.devices}")
    return Setup(model(name), layout, training, OPTIMIZERS[optimizer], PRECISIONS[precision], cluster)


def every_setup() -> list[Setup]:
    """All models in all layouts that are legal, and the switches one by one."""
    found = []
    for name in MODELS:
        for layout in LAYOUTS:
            one = setup(name, layout)
            try:
                check(layout, one.model, one.training, layout.devices)
            except WeighError:
                continue
            found.append(one)
    plain = LAYOUTS[4]
    found += [setup("llama-3.1-8b", plain, precision, "adamw") for precision in PRECISIONS]
    found += [setup("llama-3.1-8b", plain, "bf16", optimizer) for optimizer in OPTIMIZERS]
    changes = ({"recompute": "full"}, {"recompute": "selective"}, {"recompute": "full", "recompute_every": 2},
               {"flash_attention": True})  # fmt: skip
    found += [setup("llama-3.1-8b", replace(plain, **change)) for change in changes]
    return found


def files(one: Setup, launcher: Launcher) -> dict[str, str]:
    return dict(
        emit(one.model, one.layout, one.training, one.optimizer, one.precision, one.cluster, launcher, one.steps)
    )


def test_no_two_launchers_share_an_id_or_a_name() -> None:
    for key in ("id", "name"):
        assert len({getattr(launcher, key) for launcher in LAUNCHERS}) == len(LAUNCHERS)


def test_a_launcher_that_is_not_there_is_an_error_with_a_hint() -> None:
    with pytest.raises(WeighError) as refused:
        find("torchrum")
    assert (refused.value.rule, refused.value.exit_code) == ("LAUNCHER-UNKNOWN", 2)
    assert "torchrun" in refused.value.hint


@EACH
def test_it_is_a_plain_record_that_is_found_in_any_case(launcher: Launcher) -> None:
    assert find(launcher.id.upper()) is launcher
    assert pickle.loads(pickle.dumps(launcher)) == launcher
    assert launcher.source
    assert launcher.version


@EACH
def test_it_refuses_in_its_own_name_or_writes_every_file_whole(launcher: Launcher) -> None:
    written = 0
    for one in every_setup():
        refused = launcher.refuses(one)
        if refused is not None:
            assert (refused.rule, refused.exit_code) == ("LAUNCH-REFUSED", 2)
            assert refused.message.startswith(launcher.id)
            with pytest.raises(WeighError, match=launcher.id):
                files(one, launcher)
            continue
        found = files(one, launcher)
        written += 1
        assert list(found)[-1] == PLAN
        assert {"README.md", "run.sh", PLAN} <= set(found)
        assert all(len(PurePosixPath(name).parts) == 1 and text.endswith("\n") for name, text in found.items())
    assert written > 5


@EACH
def test_the_plan_says_the_whole_layout(launcher: Launcher) -> None:
    one = setup("llama-3.1-8b", LAYOUTS[4])
    plan = json.loads(files(one, launcher)[PLAN])
    assert plan["launcher"] == launcher.id
    assert plan["layout"]["microbatches"] == one.microbatches
    assert {name: plan["layout"][name] for name in ("tp", "pp", "dp", "cp", "ep", "zero")} == {
        "tp": 1, "pp": 1, "dp": 8, "cp": 1, "ep": 1, "zero": 3
    }  # fmt: skip
    assert plan["training"] == {"batch": one.training.batch, "sequence": one.training.sequence, "steps": one.steps}
    assert (plan["precision"], plan["optimizer"]) == ("bf16", "adamw")


@EACH
def test_the_same_setup_gives_the_same_text(launcher: Launcher) -> None:
    one = setup("llama-3.1-8b", LAYOUTS[4])
    assert files(one, launcher) == files(one, launcher)


@EACH
def test_what_it_notes_stands_in_the_readme(launcher: Launcher) -> None:
    one = setup("llama-3.1-8b", LAYOUTS[4])
    readme = files(one, launcher)["README.md"]
    assert launcher.notes(one)
    assert all(note in readme for note in launcher.notes(one))
