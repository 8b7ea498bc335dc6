"""The page of `weigh validate`, and its summary as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from weigh.report.answer import Answer
from weigh.report.text import Page, number, word
from weigh.report.units import three

WIDTH, ROW, LEFT, RIGHT = 760, 30, 250, 190
"""Pixels of the chart: in all, a row, before the bars and behind them."""
SCALE = (0.001, 1.0)
"""Errors from a thousandth to the whole: the ends of the chart's logarithmic axis."""
COLOURS = {False: "#2f6f9f", True: "#b9c6cf"}
"""Of rows that were not fitted, and of those that were."""


def page(answer: Answer, *, every: bool) -> Page:
    """The summary, and with `every` each table row by row."""
    out = Page()
    if every:
        for table in answer.result["tables"]:
            _table(out, table, [row for row in answer.result["rows"] if row["table"] == table["id"]])
    out.add(
        "Errors by quantity",
        [
            "quantity",
            "rows",
            number("count"),
            number("median"),
            number("mean"),
            number("worst"),
            number("inside the interval"),
        ],
        [
            (
                row["quantity"],
                "fitted" if row["fitted"] else "not fitted",
                str(row["rows"]),
                percent(row["median_error"]),
                percent(row["mean_error"]),
                percent(row["worst_error"]),
                f"{100 * row['inside']:.0f} %",
            )
            for row in answer.result["summary"]
        ],
    )
    return out


def _table(out: Page, table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    apart = any(row["fitted"] for row in rows)
    out.say(f"{table['title']} [{table['unit']}]", *(line for line in (table["source"], table["note"]) if line))
    out.add(
        "",
        [
            word("row"),
            number("published"),
            number("ours"),
            number("90 % interval"),
            number("error"),
            "inside",
            *([word("went into")] if apart else []),
            "note",
        ],
        [
            (
                row["name"],
                three(row["measured"]),
                three(row["ours"]),
                f"{three(row['low'])} .. {three(row['high'])}",
                f"{100 * row['error']:+.1f} %",
                "yes" if row["inside"] else "NO",
                *([("a fit" if row["fitted"] else "")] if apart else []),
                row["note"],
            )
            for row in sorted(rows, key=lambda row: row["fitted"])
        ],
    )


def percent(share: float) -> str:
    """An error: 0.02 %, 4.1 %, 37 %."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def chart(summary: Sequence[Mapping[str, Any]]) -> str:
    """The summary as SVG: a bar to the median error, a line to the worst one, on a logarithmic axis."""
    height = ROW * (len(summary) + 2) + 10
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_axis(height),
    ]
    for position, row in enumerate(summary):
        drawn += _bar(row, ROW * position + 34)
    return "\n".join([*drawn, "</svg>", ""])


def _at(error: float) -> float:
    """Pixels from the left of an error on the axis."""
    from math import log

    low, high = SCALE
    share = log(max(low, min(high, error)) / low) / log(high / low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _axis(height: int) -> list[str]:
    lines = []
    for error, words in ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")):
        x = _at(error)
        lines.append(f'<line x1="{x:.1f}" y1="26" x2="{x:.1f}" y2="{height - 22}" stroke="#e3e7ea"/>')
        lines.append(f'<text x="{x:.1f}" y="18" text-anchor="middle" fill="#5b6770">{words}</text>')
    legend = "bar: median error; line: to the worst row; pale: rows that went into a fit"
    lines.append(f'<text x="8" y="{height - 8}" fill="#5b6770">{legend}</text>')
    return lines


def _bar(row: Mapping[str, Any], y: int) -> list[str]:
    start, middle, end = LEFT, _at(row["median_error"]), _at(row["worst_error"])
    colour, named = COLOURS[row["fitted"]], f"{row['quantity']}, {'fitted' if row['fitted'] else 'not fitted'}"
    told = f"{percent(row['median_error'])} · {100 * row['inside']:.0f} % inside · n = {row['rows']}"
    return [
        f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end" fill="#1f2a33">{escape(named)}</text>',
        f'<rect x="{start}" y="{y + 2}" width="{max(middle - start, 1.5):.1f}" height="16" fill="{colour}"/>',
        f'<line x1="{middle:.1f}" y1="{y + 10}" x2="{end:.1f}" y2="{y + 10}" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{WIDTH - RIGHT + 8}" y="{y + 14}" fill="#1f2a33">{escape(told)}</text>',
    ]
