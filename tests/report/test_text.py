"""Pages on a terminal, in a pipe and as HTML: nothing lost, nothing raw."""

from __future__ import annotations

import html as entities
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.report import text
from weigh.report.text import BAR, Column, Page, bar, number, word

WORDS = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=40)


def written(page: Page, columns: str = "") -> str:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", columns)
        text.write(page, stream)
    return stream.getvalue()


def table(*rows: tuple[str | float | None, ...]) -> Page:
    page = Page()
    page.add("Title", [word("name"), number("bytes"), "remark", Column("", "bar")], rows)
    return page


# ------------------------------------------------------------------------------------------------ nothing lost


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.integers(20, 130))
def test_names_and_numbers_stay_whole_however_narrow_it_is(cells: list[tuple[str, str]], columns: int) -> None:
    page = Page()
    page.add("T", [word("name"), number("bytes"), number("more"), "remark"], [(a, b, b, "x y") for a, b in cells])
    lines = written(page, str(columns)).split("\n")
    for name, count in cells:
        assert [line for line in lines if line.lstrip().startswith(name) and line.count(count) >= 2], (name, count)
    assert "name" in lines[1]
    assert "bytes" in lines[1]


@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=300), st.integers(20, 130))
def test_long_remarks_are_folded_and_not_cut(remark: str, columns: int) -> None:
    page = Page()
    page.add("T", [word("name"), "remark"], [("a", remark)])
    body = "".join(
        line[1:].strip() if at == 2 else line.strip() for at, line in enumerate(written(page, str(columns)).split("\n"))
    )
    assert remark in body


def test_a_pipe_is_as_wide_as_the_text() -> None:
    long = "x" * 5000
    page = table(("a", "1", long, 0.5))
    page.say("Said", long)
    assert written(page).count(long) == 2


def test_lines_have_no_blanks_at_their_end() -> None:
    assert not [
        line for line in written(table(("a", "1", "b", 0.5), ("a", "1", "b", 0))).split("\n") if line != line.rstrip()
    ]


@pytest.mark.parametrize("columns", ["", "abc", "-5", "0", "19"])
def test_a_width_that_makes_no_sense_is_no_width(columns: str) -> None:
    assert "x" * 500 in written(table(("a", "1", "x" * 500, 0.5)), columns)


# ------------------------------------------------------------------------------------------------- nothing raw


def test_text_from_a_file_is_escaped_wherever_it_stands() -> None:
    page = Page()
    evil = "\x1b[31m\u202e\n"
    page.say(f"t{evil}", f"l{evil}")
    page.add(f"h{evil}", [word("name"), "remark"], [(evil, evil)])
    out = written(page)
    assert not [c for c in out if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert out.count("\\u001b[31m\\u202e\\u000a") == 5


def test_brackets_are_no_markup() -> None:
    page = table(("[bold]a[/bold]", "[1, 2]", ":smile:", 0.1))
    page.say("[red]t", "[/] b")
    out = written(page)
    for said in ("[bold]a[/bold]", "[1, 2]", ":smile:", "[red]t", "[/] b"):
        assert said in out


def test_a_pipe_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    page = table(("a", "1", "b", 0.5))
    page.say("Warnings", "w", style="warning")
    assert "\x1b" not in written(page)


# ---------------------------------------------------------------------------------------------------- the page


def test_what_has_nothing_to_say_is_left_out() -> None:
    page = Page()
    page.add("Empty", ["a"], [])
    page.say("Silent")
    assert page.sections == []
    assert written(page) == ""


def test_a_row_that_does_not_fit_its_columns_is_a_fault() -> None:
    with pytest.raises(ValueError, match="zip"):
        written(table(("only one",)))


def test_nothing_is_a_dash() -> None:
    assert re.search(r"^a +- +- *$", written(table(("a", None, None, 0))), re.MULTILINE)


def test_headings_are_left_out_where_there_are_none() -> None:
    page = Page()
    page.add("T", ["", number("")], [("a", "1")])
    assert written(page) == "T\na  1\n"


@given(st.floats(-1, 2))
def test_a_bar_is_as_long_as_its_share(share: float) -> None:
    length = len(bar(share))
    assert 0 <= length <= BAR
    assert abs(length - max(0, min(1, share)) * BAR) <= 1


def test_a_whole_a_half_and_nothing() -> None:
    assert (bar(1), bar(0.5), bar(0)) == ("█" * 24, "█" * 12, "")
    assert bar(1 / 24 / 8) == "▏"


# -------------------------------------------------------------------------------------------------------- html


def test_html_stands_alone_and_says_its_title() -> None:
    page = Page()
    page.say("a {model} <script>", "x & <b>y</b> {0}")
    page.add("T", [number("n") for _ in range(30)], [["1234567890"] * 30])
    out = text.html(page)
    assert "<title>a {model} &lt;script&gt;</title>" in out
    assert "<script" not in out
    assert not re.search(r"\b(src|href)=|@import|url\(", out)
    assert "x & <b>y</b> {0}" in entities.unescape(re.sub(r"</?span[^>]*>", "", out))
    # Wider than the page: the numbers are there all the same.
    assert out.count("1234567890") == 30


def test_an_empty_page_has_a_title_too() -> None:
    assert "<title>weigh</title>" in text.html(Page())
