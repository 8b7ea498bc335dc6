"""The page of `weigh show`: from its plain data to sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weigh.report.text import Column, Page, number
from weigh.report.units import percent, quantity, size
from weigh.types import ROLES

SHORTCUTS = {
    "layers": "layers",
    "width": "wide",
    "heads": "heads",
    "kv_heads": "KV heads",
    "head_dim": "a head",
    "hidden": "in the MLP",
    "vocabulary": "tokens known",
    "context": "tokens of context",
    "experts": "experts",
    "experts_used": "used a token",
}


def page(result: Mapping[str, Any], warnings: Sequence[str]) -> Page:
    """Identity, counts, roles, depth, codecs, differences, warnings."""
    out = Page()
    counts = result["parameters"]
    out.say(
        result["source"],
        f"{result['family'] or 'unknown architecture'} ({result['model_type'] or 'no model type'}), "
        f"{result['format']}, {dimensions_in_words(result['dimensions'])}".rstrip(", "),
    )
    out.add("Parameters", ["", number(""), number("")], _totals(counts))
    add_roles(out, result)
    add_depth(out, result)
    bits = result["bits_per_parameter"]
    note = f"{bits:.2f} bits a parameter" if bits else "nothing counted"
    stored = f", {size(result['file_bytes'])} in files" if result["file_bytes"] is not None else ""
    out.add(
        f"Storage: {size(result['bytes'])} of tensors{stored}, {note}",
        ["codec", number("tensors"), number("parameters"), number("bytes")],
        (
            (name, f"{group['tensors']:,}", f"{group['parameters']:,}", f"{group['bytes']:,}")
            for name, group in result["codecs"].items()
        ),
    )
    if result.get("tensors"):
        out.add(
            "Tensors",
            ["name", "shape", "codec", number("parameters"), number("bytes"), "role", number("layer")],
            (_tensor_row(row) for row in result["tensors"]),
        )
    out.say("Assumed (the configuration does not say)", *result["assumed"])
    out.say("Warnings", *warnings, style="warning")
    return out


def dimensions_in_words(dimensions: Mapping[str, int]) -> str:
    """Sizes as a reader says them: 30 layers, 576 wide, 9 heads."""
    return ", ".join(f"{dimensions[name]:,} {word}" for name, word in SHORTCUTS.items() if name in dimensions)


def _totals(counts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    wording = (
        ("total", "total"),
        ("active", "active a token"),
        ("active_without_embedding", "  without the input embedding"),
        ("active_without_embedding_and_head", "  without embedding and head"),
        ("embedding", "input embedding"),
        ("trainable", "trainable"),
        ("mtp", "multi-token prediction (not in the total)"),
        ("buffers", "buffers (not in the total)"),
    )
    for name, words in wording:
        value = counts[name]
        if name in ("mtp", "buffers") and not value:
            continue
        yield (words, "unknown", "") if value is None else (words, f"{value:,}", quantity(value))


def add_roles(out: Page, result: Mapping[str, Any]) -> None:
    """Parameters by role with bars, in the order in which data flows."""
    roles = result["parameters"]["by_role"]
    total = result["parameters"]["total"]
    out.add(
        "By role",
        ["role", number("parameters"), number("share"), Column("", "bar"), number("bytes")],
        (
            (
                role.replace("_", " "),
                quantity(roles[role]["parameters"]),
                "-" if role in ("buffer", "mtp") else percent(roles[role]["parameters"], total),
                roles[role]["parameters"] / total if total and role not in ("buffer", "mtp") else 0,
                size(roles[role]["bytes"]),
            )
            for role in ROLES
            if role in roles
        ),
    )


def add_depth(out: Page, result: Mapping[str, Any]) -> None:
    """Parameters by depth: layers that weigh the same are folded into one line."""
    rows = result["parameters"]["by_layer"]
    total = result["parameters"]["total"]
    out.add(
        "By depth, from input to output",
        ["layers", number("each"), number("together"), number("share"), Column("", "bar")],
        (
            (
                _span(first, last),
                quantity(each),
                quantity(each * (1 if first is None else last - first + 1)),
                percent(each * (1 if first is None else last - first + 1), total),
                each * (1 if first is None else last - first + 1) / total if total else 0,
            )
            for first, last, each in _folded(rows)
        ),
    )


def _folded(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int | None, int, int]]:
    first: int | None = None
    last = each = -1
    for row in rows:
        layer, count = row["layer"], row["parameters"]
        if layer is None:
            yield None, 0, count
            continue
        if first is not None and count == each and layer == last + 1:
            last = layer
            continue
        if first is not None:
            yield first, last, each
        first, last, each = layer, layer, count
    if first is not None:
        yield first, last, each


def _span(first: int | None, last: int) -> str:
    if first is None:
        return "outside the layers"
    return f"{first}" if first == last else f"{first} to {last}"


def _tensor_row(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    held = row["parameters"]
    return (
        row["name"],
        " x ".join(map(str, row["shape"])),
        row["codec"],
        "unknown" if held is None else f"{held:,}",
        f"{row['bytes']:,}",
        row["role"],
        None if row["layer"] is None else str(row["layer"]),
    )
