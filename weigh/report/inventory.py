"""The page of `weigh show`: from its plain data to sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weigh.report.text import Column, Page, number
from weigh.report.units import percent, quantity, size
from weigh.types import ROLES


def page(result: Mapping[str, Any], warnings: Sequence[str]) -> Page:
    """Identity, counts, roles, depth, codecs, differences, warnings."""
    out = Page()
    counts = result["parameters"]
    out.say(result["source"], _identity(result))
    add_components(out, result)
    out.add("Parameters", ["", number(""), number("")], _totals(counts))
    add_roles(out, result)
    if "components" not in result:
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
    add_hashes(out, result)
    if result.get("tensors"):
        out.add(
            "Tensors",
            ["name", "shape", "codec", number("parameters"), number("bytes"), "role", number("layer")],
            (_tensor_row(row) for row in result["tensors"]),
        )
    out.say("Assumed (the configuration does not say)", *result["assumed"])
    out.say("Warnings", *warnings, style="warning")
    return out


def _identity(result: Mapping[str, Any]) -> str:
    if "components" in result:
        return f"{result['architecture']}, a pipeline of {len(result['components'])} models"
    kind = f"{result['family'] or 'unknown architecture'} ({result['model_type'] or 'no model type'})"
    return f"{kind}, {result['format']}, {dimensions_in_words(result['dimensions'])}".rstrip(", ")


def add_components(out: Page, result: Mapping[str, Any]) -> None:
    """The models of a pipeline, where it is one."""
    total = result["parameters"]["total"]
    out.add(
        "Models",
        ["", "class", "family", number("parameters"), number("share"), number("bytes")],
        (
            (
                row["name"],
                row["class"],
                row["family"] or "unknown",
                f"{row['parameters']:,}",
                percent(row["parameters"], total),
                f"{row['bytes']:,}",
            )
            for row in result.get("components", ())
        ),
    )


def imports_page(result: Mapping[str, Any], warnings: Sequence[str]) -> Page:
    """What a checkpoint's pickle would import: what no model needs first."""
    out = Page()
    rows = sorted(result["imports"], key=lambda row: row["allowed"])
    harmless = "every import is one that tensors need" if rows else "the pickle imports nothing"
    unsafe = f"not needed for tensors: {result['unsafe']:,} of {len(rows):,} imports; loading the file would run them"
    out.say("Imports of the pickle", unsafe if result["unsafe"] else harmless)
    out.add(
        "",
        ["", "module", "name", "pickle", number("offset")],
        (
            ("" if row["allowed"] else "UNSAFE", row["module"], row["name"], row["pickle"], f"{row['offset']:,}")
            for row in rows
        ),
    )
    out.say("Warnings", *warnings, style="warning")
    return out


def add_hashes(out: Page, result: Mapping[str, Any]) -> None:
    """SHA-256 of each file, where it was asked for."""
    out.add("SHA-256", ["", ""], result.get("sha256", {}).items())


def dimensions_in_words(sizes: Mapping[str, int]) -> str:
    """Sizes as a reader says them: 30 layers, width 576, 9 heads (3 KV) of 64, MLP 1,536, vocabulary 49,152."""
    words = []
    if "layers" in sizes:
        words.append(f"{sizes['layers']:,} layers")
    if "width" in sizes:
        words.append(f"width {sizes['width']:,}")
    if "heads" in sizes:
        grouped = f" ({sizes['kv_heads']:,} KV)" if sizes["kv_heads"] != sizes["heads"] else ""
        words.append(f"{sizes['heads']:,} heads{grouped} of {sizes['head_dim']:,}")
    if "experts" in sizes:
        words.append(
            f"{sizes['experts']:,} experts of {sizes['expert_hidden']:,}, {sizes['experts_used']:,} used a token"
        )
    elif "hidden" in sizes:
        words.append(f"MLP {sizes['hidden']:,}")
    words += [f"{name} {sizes[name]:,}" for name in ("vocabulary", "context") if name in sizes]
    return ", ".join(words)


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
            if role in roles and (roles[role]["parameters"] or roles[role]["bytes"])
        ),
    )


def add_depth(out: Page, result: Mapping[str, Any]) -> None:
    """Parameters from the input to the output: the tables, the thirds of the layers, what stands behind."""
    depths = result["parameters"]["by_depth"]
    total = result["parameters"]["total"]
    places = [("input", "before the layers")]
    layers = sorted(row["layer"] for row in result["parameters"]["by_layer"] if row["layer"] is not None)
    third = len(layers) // 3
    if layers:
        groups = ("first", layers[:third]), ("middle", layers[third : len(layers) - third]), ("last", layers[-third:])
        places += [(name, _span(group)) for name, group in groups if third or name == "middle"]
    places.append(("output", "behind the layers"))
    out.add(
        "By depth",
        ["from input to output", number("parameters"), number("share"), Column("", "bar")],
        (
            (words, quantity(depths[name]), percent(depths[name], total), depths[name] / total if total else 0)
            for name, words in places
        ),
    )


def _span(layers: Sequence[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


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
