"""The weigh-in: one page with everything that matters about a model, for one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.report import bill, inventory
from weigh.report.answer import Answer
from weigh.report.text import Page, number, word
from weigh.report.units import LEGEND, brief, quantity, shown, size


def page(answer: Answer, *, why: bool) -> Page:
    """Identity, parameters by role and depth, memory at contexts, fit, speed, forms, warnings."""
    out = Page()
    result = answer.result
    shown_inventory = result["inventory"]
    _identity(out, shown_inventory)
    inventory.add_hashes(out, shown_inventory)
    inventory.add_roles(out, shown_inventory)
    inventory.add_depth(out, shown_inventory)
    if result["refused"] is not None:
        bill.add_speed(out, result["cost"])
        out.say("No memory and no time", result["refused"]["message"], result["refused"]["hint"], style="warning")
    else:
        _memory(out, answer)
        bill.add_verdict(out, result["cost"])
        bill.add_speed(out, result["cost"])
        _forms(out, result)
    if why:
        bill.add_derivations(out, result["cost"])
    out.say("Warnings", *answer.warnings, style="warning")
    out.say("", LEGEND)
    return out


def _identity(out: Page, result: Mapping[str, Any]) -> None:
    counts = result["parameters"]
    total, active = counts["total"], counts["active"]
    codecs = result["codecs"]
    mix = ", ".join(
        f"{name} {100 * group['bytes'] / (result['bytes'] or 1):.0f} %"
        for name, group in sorted(codecs.items(), key=lambda item: -item[1]["bytes"])
    )
    stored = result["file_bytes"] if result["file_bytes"] is not None else result["bytes"]
    lines = [
        f"{quantity(total)} parameters ({total:,} =)"
        + (f", {quantity(active)} active a token ({active:,} =)" if active not in (None, total) else ""),
        f"{result['family'] or 'unknown architecture'} ({result['model_type'] or 'no model type'}): "
        + inventory.dimensions_in_words(result["dimensions"]),
        f"{result['format']}, {size(stored)}, {mix}"
        + (f", {result['bits_per_parameter']:.2f} bits a parameter =" if result["bits_per_parameter"] else ""),
    ]
    out.say(result["source"], *lines)


def _memory(out: Page, answer: Answer) -> None:
    given = answer.inputs
    machine = answer.result["machine"]
    times = "" if machine["devices"] == 1 else f" x {machine['devices']}"
    out.add(
        f"Memory on {machine['name']}{times} with {given['engine']}, KV cache {given['kv']}",
        [
            number("context"),
            number("weights"),
            number("KV cache"),
            number("compute"),
            number("overhead"),
            number("total"),
            word("fits"),
        ],
        [
            (
                f"{row['context']:,}",
                brief(row["weights"]),
                brief(row["state"]),
                brief(row["activations"]),
                brief(row["overhead"]),
                shown(row["total"]),
                row["fits"],
            )
            for row in answer.result["contexts"]
        ],
    )


def _forms(out: Page, result: Mapping[str, Any]) -> None:
    stored = result["inventory"]["bytes"]
    out.add(
        "The same model in other forms",
        [
            word("weights"),
            number("size"),
            number("vs now"),
            number("memory in all"),
            word("fits"),
            number("kept wider"),
        ],
        [
            (
                row["weights"],
                f"{size(row['bytes'])} =",
                f"{100 * row['bytes'] / stored:.0f} %" if stored else "-",
                shown(row["total"]),
                row["fits"],
                str(row["kept_wider"]),
            )
            for row in result["forms"]
        ],
    )
