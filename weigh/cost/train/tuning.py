"""What of a model is trained: all of it, all but some roles, or low-rank adapters beside a frozen base.

A frozen matrix has no gradient, no state and no gradient of its weights to compute, and the input that only this
gradient reads is not kept; gradients still run through it to what lies before. To let a kind of part say which of its
kept inputs are read by which matrices: a row in READ_BY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from weigh import parts
from weigh.once import once
from weigh.types import NOT_COUNTED, ROLES, Kept, Model, Part, Slot, WeighError

LINEAR = frozenset({"attention_q", "attention_k", "attention_v", "attention_o", "mlp_gate", "mlp_up", "mlp_down",
                    "expert", "shared_expert", "ssm"})  # fmt: skip
"""Roles of the matrices of the layers, which adapters stand beside: all of them, which arXiv 2305.14314 (unverified)
finds necessary to match full fine-tuning. peft by itself takes fewer (queries and values of a Llama)."""
GROUPS: Mapping[str, frozenset[str]] = {
    "all": LINEAR,
    "attention": frozenset(role for role in LINEAR if role.startswith("attention")),
    "mlp": LINEAR - frozenset({"attention_q", "attention_k", "attention_v", "attention_o", "ssm"}),
}
"""Words that stand for several roles."""
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits a weight: 4, a scale of 8 bits for each 64, and a float32 for each 256 of these scales (double quantization,
arXiv 2305.14314 (unverified))."""
READ_BY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "attention": {"input": ("attention_q", "attention_k", "attention_v"), "context": ("attention_o",)},
    "latent_attention": {"input": ("attention_q", "attention_k"), "query row": ("attention_q",),
                         "latent row": ("attention_k", "attention_v"), "context": ("attention_o",)},
    "mlp": {"input": ("mlp_gate", "mlp_up"), "activated": ("mlp_down",)},
    "moe": {"routed": ("expert",), "activated": ("expert",), "shared activated": ("shared_expert",)},
    "linear": {"input": ("head", "other")},
    "norm": {"normalised": ("norm",)},
}  # fmt: skip
"""Kept inputs that nothing but the gradients of these matrices (or gains) reads. A flash kernel reads its own result
again, so that `context` stays with one; a squared or cut activation is read by its own gradient, see `_stays`."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is trained, and in what the rest is stored."""

    rank: int | None = None
    """Of the adapters; None = the parameters themselves are trained."""
    targets: frozenset[str] = LINEAR
    """Roles of the matrices that have an adapter."""
    quantized: bool = False
    """The matrices of the frozen base are stored in 4 bit (NF4), and turned into 16 bit for each product."""
    freeze: frozenset[str] = frozenset()
    """Roles that are not trained, without adapters."""

    def trains(self, role: str) -> bool:
        """Whether the array itself has a gradient."""
        return self.rank is None and role not in self.freeze

    def adapts(self, role: str) -> bool:
        """Whether there is an adapter beside a matrix of this role."""
        return self.rank is not None and role in self.targets

    def packed_bytes(self, slot: Slot, values: int) -> int | None:
        """Bytes of so many values of an array that is stored in 4 bit; None where it is not."""
        if self.quantized and slot.role in LINEAR and len(slot.shape) >= 2:
            return -(-int(values * NF4_BITS) // 8)
        return None


WHOLE = Tuning()
"""Everything is trained."""


def tuning(rank: int | None, targets: str | None, quantized: bool, freeze: str | None) -> Tuning:
    """From the words of the command: roles separated by commas, or `all`, `attention`, `mlp`.

    Errors: TUNING-RANK, TUNING-TARGETS, TUNING-ROLE, TUNING-BASE (all exit code 2).
    """
    if rank is None and (quantized or targets is not None):
        what = "--qlora" if quantized else "--lora-targets"
        raise _refusal("RANK", f"{what} takes the rank of the adapters", "add --lora 16")
    if rank is not None and rank < 1:
        raise _refusal("RANK", f"adapters of rank {rank}: it must be at least 1")
    if rank is not None and freeze is not None:
        raise _refusal("BASE", "with adapters the whole base is frozen: --freeze adds nothing to --lora")
    chosen = LINEAR if targets is None else _roles(targets, "TARGETS", LINEAR)
    frozen = frozenset() if freeze is None else _roles(freeze, "ROLE", frozenset(ROLES) - NOT_COUNTED)
    return Tuning(rank, chosen, quantized, frozen)


def _roles(words: str, rule: str, known: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    for word in (word.strip() for word in words.split(",")):
        roles = GROUPS.get(word, frozenset({word}))
        if not roles <= known:
            raise _refusal(rule, f"there is no role `{word}` here", f"known: {', '.join([*GROUPS, *sorted(known)])}")
        found |= roles
    return frozenset(found)


def _refusal(rule: str, message: str, hint: str = "") -> WeighError:
    return WeighError(message, rule=f"TUNING-{rule}", hint=hint, exit_code=2)


def check(model: Model, chosen: Tuning) -> None:
    """Refuse a tuning that leaves nothing to train. Error: TUNING-NOTHING (exit code 2)."""
    for part in model.parts:
        for slot in parts.slots(part):
            if slot.role not in NOT_COUNTED and (chosen.trains(slot.role) or chosen.adapts(slot.role)):
                return
    raise _refusal("NOTHING", "nothing of the model would be trained", "name other roles")


def adapters(slot: Slot, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of the two matrices beside one of (outputs, inputs): (rank, inputs) and (outputs, rank), one pair an
    expert. Source: arXiv 2106.09685 (unverified)."""
    *stack, outputs, inputs = slot.shape
    return (*stack, rank, inputs), (*stack, outputs, rank)


def kept(part: Part, entries: tuple[Kept, ...], chosen: Tuning, *, flash: bool, rows: int) -> tuple[Kept, ...]:
    """What a part keeps when this much of it is trained: without the inputs that nothing reads any more, and with the
    short rows between the two matrices of each adapter.

    Ignores: masks of dropout on the adapters' inputs and copies of these in another type, which peft makes; that
    layers before the first trained array keep nothing at all.
    """
    if chosen == WHOLE:
        return entries
    read_by = READ_BY.get(part.kind, {})
    stay = []
    for entry in entries:
        roles = read_by.get(entry.name, ())
        needed = not roles or any(chosen.trains(role) or chosen.adapts(role) for role in roles)
        if needed or _stays(part, entry, entries, flash=flash):
            stay.append(entry)
    return (*stay, *_short_rows(part, chosen, rows))


def _stays(part: Part, entry: Kept, entries: tuple[Kept, ...], *, flash: bool) -> bool:
    """Whether a step reads the input for another reason than the gradient of a matrix."""
    if entry.name == "context":
        return flash
    if entry.name == "activated":
        # An activation that is its own gradient's input keeps its result alone.
        return not any(other.name == "up" for other in entries)
    return part.kind == "linear" and any(other.name == "logits" for other in entries) and entry.name != "input"


def _short_rows(part: Part, chosen: Tuning, rows: int) -> Iterator[Kept]:
    if chosen.rank is None:
        return
    for slot in parts.slots(part):
        if len(slot.shape) >= 2 and chosen.adapts(slot.role):
            used = 1 if slot.experts is None else slot.experts[0]
            yield Kept(f"adapter of {slot.key}", rows * chosen.rank * used, split="sequence")


@dataclass(frozen=True, slots=True)
class Effort:
    """Shares of the layers' forward FLOPs of products with weights."""

    gradients: float = 1.0
    """Whose gradient of the weights is computed."""
    added: float = 0.0
    """That the adapters add."""
    unpacked: float = 0.0
    """Bytes a parameter that turning a 4-bit base into 16 bit moves in each pass."""


WHOLE_EFFORT = Effort()
"""Of training everything."""


@once(256)
def effort(model: Model, chosen: Tuning) -> Effort:
    """A product with a frozen matrix has no gradient of its weights: 2 passes of 3 remain; adapters have all three.

    By the parameters on a token's path, in proportion to which the products' FLOPs are.
    """
    if chosen == WHOLE:
        return WHOLE_EFFORT
    whole = trained = added = 0.0
    for part in model.parts:
        if part.layer is None:
            continue
        for slot in parts.slots(part):
            if len(slot.shape) < 2 or slot.role in NOT_COUNTED:
                continue
            whole += slot.active
            trained += slot.active if chosen.trains(slot.role) else 0
            if chosen.rank is not None and chosen.adapts(slot.role):
                share = 1.0 if slot.experts is None else slot.experts[0] / slot.experts[1]
                added += share * sum(prod(shape) for shape in adapters(slot, chosen.rank))
    moved = NF4_BITS / 8 + 2 if chosen.quantized else 0.0
    return Effort(trained / max(whole, 1), added / max(whole, 1), moved)
