"""Times on a device that was measured: amounts times seconds a unit, the same in a sweep; else the class's curve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import weigh
from weigh.devices.profile import save, sheet
from weigh.types import Device, Measured, Quoted


def unit_s() -> dict[str, float]:
    """A second for a billion of everything that weigh asks for."""
    from weigh.commands.setting import locate, setting

    asked: set[str] = set()
    for form in ("q8_0", "f16"):
        chosen = setting(model=weigh.load("smollm2-135m"), place=locate("8GB"), weights=form)
        assert chosen.engine.amounts is not None
        asked |= {name for phase in chosen.engine.amounts(chosen.job).values() for name in phase}
    return dict.fromkeys(asked, 1e-9)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    def quoted(value: float) -> Quoted:
        return Quoted(value, "measured", "weigh bench", "2026-11-24")

    found = Measured("llama.cpp", "wheel 1.0", "2026-11-24", 2, unit_s(), 0.1, 0.2, "how")
    device = Device("box", "Box", "Me", "host", memory_bytes=quoted(2**34), memory_bandwidth=quoted(1e10))
    device = replace(device, cores=quoted(2), peak={"f32": quoted(1e11)}, measured={"llama.cpp": found})
    save(sheet(device, "Box"), tmp_path / "box.toml")
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    return device


def test_times_are_measured_with_the_intervals_of_the_profile(box: Device) -> None:
    told = weigh.estimate(weigh.load("smollm2-135m"), on="box", weights="q8_0")["latency"]
    for name, error in (("tpot", 0.1), ("ttft", 0.2)):
        figure = told[name]
        assert figure.basis == "measured"
        assert (figure.low, figure.high) == (figure.value / (1 + error), figure.value * (1 + error))
        assert figure.value == pytest.approx(sum(figure.why.inputs.values()))
    rate = told["tokens_per_second"]
    assert rate.value == pytest.approx(1 / told["tpot"].value)


def test_a_codec_that_was_not_measured_has_the_time_of_the_class(box: Device) -> None:
    told = weigh.estimate(weigh.load("smollm2-135m"), on="box", weights="q2_k")["latency"]
    assert told["tpot"].basis != "measured"


def test_a_sweep_has_the_same_times(box: Device) -> None:
    model = weigh.load("smollm2-135m")
    found = weigh.sweep(model, contexts=[1024], batches=[1, 3, 8], weights=["q8_0", "f16"], devices=["box"])
    for column, batch in enumerate((1, 3, 8)):
        for row, form in enumerate(("q8_0", "f16")):
            one = weigh.estimate(model, on="box", weights=form, context=1024, batch=batch)["latency"]
            assert found.tpot_s[0, column, row, 0] == pytest.approx(one["tpot"].value, rel=1e-12)
            assert found.ttft_s[0, column, row, 0] == pytest.approx(one["ttft"].value, rel=1e-12)


def test_the_document_says_that_it_was_measured(box: Device) -> None:
    from click.testing import CliRunner

    from weigh.cli import cli

    done = CliRunner().invoke(cli, ["cost", "smollm2-135m", "--on", "box", "--weights", "q8_0", "--json"])
    assert json.loads(done.stdout)["result"]["latency"]["tpot"]["basis"] == "measured"
