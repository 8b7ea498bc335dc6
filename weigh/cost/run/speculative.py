"""Speculative decoding: a draft proposes tokens, the model looks at them together and keeps those that it would say.

The draft is a smaller model of the same vocabulary, or the model's own layers for multi-token prediction. Numbers may
be arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from weigh.cost.run.several import ends_of
from weigh.cost.run.stages import Line, Stage, decode_s
from weigh.numbers import Number
from weigh.types import Figure, Job, Model, WeighError, Why

SOURCE = "derived here; arXiv 2211.17192 gives the same (its page was not opened: unverified)"
VOCABULARIES = 128
"""Tokens by which two vocabularies may differ: llama.cpp, common/speculative.cpp, SPEC_VOCAB_MAX_SIZE_DIFFERENCE."""
MTP = "mtp"
"""Named in the place of a draft: the model's own layers for multi-token prediction."""


def check(tokens: int, accept: float | None) -> float:
    """The acceptance, if both make sense. Errors: DRAFT-OPTIONS (exit code 2)."""
    if accept is None:
        raise WeighError(
            "what share of its tokens is accepted decides whether a draft pays, and nobody said it",
            rule="DRAFT-OPTIONS",
            hint="say --accept, such as --accept 0.7",
            exit_code=2,
        )
    if not 0 <= accept <= 1 or tokens < 1:
        raise WeighError(
            f"--accept {accept} with --draft-tokens {tokens}: a share of 0 to 1, and at least one token",
            rule="DRAFT-OPTIONS",
            hint="as in --draft-tokens 4 --accept 0.7",
            exit_code=2,
        )
    return accept


def check_vocabulary(model: Model, draft: Model) -> None:
    """A draft must speak the model's tokens. Error: DRAFT-VOCABULARY (exit code 2)."""
    own, other = model.dimensions.get("vocabulary"), draft.dimensions.get("vocabulary")
    if own is None or other is None or abs(own - other) > VOCABULARIES:
        raise WeighError(
            f"the draft knows {other or 'no'} tokens and the model {own or 'no'}: the vocabularies differ",
            rule="DRAFT-VOCABULARY",
            hint="take a smaller model of the same family",
            exit_code=2,
        )


def check_mtp(model: Model) -> int:
    """Layers for multi-token prediction. Error: DRAFT-MTP (exit code 2) where the model has none."""
    layers = model.dimensions.get("mtp_layers", 0)
    if not layers:
        raise WeighError(
            "the model has no layers for multi-token prediction, or its configuration does not tell of them",
            rule="DRAFT-MTP",
            hint="name a smaller model of the same vocabulary with --draft",
            exit_code=2,
        )
    return layers


def expected_tokens(tokens: Number, accept: Number) -> Number:
    """Tokens that a step gives on average: (1 - a^(K + 1)) / (1 - a), which is the sum of a^i for i = 0 .. K.

    Each of the K proposed tokens is accepted with chance a, independently, until the first that is not; the model's
    own token comes in any case. So token i + 1 comes with chance a^i. Written as the sum, so that a = 1 gives K + 1.
    """
    return sum(accept**i for i in range(int(tokens) + 1))


@dataclass(frozen=True, slots=True)
class Steps:
    """Seconds of the three steps that decide; each may be an array."""

    plain: Number
    """One token for each sequence, without a draft."""
    draft: Number
    """One token of the draft."""
    look: Number
    """The model over K + 1 tokens of each sequence."""


def steps(line: Line, job: Job, draft: Line, drafting: Job, batch: Number, tokens: int) -> Steps:
    """Of one copy of the model with its draft beside it on the same devices."""
    return Steps(
        decode_s(line, job, batch).total,
        decode_s(draft, drafting, batch).total,
        decode_s(line, job, batch, rows=tokens + 1).total,
    )


def tpot(found: Steps, tokens: int, accept: Number) -> Number:
    """Seconds a token: (K x draft + look) / expected tokens."""
    return (tokens * found.draft + found.look) / expected_tokens(tokens, accept)


def pays_from(found: Steps, tokens: int) -> float | None:
    """The acceptance from which a draft saves time; None where even full acceptance does not.

    Where (K x draft + look) / plain equals the expected tokens, which grow with the acceptance; found by halving.
    """
    cost = float((tokens * found.draft + found.look) / found.plain)
    if cost > tokens + 1:
        return None
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if expected_tokens(tokens, middle) >= cost else (middle, high)
    return high


def own_layers(line: Line, layers: int) -> Line:
    """The model's layers for multi-token prediction as a draft: the last layers of the last stage, and its head.

    Each is taken to be as the model's last layer, since configurations tell their number only. Ignores: the matrix
    that joins a token with the stream.
    """
    last = line.stages[-1]
    numbered = [layer for group in last.groups for layer in group.layers if layer is not None]
    mine = max(numbered, default=0)
    kept = tuple(
        replace(group, layers=(None,) if None in group.layers else (mine,) * layers)
        for group in last.groups
        if None in group.layers or mine in group.layers
    )
    sums = round(last.sums / max(1, len(set(numbered)))) * layers
    stage = Stage(kept, last.rates, False, sums, last.gathers)
    return replace(line, stages=(stage,), split=replace(line.split, pp=1, offloaded=0))


def figures(found: Steps, line: Line, batch: int, tokens: int, accept: float) -> dict[str, Figure | None]:
    """Expected tokens a step, time per token, tokens a second, how much faster, and the acceptance that pays."""
    ends = ends_of(line, "decode")
    value = float(tpot(found, tokens, accept))
    inputs = {
        "draft_tokens": tokens,
        "accept": accept,
        "draft_s": found.draft,
        "look_s": found.look,
        "plain_s": found.plain,
    }
    each = Why("(K x draft_s + look_s) / expected tokens", inputs, SOURCE)
    expected = float(expected_tokens(tokens, accept))
    faster = float(found.plain) / value
    least = pays_from(found, tokens)
    return {
        "expected_tokens": _exact(expected, "", "(1 - a^(K + 1)) / (1 - a)", inputs),
        "tpot": Figure(value, value * ends.low, value * ends.high, "s", "assumed", each),
        "tokens_per_second": Figure(
            batch / value, batch / value / ends.high, batch / value / ends.low, "tokens/s", "assumed", each
        ),
        "speedup": _exact(faster, "", "plain_s / time per token", inputs),
        "pays_from": None if least is None else _exact(least, "", "acceptance at which both take as long", inputs),
    }


def _exact(value: float, unit: str, formula: str, inputs: dict[str, float]) -> Figure:
    return Figure(value, value, value, unit, "assumed", Why(formula, inputs, SOURCE))
