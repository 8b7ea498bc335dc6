"""Text from a file is attacker text: nothing that a terminal or a spreadsheet acts on survives."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.report.escape import cell, printable

ANY = st.text(
    st.characters(codec=None) | st.sampled_from("\x1b\x07\r\n\t\x00\x9b\u202e\u2066\u200b\ufeff\ud800=+-@'\"\\")
)


def acts(text: str) -> list[str]:
    """Characters that move, hide, colour or reorder what stands around them."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]


@pytest.mark.parametrize(
    ("attack", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("\x1b]8;;http://x\x07y", "\\u001b]8;;http://x\\u0007y"),
        ("a\rb", "a\\u000db"),
        ("a\nb", "a\\u000ab"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\u009b31m"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("\U0010ffff", "\\U0010ffff"),
    ],
)
def test_what_acts_is_shown_as_its_number(attack: str, shown: str) -> None:
    assert printable(attack) == shown


@pytest.mark.parametrize("name", ["model.layers.0.weight", "权重", "größe", "Ω", "a b", "", "😀", "e\u0301"])
def test_what_is_only_read_stays_as_it_is(name: str) -> None:
    assert printable(name) == name


@given(ANY)
def test_no_character_that_acts_survives(text: str) -> None:
    shown = printable(text)
    assert acts(shown) == []
    assert printable(shown) == shown
    shown.encode("utf-8")  # a surrogate could not be written to any stream
    assert acts(cell(text)) == []


@given(ANY)
def test_no_cell_is_taken_for_a_formula(text: str) -> None:
    shown = cell(text)
    if shown[:1] == "-":
        float(shown)
    else:
        assert shown[:1] not in ("=", "+", "@")


@pytest.mark.parametrize("formula", ["=1+1", "+1", "@SUM(A1)", "-1+1", "-cmd|' /C calc'!A0"])
def test_a_formula_becomes_text(formula: str) -> None:
    assert cell(formula) == f"'{formula}"


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (-0.5, "-0.5"), (None, ""), (0, "0"), (1e-9, "1e-09")])
def test_a_number_stays_a_number(value: object, shown: str) -> None:
    assert cell(value) == shown


@given(st.lists(ANY, min_size=1))
def test_cells_come_back_from_csv_as_they_went_in(values: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([cell(value) for value in values])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == [cell(value) for value in values]
