"""FLOPs of a training step: what the model needs, what the hardware does, and what of it a device does.

The model's are those of forward and backward passes, the hardware's also what is computed again. MFU divides the
first by the peak. Products with weights grow with the tokens, those of attention with the pairs of them; a part tells
both through its forward pass, so no kind is named here.
"""

from __future__ import annotations

from dataclasses import dataclass

from weigh import parts
from weigh.cost.train.layout import Layout, Training
from weigh.cost.train.model_states import CUT
from weigh.cost.train.tuning import WHOLE_EFFORT, Effort
from weigh.once import once
from weigh.types import Figure, Model, Pass, Why

SOURCE = "arXiv 2205.05198, appendix A; arXiv 2204.02311, appendix B"


@dataclass(frozen=True, slots=True)
class Work:
    """Forward FLOPs of one sequence, by what they depend on."""

    matrices: int
    """Products with the weights of the layers."""
    pairs: int
    """Products of attention, over the pairs that attend."""
    head: int
    """What lies outside of the layers: the logits."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Values that one token moves in all layers, by what moves them."""

    routed: int
    """Sent to experts: each token's row, once an expert that it is given to."""
    keys: int
    """Keys and values of attention, which other parts of a divided sequence read."""
    products: int
    """Inputs and outputs of the products with weights, which are cast where these run in 8 bit."""


@once(256)
def work(model: Model, sequence: int) -> Work:
    """Forward FLOPs of one sequence. Attention's are what is left when each token is taken by itself."""
    one, all_of = Pass(1, outputs=1), Pass(sequence, outputs=sequence)
    matrices = pairs = head = 0
    for part in model.parts:
        whole = parts.forward(part, all_of)
        alone = parts.forward(part, one) * sequence
        if part.layer is None:
            head += whole
        else:
            matrices += min(alone, whole)
            pairs += max(whole - alone, 0)
    return Work(matrices, pairs, head)


_READS_ANOTHER_S_INPUT = frozenset({"attention_k", "attention_v", "mlp_up"})
"""Their product reads what the queries' or the gate's reads; an `mlp_up` without a gate is counted by its `down`."""


@once(256)
def traffic(model: Model) -> Traffic:
    """What a token moves. An expert's matrices count as often as a token runs through one."""
    routed = keys = products = 0
    for part in model.parts:
        if part.layer is None:
            continue
        states = [state.expands or state for state in parts.remembers(part) if state.kind in ("kv", "latent")]
        keys += sum(state.row for state in states)
        for slot in parts.slots(part):
            if len(slot.shape) < 2 or slot.role not in CUT or slot.role in ("embedding", "head", "conv"):
                continue
            used = 1 if slot.experts is None else slot.experts[0]
            outputs, inputs = slot.shape[-2:]
            products += used * (outputs + (0 if slot.role in _READS_ANOTHER_S_INPUT else inputs))
            if slot.experts is not None and "down" in slot.key:
                routed += used * outputs
    return Traffic(routed, keys, products)


def model_flops(model: Model, training: Training, effort: Effort = WHOLE_EFFORT) -> Figure:
    """FLOPs of forward and backward passes of a step, three times the forward's; of frozen matrices two times.

    By the standard formula all pairs of attention count, also those that a causal mask leaves out, so that figures
    compare: 72 B L s h^2 (1 + s / (6 h) + V / (12 h L)) for the classic model. Source: `SOURCE`.
    """
    found = work(model, training.sequence)
    # One token attends to itself in `matrices`; of s tokens s (s - 1) / 2 pairs are left, and all pairs are s^2.
    masked = 2 if training.sequence > 1 else 1
    matrices = found.matrices * (2 + effort.gradients + 3 * effort.added)
    total = training.batch * (matrices + 3 * (masked * found.pairs + found.head))
    given: dict[str, float] = {
        "batch": training.batch,
        "sequence": training.sequence,
        "matrices": found.matrices,
        "pairs": found.pairs,
    }
    formula = "3 x batch x (matrices + 2 x pairs + head), forward FLOPs of one sequence"
    if effort != WHOLE_EFFORT:
        formula = "batch x ((2 + gradients + 3 x added) x matrices + 6 x pairs + 3 x head)"
        given = {**given, "gradients": effort.gradients, "added": effort.added}
    why = Why(formula, given, SOURCE)
    return Figure(total, total, total, "FLOP", "derived", why)


def passes(layout: Layout) -> tuple[float, float]:
    """Forward passes that the products with weights and those of attention take in all, backward ones counted twice.

    3, or 4 where a whole layer is computed again; selective recomputation repeats attention alone. A flash kernel's
    backward pass has five products for the two of the forward pass (arXiv 2205.14135, appendix B).
    """
    whole = 1 / layout.recompute_every if layout.recompute == "full" else 0.0
    if layout.flash_attention:
        return 3 + whole, 3.5 + whole
    return 3 + whole, 3 + max(whole, float(layout.recompute == "selective"))
