"""Tables and paragraphs on a terminal or in a pipe. Colour only on a terminal; nothing is cut in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import IO, TYPE_CHECKING

from weigh.report.escape import printable

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 10_000
HTML_WIDTH = 120
BAR = 24
GAP = 2
"""Characters between two columns of a table."""
FOLDED = 16
"""Characters that a column of text keeps however narrow the terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and whether its cells are numbers (right-aligned) or a bar."""

    title: str
    kind: str = "text"
    """text (may be folded), word (never), number (right-aligned), or bar: then the cell is a share from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with rows or lines under it."""

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str | float | None, ...], ...] = ()
    lines: tuple[str, ...] = ()
    style: str = ""
    """`warning` for what needs attention."""


@dataclass(slots=True)
class Page:
    """Sections in reading order."""

    sections: list[Section] = field(default_factory=list)

    def add(self, title: str, columns: Sequence[Column | str], rows: Iterable[Sequence[str | float | None]]) -> None:
        """A table; left out where there are no rows."""
        heads = tuple(Column(c) if isinstance(c, str) else c for c in columns)
        cells = tuple(tuple(row) for row in rows)
        if cells:
            self.sections.append(Section(title, heads, cells))

    def say(self, title: str, *lines: str, style: str = "") -> None:
        """Lines of text; left out where there are none."""
        if lines:
            self.sections.append(Section(title, lines=lines, style=style))


def number(title: str) -> Column:
    """A right-aligned column."""
    return Column(title, "number")


def word(title: str) -> Column:
    """A column of names that are never broken."""
    return Column(title, "word")


def console(stream: IO[str] | None = None, *, record: bool = False) -> Console:
    """A console on the stream (standard output): as wide as the terminal, or without limit in a pipe."""
    from rich.console import Console

    stream = stream or sys.stdout
    terminal = stream.isatty()
    wide = os.environ.get("COLUMNS", "")
    width = int(wide) if wide.isdecimal() and int(wide) >= 20 else None
    if not terminal and width is None:
        width = PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, record=record)


def write(page: Page, stream: IO[str] | None = None) -> None:
    """Print the page. Errors: BrokenPipeError where the reader went away, for the caller to take as it likes."""
    stream = stream or sys.stdout
    out = console(stream)
    with out.capture() as captured:
        _print(page, out)
    text = captured.get()
    if not out.is_terminal:
        # Tables pad their last column, which nobody sees and every comparison of outputs stumbles over.
        text = "\n".join(line.rstrip() for line in text.split("\n"))
    stream.write(text)
    stream.flush()


_FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
{stylesheet}
body {{
    color: {foreground};
    background-color: {background};
}}
</style>
</head>
<body>
    <pre style="font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace">{code}</pre>
</body>
</html>
"""


def html(page: Page) -> str:
    """The page as HTML that stands alone: no script, nothing fetched."""
    import io

    out = console(io.StringIO(), record=True)
    out.width = HTML_WIDTH
    _print(page, out)
    title = printable(next((section.title for section in page.sections if section.title), "weigh"))
    # rich fills the frame by str.format: a brace of the title must not be taken for a field.
    safe = escape(title).replace("{", "{{").replace("}", "}}")
    return out.export_html(inline_styles=True, code_format=_FRAME.replace("TITLE", safe))


def _print(page: Page, out: Console) -> None:
    from rich.text import Text

    for position, section in enumerate(page.sections):
        if position:
            out.print()
        if section.title:
            style = "bold yellow" if section.style == "warning" else "bold"
            out.print(Text(printable(section.title), style=style))
        for line in section.lines:
            out.print(Text(printable(line)), soft_wrap=not out.is_terminal)
        if section.columns:
            _print_table(section, out)


def _print_table(section: Section, out: Console) -> None:
    """The table as wide as the console; wider where numbers and names would lose characters otherwise."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = [[_cell(column, value) for column, value in zip(section.columns, row, strict=True)] for row in section.rows]
    table = Table(box=None, pad_edge=False, show_header=any(c.title for c in section.columns), header_style="dim")
    needed = 0
    for position, column in enumerate(section.columns):
        longest = max(cell_len(text) for text in (column.title, *(row[position] for row in rows)))
        least = min(longest, FOLDED) if column.kind == "text" else longest
        needed += least + (GAP if position else 0)
        right = "right" if column.kind == "number" else "left"
        table.add_column(
            column.title,
            justify=right,  # type: ignore[arg-type]
            no_wrap=column.kind != "text",
            overflow="fold",
            min_width=least,
            style="cyan" if column.kind == "bar" else "",
        )
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    width = out.width
    out.width = max(width, needed)
    out.print(table)
    out.width = width


def _cell(column: Column, value: str | float | None) -> str:
    if column.kind == "bar":
        return bar(float(value or 0))
    return "-" if value is None else printable(str(value))


def bar(share: float, width: int = BAR) -> str:
    """A share from 0 to 1 in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
