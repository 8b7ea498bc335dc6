"""The page of `weigh bench`: what this machine reaches, and what llama.cpp makes of it by codec."""

from __future__ import annotations

from weigh.report.answer import Answer
from weigh.report.text import Page, number, word
from weigh.report.units import duration, operations, size


def page(answer: Answer) -> Page:
    """Rates, codecs, the cost of everything else, and where it was kept."""
    found = answer.result
    out = Page()
    out.say(
        f"{found['machine']}, {found['threads']} threads",
        f"weigh's own kernels: {'compiled' if found['kernels'] == 'c' else 'the NumPy twins'}",
    )
    out.add(
        "Rates",
        [word("what"), number("rate"), "how"],
        [(row["what"], _rate(row["value"], row["unit"]), row["how"]) for row in found["rates"]],
    )
    engine = found["engine"]
    if engine is not None:
        out.add(
            f"{engine['id']}, {engine['version']}",
            [word("codec"), number("weights read"), number("multiplied, a prompt")],
            [(row["codec"], _rate(row["read"], "B/s"), _rate(row["multiply"], "FLOP/s")) for row in engine["codecs"]],
        )
        out.add(
            "Seconds a unit of the rest",
            [word("kind of work"), number("seconds")],
            [(name, f"{value:.3g}") for name, value in sorted(engine["unit_s"].items())],
        )
        load = engine["load"]
        out.say("Load", f"a file of {size(load['bytes'])} that memory holds: {duration(load['seconds'])}")
    kept = found["profile"]
    out.say(
        "Kept",
        "nothing: --quick is a look, not a profile" if kept is None else f"{kept}: `--on this` uses it",
        *([f"{found['device_file']}: a device file for WEIGH_DEVICES"] if found["device_file"] else []),
    )
    out.say("Warnings", *answer.warnings, style="warning")
    return out


def _rate(value: float | None, unit: str) -> str:
    if value is None:
        return "no time"
    return f"{size(value)}/s" if unit == "B/s" else f"{operations(value)}/s"
