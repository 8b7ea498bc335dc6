"""`weigh show --stats`: what the values of a model say, tensor by tensor and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weigh.commands.source import load
from weigh.cost.params import count
from weigh.families.audit import Holding
from weigh.formats.digest import Tell
from weigh.kernels import implementation
from weigh.measure.roundings import ROUNDINGS
from weigh.measure.second_look import OUTLYING, duplicates
from weigh.measure.spectrum import spectrum
from weigh.measure.weights import Weights, measure, merged, told
from weigh.report.answer import Answer
from weigh.types import Limits, Model, WeighError

DEFINITIONS = {
    "deviation": "standard deviation of all finite values",
    "norm": "square root of the sum of squares",
    "largest": "largest magnitude",
    "kurtosis": "fourth central moment over the squared variance: 3 for a normal distribution",
    "outliers": f"values more than {OUTLYING} deviations from the mean of their tensor; outlier_ratio is their share",
    "near_zeros": "not zero, but zero when rounded to int8_g128",
    "dead_rows": "rows (outputs, tokens) that hold only zeros; dead_columns the same for the last axis",
    "entropy": "bits a byte of each byte plane as stored, lowest byte first; blocks count as one plane",
    "gain_bytes": "bytes saved if each plane took its entropy: about what lossless packing can gain",
    "error": "sqrt(sum (x - q)^2 / sum x^2) of rounding to nearest",
    "effective_rank": "exp of the entropy of the singular values as shares of their sum",
    "tail_exponent": "alpha of the power law fitted to the largest eigenvalues of W^T W / rows",
}


def run(
    name: str,
    *,
    tensors: bool = False,
    spectra: bool = False,
    tell: Tell | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Answer:
    """Statistics of every tensor of a file. Errors: STATS-NO-WEIGHTS, and those of `measure.weights.measure`."""
    model = load(name, limits)
    held = count(model)
    if not model.inventory.tensors or held.audit is None:
        raise WeighError(
            "there are no weights here, only a configuration",
            rule="STATS-NO-WEIGHTS",
            path=model.inventory.source,
            hint="name the file or the folder that holds the weights",
        )
    holdings = held.audit.holdings
    stored = [holding.tensor for holding in holdings]
    found = measure(model.inventory, stored, tell, threads)
    rows = [_row(holding, one) for holding, one in zip(holdings, found, strict=True)]
    if spectra:
        _add_spectra(model, stored, found, rows)
    alike = duplicates(model.inventory, stored, found)
    result = {
        "source": model.inventory.source,
        "format": model.inventory.format,
        "stats": {
            "total": values(merged(found)),
            "by_layer": _layers(holdings, found),
            "tensors": rows,
            "duplicates": alike,
            "findings": findings(found, alike),
            "definitions": DEFINITIONS,
            "roundings": {rounding.id: rounding.words for rounding in ROUNDINGS},
            "kernels": implementation(),
        },
    }
    warnings = [*model.inventory.warnings, *model.warnings]
    return Answer("show", {"model": name, "stats": True, "tensors": tensors, "spectrum": spectra}, result, warnings)


def _row(holding: Holding, one: Weights) -> dict[str, Any]:
    tensor = holding.tensor
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "codec": tensor.codec,
        "parameters": tensor.parameters,
        "bytes": tensor.nbytes,
        "role": holding.shares[0].role,
        "layer": holding.shares[0].layer,
        **values(one),
    }


def values(one: Weights) -> dict[str, Any]:
    """The statistics as plain data. `values` is None, with `why` beside it, where they cannot be read."""
    stored = {"entropy": one.entropy(), "gain_bytes": one.gain_bytes()}
    if one.sums is None:
        return {"values": None, "why": one.unreadable, **stored}
    return {
        "values": one.count + one.strange,
        "mean": told(one.field("mean")) if one.count else None,
        "deviation": told(one.deviation),
        "norm": told(one.norm),
        "minimum": told(one.field("minimum")),
        "maximum": told(one.field("maximum")),
        "largest": told(one.largest),
        "kurtosis": told(one.kurtosis),
        "outliers": one.outliers,
        "outlier_ratio": one.outliers / one.count if one.count else None,
        "zeros": int(one.field("zeros")),
        "near_zeros": None if one.field("unrounded") else int(one.field("near_zeros")),
        "nan": int(one.field("nan")),
        "infinite": int(one.field("infinite")),
        "dead_rows": one.dead_rows,
        "dead_columns": one.dead_columns,
        **stored,
        "error": {rounding.id: told(one.error(rounding)) for rounding in ROUNDINGS},
        "overflow": {rounding.id: one.overflow(rounding) for rounding in ROUNDINGS if one.overflow(rounding)},
    }


def _layers(holdings: Sequence[Holding], found: Sequence[Weights]) -> list[dict[str, Any]]:
    by_layer: dict[int | None, list[Weights]] = {}
    for holding, one in zip(holdings, found, strict=True):
        by_layer.setdefault(holding.shares[0].layer, []).append(one)
    ordered = sorted(by_layer.items(), key=lambda item: (item[0] is not None, item[0] or 0))
    return [{"layer": layer, "tensors": len(group), **values(merged(group))} for layer, group in ordered]


def _add_spectra(model: Model, stored: Sequence[Any], found: Sequence[Weights], rows: list[dict[str, Any]]) -> None:
    for tensor, one, row in zip(stored, found, rows, strict=True):
        shown = None if one.sums is None or one.strange else spectrum(model.inventory, tensor)
        names = ("effective_rank", "stable_rank", "tail_exponent", "tail_start", "tail_count", "distance", "sampled")
        row.update({name: getattr(shown, name) if shown is not None else None for name in names})


EXTREME = 100
"""Deviations at which the largest value of a tensor is worth a word."""


def findings(found: Sequence[Weights], alike: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What a reader should know first, worst first: each with a rule, words and the tensors."""
    told_of: list[dict[str, Any]] = []

    def tell(rule: str, words: str, names: Sequence[str]) -> None:
        if names:
            told_of.append({"finding": rule, "words": words, "tensors": list(names)})

    def names(of: Any) -> list[str]:
        return [one.names[0] for one in found if one.sums is not None and of(one)]

    tell("nan", "hold NaN: every result that they touch is NaN", names(lambda one: one.field("nan")))
    tell("infinite", "hold infinite values", names(lambda one: one.field("infinite")))
    dead = names(lambda one: one.count and not one.largest)
    tell("dead", "are all zeros", dead)
    part = names(lambda one: one.largest and (one.dead_rows or one.dead_columns))
    rows = sum(one.dead_rows for one in found if one.largest)
    columns = sum(one.dead_columns for one in found if one.largest)
    tell("dead_channels", f"have {rows:,} rows and {columns:,} columns of zeros", part)
    tell("constant", "hold one value over and over", names(lambda one: one.constant and one.largest))
    for group in alike:
        tell("duplicate", "hold the same values", group)
    far = names(lambda one: one.deviation > 0 and one.largest > EXTREME * one.deviation)
    tell("extreme", f"have a value beyond {EXTREME} deviations", far)
    over = names(lambda one: any(one.overflow(rounding) for rounding in ROUNDINGS))
    tell("overflow", "have blocks whose scale float16 cannot hold: q8_0 or q4_0 would make them infinite", over)
    unread = [one.names[0] for one in found if one.sums is None]
    tell("unreadable", "have values that cannot be decoded", unread)
    return told_of
