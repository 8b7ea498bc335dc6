"""Every page says what its command found: all of it, in three digits, and with `--why` how it came about."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from weigh.commands import catalogue, codecs, cost, devices, engines, explain, families, recipes, show, summary
from weigh.report import bill, errors, glossary, inventory, registries, text, weigh_in
from weigh.report.answer import Answer
from weigh.report.text import Page
from weigh.report.units import LEGEND, LEGEND_ZH, shown
from weigh.types import Figure, WeighError

SAMPLE = str(Path(__file__).parents[2] / "samples" / "tiny-lm.Q8_0.gguf")


def written(page: Page, columns: int | None = None) -> str:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "" if columns is None else str(columns))
        text.write(page, stream)
    return stream.getvalue()


@cache
def cost_of(name: str, **options: Any) -> Answer:
    return cost.run(name, **options)


@cache
def summary_of(name: str, **options: Any) -> Answer:
    return summary.run(name, **options)


# --------------------------------------------------------------------------------------------------- refusals


def test_an_error_tells_what_why_where_and_what_to_do() -> None:
    error = WeighError("it is\x1b bad", rule="R-1", path="a\x1bb", where="tensor x", offset=31, hint="do y")
    error.__cause__ = WeighError("because", rule="R-0")
    assert errors.lines(error) == [
        "error: it is\\u001b bad",
        "  caused by: because",
        "      where: a\\u001bb, tensor x, byte 0x1f (rule R-1)",
        "hint: do y",
    ]


def test_the_least_an_error_tells_is_its_rule() -> None:
    assert errors.lines(WeighError("bad", rule="R-1")) == ["error: bad", "      where: (rule R-1)"]


@pytest.mark.parametrize("columns", [None, 80])
def test_what_the_engine_does_not_run_still_has_its_weights_and_flops(columns: int | None) -> None:
    answer = cost_of("resnet-50", on="8GB")
    page = written(bill.page(answer, why=False), columns)
    assert "weights: 102 MB =" in page
    assert "forward, one image" in page
    assert "Memory" not in page
    whole = written(weigh_in.page(summary_of("resnet-50", on="8GB"), why=False), columns)
    assert "No memory and no time" in whole
    assert "does not run the model type `resnet`" in whole
    assert "Does it fit?" not in whole


def test_an_unknown_architecture_with_weights_has_a_page(tmp_path: Path) -> None:
    header = json.dumps({"a\x1b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    answer = summary.run(str(path), on="8GB")
    page = written(weigh_in.page(answer, why=True))
    assert "unknown architecture (no model type)" in page
    assert "\x1b" not in page


# ------------------------------------------------------------------------------------------------------- cost


FULL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("llama-3.1-8b", {"on": "rtx-4090", "weights": "q4_k_m"}),
    ("mixtral-8x7b", {"on": "h100x2", "batch": 4}),
    ("gemma-3-1b", {"on": "8GB", "kv": "q8_0"}),
    ("bert-base", {"on": "m1-max"}),
    (SAMPLE, {"on": "rtx-4090"}),
)


@pytest.mark.parametrize(("name", "options"), FULL)
def test_the_bill_shows_every_figure_and_says_what_was_asked(name: str, options: dict[str, Any]) -> None:
    answer = cost_of(name, **options)
    page = written(bill.page(answer, why=False))
    groups = ("memory", "compute", "latency", "money")
    for group in groups:
        for figure in answer.result[group].values():
            if figure is not None:
                assert shown(figure) in page
    given = answer.inputs
    assert page.startswith(f"{name} on {given['on']}")
    for said in (f"weights {given['weights']}", f"context {given['context']:,}", f"batch {given['batch']}"):
        assert said in page
    assert page.rstrip().endswith(LEGEND)


@pytest.mark.parametrize(("name", "options"), FULL)
def test_why_derives_every_figure_of_the_result(name: str, options: dict[str, Any]) -> None:
    answer = cost_of(name, **options)
    page = written(bill.page(answer, why=True))
    found = dict(bill.figures_of(answer.result))
    assert {"memory.total", "memory.weights", "compute.prefill_flops"} <= set(found)
    for path, figure in found.items():
        assert f"\n{path} = " in page
        assert figure.why.formula in page
        assert figure.why.source in page
        for key in figure.why.inputs:
            assert f"{key} = " in page


def test_the_verdict_is_told_in_words() -> None:
    def verdict(**options: Any) -> str:
        return written(bill.page(cost_of("llama-3.1-8b", **options), why=False))

    assert "\nfits: limit 25.8 GB = 24 GiB" in verdict(on="rtx-4090", weights="q4_k_m")
    assert "all that it was trained for" in verdict(on="rtx-4090", weights="q4_k_m")
    assert "\ndoes not fit: limit 8.00 GB" in verdict(on="8GB")
    assert "none, not even one token" in verdict(on="8GB")
    assert "may or may not fit: limit unknown" in verdict(on="epyc-9654")
    binding = cost_of("llama-3.1-8b", on="10GB", weights="q4_k_m")
    assert f"{shown(binding.result['max_context'])}, in tokens" in written(bill.page(binding, why=False))


def test_this_machine_is_not_called_this() -> None:
    assert bill.place({"on": "this", "devices": 1}) == "this machine"
    assert bill.place({"on": "h100-sxm-80gb", "devices": 8}) == "h100-sxm-80gb x 8"


def test_what_is_kept_wider_is_told_with_its_reason() -> None:
    page = written(bill.page(cost_of("llama-3.1-8b", on="rtx-4090", weights="q4_k_m"), why=False))
    assert "     16  q6_k: attn_v gets q6_k" in page
    assert "      1  q6_k: output gets q6_k" in page


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4096, "4,096"),
        (2.0, "2"),
        (0.25, "0.25"),
        (True, "True"),
        ("x", "x"),
        ([1, 0.5], "1 | 0.5"),
        (1e12, "1,000,000,000,000"),
    ],
)
def test_inputs_of_a_derivation_are_readable(value: object, said: str) -> None:
    assert bill.input_value(value) == said


# --------------------------------------------------------------------------------------------------- weigh-in


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b", "gpt2", "bert-base", SAMPLE])
def test_the_weigh_in_has_everything_that_matters(name: str) -> None:
    answer = summary_of(name, on="h100x2")
    page = written(weigh_in.page(answer, why=False))
    result = answer.result
    assert f"{result['inventory']['parameters']['total']:,} =" in page
    assert "Memory on NVIDIA H100 SXM 80 GB x 2 with llama.cpp" in page
    for row in result["contexts"]:
        assert shown(row["total"]) in page
    for row in result["forms"]:
        assert shown(row["total"]) in page
        assert f"\n{row['weights']}" in page
    for role, tally in result["inventory"]["parameters"]["by_role"].items():
        assert (f"\n{role.replace('_', ' ')} " in page) == bool(tally["parameters"] or tally["bytes"])
    for warning in answer.warnings:
        assert warning in page


def test_active_parameters_are_told_where_they_are_fewer() -> None:
    assert "12.9 B active a token (12,879,925,248 =)" in written(
        weigh_in.page(summary_of("mixtral-8x7b", on="h100x2"), why=False)
    )
    assert "active" not in written(weigh_in.page(summary_of("gpt2", on="h100x2"), why=False))


def test_the_pages_of_a_usual_model_are_not_wider_than_a_terminal() -> None:
    for page in (
        weigh_in.page(summary_of("gpt2", on="8GB"), why=False),
        bill.page(cost_of("gpt2", on="8GB"), why=False),
        inventory.page(show.run("gpt2").result, []),
    ):
        tables = [line for line in written(page, 80).split("\n") if "  " in line]
        assert tables
        assert max(map(len, tables)) <= 80


# ------------------------------------------------------------------------------------------- show, registries


def test_the_inventory_counts_exactly_and_lists_every_tensor() -> None:
    answer = show.run(SAMPLE, tensors=True, hashes=True)
    page = written(inventory.page(answer.result, answer.warnings))
    assert "3,475,712" in page
    for row in answer.result["tensors"]:
        assert f"\n{row['name']} " in page
    for digest in answer.result["sha256"].values():
        assert digest in page


@pytest.mark.parametrize("name", ["codecs", "families", "engines", "recipes", "catalogue"])
def test_a_registry_page_names_every_row(name: str) -> None:
    command = {"codecs": codecs, "families": families, "engines": engines, "recipes": recipes, "catalogue": catalogue}
    answer = command[name].run()
    page = written(getattr(registries, name)(answer))
    rows = next(iter(answer.result.values()))
    assert rows
    for row in rows:
        assert row.get("id", row.get("model_type")) in page


@pytest.mark.parametrize("name", ["codecs", "families", "engines", "recipes", "catalogue"])
def test_a_registry_without_a_match_is_an_empty_page(name: str) -> None:
    command = {"codecs": codecs, "families": families, "engines": engines, "recipes": recipes, "catalogue": catalogue}
    assert written(getattr(registries, name)(command[name].run("no such thing"))) == ""


def test_the_devices_page_says_the_source_of_every_number() -> None:
    found = devices.run(search="h100-sxm")
    answer = Answer("devices", {}, {"devices": found["devices"], "this": None}, [])
    page = written(registries.devices(answer, why=True))
    for row in found["devices"]:
        for quoted in row["why"].values():
            assert quoted["source"] in page
            assert quoted["says"] in page


# ---------------------------------------------------------------------------------------------------- explain


def explained(language: str) -> tuple[Answer, str]:
    result: dict[str, Any] = {
        "id": "kv-cache",
        "term": "KV cache",
        "text": "text",
        "formula": "a x b",
        "see": [{"id": "context", "term": "context"}],
        "sources": ["https://example.org"],
        "worked": [{"name": "memory.state", "value": cost_of("gpt2", on="8GB").result["memory"]["state"]}],
        "setting": cost_of("gpt2", on="8GB").inputs,
    }
    answer = Answer("explain", {"term": "kv-cache", "model": "gpt2", "language": language}, result, ["beware"])
    return answer, written(glossary.page(answer))


@pytest.mark.parametrize(("language", "legend"), [("en", LEGEND), ("zh", LEGEND_ZH)])
def test_a_term_is_worked_through_with_its_setting_and_warnings(language: str, legend: str) -> None:
    answer, page = explained(language)
    figure: Figure = answer.result["worked"][0]["value"]
    assert f"memory.state = {shown(figure)}" in page
    assert figure.why.formula in page
    assert "1,024" in page
    for said in ("gpt2", legend, "context (context)", "https://example.org", "beware"):
        assert said in page


def test_without_a_model_nothing_is_worked_through() -> None:
    page = written(glossary.page(explain.run("perplexity")))
    assert "For " not in page
    assert LEGEND not in page
    assert "Sources" in page


def test_without_a_term_all_are_listed() -> None:
    answer = explain.run()
    page = written(glossary.page(answer))
    assert all(row["id"] in page for row in answer.result["terms"])
