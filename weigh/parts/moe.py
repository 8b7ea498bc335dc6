"""Mixture of experts: a router picks `used` of `experts` feed-forward blocks for each token; shared ones always run."""

from __future__ import annotations

from dataclasses import dataclass

from weigh.parts.mlp import hidden
from weigh.types import Kept, PartKind, Pass, Slot, State


@dataclass(frozen=True, slots=True)
class Moe:
    """`experts` blocks of `hidden` values, of which `used` run for a token, beside an optional shared block."""

    width: int
    hidden: int
    experts: int
    used: int
    gated: bool = True
    shared_hidden: int = 0
    shared_gate: bool = False
    """A vector of `width` that scales the shared block's output by a sigmoid."""
    router_bias: bool = False
    expert_bias: bool = False
    """Of every matrix of every routed expert."""
    shared_bias: bool = False
    correction: str = ""
    """What is added to the router's scores to balance the experts, one value each: `buffer` (moved by a rule),
    `frozen` (a parameter without gradient, in a row of its own), or nothing."""
    hashed_tokens: int = 0
    """Tokens of the vocabulary whose experts a table fixes; the router then only weighs them. 0 = no table."""
    latent: int = 0
    """Width that the routed experts work on, between two matrices that every token runs through; 0 = `width`."""
    latent_bias: bool = False


def slots(part: Moe) -> tuple[Slot, ...]:
    """router (experts, width); experts stacked on a first axis; the shared block like an MLP."""
    routed = (part.used, part.experts)
    names = ("gate", "up", "down") if part.gated else ("up", "down")
    inner = part.latent or part.width
    held = [Slot("router.weight", (part.experts, part.width), "router")]
    for name in names:
        shape = (inner, part.hidden) if name == "down" else (part.hidden, inner)
        held.append(Slot(f"experts.{name}.weight", (part.experts, *shape), "expert", experts=routed))
        if part.expert_bias:
            held.append(Slot(f"experts.{name}.bias", (part.experts, shape[0]), "expert", experts=routed))
    if part.shared_hidden:
        for name in names:
            shape = (part.width, part.shared_hidden) if name == "down" else (part.shared_hidden, part.width)
            held.append(Slot(f"shared.{name}.weight", shape, "shared_expert"))
            if part.shared_bias:
                held.append(Slot(f"shared.{name}.bias", shape[:1], "shared_expert"))
    if part.shared_gate:
        held.append(Slot("shared_gate.weight", (1, part.width), "shared_expert"))
    return (*held, *_routing(part), *_latent(part))


def _latent(part: Moe) -> tuple[Slot, ...]:
    """The matrices into and out of the width that the routed experts work on."""
    if not part.latent:
        return ()
    down = Slot("latent_down.weight", (part.latent, part.width), "expert")
    up = Slot("latent_up.weight", (part.width, part.latent), "expert")
    if not part.latent_bias:
        return down, up
    return (
        down,
        Slot("latent_down.bias", (part.latent,), "expert"),
        up,
        Slot("latent_up.bias", (part.width,), "expert"),
    )


def _routing(part: Moe) -> tuple[Slot, ...]:
    """What the router holds beside its matrix: no product runs over it."""
    held: list[Slot] = []
    if part.router_bias:
        held.append(Slot("router.bias", (part.experts,), "router"))
    if part.correction == "buffer":
        held.append(Slot("correction.bias", (part.experts,), "buffer"))
    if part.correction == "frozen":
        held.append(Slot("correction.bias", (1, part.experts), "router", frozen=True))
    if part.hashed_tokens:
        held.append(Slot("table.weight", (part.hashed_tokens, part.used), "buffer"))
    return tuple(held)


def forward(part: Moe, step: Pass) -> int:
    """Router, `used` experts and the shared block, for each token: tokens never run through the other experts."""
    matrices = 3 if part.gated else 2
    routed = part.used * matrices * part.hidden * (part.latent or part.width)
    shared = matrices * part.shared_hidden + int(part.shared_gate)
    every = part.width * (part.experts + shared + 2 * part.latent)
    return 2 * (every + routed) * step.tokens * step.batch


def backward(part: Moe, step: Pass) -> int:
    """Two products of the forward's size, over the same experts."""
    return 2 * forward(part, step)


def remembers(_part: Moe) -> tuple[State, ...]:
    """Nothing."""
    return ()


def keeps(part: Moe, step: Pass) -> tuple[Kept, ...]:
    """The input, the router's scores, of each routed token a copy, the hidden values and the output, and its places.

    Each token counts `used` times, whatever the balance; with experts spread over devices a device holds as many rows
    where the load is even. The output is kept for the gradient of the weight that multiplies it. Of the places there
    are four: the choice, and the order of the tokens by expert, back again and from token to row.
    Source: transformers 5.23, models/mixtral/modeling_mixtral.py and integrations/moe.py (grouped products), with saved
    tensors counted. Ignores: rows that pad a group, the groups' offsets, routers that choose in several steps.
    Off by: 0 for Mixtral but the offsets; other routers by a few values a token.
    """
    rows = step.tokens * step.batch
    routed, inner = rows * part.used, part.latent or part.width
    kept = [
        Kept("input", rows * part.width, split="sequence"),
        Kept("router scores", rows * part.experts, "statistic", "sequence"),
        Kept("chosen", 4 * routed, "index", "sequence"),
        Kept("weights", 2 * routed + rows, "statistic", "sequence"),
        Kept("routed", routed * inner, split="sequence"),
        *hidden(routed * part.hidden, gated=part.gated),
        Kept("expert outputs", routed * inner, split="sequence"),
    ]
    if part.latent:
        kept.append(Kept("joined", rows * inner, split="sequence"))
    if part.shared_hidden:
        kept += hidden(rows * part.shared_hidden, gated=part.gated, of="shared ")
    if part.shared_gate:
        kept += [
            Kept("shared output", rows * part.width, split="sequence"),
            Kept("shared factor", rows, split="sequence"),
        ]
    return tuple(kept)


MOE = PartKind(
    id="moe",
    dimensions=Moe,
    slots=slots,
    forward=forward,
    backward=backward,
    remembers=remembers,
    divides=("hidden", "shared_hidden"),
    source="https://arxiv.org/abs/2401.04088",
    keeps=keeps,
    example=Moe(width=4, hidden=6, experts=4, used=2, shared_hidden=8, shared_gate=True),
)
