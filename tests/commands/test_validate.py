"""`weigh validate` on a table of its own: failure paths of the reader, errors, intervals, the chart."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from weigh import published
from weigh.cli import cli
from weigh.commands import validate
from weigh.published import tables
from weigh.report.validation import chart
from weigh.types import WeighError

TABLE = """
title = "Caches"
quantity = "state"
unit = "MiB"
figure = "memory.state"
train = false
source = "https://example.org/log"
read = 2026-11-23
licence = "facts"

[given]
on = "8GB"
model = "small"
context = 1024

[models.small]
model_type = "llama"
architectures = ["LlamaForCausalLM"]
vocab_size = 1000
hidden_size = 256
intermediate_size = 512
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 4096
torch_dtype = "float16"

[[rows]]
name = "as it is"
given = { kv = "f16" }
measured = 2.0
factor = 9.5367431640625e-07

[[rows]]
name = "a log that is wrong"
given = { kv = "f16" }
measured = 4.0
factor = 9.5367431640625e-07
fitted = true
note = "twice as much"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "state-log.toml").write_text(TABLE)
    monkeypatch.setattr(validate, "tables", lambda: tables(tmp_path))
    published.tables.cache_clear()
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[given]", "[given", "is not TOML"),
        ('quantity = "state"', 'quantity = "smell"', "must be one of memory, state"),
        ("measured = 2.0", "measured = 0", "greater than 0"),
        ("measured = 2.0", "measured = nan", "finite"),
        ('on = "8GB"\n', "", "names no `model` or no `on`"),
        ('title = "Caches"', "", "`title` is missing"),
        ("fitted = true", "fitted = 1", "true or false"),
        ("fitted = true", "fited = true", "is not known"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TABLE
    (tmp_path / "state-log.toml").write_text(TABLE.replace(old, new))
    with pytest.raises(WeighError, match=r"state-log\.toml") as caught:
        tables(tmp_path)
    assert told in caught.value.message
    assert caught.value.rule == "PUBLISHED-TABLE"


def test_a_row_that_weigh_refuses_is_no_silent_gap(folder: Path) -> None:
    (folder / "state-log.toml").write_text(TABLE.replace("memory.state", "memory.nothing"))
    published.tables.cache_clear()
    with pytest.raises(WeighError, match=r"row as it is: memory\.nothing is not told"):
        validate.run()


def test_a_search_without_a_table_says_what_there_is(folder: Path) -> None:
    with pytest.raises(WeighError) as caught:
        validate.run("smell")
    assert (caught.value.rule, caught.value.exit_code) == ("VALIDATE-NONE", 4)


def test_rows_stand_beside_ours_and_fitted_ones_apart(folder: Path) -> None:
    result = validate.run("caches").result
    right, wrong = result["rows"]
    # 4 layers x 1,024 tokens x 2 heads x 64 values x keys and values x 2 bytes
    assert right["ours"] == 4 * 1024 * 2 * 64 * 2 * 2 / 2**20 == right["measured"]
    assert (right["error"], right["inside"]) == (0, True)
    assert (wrong["error"], wrong["inside"]) == (-0.5, False)
    free, fitted = result["summary"]
    assert (free["fitted"], free["rows"], free["worst_error"], free["inside"]) == (False, 1, 0, 1)
    assert (fitted["fitted"], fitted["rows"], fitted["worst_error"], fitted["inside"]) == (True, 1, 0.5, 0)


def test_the_page_prints_rows_only_where_they_are_asked_for(folder: Path) -> None:
    short = CliRunner().invoke(cli, ["validate"], catch_exceptions=False).stdout
    long = CliRunner().invoke(cli, ["validate", "--rows"], catch_exceptions=False).stdout
    assert "twice as much" not in short
    assert "twice as much" in long
    assert "https://example.org/log" in long


def test_the_chart_has_a_bar_for_each_row_of_the_summary(folder: Path, tmp_path: Path) -> None:
    drawn = ElementTree.fromstring(chart(validate.run().result["summary"]))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "state, not fitted" in texts
    assert "state, fitted" in texts
    done = CliRunner().invoke(cli, ["validate", "--chart", str(tmp_path / "errors.svg")], catch_exceptions=False)
    assert done.exit_code == 0
    ElementTree.parse(tmp_path / "errors.svg")


def test_rows_as_csv(folder: Path) -> None:
    lines = CliRunner().invoke(cli, ["validate", "--csv"], catch_exceptions=False).stdout.splitlines()
    assert lines[0].startswith("table,quantity,name,fitted,measured,ours,low,high")
    assert len(lines) == 3
