"""The page of `weigh show --stats`: findings, the whole, layers, the tensors that rounding hurts most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weigh.report.text import Column, Page, number
from weigh.report.units import quantity, size

WORST = 12
NAMED = 3


def page(result: Mapping[str, Any], warnings: Sequence[str], *, every: bool = False) -> Page:
    """From the plain data of `commands.stats.run`. `every` lists all tensors instead of the worst."""
    out = Page()
    stats = result["stats"]
    total = stats["total"]
    tensors = stats["tensors"]
    out.say(result["source"], f"{result['format']}, {len(tensors):,} tensors, values read: {_count(total['values'])}")
    lines = [_finding(one) for one in stats["findings"]]
    out.say("Findings", *(lines or ["nothing strange: no NaN, nothing dead, constant, doubled or far out"]))
    if total["values"] is not None:
        _add_whole(out, total, stats["roundings"])
    _add_entropy(out, tensors)
    if len(stats["by_layer"]) > 1:
        _add_table(out, "By layer", stats["by_layer"], "layer")
    ordered = tensors if every else sorted(tensors, key=_badness, reverse=True)[:WORST]
    heading = "Tensors" if every or len(tensors) <= WORST else f"Tensors, {WORST} worst to round of {len(tensors):,}"
    _add_table(out, heading, ordered, "name")
    if any("effective_rank" in row for row in tensors):
        _add_spectra(out, ordered)
    out.say("Not read", *(f"{row['name']}: {row['why']}" for row in tensors if row["values"] is None))
    out.say("Words", *(f"{name}: {words}" for name, words in stats["definitions"].items()))
    out.say("Warnings", *warnings, style="warning")
    return out


def _finding(one: Mapping[str, Any]) -> str:
    names = one["tensors"]
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    noun = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names):,} {noun} {one['words']}: {listed}"


def _add_whole(out: Page, total: Mapping[str, Any], roundings: Mapping[str, str]) -> None:
    held = total["values"]
    out.add(
        "All values",
        ["", number(""), ""],
        (
            ("mean", _three(total["mean"]), ""),
            ("deviation", _three(total["deviation"]), ""),
            ("range", _three(total["minimum"]), f"to {_three(total['maximum'])}"),
            ("kurtosis", _three(total["kurtosis"]), "3 is normal; more means heavier tails"),
            ("outliers", f"{total['outliers']:,}", f"{_share(total['outliers'], held)} beyond 6 deviations"),
            ("zeros", f"{total['zeros']:,}", _share(total["zeros"], held)),
            (
                "near zeros",
                "-" if total["near_zeros"] is None else f"{total['near_zeros']:,}",
                "zero when rounded to int8",
            ),
            ("lossless gain", size(total["gain_bytes"]), "at the entropy of the stored bytes"),
        ),
    )
    worst = max((value or 0 for value in total["error"].values()), default=0)
    out.add(
        "Error of rounding to nearest, relative to the weights",
        ["codec", number("error"), Column("", "bar"), "how"],
        (
            (name, _percent(value), (value or 0) / worst if worst else 0, roundings[name])
            for name, value in total["error"].items()
        ),
    )


def _add_entropy(out: Page, tensors: Sequence[Mapping[str, Any]]) -> None:
    by_codec: dict[str, list[Mapping[str, Any]]] = {}
    for row in tensors:
        by_codec.setdefault(row["codec"], []).append(row)
    rows = []
    for codec, group in by_codec.items():
        stored = sum(row["bytes"] for row in group)
        gain = sum(row["gain_bytes"] for row in group)
        planes = max((len(row["entropy"]) for row in group), default=0)
        mean = [
            sum(row["entropy"][plane] * row["bytes"] for row in group if len(row["entropy"]) == planes)
            / max(sum(row["bytes"] for row in group if len(row["entropy"]) == planes), 1)
            for plane in range(planes)
        ]
        words = " ".join(f"{bits:.2f}" for bits in mean)
        rows.append((codec, size(stored), words, size(gain), _share(gain, stored)))
    out.add(
        "Entropy of the stored bytes",
        ["codec", number("bytes"), "bits a byte of each plane", number("gain"), number("share")],
        rows,
    )


def _add_table(out: Page, title: str, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """The columns that fit 100 characters; JSON and CSV have them all."""
    out.add(
        title,
        [key, number("values"), number("deviation"), number("largest"), number("kurtosis"),
         number("outliers"), number("zeros"), number("q8_0"), number("q4_0")],
        (
            (
                "outside" if row[key] is None else str(row[key]),
                _count(row["values"]),
                *(_three(row.get(name)) for name in ("deviation", "largest", "kurtosis")),
                _many(row.get("outliers")),
                _many(row.get("zeros")),
                *(_percent((row.get("error") or {}).get(name)) for name in ("q8_0", "q4_0")),
            )
            for row in rows
        ),
    )  # fmt: skip


def _add_spectra(out: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    out.add(
        "Spectrum",
        ["name", "shape", number("effective rank"), number("stable rank"), number("tail exponent"), number("tail"),
         number("distance"), number("sampled")],
        (
            (
                row["name"],
                " x ".join(map(str, row["shape"])),
                *(_three(row[name]) for name in ("effective_rank", "stable_rank", "tail_exponent")),
                _many(row["tail_count"]),
                _three(row["distance"]),
                _many(row["sampled"]),
            )
            for row in rows
            if row.get("effective_rank") is not None
        ),
    )  # fmt: skip


def _badness(row: Mapping[str, Any]) -> tuple[int, float]:
    """NaN and infinity first, then the error of four bits in groups of 128."""
    if row["values"] is None:
        return 0, 0.0
    return row["nan"] + row["infinite"], (row["error"]["int4_g128"] or 0.0)


def _count(value: int | None) -> str:
    return "unknown" if value is None else quantity(value)


def _many(value: int | None) -> str | None:
    return None if value is None else quantity(value)


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.3g} %"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "-"
