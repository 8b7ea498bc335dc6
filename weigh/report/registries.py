"""The pages of the commands that list a registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weigh.report.answer import Answer
from weigh.report.text import Page, number, word
from weigh.report.units import MARKS, scaled, size


def codecs(answer: Answer) -> Page:
    """Types by id with their exact size."""
    out = Page()
    out.add(
        "Codecs",
        [
            word("id"),
            word("name"),
            number("values a block"),
            number("bytes a block"),
            number("bits a value"),
            "decodes",
            "files",
        ],
        [
            (
                row["id"],
                row["name"],
                str(row["block"]),
                str(row["block_bytes"]),
                f"{row['bits']:.4g}",
                "yes" if row["decodes"] else "size only",
                _files(row),
            )
            for row in answer.result["codecs"]
        ],
    )
    return out


def _files(row: dict[str, Any]) -> str:
    kinds = []
    if row["ggml_type"] is not None:
        kinds.append(f"GGUF type {row['ggml_type']}")
    if row["safetensors"]:
        kinds.append(f"safetensors {row['safetensors']}")
    return ", ".join(kinds)


def families(answer: Answer) -> Page:
    """Model types with their family and the dialects whose tensor names it knows."""
    out = Page()
    out.add(
        "Architectures",
        [word("model_type"), word("family"), "tensor names of", "keys that the class ignores", "source"],
        [
            (
                row["model_type"],
                row["family"],
                ", ".join(row["dialects"]),
                ", ".join(row["ignored_keys"]),
                " ".join(row["sources"]),
            )
            for row in answer.result["families"]
        ],
    )
    return out


def engines(answer: Answer) -> Page:
    """Runtimes, what they read and what the formulas follow."""
    out = Page()
    for row in answer.result["engines"]:
        out.say(
            f"{row['id']}: {row['name']}",
            f"reads {row['reads']} files; cache in {', '.join(row['state_codecs'])}",
            f"follows {row['source']}",
            *row["notes"],
        )
    return out


def recipes(answer: Answer) -> Page:
    """Mixes by runtime."""
    out = Page()
    out.add(
        "Recipes",
        [word("id"), "name", word("engine"), "source"],
        [(row["id"], row["name"], row["engine"], row["source"]) for row in answer.result["recipes"]],
    )
    return out


def catalogue(answer: Answer) -> Page:
    """Known models: our count beside the published one."""
    out = Page()
    out.add(
        "Known models",
        [word("id"), number("parameters"), "published", number("difference"), "exact", number("year"), "source"],
        [
            (
                row["id"],
                f"{row['parameters']:,} =",
                stated["says"],
                f"{100 * stated['difference']:+.2f} %",
                "yes" if stated["exact"] else "rounded",
                None if row["year"] is None else str(row["year"]),
                stated["source"],
            )
            for row in answer.result["models"]
            for stated in row["published"]
        ],
    )
    return out


def devices(answer: Answer, *, why: bool) -> Page:
    """Devices with their figures; with `why` the words and the source of each."""
    out = Page()
    machine = answer.result["this"]
    if machine is not None:
        out.add("This machine", ["", ""], _machine(machine))
        out.say("Warnings", *answer.warnings, style="warning")
        return out
    rows = answer.result["devices"]
    out.add(
        f"{len(rows)} devices ('-' = no opened source states it)",
        [
            word("id"),
            word("class"),
            number("memory"),
            number("bandwidth"),
            number("f32"),
            number("f16"),
            number("bf16"),
            number("int8"),
            number("power"),
            number("year"),
            number("USD/h"),
        ],
        [
            (
                row["id"],
                row["class"],
                _memory(row["memory_bytes"]),
                _in(row["memory_bandwidth"], "B/s"),
                *(_in(row["peak"].get(kind), "OP/s" if kind == "int8" else "FLOP/s") for kind in KINDS),
                None if row["power_w"] is None else f"{row['power_w']:g} W",
                None if row["launch_year"] is None else f"{row['launch_year']:.0f}",
                None if row["rental_usd_per_hour"] is None else f"{row['rental_usd_per_hour']:.2f}",
            )
            for row in rows
        ],
    )
    if why:
        for row in rows:
            out.add(
                row["name"],
                ["figure", "the source says", "read", "source"],
                [(name, quoted["says"], quoted["read"], quoted["source"]) for name, quoted in row["why"].items()],
            )
    return out


KINDS = ("f32", "f16", "bf16", "int8")


def _memory(count: float | None) -> str | None:
    return None if count is None else f"{count / 2**30:g} GiB"


def _in(value: float | None, unit: str) -> str | None:
    return (
        None if value is None else scaled(value, tuple(f"{prefix}{unit}" for prefix in ("", "k", "M", "G", "T", "P")))
    )


def _machine(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was found out, in words; what was not is left out."""
    yield "processor", f"{row['name']} ({row['vendor']})"
    yield (
        "cores",
        f"{row['physical_cores']} physical, {row['logical_cores']} logical, {row['usable_cores']} usable here",
    )
    if row["cpu_quota"] is not None:
        yield "quota", f"{row['cpu_quota']:g} cores' worth of time"
    yield "instruction sets", ", ".join(row["features"]) or "none that engines ask for"
    yield "memory", f"{size(row['memory_total'])}, {size(row['memory_available'])} free now"
    if row["memory_limit"] is not None:
        yield "memory limit", f"{size(row['memory_limit'])}, set by {row['memory_limit_by']}"
    if row["memory_bandwidth"] is not None:
        yield "reads", f"{_in(row['memory_bandwidth'], 'B/s')} {MARKS['measured']}"
    if row["peak"]["f32"] is not None:
        yield "matrix products", f"{_in(row['peak']['f32'], 'FLOP/s')} in float32 {MARKS['measured']}"
    for gpu in row["gpus"]:
        free = "" if gpu["free_bytes"] is None else f", {size(gpu['free_bytes'])} free now"
        yield "graphics processor", f"{gpu['name']}{free}"
    if not row["gpus"]:
        yield "graphics processors", "none that its driver's tools report"
