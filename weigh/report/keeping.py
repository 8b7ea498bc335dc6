"""The part of the bill that tells where a model is kept: on disk, in a cloud, and how it is loaded from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.report.text import Page, number, word
from weigh.report.units import duration, shown


def add(out: Page, result: Mapping[str, Any]) -> None:
    """In short two lines; with `--storage` the tables of forms, clouds and stores."""
    kept, load = result["storage"], result["load"]
    if "clouds" not in kept:
        out.say("On disk and loaded", f"{kept['format']} file: {shown(kept['bytes'])}", *_usual(load))
        return
    out.add(
        "Size of the file",
        [word("weights"), word("format"), number("bytes")],
        [(row["weights"], row["format"], shown(row["bytes"])) for row in kept["forms"]],
    )
    months = "a month" if kept["months"] == 1 else f"{kept['months']:g} months"
    out.add(
        f"In a cloud, as {kept['weights']}",
        ["", number(months), number("one download")],
        [(row["name"], shown(row["usd"]), shown(row["egress_usd"])) for row in kept["clouds"].values()],
    )
    out.add(
        "Loaded from",
        ["", number("until it answers"), number("first token then"), number("keep it from, requests an hour")],
        [
            (
                row["name"],
                shown(row["seconds"]),
                shown(row["first_token"]),
                shown(row["keep_from_requests_per_hour"]).replace(" requests/h", ""),
            )
            for row in load["stores"].values()
        ],
    )


def _usual(load: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in load["stores"].values():
        line = f"loads from {row['name']} in {shown(row['seconds'])}"
        often = row["keep_from_requests_per_hour"]
        if often is not None:
            pause = duration(row["seconds"].value)
            line += f"; keep it loaded from {often.value:,.0f} requests an hour, or pauses below {pause}"
        lines.append(line)
    return lines
