"""What the differences between two models say of how they are related: a copy, a re-quantization, a fine-tune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weigh.measure.difference import Change
from weigh.measure.pairs import Matching, Pair
from weigh.measure.rounding import Rounding
from weigh.types import NOT_COUNTED

ALIKE = 0.9
"""Cosine of two weight tensors above which one comes from the other. Those of two trainings from different seeds are
as good as at right angles; fine-tuning moves them by far less than a tenth of a turn."""
MOST = 0.9
"""Share of the compared parameters that must say the same for the whole model to be called so."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A pair and its change, or why there is none."""

    pair: Pair
    change: Change | None
    rounding: bool | None = None
    """As large as storing in the other codec makes it; None where nothing was rounded."""
    refusal: str = ""

    @property
    def parameters(self) -> int:
        """Values compared, or that would have been."""
        view = self.pair.left
        if self.change is not None:
            return self.change.values
        return view.tensor.parameters or 0

    @property
    def kind(self) -> str:
        """identical (bytes), same values, rounded, changed, or not compared."""
        if self.change is None:
            return "not_compared"
        if self.change.same_bytes:
            return "identical"
        if not self.change.difference and not self.change.unequal_nan:
            return "same_values"
        return "rounded" if self.rounding else "changed"


KINDS = ("identical", "same_values", "rounded", "changed", "not_compared")


def judged(pair: Pair, change: Change) -> Compared:
    """A pair with its change, and whether rounding alone would explain it."""
    rounded = Rounding.between(pair.left.tensor, pair.right.tensor)
    if rounded is None or not change.difference or change.unequal_nan:
        return Compared(pair, change)
    return Compared(pair, change, rounded.explains(change.relative, change.nearest))


@dataclass(frozen=True, slots=True)
class Relation:
    """The word for it, and the sentences that give the reasons."""

    word: str
    """identical, same values, requantized, fine-tuned, fine-tuned and requantized, trained apart, other architecture,
    or unknown."""
    because: tuple[str, ...]


def relation(matching: Matching, found: Sequence[Compared]) -> Relation:
    """How the second model came from the first, told from the parameters that were compared (buffers left out)."""
    weights = [one for one in found if one.pair.role not in NOT_COUNTED]
    seen = sum(one.parameters for one in weights if one.change is not None)
    other = sum(t.parameters or 0 for t in (*matching.only_left, *matching.only_right))
    other += sum(left.parameters or 0 for left, _ in matching.reshaped)
    if not seen:
        word = "unknown" if weights else "other architecture"
        return Relation(word, ("no tensor of the one has its like in the other, or none could be compared",))
    apart = (f"{_share(other, seen + other)} of the parameters have no like in the other model",) if other else ()
    if other > seen:
        return Relation("other architecture", apart)
    return _of_pairs(weights, seen, apart)


def _of_pairs(weights: Sequence[Compared], seen: int, apart: tuple[str, ...]) -> Relation:
    sizes = {kind: sum(one.parameters for one in weights if one.kind == kind) for kind in KINDS}
    told = [f"{_share(size, seen)} {WORDS[kind]}" for kind, size in sizes.items() if size and kind != "not_compared"]
    left_out = sizes["not_compared"]
    reasons = [*told, *apart]
    if left_out:
        reasons.append(f"{left_out:,} parameters could not be compared")
    if sizes["identical"] == seen and not apart and not left_out:
        return Relation("identical", tuple(reasons))
    if sizes["changed"] == sizes["rounded"] == 0:
        return Relation("same values", tuple(reasons))
    strange = sum(one.parameters for one in weights if one.kind == "changed" and not _alike(one))
    if strange > (1 - MOST) * seen and strange > 0.5 * (sizes["changed"] + sizes["rounded"]):
        reasons.append(f"{_share(strange, seen)} point another way (cosine below {ALIKE})")
        return Relation("trained apart", tuple(reasons))
    if not sizes["changed"]:
        return Relation("requantized", tuple(reasons))
    recoded = any(one.pair.left.tensor.codec != one.pair.right.tensor.codec for one in weights if one.kind == "changed")
    return Relation("fine-tuned and requantized" if recoded or sizes["rounded"] else "fine-tuned", tuple(reasons))


WORDS = {
    "identical": "of the parameters are the same bytes",
    "same_values": "are the same numbers, stored in another way",
    "rounded": "differ by as much as rounding to the other codec makes",
    "changed": "are other numbers",
}


def _alike(one: Compared) -> bool:
    cosine = None if one.change is None else one.change.cosine
    return cosine is not None and cosine >= ALIKE


def _share(part: int, whole: int) -> str:
    share = part / whole
    return "all" if part == whole else f"{share:.1%}" if share >= 0.001 else f"{part:,}"
