"""`weigh cost --sweep`: many settings at once, as rows; and the words that name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weigh.commands.cost import obstacle
from weigh.commands.setting import DEFAULT_ENGINE, locate, setting
from weigh.commands.source import load
from weigh.commands.terms import Terms, split, terms
from weigh.report.answer import Answer
from weigh.types import Model, WeighError

if TYPE_CHECKING:
    from weigh.cost.run.sweep import Sweep

AXES = ("context", "batch", "weights", "on")
MOST = 200_000
"""Points that the command line prints; the library has no limit."""
LARGEST = 2**40
_NUMBER = re.compile(r"(\d{1,12})([kK]?)")
_RANGE = re.compile(r"(\d{1,12}[kK]?)\.\.(\d{1,12}[kK]?)(?:\+(\d{1,12}[kK]?))?")


def run(name: str, words: str, *, on: str = "this", **options: Any) -> Answer:
    """The rows of every combination that `words` name, as in `context=1k..128k batch=1..64 weights=q4_k_m on=h100`.

    Axes that are left out are those of the other options. Errors: SWEEP, SWEEP-LARGE (exit code 2), and those of a
    single estimate.
    """
    paid, options = split(options)
    bill = terms(**paid)
    given = axes(words)
    model = load(name)
    found = swept(
        model,
        contexts=given.get("context") or ([options["context"]] if options.get("context") else None),
        batches=given.get("batch") or [options.get("batch", 1)],
        weights=given.get("weights") or [options.get("weights")],
        devices=given.get("on") or [on],
        engine=options.get("engine", DEFAULT_ENGINE),
        kv=options.get("kv"),
        prompt=options.get("prompt"),
        output=options.get("output"),
        bill=bill,
        most=MOST,
    )
    rows = list(found.rows())
    inputs = {"model": name, "sweep": words, "engine": options.get("engine", DEFAULT_ENGINE), "points": found.points}
    result = {"best": list(best(found)), "rows": rows}
    return Answer("cost", inputs, result, [*model.inventory.warnings, *model.warnings])


def swept(
    model: Model,
    *,
    contexts: Sequence[int] | None = None,
    batches: Sequence[int] = (1,),
    weights: Sequence[str | None] = (None,),
    devices: Sequence[str] = ("this",),
    engine: str = DEFAULT_ENGINE,
    kv: str | None = None,
    prompt: int | None = None,
    output: int | None = None,
    bill: Terms | None = None,
    most: int | None = None,
) -> Sweep:
    """The sweep over these words. Without contexts it is that of a single estimate."""
    from weigh.cost.run.sweep import Site, sweep

    bill = bill or Terms()
    points = len(contexts or (1,)) * len(batches) * len(weights) * len(devices)
    if most is not None and points > most:
        raise _wrong("SWEEP-LARGE", f"{points:,} points are more than {most:,}", "`weigh.sweep` has no such limit")
    if not points:
        raise _wrong("SWEEP", "there is nothing to sweep over", "name at least one of each")
    least = {"context": 1, "batch": 1}
    for axis, values in (("context", contexts or ()), ("batch", batches)):
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not least[axis] <= value <= LARGEST:
                raise _wrong("SWEEP", f"{axis} cannot be {value!r}", "whole numbers of 1 or more")
    # The shortest context decides whether there is room for the tokens in and out.
    shortest = min(contexts) if contexts else None
    places = [bill.at(locate(name)) for name in devices]
    for place in places:
        refusal = obstacle(model, place, engine)
        if refusal is not None:
            raise refusal
    asked: dict[str, Any] = {"context": shortest, "prompt": prompt, "output": output, "kv": kv}
    table = [
        [setting(model=model, place=at, engine=engine, weights=form, **asked) for at in places] for form in weights
    ]
    sites = [
        Site(name, one.place.cluster, one.capacity, one.split, bill.tariff(one.place.cluster).usd_per_hour)
        for name, one in zip(devices, table[0], strict=True)
    ]
    forms = [(row[0].loaded.weights, [(one.loaded, one.job.workload) for one in row]) for row in table]
    chosen = table[0][0]
    import numpy as np

    rooms = np.array(contexts or [chosen.job.workload.context], np.int64)
    return sweep(model, chosen.engine, sites, forms, rooms, np.array(batches, np.int64))


def best(found: Sweep) -> list[dict[str, Any]]:
    """Of each form and device: how many points fit for certain, and the extremes among them."""
    import numpy as np

    rows: list[dict[str, Any]] = []
    for form, weights in enumerate(found.weights):
        for place, device in enumerate(found.devices):
            fit = found.fits[:, :, form, place] == 1
            row: dict[str, Any] = {"weights": weights, "device": device, "points": fit.size, "fit": int(fit.sum())}
            held = found.contexts[fit.any(axis=1)]
            row["largest_context"] = int(held.max()) if held.size else None
            many = found.batches[fit.any(axis=0)]
            row["largest_batch"] = int(many.max()) if many.size else None
            for name, pick in (("tokens_per_second", np.max), ("usd_per_million_tokens", np.min)):
                values = getattr(found, name)[:, :, form, place][fit]
                values = values[~np.isnan(values)]
                row[name] = float(pick(values)) if values.size else None
            rows.append(row)
    return rows


def axes(words: str) -> dict[str, list[Any]]:
    """`context=1k..128k batch=1,2,8 on=h100,rtx-4090`: lists, doublings `a..b`, and steps `a..b+s`. k is 1,024."""
    found: dict[str, list[Any]] = {}
    for pair in words.split():
        name, equals, value = pair.partition("=")
        if not equals or name not in AXES or name in found or not value:
            problem = "is named twice" if name in found else f"is not one of {', '.join(AXES)} with a value"
            raise _wrong("SWEEP", f"--sweep: `{pair}` {problem}", "context=1k..128k batch=1..64 weights=q4_k_m on=h100")
        items = value.split(",")
        found[name] = items if name in ("weights", "on") else [number for item in items for number in _numbers(item)]
        if "" in items:
            raise _wrong("SWEEP", f"--sweep: `{pair}` has an empty entry", "write a,b,c")
    if not found:
        raise _wrong("SWEEP", "--sweep names nothing", "context=1k..128k batch=1..64 weights=q4_k_m on=h100")
    return found


def _numbers(words: str) -> list[int]:
    single, span = _NUMBER.fullmatch(words), _RANGE.fullmatch(words)
    if single:
        return [_count(words)]
    if span is None:
        raise _wrong("SWEEP", f"--sweep: `{words}` is no number", "8192, 8k, 1k..128k (doubling) or 1..64+1 (steps)")
    low, high = _count(span[1]), _count(span[2])
    step = None if span[3] is None else _count(span[3])
    if not 0 < low <= high or step == 0:
        raise _wrong("SWEEP", f"--sweep: `{words}` does not rise", "from a smaller number above 0 to a larger one")
    if step is not None:
        if (high - low) // step >= MOST:
            raise _wrong("SWEEP-LARGE", f"--sweep: `{words}` is more than {MOST:,} numbers", "take larger steps")
        return list(range(low, high + 1, step))
    doubled = [low]
    while 2 * doubled[-1] <= high:
        doubled.append(2 * doubled[-1])
    return doubled if doubled[-1] == high else [*doubled, high]


def _count(words: str) -> int:
    return int(words[:-1]) * 1024 if words[-1] in "kK" else int(words)


def _wrong(rule: str, message: str, hint: str) -> WeighError:
    return WeighError(message, rule=rule, hint=hint, exit_code=2)
