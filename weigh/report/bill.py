"""The page of `weigh cost`: memory, fit, compute, time, money; with `--why` the derivation of every number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
    add_verdict(out, result)
    add_speed(out, result)
    add_kept(out, result)
    if why:
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
            for name, words in (
                ("weights", "weights"),
                ("state", "KV cache and state"),
                ("activations", "compute buffers"),
                ("overhead", "overhead"),
                ("total", "total"),
            )
        ],
    )


def add_verdict(out: Page, result: Mapping[str, Any]) -> None:
    """Whether it fits, up to which context, and what would help."""
    capacity = result["capacity"]
    limit = result["limit"]
    if capacity is not None:
        limit = f"{size(capacity)} = {binary_size(capacity)} ({limit})"
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
        ("money", "usd_per_million_tokens", "price of a million tokens out"),
        ("money", "joules_per_token", "energy per token out"),
    )
    for group, name, words in labels:
        figure = result[group][name]
        if figure is not None:
            bound = {"ttft": "prefill", "tpot": "decode"}.get(name, "")
            note = f", bound by {result['bound'][bound]}" if bound in result["bound"] else ""
            rows.append((words, shown(figure) + note))
    out.add("Compute, time and money", ["", ""], rows)


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
