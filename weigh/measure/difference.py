"""How far the values of two models lie apart: tensor by tensor, and what that says of how one came from the other.

Values are compared as they are used: decoded from whatever codec they are stored in. Where llama.cpp stores a tensor
in an order or a form of its own, the ways that it does so are tried and the nearest is taken, and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from weigh import files
from weigh.formats.values import chunks, values
from weigh.kernels import difference as kernel
from weigh.measure.pairs import Pair, View
from weigh.measure.rounding import Rounding
from weigh.parts import Attention
from weigh.types import Inventory, Part, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

RAW_BYTES = 4 * 2**20
"""Bytes compared at a time."""
UNREADABLE = ("CODEC-SIZE-ONLY", "VALUES-CODEC", "VALUES-ORDER", "VALUES-PIECES", "VALUES-SIZE")
"""Rules of tensors whose values cannot be had, though their bytes can."""


@dataclass(frozen=True, slots=True)
class Change:
    """What separates two tensors of one meaning; sums over all values in float64."""

    values: int
    equal: int
    """Values that are the same number, NaN to NaN included."""
    difference: float
    """Sum of (b - a)^2."""
    left: float
    """Sum of a^2."""
    right: float
    product: float
    """Sum of a b."""
    largest: float
    """Largest |b - a|."""
    unequal_nan: int = 0
    """Values that are NaN or infinite on one side and something else on the other: in none of the sums."""
    same_bytes: bool = False
    how: str = ""
    """What was undone to compare them, where they are stored in different forms."""
    nearest: float | None = None
    """Share of a sample in which the coarser side holds the nearest to the finer one of the numbers that it could
    hold: `rounding.nearest_share`. None where the codecs are the same."""

    @property
    def relative(self) -> float:
        """|b - a| / |a| in the Euclidean norm: 0 for the same values, about 1.4 for unrelated ones of equal size."""
        if not self.difference:
            return 0.0
        return sqrt(self.difference / self.left) if self.left else float("inf")

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between the two; None where one is zero."""
        size = sqrt(self.left) * sqrt(self.right)
        return max(-1.0, min(1.0, self.product / size)) if size else None


