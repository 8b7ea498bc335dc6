"""The page of `weigh cost`: memory, fit, compute, time, money; with `--why` the derivation of every number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weigh.report import keeping
from weigh.report.answer import Answer
from weigh.report.text import Column, Page, number
from weigh.report.units import LEGEND, binary_size, in_unit, shown, size
from weigh.types import Figure

VERDICTS = {"yes": "fits", "no": "does not fit", "uncertain": "may or may not fit"}


def page(answer: Answer, *, why: bool) -> Page:
    """The bill for one setting."""
    out = Page()
    result, given = answer.result, answer.inputs
    if answer.refusal is not None:
        out.say(f"{given['model']}", f"weights: {shown(result['memory']['weights'])}")
        add_speed(out, result)
        out.say("Warnings", *answer.warnings, style="warning")
        return out
    out.say(
        f"{given['model']} on {place(given)}",
        f"{given['engine']}, weights {given['weights']}, KV cache {given['kv']}, context {given['context']:,}, "
        f"batch {given['batch']}, {given['prompt']:,} tokens in, {given['output']:,} out",
    )
    add_memory(out, result)
    add_spread(out, result["spread"])
    add_verdict(out, result)
    add_speed(out, result)
    add_users(out, result)
    add_speculation(out, result["speculative"])
    keeping.add(out, result)
    add_kept(out, result)
    if why:
        add_roofline(out, result)
        add_derivations(out, result)
    out.say("Warnings", *answer.warnings, style="warning")
    out.say("", LEGEND)
    return out


def place(given: Mapping[str, Any]) -> str:
    """The device of the inputs in words, with its number."""
    name = "this machine" if given["on"] == "this" else given["on"]
    return name if given["devices"] == 1 else f"{name} x {given['devices']}"


def add_memory(out: Page, result: Mapping[str, Any]) -> None:
    """Memory by what takes it."""
    memory = result["memory"]
    whole = memory["total"].value or 1
    out.add(
        "Memory",
        ["", number(""), number(""), Column("", "bar")],
        [
            (words, shown(memory[name]), f"{100 * memory[name].value / whole:.1f} %", memory[name].value / whole)
            for name, words in KINDS
        ],
    )


KINDS = (
    ("weights", "weights"),
    ("state", "KV cache and state"),
    ("activations", "compute buffers"),
    ("overhead", "overhead"),
    ("total", "total"),
)
"""Names of what takes memory, and the words for them."""


def add_spread(out: Page, spread: Mapping[str, Any]) -> None:
    """What each device holds, stage by stage, all of them together, and the host; nothing for a single device."""
    host = spread["host"]
    if len(spread["stages"]) == 1 and spread["stages"][0]["devices"] == 1 and host is None:
        return
    rows = [] if host is None else [("host", "1", _layers(0, spread["offloaded"]), *_brief(host))]
    for row in spread["stages"]:
        rows.append((f"stage {row['stage']}", str(row["devices"]), _layers(*row["layers"]), *_brief(row)))
    words = f"Memory of each device, {spread['parallel']}"
    kinds = [number(kind) for _, kind in KINDS]
    out.add(words, ["", number("devices"), "layers", *kinds], rows)
    out.say("", f"all devices together: {shown(spread['total'])}")


def _brief(row: Mapping[str, Figure]) -> list[str]:
    return [size(row[name].value) for name, _ in KINDS]


def _layers(start: int, stop: int) -> str:
    return f"{start} to {stop - 1}" if stop > start else "none"


def add_verdict(out: Page, result: Mapping[str, Any]) -> None:
    """Whether it fits, up to which context, and what would help."""
    capacity = result["capacity"]
    limit = result["limit"]
    stages = result["spread"]["stages"]
    if capacity is not None:
        several = any(row["devices"] > 1 for row in stages) or len(stages) > 1
        each = "each of " if several else ""
        limit = f"{size(capacity)} = {binary_size(capacity)} ({each}{limit})"
    lines = [f"{VERDICTS[result['fits']]}: limit {limit}", result["advice"]]
    if result["max_context"] is not None:
        lines.append(f"longest context that fits: {_longest(result['max_context'])}")
    out.say("Does it fit?", *lines)


def _longest(figure: Figure) -> str:
    if figure.high == 0:
        return "none, not even one token"
    if figure.low == figure.why.inputs["trained"]:
        return f"{figure.value:,.0f} tokens, all that it was trained for"
    return f"{shown(figure)}, in tokens"


def add_speed(out: Page, result: Mapping[str, Any]) -> None:
    """FLOPs, times, money."""
    rows: list[tuple[str, str]] = []
    labels = (
        ("compute", "prefill_flops", f"forward, {result['takes']}"),
        ("compute", "decode_flops_per_token", "forward, one generated token"),
        ("compute", "backward_flops", f"backward, {result['takes']}"),
        ("latency", "ttft", "time to first token"),
        ("latency", "tpot", "time per token"),
        ("latency", "tokens_per_second", "tokens a second, all sequences"),
        ("money", "usd_per_hour", "price of an hour"),
        ("money", "usd_per_million_input_tokens", "price of a million tokens in"),
        ("money", "usd_per_million_tokens", "price of a million tokens out"),
        ("money", "joules_per_input_token", "energy per token in"),
        ("money", "joules_per_token", "energy per token out"),
        ("money", "g_co2_per_million_input_tokens", "CO2 of a million tokens in"),
        ("money", "g_co2_per_million_tokens", "CO2 of a million tokens out"),
    )
    for group, name, words in labels:
        figure = result[group][name]
        if figure is not None:
            bound = {"ttft": "prefill", "tpot": "decode"}.get(name, "")
            note = f", bound by {result['bound'][bound]}" if bound in result["bound"] else ""
            rows.append((words, shown(figure) + note))
    out.add("Compute, time and money", ["", ""], rows)


def add_users(out: Page, result: Mapping[str, Any]) -> None:
    """What each of several users sees, and up to how many of them the bounds hold."""
    served, limits = result["under_load"], result["limits"]
    words = {
        "ttft": "time to first token",
        "tpot": "time per token",
        "tokens_per_second_per_user": "tokens a second, each user",
        "tokens_per_second": "tokens a second, all users",
    }
    if served is not None:
        out.add("Under a steady load of this batch", ["", ""], [(words[name], shown(served[name])) for name in words])
    if limits is None:
        return
    names = {"memory": "memory allows", "tpot": "the time per token allows", "ttft": "the time to first token allows"}
    rows = [
        (names[name], f"{shown(limits[name])}{', which binds' if name == limits['binds'] else ''}")
        for name in names
        if limits[name] is not None
    ]
    out.add("Sequences at once", ["", ""], rows or [("", "nothing is known that would bind")])


def add_speculation(out: Page, told: Mapping[str, Any] | None) -> None:
    """What a draft takes and gives."""
    if told is None:
        return
    rows = [("tokens proposed, share accepted", f"{told['draft_tokens']}, {told['accept']:g}")]
    if told["memory"] is not None:
        rows.append(("memory of the draft, each device", shown(told["memory"]["total"])))
    for name, words in (
        ("expected_tokens", "tokens a step"),
        ("tpot", "time per token"),
        ("tokens_per_second", "tokens a second, all sequences"),
        ("speedup", "times as fast as without"),
        ("pays_from", "share from which it pays"),
    ):
        if told[name] is not None:
            rows.append((words, shown(told[name])))
        elif name == "pays_from" and told["tpot"] is not None:
            rows.append((words, "none: it never pays"))
    out.add(f"With {told['draft']} as a draft", ["", ""], rows)


def add_kept(out: Page, result: Mapping[str, Any]) -> None:
    """What the recipe keeps wider than its narrowest matrices, folded by codec and reason."""
    folded: dict[str, int] = {}
    for reason in result["kept_wider"].values():
        folded[reason] = folded.get(reason, 0) + 1
    out.add(
        "Kept in a wider codec than the rest",
        [number("tensors"), "codec and reason"],
        [(str(count), reason) for reason, count in folded.items()],
    )


def add_roofline(out: Page, result: Mapping[str, Any]) -> None:
    """What each kind of part does in a step, a table a phase. The times of a table sum to that of the step."""
    for phase, words in (("decode", "one decode step"), ("prefill", "the pass over the prompt")):
        rows = result["roofline"].get(phase, [])
        whole = sum(row["seconds"] for row in rows)
        out.add(
            f"Roofline of {words}",
            ["part", *map(number, ("number", "FLOP", "read", "FLOP/byte", "time")), "bound by", Column("", "bar")],
            [
                (
                    row["name"],
                    f"{row['count']:,.0f}",
                    in_unit(row["flops"], "FLOP"),
                    size(row["bytes"]),
                    "" if row["intensity"] is None else f"{row['intensity']:,.1f}",
                    in_unit(row["seconds"], "s"),
                    row["bound"],
                    row["seconds"] / whole,
                )
                for row in rows
            ],
        )


def add_derivations(out: Page, result: Mapping[str, Any]) -> None:
    """Formula, inputs and source of every Figure."""
    lines: list[str] = []
    for name, figure in figures_of(result):
        exact = f"{input_value(figure.value)} {figure.unit}".strip()
        lines.append(f"{name} = {in_unit(figure.value, figure.unit)} ({exact}, {figure.basis})")
        lines.append(f"    {figure.why.formula}")
        if figure.why.inputs:
            lines.append(
                "    with " + ", ".join(f"{key} = {input_value(value)}" for key, value in figure.why.inputs.items())
            )
        if figure.why.source:
            lines.append(f"    source: {figure.why.source}")
    out.say("Why", *lines)


def input_value(value: Any) -> str:
    """An input of a derivation, readable."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"
    if isinstance(value, list | tuple):
        return " | ".join(input_value(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def figures_of(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Figure]]:
    """Every Figure in a result, with its path."""
    for name, value in result.items():
        path = f"{prefix}{name}"
        if isinstance(value, Figure):
            yield path, value
        elif isinstance(value, Mapping):
            yield from figures_of(value, f"{path}.")
