"""The part of a training page that `--plan` adds: the layouts in their order, and why the others fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from weigh.report.bill import VERDICTS
from weigh.report.text import Page, number
from weigh.report.units import binary_size, duration

Row = Mapping[str, Any]


def add(out: Page, plan: Mapping[str, Any]) -> None:
    """The table of layouts, then what the search saw."""
    out.add(
        "Layouts, the fastest of each way to divide the devices",
        ["layout", "", number("step"), number("MFU"), number("a device"), "", ""],
        [_row(one) for one in plan["rows"]],
    )
    out.say("Why others fail", *_reasons(plan), *_beside(plan))


def short(layout: Mapping[str, Any]) -> tuple[str, str]:
    """The degrees that are more than 1, and what goes with them."""
    degrees = " ".join(f"{name}={layout[name]}" for name in ("tp", "pp", "dp", "cp", "ep") if layout[name] > 1)
    extra = [f"mb={layout['microbatch']}"]
    extra += [f"zero={layout['zero']}"] if layout["zero"] else []
    extra += [f"v={layout['interleave']}"] if layout["interleave"] > 1 else []
    extra += [layout["schedule"]] if layout["schedule"] not in ("1f1b", "interleaved") else []
    extra += [layout["recompute"] + " recompute"] if layout["recompute"] != "none" else []
    extra += [word for name, word in (("flash_attention", "flash"), ("sequence_parallel", "sp")) if layout[name]]
    return degrees or "one device", " ".join(extra)


def _row(one: Row) -> tuple[str, ...]:
    memory = binary_size(one["memory"])
    return (*short(one["layout"]), duration(one["step"]), f"{100 * one['mfu']:.1f} %", memory, VERDICTS[one["fits"]],
            one["why"])  # fmt: skip


def _reasons(plan: Mapping[str, Any]) -> Iterable[str]:
    refused = [f"{count} {reason}" for reason, count in plan["refused"].items()]
    if plan["too_large"]:
        refused.append(f"{plan['too_large']} need more memory in every form")
    told = f": {', '.join(refused)}" if refused else ""
    yield f"{plan['ways']:,} ways to divide the devices{told}"
    yield f"{plan['legal']:,} layouts are legal, {plan['fitting']:,} fit"


def _beside(plan: Mapping[str, Any]) -> Iterable[str]:
    """The layouts that stand beside the winner."""
    for name, words in (
        ("sure", "the fastest that fits with the upper end of its memory"),
        ("faster", "faster, if there were room"),
        ("fewest", "the fewest devices that one fits on"),
    ):
        one = plan[name]
        if one is None or (name == "sure" and one["layout"] == plan["rows"][0]["layout"]):
            continue
        count = f"{one['devices']:,} devices, " if name == "fewest" else ""
        why = f", {one['why']}" if one["why"] else ""
        yield f"{words}: {count}{' '.join(short(one['layout']))}, {duration(one['step'])}{why}"
