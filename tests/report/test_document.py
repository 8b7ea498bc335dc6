"""JSON and CSV: exact numbers, plain text, one line where one line is promised."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.report.answer import Answer
from weigh.report.document import error_line, to_csv, to_json
from weigh.types import Figure, WeighError, Why, counted


def test_what_is_not_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        to_json({"x": object()})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": counted(value, "B", "x")})  # type: ignore[arg-type]


def test_a_figure_is_an_object_with_its_derivation() -> None:
    why = Why("a x b", {"a": 2, "b": (3, 4)}, "https://example.org")
    found = json.loads(to_json({"f": Figure(2**63 + 1, 0.5, 1e300, "B", "assumed", why)}))
    assert found["f"] == {
        "value": 2**63 + 1,
        "low": 0.5,
        "high": 1e300,
        "unit": "B",
        "basis": "assumed",
        "why": {"formula": "a x b", "inputs": {"a": 2, "b": [3, 4]}, "source": "https://example.org"},
    }


def test_the_document_says_what_it_is() -> None:
    found = json.loads(to_json(Answer("show", {"model": "x"}, {"tied": frozenset("ba")}, ["w"]).document()))
    assert found == {
        "schema": "weigh/show/1",
        "inputs": {"model": "x"},
        "result": {"tied": ["a", "b"]},
        "warnings": ["w"],
    }


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_what_goes_in_comes_out_and_is_ascii(text: str, whole: int, number: float) -> None:
    written = to_json({text: [whole, number]})
    assert written.isascii()
    assert json.loads(written) == {text: [whole, number]}


@given(st.text(), st.text())
def test_an_error_is_one_line_whatever_it_says(message: str, hint: str) -> None:
    line = error_line(WeighError(message, rule="R-1", hint=hint, offset=3, path="a\nb"))
    assert line.isascii()
    assert "\n" not in line
    told = json.loads(line)["error"]
    assert told == {"rule": "R-1", "message": message, "path": "a\nb", "offset": 3, "where": "", "hint": hint}


def test_rows_become_lines_under_their_names() -> None:
    rows = [{"name": 'a,"b"', "shape": [2, 3], "bytes": counted(7, "B", "x"), "layer": None}, {"name": "=cmd"}]
    written = to_csv(rows, ["name", "shape", "bytes", "layer"])
    assert list(csv.reader(io.StringIO(written))) == [
        ["name", "shape", "bytes", "layer"],
        ['a,"b"', "2 x 3", "7", ""],
        ["'=cmd", "", "", ""],
    ]


def test_without_rows_the_names_still_stand() -> None:
    assert to_csv([], ["a", "b"]) == "a,b\n"
