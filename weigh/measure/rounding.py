"""Tells from two tensors whether the one is the other rounded to a coarser codec.

Two marks: the change is as large as the codec makes it, and each value went to the nearest number that it could go to.
A small training has the first mark at four bits and fewer, and not the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from weigh import codecs
from weigh.types import Codec, Tensor, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

MANTISSA = {"f16": 10, "bf16": 7, "f8_e4m3": 3, "f8_e5m2": 2}
"""Stored bits of the significand of the codecs that round each value alone."""
LOW, HIGH = 0.5, 4.0
"""Multiples of `least` between which a change may be rounding: encoders lie 1.3 to 3 times above it on weights."""
NEAREST = 0.97
"""Share of values that went to the nearest number of their group: all but ties do when rounding to nearest."""
NEAREST_FLOAT = 0.9
"""The same for floats, where rounding twice (f32 to f16 to bf16) sends one value in sixteen the other way."""
GROUP = 32
"""Values that share a scale in most block codecs, or a part of those that do."""
SHORT_GROUPS = dict.fromkeys(("q2_k", "q3_k", "q6_k", "nvfp4", "iq2_xs", "iq2_s"), 16)
"""Codecs with a scale for fewer."""
SAMPLE = 2**16
"""Values looked at."""


def least(codec: Codec) -> float:
    """The least relative change (Euclidean norm) that storing normally distributed values in this codec makes.

    A code of R bits a value has a mean squared error of at least 2^-2R of the variance (Shannon's rate-distortion
    function of a Gaussian source), so 2^-R of the norm. A float with m stored bits of significand rounds each value
    alone: the error is uniform within half a unit in the last place, 2^-m of the power of two below the value; over a
    binade that is 2^-m / sqrt(12) / sqrt(7/3), where sqrt(7/3) is the root mean square of a significand that is spread
    evenly from 1 to 2.
    0 for float32 and wider, and for integers.
    """
    mantissa = MANTISSA.get(codec.id)
    if mantissa is not None:
        return 2.0**-mantissa / sqrt(12) / sqrt(7 / 3)
    return 0.0 if codec.bits >= 16 else 2.0**-codec.bits


@dataclass(frozen=True, slots=True)
class Rounding:
    """How two tensors of one meaning would differ if only their codecs did."""

    coarse: Codec
    left_is_coarse: bool
    expected: float
    """`least` of the two, the coarser's."""
    both: bool
    """The finer side is rounded as well, so that neither holds the original numbers."""

    @classmethod
    def between(cls, left: Tensor, right: Tensor) -> Rounding | None:
        """None where neither codec rounds, or one is unknown, or both are one that keeps 16 bits or more."""
        try:
            first, second = codecs.by_id(left.codec), codecs.by_id(right.codec)
        except WeighError:
            return None
        if max(least(first), least(second)) == 0 or (first.id == second.id and first.bits >= 16):
            return None
        left_is_coarse = least(first) > least(second)
        fine = second if left_is_coarse else first
        coarse = first if left_is_coarse else second
        return cls(coarse, left_is_coarse, least(coarse), fine.bits < 16)

    def explains(self, relative: float, nearest: float | None) -> bool:
        """Whether rounding alone made a change of this size, with this share of values gone to the nearest number.

        Where both sides are rounded the share says nothing, and the two errors may add: then the size must do.
        """
        high = HIGH * self.expected * (sqrt(2) if self.both else 1)
        if relative > high or (relative < LOW * self.expected and not self.both):
            return False
        enough = NEAREST_FLOAT if self.coarse.id in MANTISSA else NEAREST
        return self.both or nearest is None or nearest >= enough

    def nearest_share(self, left: Values, right: Values) -> float | None:
        """Share of a sample in which the coarse side holds the nearest number to the fine one. None for too few values.

        A float codec could hold any of its numbers: the value is rounded again and compared. Of a block codec the
        numbers that a group holds are those it could hold; of 256 steps a group shows few, so the test is weak at 8
        bits, where the size of the change is telling enough.
        """
        coarse, fine = (left, right) if self.left_is_coarse else (right, left)
        if self.both or coarse.size < GROUP:
            return None
        if self.coarse.bits >= 16:
            return _rounded_alike(fine.reshape(-1)[:SAMPLE], coarse.reshape(-1)[:SAMPLE], self.coarse)
        group = SHORT_GROUPS.get(self.coarse.id, GROUP)
        return _nearest_in_group(fine.reshape(-1)[:SAMPLE], coarse.reshape(-1)[:SAMPLE], group)


def _rounded_alike(fine: Values, coarse: Values, codec: Codec) -> float:
    """Share of values that are at most half a step of the codec from the fine value, up to a hundredth of the step."""
    import numpy as np

    _, exponent = np.frexp(fine)
    least_normal = -13 if codec.id == "f16" else -125
    step = np.ldexp(1.0, np.maximum(exponent, least_normal) - 1 - MANTISSA[codec.id])
    return float(np.mean(np.abs(coarse.astype(np.float64) - fine) <= 0.505 * step))


def _nearest_in_group(fine: Values, coarse: Values, group: int) -> float:
    """Share of values whose partner is the nearest of the numbers that the partners in its group hold."""
    import numpy as np

    groups = fine.size // group
    a = fine[: groups * group].reshape(groups, group, 1).astype(np.float64)
    b = coarse[: groups * group].reshape(groups, 1, group).astype(np.float64)
    own = np.abs(a[:, :, 0] - b[:, 0, :])
    best = np.abs(a - b).min(axis=2)
    return float(np.mean(own <= best * 1.001 + 1e-12))
