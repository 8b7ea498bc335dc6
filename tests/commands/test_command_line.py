"""The command line as a user meets it: exit codes, streams, errors, forms of output."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

WEIGH = [sys.executable, "-c", "from weigh.cli import main; main()"]
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}


def weigh(*words: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WEIGH, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def safetensors(path: Path, names: dict[str, list[int]]) -> Path:
    header: dict[str, object] = {}
    offset = 0
    for name, shape in names.items():
        size = 4
        for axis in shape:
            size *= axis
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return path


# ------------------------------------------------------------------------------------------- failures first


@pytest.mark.parametrize(
    ("words", "code", "rule"),
    [
        (("show", "no-such-model"), 4, "MODEL-UNKNOWN"),
        (("show",), 2, "USAGE"),
        (("show", "gpt2", "--no-such-option"), 2, "USAGE"),
        (("cost", "gpt2", "--on", "h1000"), 4, "DEVICE-UNKNOWN"),
        (("cost", "gpt2", "--on", "8GB", "--engine", "llama"), 2, "ENGINE-UNKNOWN"),
        (("cost", "gpt2", "--on", "8GB", "--kv", "q9_9"), 2, "KV-CODEC"),
        (("cost", "gpt2", "--on", "8GB", "--weights", "q4_km"), 2, "RECIPE-UNKNOWN"),
        (("cost", "gpt2", "--on", "8GB", "--context", "100"), 2, "CONTEXT-SHORT"),
        (("explain", "kv-cash"), 2, "TERM-UNKNOWN"),
        (("devices", "--class", "mainframe"), 2, "DEVICE-FILTER"),
    ],
)
def test_a_wrong_word_is_an_error_of_its_own_code_with_a_hint(words: tuple[str, ...], code: int, rule: str) -> None:
    done = weigh(*words)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert rule.partition("-")[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_json_mode_is_one_line_of_json_on_standard_error() -> None:
    done = weigh("show", "no-such-model", "--json")
    assert done.returncode == 4
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert error["rule"] == "MODEL-UNKNOWN"
    assert {"message", "path", "offset", "hint"} <= set(error)
    assert done.stderr.count("\n") == 1


def test_an_unknown_architecture_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "llamma", "hidden_size": 8}')
    done = weigh("show", path)
    assert done.returncode == 3
    assert "llamma" in done.stderr
    assert "llama" in done.stderr.replace("llamma", "")


def test_names_from_a_file_never_reach_the_terminal_raw(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "model.safetensors", {"a\x1b[31m\u202eb": [2]})
    for words in ((), ("--tensors",), ("--csv",), ("--json", "--tensors")):
        done = weigh("show", path, *words)
        assert done.returncode == 0, done.stderr
        hidden = [c for c in done.stdout + done.stderr if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
        assert hidden == []


def test_a_reader_that_goes_away_is_no_error(config: Path) -> None:
    shown = subprocess.Popen([*WEIGH, "show", str(config), "--tensors"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert shown.stdout is not None
    shown.stdout.close()
    _, error = shown.communicate()
    assert error == b""


def test_a_bug_of_ours_is_said_in_the_style_of_all_errors() -> None:
    broken = "import weigh.cli as c\nc.cli.invoke = lambda _: 1 / 0\nc.main()"
    done = subprocess.run([sys.executable, "-c", broken, "codecs"], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------ the forms


def test_a_first_word_that_is_no_command_is_a_model(config: Path) -> None:
    done = weigh(config, "--on", "8GB", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "weigh/summary/1"
    assert document["result"]["inventory"]["parameters"]["total"] == document["result"]["inventory"]["bytes"] // 2


def test_a_path_that_is_called_like_a_command_is_named_with_its_folder(config: Path) -> None:
    config.rename(config.with_name("show"))
    done = weigh("./show", "--on", "8GB", folder=config.parent)
    assert done.returncode == 0, done.stderr
    assert "llama" in done.stdout


def test_show_prints_the_same_count_in_every_form(config: Path) -> None:
    document = json.loads(weigh("show", config, "--json").stdout)
    total = document["result"]["parameters"]["total"]
    assert document["schema"] == "weigh/show/1"
    assert f"{total:,}" in weigh("show", config).stdout
    rows = list(csv.DictReader(io.StringIO(weigh("show", config, "--csv").stdout)))
    assert sum(int(row["parameters"]) for row in rows) == total


def test_every_registry_is_listed_as_text_json_and_csv() -> None:
    for name in ("codecs", "families", "engines", "recipes", "devices", "catalogue"):
        assert weigh(name).returncode == 0
        document = json.loads(weigh(name, "--json").stdout)
        assert document["schema"] == f"weigh/{name}/1"
        rows = list(csv.DictReader(io.StringIO(weigh(name, "--csv").stdout)))
        listed = next(value for value in document["result"].values() if isinstance(value, list))
        assert len(rows) == len(listed) > 0


def test_a_report_stands_alone(config: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = weigh("show", config, "--html", target)
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert "<html" in text
    assert "<script" not in text
    assert "src=" not in text


def test_no_colour_reaches_a_pipe_and_nothing_is_cut(config: Path) -> None:
    done = weigh("show", config, "--tensors", COLUMNS="")
    assert "\x1b" not in done.stdout
    assert "model.layers.1.post_attention_layernorm.weight" in done.stdout


# ------------------------------------------------------------------------------------------------- the cost


def test_cost_gives_every_promised_figure_with_its_interval_and_reason(config: Path) -> None:
    document = json.loads(weigh("cost", config, "--on", "rtx-4090", "--json").stdout)
    result = document["result"]
    memory = result["memory"]
    for name in ("weights", "state", "activations", "overhead", "total"):
        figure = memory[name]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["unit"] == "B"
        assert figure["basis"] in ("counted", "measured", "derived", "assumed")
        assert figure["why"]["formula"]
    ends = [sum(memory[name][end] for name in memory if name != "total") for end in ("low", "value", "high")]
    assert ends == pytest.approx([memory["total"][end] for end in ("low", "value", "high")])
    assert result["compute"]["prefill_flops"]["basis"] == "counted"
    assert result["latency"]["tpot"]["unit"] == "s"
    assert result["latency"]["tokens_per_second"]["value"] == pytest.approx(1 / result["latency"]["tpot"]["value"])
    assert result["money"]["usd_per_million_tokens"]["value"] > 0
    assert result["fits"] == "yes"
    assert result["max_context"]["value"] == CONFIG["max_position_embeddings"]


def test_a_gate_that_is_missed_exits_with_one() -> None:
    assert weigh("cost", "gpt2", "--on", "8GB", "--require-fit").returncode == 0
    done = weigh("cost", "gpt-3-175b", "--on", "8GB", "--require-fit", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["result"]["fits"] == "no"
    assert json.loads(done.stderr)["error"]["rule"] == "FIT-REQUIRED"


def test_an_answer_of_no_is_not_an_error() -> None:
    assert weigh("cost", "gpt-3-175b", "--on", "8GB").returncode == 0


def test_weights_of_an_unknown_architecture_are_told_and_the_rest_refused(tmp_path: Path) -> None:
    path = safetensors(tmp_path / "model.safetensors", {"some.weight": [4, 4]})
    done = weigh("cost", path, "--on", "8GB", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["result"]["memory"]["weights"]["value"] == 64
    assert json.loads(done.stderr)["error"]["rule"] == "CONFIG-ABSENT"
    shown = weigh(path, "--on", "8GB")
    assert shown.returncode == 0
    assert "no configuration beside the weights" in shown.stdout


def test_a_file_that_contradicts_its_configuration_is_counted_and_not_costed(tmp_path: Path, config: Path) -> None:
    safetensors(tmp_path / "model.safetensors", {"model.embed_tokens.weight": [256, 64]})
    shown = json.loads(weigh("show", tmp_path, "--json").stdout)
    assert shown["result"]["family"] == "llama"
    assert shown["result"]["parameters"]["total"] == 256 * 64
    assert any("missing" in warning for warning in shown["warnings"])
    assert weigh("cost", tmp_path, "--on", "8GB").returncode == 3


def test_why_prints_a_derivation_for_every_figure(config: Path) -> None:
    done = weigh("cost", config, "--on", "rtx-4090", "--why")
    for name in ("memory.weights", "memory.state", "latency.tpot", "money.joules_per_token"):
        assert f"{name} = " in done.stdout


# --------------------------------------------------------------------------------------------------- terms


def test_a_term_is_explained_in_both_languages_and_worked_through(config: Path) -> None:
    english = weigh("explain", "kv cache", config)
    assert english.returncode == 0, english.stderr
    assert "memory.state = " in english.stdout
    chinese = weigh("explain", "kv-cache", "--lang", "zh")
    assert any("\u4e00" <= character <= "\u9fff" for character in chinese.stdout)
