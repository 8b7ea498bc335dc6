"""`weigh cost --find`: the inverse questions. Each is a search over settings with the estimator itself.

An answer names what binds and, of the changes in `CHANGES`, the one that would help most: each is tried.
To add a question, write a function that gives a Found and name it in `QUESTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from weigh.commands.cost import contradiction, timed
from weigh.commands.setting import DEFAULT_ENGINE, Setting, locate, setting
from weigh.commands.source import load
from weigh.commands.terms import Terms, split, terms
from weigh.cost.loading import loaded
from weigh.cost.memory import fits
from weigh.cost.money import dollars_per_million
from weigh.devices import devices
from weigh.engines import find as find_engine
from weigh.report.answer import Answer
from weigh.report.units import duration, size
from weigh.types import Model, WeighError

COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Devices that are tried of one kind."""
BOUGHT = (1, 2, 4, 8)
"""Devices of one kind that `cheapest` tries: those of one machine."""
MOST_BATCH = 2**20


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with everything that stays as it is."""

    model: Model
    on: str
    options: Mapping[str, Any]
    bill: Terms
    ttft: float | None
    tpot: float | None
    """Targets in seconds."""

    def at(self, on: str, **changed: Any) -> Candidate:
        """The setting there, with some options changed, and whether it meets everything."""
        try:
            place = self.bill.at(locate(on))
            engine = find_engine(self.options.get("engine", DEFAULT_ENGINE))
            refusal = engine.refuses(self.model, place.cluster.device)
            if refusal is not None:
                return Candidate(on, None, refusal.message)
            chosen = setting(model=self.model, place=place, **{**self.options, **changed})
        except WeighError as cannot:
            # A layout that does not divide, or a codec that does not run there, rules out this candidate alone.
            if not cannot.rule.startswith(("LAYOUT", "ENGINE")):
                raise
            return Candidate(on, None, cannot.message)
        return measured(on, chosen, self)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting that was tried."""

    on: str
    chosen: Setting | None
    why_not: str
    """Empty where it meets everything for certain."""
    binds: str = ""
    """memory, ttft, tpot, or `unknown` where a figure is missing."""
    memory: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    usd_per_hour: float | None = None
    usd_per_million_tokens: float | None = None

    def row(self) -> dict[str, Any]:
        """As the rows of an answer have it."""
        return {
            "on": self.on,
            "meets": not self.why_not,
            "why_not": self.why_not,
            "memory_bytes": self.memory,
            "ttft_s": self.ttft,
            "tpot_s": self.tpot,
            "usd_per_hour": self.usd_per_hour,
            "usd_per_million_tokens": self.usd_per_million_tokens,
        }


