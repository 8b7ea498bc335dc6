"""`weigh MODEL`: the weigh-in. One page with everything that matters about the parameters, for one machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.commands.cost import known, obstacle, priced
from weigh.commands.setting import DEFAULT_ENGINE, Setting, at_context, inputs, locate, setting
from weigh.commands.show import describe
from weigh.commands.source import load
from weigh.cost.loading import loaded
from weigh.cost.memory import fits
from weigh.cost.params import count
from weigh.formats.digest import Tell, digests, stated
from weigh.report.answer import Answer
from weigh.types import Model, Workload

STORED_AS = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k")
"""Forms whose size the page compares."""


def run(name: str, *, on: str = "this", hashes: bool = False, tell: Tell | None = None, **options: Any) -> Answer:
    """The inventory, the cost at three contexts, the storage in other forms. Schema `weigh/summary/1`.

    Where the architecture is unknown or its configuration does not suffice, the page says what the file says and
    why the rest is missing.
    """
    model = load(name)
    counts = count(model)
    shown = describe(model, counts)
    if hashes:
        shown["sha256"] = digests(model.inventory, tell)
    warnings = [*model.inventory.warnings, *model.warnings, *counts.warnings]
    if hashes:
        warnings += stated(model.inventory)
    place = locate(on)
    refusal = obstacle(model, place, options.get("engine", DEFAULT_ENGINE))
    if refusal is not None:
        reason = {"rule": refusal.rule, "message": refusal.message, "hint": refusal.hint}
        bare = {"inventory": shown, "cost": known(model, Workload()), "refused": reason}
        return Answer("summary", {"model": name}, bare, warnings)
    chosen = setting(model=model, place=place, **options)
    cost, more = priced(chosen)
    result = {
        "inventory": shown,
        "machine": {
            "id": chosen.device.id,
            "name": chosen.device.name,
            "devices": chosen.devices,
            "limit": chosen.place.limit,
        },
        "cost": cost,
        "contexts": [_at(chosen, context) for context in _contexts(chosen)],
        "forms": _forms(model, chosen),
        "refused": None,
    }
    return Answer("summary", inputs(chosen, name), result, list(dict.fromkeys([*warnings, *more])))


def _contexts(chosen: Setting) -> list[int]:
    """A short, a usual and the longest context that the model was trained for."""
    trained = chosen.model.dimensions.get("context")
    if not trained or chosen.engine.state(chosen.job).value == 0:
        return [chosen.job.workload.context]
    usual = chosen.job.workload.context
    return sorted({min(512, trained), usual, trained})


def _at(chosen: Setting, context: int) -> dict[str, Any]:
    there = at_context(chosen, context)
    needed = there.needed()
    return {
        "context": context,
        "weights": needed.weights,
        "state": needed.state,
        "activations": needed.activations,
        "overhead": needed.overhead,
        "total": needed.total,
        "fits": fits(needed.total, chosen.capacity),
    }


def _forms(model: Model, chosen: Setting) -> list[dict[str, Any]]:
    """Bytes of the weights in other forms, and whether each would fit here."""
    rows = []
    for form in STORED_AS:
        held = loaded(model, form, chosen.engine, chosen.device)
        job = replace(chosen.job, tensors=held.tensors, file=False)
        size = sum(tensor.nbytes for tensor in held.tensors)
        needed = chosen.needed(job)
        rows.append(
            {
                "weights": form,
                "bytes": size,
                "total": needed.total,
                "fits": fits(needed.total, chosen.capacity),
                "kept_wider": len(held.kept_wider),
            }
        )
    return rows
