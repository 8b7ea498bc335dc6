"""`weigh bench`: what is refused, what is measured without llama.cpp, and a quick run to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from weigh.cli import cli
from weigh.commands import bench
from weigh.devices import find, profile
from weigh.engines.llama_cpp import running
from weigh.types import WeighError


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(profile.FILE_VARIABLE, str(tmp_path / "this.toml"))
    return tmp_path / "this.toml"


@pytest.mark.parametrize("name", ["My Box.toml", "mybox", "mybox.json", "-.TOML"])
def test_a_file_that_no_device_can_be_called_after_is_refused_before_anything_is_measured(name: str) -> None:
    with pytest.raises(WeighError) as refused:
        bench.run(output=name)
    assert (refused.value.rule, refused.value.exit_code) == ("DEVICE-NAME", 2)


def test_without_llama_cpp_the_rest_is_measured_and_the_install_line_told(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "installed", lambda: None)
    answer = bench.run(output=str(tmp_path / "mybox.toml"), name="My box", quick=True)
    assert answer.result["engine"] is None
    assert any(running.INSTALL in warning for warning in answer.warnings)
    assert {row["what"] for row in answer.result["rates"]} >= {"memory, read", "products in f32", "file, from memory"}
    assert all(row["value"] > 0 for row in answer.result["rates"])
    assert answer.result["profile"] is None
    assert not kept.exists()
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    assert find("mybox").device.memory_bandwidth is not None


@pytest.mark.slow
@pytest.mark.skipif(running.installed() is None, reason="llama.cpp's wheel is not installed")
def test_a_quick_run_times_llama_cpp_and_gives_a_device_that_foretells(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mybox.toml"
    done = CliRunner().invoke(cli, ["bench", "--quick", "-o", str(file), "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)["result"]
    assert {row["codec"] for row in result["engine"]["codecs"]} == {"q4_k", "q6_k", "q8_0", "f16"}
    assert result["engine"]["timed_steps"] > 10
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    words = ["cost", "smollm2-135m", "--on", "mybox", "--weights", "q8_0", "--json"]
    told = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)["result"]["latency"]
    assert told["tpot"]["basis"] == told["ttft"]["basis"] == "measured"
    assert 0 < told["tpot"]["value"] < told["ttft"]["value"]
