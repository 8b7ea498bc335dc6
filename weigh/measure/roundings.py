"""The codecs whose rounding error is told, each with what it needs.

To add one: its sums in `weigh/kernels/weights.c` and in its twin, its name in `ERRORS` there, and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BLOCK = 32


@dataclass(frozen=True, slots=True)
class Rounding:
    """A way to round to nearest. `field` is its name in `kernels.weights.ERRORS`."""

    id: str
    field: str
    words: str
    whole_blocks: bool
    """ggml: the last axis must be a multiple of 32."""

    def applies(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape can be stored so."""
        return not self.whole_blocks or (bool(shape) and shape[-1] % BLOCK == 0)


ROUNDINGS: Final = (
    Rounding("q8_0", "q8_0", "ggml, blocks of 32, 8 bits, float16 scale", whole_blocks=True),
    Rounding("q4_0", "q4_0", "ggml, blocks of 32, 4 bits, float16 scale", whole_blocks=True),
    Rounding("int8_g128", "int8", "symmetric, groups of 128, codes -127 to 127, float32 scale", whole_blocks=False),
    Rounding("int4_g128", "int4", "symmetric, groups of 128, codes -7 to 7, float32 scale", whole_blocks=False),
)
