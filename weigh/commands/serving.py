"""What the options for many users and for a draft add to `weigh cost`: limits, time under load, speculation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from weigh.commands.setting import Setting, setting
from weigh.commands.source import load
from weigh.cost.memory import Memory
from weigh.cost.run import batching, speculative
from weigh.cost.run.latency import grouped
from weigh.cost.run.several import line_of
from weigh.cost.run.stages import Line
from weigh.types import Job, WeighError

DRAFT_TOKENS = 4
"""Tokens that a draft proposes where nobody says how many."""
OPTIONS = ("max_ttft", "max_tpot", "draft", "draft_tokens", "accept")


@dataclass(frozen=True, slots=True)
class Asked:
    """These options as they were given."""

    max_ttft: float | None = None
    """Milliseconds."""
    max_tpot: float | None = None
    draft: str | None = None
    draft_tokens: int | None = None
    accept: float | None = None


def check(asked: Asked) -> None:
    """Errors: DRAFT-OPTIONS, LATENCY-BOUND (exit code 2)."""
    if asked.draft is None and (asked.draft_tokens is not None or asked.accept is not None):
        raise WeighError(
            "--draft-tokens and --accept say how a draft works, and there is none",
            rule="DRAFT-OPTIONS",
            hint="name it with --draft MODEL, or --draft mtp for the model's own layers",
            exit_code=2,
        )
    for name, bound in (("--max-ttft", asked.max_ttft), ("--max-tpot", asked.max_tpot)):
        if bound is not None and not 0 < bound < float("inf"):
            raise WeighError(f"{name} {bound}: not a time in milliseconds", rule="LATENCY-BOUND", exit_code=2)


# -------------------------------------------------------------------------------------------------- many users


def load_and_limits(chosen: Setting, asked: Asked) -> dict[str, Any]:
    """`under_load` where there are several users, `limits` where a bound was asked for; else None."""
    bounds = asked.max_ttft is not None or asked.max_tpot is not None
    if not bounds and chosen.job.workload.batch == 1:
        return {"under_load": None, "limits": None}
    line = _line(chosen)
    timed = line is not None and chosen.engine.state(chosen.job).value > 0
    return {
        "under_load": batching.served_figures(line, chosen.job) if timed and line is not None else None,
        "limits": batching.limits(
            line if timed else None,
            chosen.job,
            chosen.engine,
            chosen.split,
            chosen.capacity,
            max_ttft_s=None if asked.max_ttft is None else asked.max_ttft / 1000,
            max_tpot_s=None if asked.max_tpot is None else asked.max_tpot / 1000,
        )
        if bounds
        else None,
    }


def _stages(chosen: Setting) -> Line | None:
    return line_of(chosen.job, chosen.engine, grouped(chosen.model, chosen.loaded.holdings), chosen.split)


def _line(chosen: Setting) -> Line | None:
    """The stages of the setting; None without a peak and a bandwidth, with which there are no times."""
    found = _stages(chosen)
    device = next((stage.rates for stage in found.stages if not stage.on_host), None) if found else None
    if device is None or device.bandwidth is None or device.peak is None:
        return None
    return found


# ------------------------------------------------------------------------------------------------------ draft


@dataclass(frozen=True, slots=True)
class Draft:
    """What proposes the tokens: a setting of its own, or layers of the model itself."""

    tokens: int
    accept: float
    other: Setting | None
    mtp_layers: int = 0

    @property
    def memory(self) -> Memory | None:
        """Of the device that holds the most of another model; the model's own layers are among its weights."""
        return None if self.other is None else self.other.needed()


def draft_of(chosen: Setting, asked: Asked) -> Draft | None:
    """The draft that was named. Errors: DRAFT-OPTIONS, DRAFT-VOCABULARY, DRAFT-MTP, those of `setting`."""
    if asked.draft is None:
        return None
    tokens = DRAFT_TOKENS if asked.draft_tokens is None else asked.draft_tokens
    accept = speculative.check(tokens, asked.accept)
    if asked.draft.lower() == speculative.MTP:
        return Draft(tokens, accept, None, speculative.check_mtp(chosen.model))
    model = load(asked.draft)
    speculative.check_vocabulary(chosen.model, model)
    work = chosen.job.workload
    refused = chosen.engine.refuses(model, chosen.device)
    if refused is not None:
        raise refused
    other = setting(
        model=model,
        place=chosen.place,
        engine=chosen.engine.id,
        context=work.context,
        batch=work.batch,
        prompt=work.prompt,
        output=work.output,
        kv=work.state_codec,
        parallel=chosen.split.words,
    )
    return Draft(tokens, accept, other)


def beside(chosen: Setting, draft: Draft | None) -> Setting:
    """The setting with what its draft takes, at most, away from the memory of every device."""
    held = None if draft is None else draft.memory
    if held is None or chosen.place.capacity is None:
        return chosen
    left = max(0.0, chosen.place.capacity - held.total.high * chosen.devices)
    limit = f"{chosen.place.limit}, less what the draft takes"
    return replace(chosen, place=replace(chosen.place, capacity=left, limit=limit))


def speculation(chosen: Setting, draft: Draft | None, name: str | None) -> dict[str, Any] | None:
    """Expected tokens, times and memory with the draft; None without one, times None where they are not known."""
    if draft is None:
        return None
    held = draft.memory
    told: dict[str, Any] = {
        "draft": name,
        "draft_tokens": draft.tokens,
        "accept": draft.accept,
        "memory": None if held is None else {"weights": held.weights, "state": held.state, "total": held.total},
    }
    line = _line(chosen)
    if line is None:
        return {**told, **dict.fromkeys(("expected_tokens", "tpot", "tokens_per_second", "speedup", "pays_from"))}
    drafting, job = _drafting(chosen, draft, line)
    batch = -(-chosen.job.workload.batch // chosen.split.copies)
    found = speculative.steps(line, chosen.job, drafting, job, batch, draft.tokens)
    return {**told, **speculative.figures(found, line, chosen.job.workload.batch, draft.tokens, draft.accept)}


def _drafting(chosen: Setting, draft: Draft, line: Line) -> tuple[Line, Job]:
    if draft.other is None:
        return speculative.own_layers(line, draft.mtp_layers), chosen.job
    found = _stages(draft.other)
    if found is None:
        raise ValueError("the draft runs on the model's devices, whose rates are known")
    return found, draft.other.job


def told(chosen: Setting, draft: Draft | None) -> list[str]:
    """What the figures with a draft leave out."""
    if draft is None:
        return []
    if draft.other is not None:
        return ["the draft lies on the same devices, in the same layout, with a cache as long as the model's"]
    stored = any(share.role == "mtp" for holding in chosen.loaded.holdings for share in holding.shares)
    missing = [] if stored else ["the weights of the layers for multi-token prediction are not in this form: add them"]
    return [*missing, "a layer for multi-token prediction is taken to be as the last layer; its cache is not counted"]
