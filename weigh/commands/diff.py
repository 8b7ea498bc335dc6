"""`weigh diff`: what changed between two models, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from weigh.commands.source import load
from weigh.formats.digest import Tell
from weigh.measure.difference import NOTHING, UNREADABLE, Side, change, together
from weigh.measure.pairs import Matching, match
from weigh.measure.relation import KINDS, Compared, judged, relation
from weigh.report.answer import Answer
from weigh.types import Limits, Model, Tensor, WeighError


def run(left: str, right: str, *, tell: Tell | None = None, limits: Limits | None = None) -> Answer:
    """Relation, changes in all, by role and by layer, and a row for each pair, the largest change first.

    Errors: those of `load`; DIFF-WEIGHTS where one of the two has no weights.
    """
    models = _with_weights(left, limits), _with_weights(right, limits)
    matching = match(*models)
    found = _compared(models[0], models[1], matching, tell)
    judgement = relation(matching, found)
    result = {
        "a": _identity(models[0]),
        "b": _identity(models[1]),
        "relation": judgement.word,
        "because": list(judgement.because),
        "change": _summary(found),
        "tensors": _tally(matching, found),
        "by_role": {role: _summary(group) for role, group in _grouped(found, lambda one: one.pair.role).items()},
        "by_layer": [
            {"layer": layer, **_summary(group)}
            for layer, group in sorted(_grouped(found, lambda one: one.pair.layer).items(), key=_layers_in_order)
        ],
        "configuration": _configuration(models[0], models[1]),
        "changes": [_row(one) for one in sorted(found, key=_largest_first)],
        "only_in_a": [_alone(tensor) for tensor in matching.only_left],
        "only_in_b": [_alone(tensor) for tensor in matching.only_right],
        "reshaped": [{"name": a.name, "a": list(a.shape), "b": list(b.shape)} for a, b in matching.reshaped],
    }
    warnings = [f"{name}: {text}" for name, model in zip("ab", models, strict=True) for text in _told(model)]
    return Answer("diff", {"a": left, "b": right}, result, warnings)


def exceeds(answer: Answer, most: float) -> WeighError | None:
    """The gate: why a change is larger than asked for, None where none is."""
    result = answer.result
    lonely = [*result["only_in_a"], *result["only_in_b"], *result["reshaped"]]
    unseen = [row for row in result["changes"] if row["kind"] == "not_compared"]
    if lonely or unseen:
        what = f"{len(lonely) + len(unseen)} tensors have no like in the other model or cannot be compared"
    else:
        worst = max((row for row in result["changes"] if not row["relative"] <= most), key=_relative, default=None)
        if worst is None:
            return None
        what = f"{worst['name']} changed by {worst['relative']:.4g}, more than {most:g}"
    return WeighError(what, rule="DIFF-CHANGE", hint="without --max-change this is no error", exit_code=1)


def _relative(row: dict[str, Any]) -> float:
    return float(row["relative"])


def _with_weights(name: str, limits: Limits | None) -> Model:
    model = load(name, limits)
    if not model.inventory.tensors:
        raise WeighError(
            "this has no weights to compare, only a configuration",
            rule="DIFF-WEIGHTS",
            path=model.inventory.source,
            hint="name a file or folder with weights",
        )
    return model


def _compared(left: Model, right: Model, matching: Matching, tell: Tell | None) -> list[Compared]:
    """Every pair, in the order of the first model; `tell` hears of the bytes that are done.

    A tensor whose values cannot be had is told in its row, and the others are compared all the same.
    """
    total = sum(pair.left.tensor.nbytes for pair in matching.pairs)
    done = 0
    sides = Side(left.inventory), Side(right.inventory)
    found: list[Compared] = []
    for pair in matching.pairs:
        try:
            found.append(judged(pair, change(*sides, pair)))
        except WeighError as error:
            if error.rule not in UNREADABLE:
                raise
            found.append(Compared(pair, None, refusal=error.message))
        done += pair.left.tensor.nbytes
        if tell is not None:
            tell(done, total)
    return found


def _summary(group: Iterable[Compared]) -> dict[str, Any]:
    """Changes of a group as one: sums over all its values."""
    whole, tensors = NOTHING, 0
    for one in group:
        tensors += 1
        if one.change is not None:
            whole = together(whole, one.change)
    return {
        "tensors": tensors,
        "parameters": whole.values,
        "equal": whole.equal,
        "relative": whole.relative,
        "cosine": whole.cosine,
        "largest": whole.largest,
    }


def _tally(matching: Matching, found: Sequence[Compared]) -> dict[str, dict[str, int]]:
    groups: dict[str, list[int]] = {kind: [one.parameters for one in found if one.kind == kind] for kind in KINDS}
    groups["only_in_a"] = [tensor.parameters or 0 for tensor in matching.only_left]
    groups["only_in_b"] = [tensor.parameters or 0 for tensor in matching.only_right]
    groups["reshaped"] = [tensor.parameters or 0 for tensor, _ in matching.reshaped]
    return {kind: {"tensors": len(sizes), "parameters": sum(sizes)} for kind, sizes in groups.items()}


def _grouped(found: Sequence[Compared], by: Callable[[Compared], Any]) -> dict[Any, list[Compared]]:
    groups: dict[Any, list[Compared]] = {}
    for one in found:
        groups.setdefault(by(one), []).append(one)
    return groups


def _layers_in_order(entry: tuple[int | None, list[Compared]]) -> tuple[bool, int]:
    return entry[0] is None, entry[0] or 0


def _largest_first(one: Compared) -> float:
    return 1.0 if one.change is None else -one.change.relative


def _row(one: Compared) -> dict[str, Any]:
    left, right, found = one.pair.left.tensor, one.pair.right.tensor, one.change
    return {
        "name": one.pair.name,
        "name_b": right.name,
        "shape": list(one.pair.left.shape or left.shape),
        "codec_a": left.codec,
        "codec_b": right.codec,
        "role": one.pair.role,
        "layer": one.pair.layer,
        "parameters": one.parameters,
        "kind": one.kind,
        "equal": None if found is None else found.equal,
        "relative": None if found is None else found.relative,
        "cosine": None if found is None else found.cosine,
        "largest": None if found is None else found.largest,
        "unequal_nan": None if found is None else found.unequal_nan,
        "undone": found.how if found is not None else one.refusal,
    }


def _alone(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "codec": tensor.codec, "parameters": tensor.parameters}


def _identity(model: Model) -> dict[str, Any]:
    inventory = model.inventory
    return {
        "source": inventory.source,
        "format": inventory.format,
        "family": model.family,
        "model_type": model.model_type,
        "bytes": sum(tensor.nbytes for tensor in inventory.tensors),
        "codecs": sorted({tensor.codec for tensor in inventory.tensors}),
    }


def _configuration(left: Model, right: Model) -> dict[str, list[Any]]:
    """Keys of the configurations that differ, with both values; None where a side has none.

    Of two dialects only what both say: a GGUF file has no place for most keys of a configuration.
    """
    a, b = dict(left.inventory.configuration or {}), dict(right.inventory.configuration or {})
    keys = {*a, *b} if left.inventory.dialect == right.inventory.dialect else {*a} & {*b}
    return {key: [a.get(key), b.get(key)] for key in sorted(keys) if a.get(key) != b.get(key)}


def _told(model: Model) -> list[str]:
    return [*model.inventory.warnings, *model.warnings]