def measured(on: str, chosen: Setting, asked: Asked) -> Candidate:
    """Memory, times and price of a setting, and the first requirement that it misses. Memory must fit for certain."""
    needed, speed = chosen.needed().total, timed(chosen)
    hour = asked.bill.tariff(chosen.place.cluster).usd_per_hour
    rate = speed.tokens_per_second
    found = Candidate(
        on,
        chosen,
        "",
        memory=needed.value,
        ttft=speed.ttft.value if speed.ttft else None,
        tpot=speed.tpot.value if speed.tpot else None,
        usd_per_hour=hour.value if hour else None,
        usd_per_million_tokens=dollars_per_million(hour.value, rate.value) if hour and rate else None,
    )
    if fits(needed, chosen.capacity) != "yes":
        room = "not known" if chosen.capacity is None else size(chosen.capacity)
        what = f"needs up to {size(needed.high)} of memory, and there is {room}"
        return replace(found, why_not=what, binds="memory")
    for name, value, target in (("ttft", found.ttft, asked.ttft), ("tpot", found.tpot, asked.tpot)):
        words = "to the first token" if name == "ttft" else "a token"
        if target is not None and value is None:
            return replace(found, why_not=f"the time {words} is not known", binds="unknown")
        if target is not None and value is not None and value > target:
            return replace(found, why_not=f"takes {duration(value)} {words}", binds=name)
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a question: None where nothing meets it."""

    answer: Any
    worth: float
    """More is better; for comparing the answers after different changes."""
    words: str
    binds: str
    tried: tuple[Candidate, ...] = field(default=())


def _nothing(tried: list[Candidate], words: str) -> Found:
    reasons = [candidate.binds for candidate in tried if candidate.binds] or [one.why_not for one in tried]
    common = max(sorted(set(reasons)), key=reasons.count) if reasons else "no candidate"
    return Found(None, float("-inf"), words, common, tuple(tried))


# ------------------------------------------------------------------------------------------------- the questions


def largest_context(asked: Asked) -> Found:
    """The longest context that fits for certain; the targets of time must hold, which do not depend on it."""
    shortest = asked.at(asked.on, context=None)
    if shortest.chosen is None:
        return _nothing([shortest], shortest.why_not)
    work = shortest.chosen.job.workload
    least = asked.at(asked.on, context=work.prompt + work.output, prompt=work.prompt, output=work.output)
    if least.why_not:
        return _nothing([least], f"none: even {work.prompt + work.output:,} tokens: {least.why_not}")
    longest = shortest.chosen.longest()
    if longest is None:
        return _nothing([least], "the model keeps nothing from token to token, or the memory is not known")
    value = int(longest.low)
    trained = asked.model.dimensions.get("context")
    binds = "what the model was trained for" if value == trained else "memory"
    there = asked.at(asked.on, context=max(value, work.prompt + work.output))
    return Found(value, value, f"{value:,} tokens", binds, (there,))


def largest_batch(asked: Asked) -> Found:
    """The most sequences at once that meet everything, by doubling and halving: need and time grow with them."""
    tried = {1: asked.at(asked.on, batch=1)}

    def good(batch: int) -> bool:
        tried.setdefault(batch, asked.at(asked.on, batch=batch))
        return not tried[batch].why_not

    if not good(1):
        return _nothing([tried[1]], f"none: one sequence {tried[1].why_not}")
    low, high = 1, 2
    while high < MOST_BATCH and good(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    over = tried.get(high)
    last = (tried[low],) if over is None else (tried[low], over)
    return Found(low, low, f"{low:,} sequences", "nothing" if over is None else over.binds, last)


def smallest_device(asked: Asked) -> Found:
    """The device with the least memory that alone meets everything; of equals the one that draws the least."""
    named = [device for device in devices() if device.memory_bytes is not None]
    known = [(device.memory_bytes.value, _power(device), device.id) for device in named if device.memory_bytes]
    tried = [asked.at(name) for _, _, name in sorted(known)]
    best = next((candidate for candidate in tried if not candidate.why_not), None)
    if best is None or best.chosen is None:
        return _nothing(tried, "no device alone")
    memory = best.chosen.capacity or 0.0
    before = tried[: tried.index(best)]
    binds = before[-1].binds or before[-1].why_not if before else "nothing"
    return Found(best.on, -memory, f"{best.on} with {size(memory)}", binds, tuple(tried))


def _power(device: Any) -> float:
    return float("inf") if device.power_w is None else float(device.power_w.value)


def cheapest(asked: Asked) -> Found:
    """The devices, one to eight of a kind, whose tokens out cost the least at list or own prices and that meet it."""
    priced = [device.id for device in devices() if asked.bill.own.of(device).rental_usd_per_hour is not None]
    if asked.bill.owned is not None:
        priced = [asked.on]
    tried = [asked.at(f"{name}x{count}" if count > 1 else name) for name in priced for count in BOUGHT]
    good = [one for one in tried if not one.why_not and one.usd_per_million_tokens is not None]
    if not good:
        return _nothing(tried, "none of those with a price")
    best = min(good, key=lambda one: one.usd_per_million_tokens or 0.0)
    cost = best.usd_per_million_tokens or 0.0
    cheaper = [one for one in tried if one.why_not and (one.usd_per_hour or cost) < (best.usd_per_hour or 0.0)]
    reasons = [one.binds for one in cheaper if one.binds]
    binds = max(sorted(set(reasons)), key=reasons.count) if reasons else "price"
    ordered = sorted(tried, key=lambda one: (bool(one.why_not), one.usd_per_million_tokens or float("inf")))
    return Found(best.on, -cost, f"{best.on} at ${cost:.3g} a million tokens out", binds, tuple(ordered))


def fewest_devices(asked: Asked) -> Found:
    """The least number of the device that was named, among `COUNTS`, with which everything is met."""
    name = locate(asked.on).cluster.device.id
    tried: list[Candidate] = []
    for count in COUNTS:
        tried.append(asked.at(f"{name}x{count}" if count > 1 else name))
        if not tried[-1].why_not:
            before = tried[-2].binds or tried[-2].why_not if count > 1 else "nothing"
            return Found(count, -count, f"{count} x {name}", before, tuple(tried))
    return _nothing(tried, f"not even {COUNTS[-1]} x {name}")


QUESTIONS: Mapping[str, Callable[[Asked], Found]] = {
    "largest-context": largest_context,
    "largest-batch": largest_batch,
    "smallest-device": smallest_device,
    "cheapest": cheapest,
    "fewest-devices": fewest_devices,
}


# ------------------------------------------------------------------------------------------- what would help most

CHANGES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("--weights q8_0", {"weights": "q8_0"}),
    ("--weights q4_k_m", {"weights": "q4_k_m"}),
    ("--weights w4a16", {"weights": "w4a16"}),
    ("--kv q8_0", {"kv": "q8_0"}),
    ("--kv f8_e4m3", {"kv": "f8_e4m3"}),
    ("--batch 1", {"batch": 1}),
)
"""One change of an option each. Twice the devices and half the context are tried besides."""


def helps(asked: Asked, question: str, found: Found) -> tuple[str, Found] | None:
    """The one change after which the answer is best, if any makes it better."""
    best: tuple[str, Found] | None = None
    for words, changed in _possible(asked, question):
        after = QUESTIONS[question](changed)
        if after.worth > (best[1].worth if best else found.worth):
            best = words, after
    return best


def _possible(asked: Asked, question: str) -> list[tuple[str, Asked]]:
    """Changes that the engine takes and that make something smaller."""
    engine = find_engine(asked.options.get("engine", DEFAULT_ENGINE))
    now = sum(tensor.nbytes for tensor in loaded(asked.model, asked.options.get("weights"), engine).tensors)
    found = []
    for words, change in CHANGES:
        if "weights" in change:
            held = loaded(asked.model, change["weights"], engine)
            if held.foreign or sum(tensor.nbytes for tensor in held.tensors) >= now:
                continue
        if "kv" in change and (change["kv"] not in engine.state_codecs or asked.options.get("kv", "f16") != "f16"):
            continue
        if "batch" in change and (asked.options.get("batch", 1) == 1 or question == "largest-batch"):
            continue
        found.append((words, replace(asked, options={**asked.options, **change})))
    context = asked.options.get("context")
    if context and question != "largest-context" and context // 2 >= 1024:
        found.append((f"--context {context // 2}", replace(asked, options={**asked.options, "context": context // 2})))
    if question in ("largest-context", "largest-batch") and asked.on.strip().lower() != "this":
        cluster = locate(asked.on).cluster
        if cluster.device.kind != "size":
            twice = f"{cluster.device.id}x{2 * cluster.count}"
            found.append((f"--on {twice}", replace(asked, on=twice)))
    return found


# ------------------------------------------------------------------------------------------------------ the command


def run(
    name: str,
    question: str,
    *,
    on: str = "this",
    max_ttft: float | None = None,
    max_tpot: float | None = None,
    **options: Any,
) -> Answer:
    """The answer to a question of `QUESTIONS`; targets in milliseconds, `options` those of `setting` and of `terms`.

    Errors: FIND (exit code 2) for an unknown question, the refusals of the model, and those of the registries.
    """
    if question not in QUESTIONS:
        raise WeighError(
            f"there is no question `{question}`", rule="FIND", hint=f"ask {', '.join(QUESTIONS)}", exit_code=2
        )
    paid, rest = split(options)
    model = load(name)
    refusal = contradiction(model)
    if refusal is not None:
        raise refusal
    targets = tuple(None if target is None else target / 1000 for target in (max_ttft, max_tpot))
    asked = Asked(model, on, rest, terms(**paid), *targets)
    found = QUESTIONS[question](asked)
    better = helps(asked, question, found)
    result = {
        "question": question,
        "answer": found.answer,
        "words": found.words,
        "binds": found.binds,
        "helps": better and {"change": better[0], "answer": better[1].answer, "words": better[1].words},
        "rows": [candidate.row() for candidate in found.tried],
    }
    given = {"model": name, "on": on, "find": question, "max_ttft": max_ttft, "max_tpot": max_tpot, **rest}
    return Answer("cost", given, result, [*model.inventory.warnings, *model.warnings])
