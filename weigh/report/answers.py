"""The pages of `weigh cost --find` and `--sweep`: an answer with its candidates, and the best of many points."""

from __future__ import annotations

from weigh.report.answer import Answer
from weigh.report.text import Page, number, word
from weigh.report.units import duration, in_unit, size

SHOWN = 12
"""Candidates on the page; all of them are in `--json` and `--csv`."""


def found(answer: Answer) -> Page:
    """The answer, what binds, the change that would help most, and the candidates."""
    out = Page()
    result, given = answer.result, answer.inputs
    lines = [f"{result['question']}: {result['words']}", f"what binds: {result['binds']}"]
    helps = result["helps"]
    if helps is not None:
        lines.append(f"what would help most: {helps['change']}, then {helps['words']}")
    else:
        lines.append("no single change that was tried would help")
    out.say(str(given["model"]), *lines)
    rows = result["rows"]
    more = f", the first {SHOWN} of {len(rows)}" if len(rows) > SHOWN else ""
    out.add(
        f"Candidates{more}",
        [word("on"), number("memory"), number("first token"), number("a token"), number("1M out"), "why not"],
        [
            (
                row["on"],
                "-" if row["memory_bytes"] is None else size(row["memory_bytes"]),
                _seconds(row["ttft_s"]),
                _seconds(row["tpot_s"]),
                _dollars(row["usd_per_million_tokens"]),
                row["why_not"],
            )
            for row in rows[:SHOWN]
        ],
    )
    out.say("Warnings", *answer.warnings, style="warning")
    return out


def swept(answer: Answer) -> Page:
    """Of each form and device how much of the sweep fits, and the best that does."""
    out = Page()
    given = answer.inputs
    out.add(
        f"{given['model']} with {given['engine']}: {given['points']:,} points",
        [
            word("weights"),
            word("device"),
            number("fit"),
            number("of"),
            number("largest context"),
            number("largest batch"),
            number("most tokens/s"),
            number("least 1M out"),
        ],
        [
            (
                row["weights"],
                row["device"],
                f"{row['fit']:,}",
                f"{row['points']:,}",
                _count(row["largest_context"]),
                _count(row["largest_batch"]),
                "-" if row["tokens_per_second"] is None else in_unit(row["tokens_per_second"], "tokens/s"),
                _dollars(row["usd_per_million_tokens"]),
            )
            for row in answer.result["best"]
        ],
    )
    out.say("", "every point: --csv or --json")
    out.say("Warnings", *answer.warnings, style="warning")
    return out


def _seconds(value: float | None) -> str:
    return "-" if value is None else duration(value)


def _dollars(value: float | None) -> str:
    return "-" if value is None else in_unit(value, "USD")


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
