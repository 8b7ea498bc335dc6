"""The page of `weigh diff`: what the second model is to the first, and where they differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weigh.report.text import Column, Page, number, word
from weigh.report.units import percent, quantity, size
from weigh.types import ROLES

ROWS = 15
"""Tensors listed unless all are asked for."""
KEYS = 12
"""Keys of the configuration that are listed."""

HEADLINES = {
    "identical": "The same model, byte for byte",
    "same values": "The same numbers, stored in another way",
    "requantized": "The same model in other codecs: no more changed than rounding changes",
    "fine-tuned": "The second was trained on from the first, or the other way round",
    "fine-tuned and requantized": "Trained on, and stored in other codecs",
    "trained apart": "The same architecture, trained apart",
    "other architecture": "Two different architectures",
    "unknown": "What they are to each other cannot be told",
}
KINDS = {
    "identical": "same bytes",
    "same_values": "same numbers, other form",
    "rounded": "rounded",
    "changed": "changed",
    "not_compared": "not compared",
    "only_in_a": "only in a",
    "only_in_b": "only in b",
    "reshaped": "of another shape",
}


def page(result: Mapping[str, Any], warnings: Sequence[str], *, every: bool = False) -> Page:
    """Verdict, sums, roles, layers, tensors, configuration, warnings."""
    out = Page()
    out.say(HEADLINES[result["relation"]], *result["because"])
    out.add(
        "",
        ["", "", "format", "family", number("bytes"), "codecs"],
        (
            (
                letter,
                result[letter]["source"],
                result[letter]["format"],
                result[letter]["family"] or "unknown",
                size(result[letter]["bytes"]),
                ", ".join(result[letter]["codecs"]),
            )
            for letter in "ab"
        ),
    )
    _add_kinds(out, result)
    _add_roles(out, result)
    _add_layers(out, result)
    _add_tensors(out, result, every=every)
    _add_lonely(out, result, every=every)
    keys = list(result["configuration"].items())
    out.add(
        "Configuration",
        ["key", "a", "b"],
        ((key, _shown(a), _shown(b)) for key, (a, b) in (keys if every else keys[:KEYS])),
    )
    if len(keys) > KEYS and not every:
        out.say("", f"and {len(keys) - KEYS} keys more: --tensors or --json lists them all")
    out.say("Warnings", *warnings, style="warning")
    return out


def _add_kinds(out: Page, result: Mapping[str, Any]) -> None:
    whole = sum(group["parameters"] for group in result["tensors"].values())
    out.add(
        "Tensors",
        ["", number("tensors"), number("parameters"), number("share"), Column("", "bar")],
        (
            (
                KINDS[kind],
                f"{group['tensors']:,}",
                quantity(group["parameters"]),
                percent(group["parameters"], whole),
                group["parameters"] / whole if whole else 0,
            )
            for kind, group in result["tensors"].items()
            if group["tensors"]
        ),
    )


def _add_roles(out: Page, result: Mapping[str, Any]) -> None:
    roles = result["by_role"]
    if not any(group["relative"] for group in roles.values()):
        return
    largest = max(group["relative"] for group in roles.values() if group["relative"] != float("inf"))
    out.add(
        "Change by role: |b - a| / |a|",
        ["role", number("parameters"), number("equal"), number("change"), Column("", "bar"), number("cosine")],
        (
            (
                role.replace("_", " "),
                quantity(roles[role]["parameters"]),
                percent(roles[role]["equal"], roles[role]["parameters"]),
                _relative(roles[role]["relative"]),
                min(roles[role]["relative"] / largest, 1.0) if largest else 0,
                _cosine(roles[role]["cosine"]),
            )
            for role in ROLES
            if role in roles
        ),
    )


def _add_layers(out: Page, result: Mapping[str, Any]) -> None:
    layers = [row for row in result["by_layer"] if row["layer"] is not None]
    if not any(row["relative"] for row in layers):
        return
    largest = max(row["relative"] for row in layers if row["relative"] != float("inf"))
    out.add(
        "Change by layer",
        [number("layer"), number("equal"), number("change"), Column("", "bar"), number("cosine")],
        (
            (
                str(row["layer"]),
                percent(row["equal"], row["parameters"]),
                _relative(row["relative"]),
                min(row["relative"] / largest, 1.0) if largest else 0,
                _cosine(row["cosine"]),
            )
            for row in layers
        ),
    )


def _add_tensors(out: Page, result: Mapping[str, Any], *, every: bool) -> None:
    rows = [row for row in result["changes"] if every or row["kind"] not in ("identical", "same_values")]
    listed = rows if every else rows[:ROWS]
    codec_changed = any(row["codec_a"] != row["codec_b"] for row in listed)
    title = "Tensors, the most changed first" if len(listed) == len(rows) else f"The {ROWS} most changed tensors"
    out.add(
        title,
        [word("tensor"), "codec", number("change"), number("cosine"), number("largest"), "", ""],
        (
            (
                row["name"],
                f"{row['codec_a']} to {row['codec_b']}" if codec_changed else row["codec_a"],
                _relative(row["relative"]),
                _cosine(row["cosine"]),
                None if row["largest"] is None else f"{row['largest']:.3g}",
                KINDS[row["kind"]],
                row["undone"],
            )
            for row in listed
        ),
    )
    if len(listed) < len(rows):
        out.say("", f"and {len(rows) - len(listed):,} more: --tensors lists them all")


def _add_lonely(out: Page, result: Mapping[str, Any], *, every: bool) -> None:
    for key, title in (("only_in_a", "Only in a"), ("only_in_b", "Only in b")):
        rows = result[key] if every else result[key][:ROWS]
        out.add(
            title if len(rows) == len(result[key]) else f"{title}: {len(rows)} of {len(result[key]):,}",
            [word("tensor"), "shape", "codec"],
            ((row["name"], " x ".join(map(str, row["shape"])), row["codec"]) for row in rows),
        )
    out.add(
        "Of another shape",
        [word("tensor"), "a", "b"],
        ((row["name"], " x ".join(map(str, row["a"])), " x ".join(map(str, row["b"]))) for row in result["reshaped"]),
    )


def _relative(value: float | None) -> str | None:
    if value is None:
        return None
    return "0" if not value else f"{value:.2%}" if value >= 1e-4 else f"{value:.1e}"


def _cosine(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _shown(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