NOTHING = Change(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


def together(first: Change, second: Change) -> Change:
    """The change of two stretches as one. They count as the same bytes where both are."""
    return Change(
        first.values + second.values,
        first.equal + second.equal,
        first.difference + second.difference,
        first.left + second.left,
        first.right + second.right,
        first.product + second.product,
        max(first.largest, second.largest),
        first.unequal_nan + second.unequal_nan,
        first.same_bytes and second.same_bytes,
        first.how or second.how,
        first.nearest if second.nearest is None else second.nearest,
    )


class Side:
    """One of the two models, with the tensor that was last decoded whole: the slots of one tensor, all experts of a
    layer among them, come one after another and are cut from it."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self._name = ""
        self._values: Values | None = None

    def cut(self, view: View) -> Values:
        """What the view shows of its tensor. Errors: those of `formats.values`."""
        if self._values is None or self._name != view.tensor.name:
            self._values = None  # before the next is decoded, so that never two are held
            self._values = values(self.inventory, view.tensor)
            self._name = view.tensor.name
        return view.cut(self._values)


def change(left: Side, right: Side, pair: Pair) -> Change:
    """Compare the values of a pair.

    Whole tensors are streamed in chunks; parts of tensors, and tensors of two dialects that are stored in different
    forms, are decoded whole.

    Errors: those of `formats.values`.
    """
    rounded = Rounding.between(pair.left.tensor, pair.right.tensor)
    alike = left.inventory.dialect == right.inventory.dialect
    if pair.left.whole and pair.right.whole:
        if _same_bytes(left.inventory, pair.left.tensor, right.inventory, pair.right.tensor):
            return _same(left.inventory, pair.left.tensor)
        streamed = _streamed(left.inventory, pair.left.tensor, right.inventory, pair.right.tensor, rounded)
        if alike or _near(streamed):
            return streamed
    one = left.cut(pair.left)
    other = right.cut(pair.right).reshape(one.shape)
    if alike:
        return compared(one, other, rounded)
    return _nearest(one, other, pair.left, pair.right, rounded, swapped=left.inventory.dialect == "ggml")


def _same(inventory: Inventory, tensor: Tensor) -> Change:
    """The change of a tensor that is stored twice with the same bytes; its norm counts where groups are summed.

    The norm is left out where the values cannot be read: that they are equal is sure all the same.
    """
    found = NOTHING
    try:
        for chunk in chunks(inventory, tensor):
            found = together(found, compared(chunk, chunk))
    except WeighError as error:
        if error.rule not in UNREADABLE:
            raise
        found = replace(NOTHING, values=tensor.parameters or 0)
    return replace(found, equal=found.values, same_bytes=True)


def _near(found: Change) -> bool:
    """Whether the values are already those of the same order and form: unrelated ones are 1.4 apart."""
    return found.relative < 0.5


def compared(left: Values, right: Values, rounded: Rounding | None = None) -> Change:
    """Compare arrays of one shape, value by value, in float64; with `rounded`, look for the marks of rounding too."""
    found = kernel.difference(left.reshape(-1), right.reshape(-1))
    equal, apart, norm, other, product, largest, odd = found
    share = None if rounded is None else rounded.nearest_share(left, right)
    return Change(left.size, int(equal), apart, norm, other, product, largest, int(odd), nearest=share)


# ------------------------------------------------------------------------------------------------ streaming


def _same_bytes(left: Inventory, one: Tensor, right: Inventory, other: Tensor) -> bool:
    """Whether the two are stored in the same codec and layout with the same bytes."""
    if (one.codec, one.layout, one.shape) != (other.codec, other.layout, other.shape):
        return False
    if not one.pieces or len(one.pieces) != len(other.pieces):
        return False
    for a, b in zip(one.pieces, other.pieces, strict=True):
        if (a.nbytes, a.kind, a.codec, a.shape, a.strides) != (b.nbytes, b.kind, b.codec, b.shape, b.strides):
            return False
    folders = Path(left.folder), Path(right.folder)
    for a, b in zip(one.pieces, other.pieces, strict=True):
        with files.opened(folders[0], a.file) as this, files.opened(folders[1], b.file) as that:
            for at in range(0, a.nbytes, RAW_BYTES):
                count = min(RAW_BYTES, a.nbytes - at)
                if files.read_at(this, a.offset + at, count) != files.read_at(that, b.offset + at, count):
                    return False
    return True


def _streamed(left: Inventory, one: Tensor, right: Inventory, other: Tensor, rounded: Rounding | None) -> Change:
    """The sums of all stretches; the marks of rounding are looked for in the first."""
    found = NOTHING
    for a, b in _side_by_side(chunks(left, one), chunks(right, other)):
        found = together(found, compared(a, b, None if found.values else rounded))
    return found


def _side_by_side(left: Iterator[Values], right: Iterator[Values]) -> Iterator[tuple[Values, Values]]:
    """Stretches of equal length from two streams that are cut in places of their own."""
    a: Values | None = None
    b: Values | None = None
    while True:
        if a is None or not a.size:
            a = next(left, None)
        if b is None or not b.size:
            b = next(right, None)
        if a is None or b is None:
            return
        count = min(a.size, b.size)
        yield a[:count], b[:count]
        a, b = a[count:], b[count:]


# --------------------------------------------------------------------------------------- two dialects, two forms


def _nearest(one: Values, other: Values, left: View, right: View, rounded: Rounding | None, *, swapped: bool) -> Change:
    """The smallest change over the forms that llama.cpp's converter gives a tensor of this shape."""
    hf, ggml = (other, one) if swapped else (one, other)
    best: Change | None = None
    for how, converted in _forms(left.part or right.part, hf):
        pair = (ggml, converted) if swapped else (converted, ggml)
        tried = compared(*pair, rounded)
        if best is None or (isfinite(tried.relative) and tried.relative < best.relative):
            best = replace(tried, how=how)
        if _near(best):
            break
    return best or NOTHING


def _forms(part: Part | None, stored: Values) -> Iterator[tuple[str, Values]]:
    """The tensor as Hugging Face stores it, in each form that llama.cpp may keep it in.

    Source: github.com/ggml-org/llama.cpp, `conversion/` (LlamaModel.permute for rotary pairs, Gemma's norms plus one,
    Mamba's A as its negative exponential).
    """
    import numpy as np

    yield "", stored
    dimensions = None if part is None else part.dimensions
    if isinstance(dimensions, Attention) and stored.shape:
        for heads in sorted({dimensions.heads, dimensions.kv_heads}):
            if stored.shape[0] % (2 * heads) == 0:
                halves = stored.reshape(heads, 2, stored.shape[0] // heads // 2, *stored.shape[1:])
                yield "rotary pairs", halves.swapaxes(1, 2).reshape(stored.shape)
    if stored.ndim == 1:
        yield "gain less one", stored + np.float32(1)
    yield "logarithm of the negative", -np.exp(stored)
