"""Q4_1: blocks of 32, a scale and a minimum, 4-bit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import affine, blocks, fields, half
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q4_1(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d and minimum m, then 16 bytes of 4-bit codes q: d * q + m.

    Values 0-15 lie in the low halves of the bytes, 16-31 in the high halves.
    """
    rows = blocks(raw, 2 + 2 + 16)
    codes = fields(rows[:, 4:], 4).reshape(-1, 32)
    return affine(half(rows, 0), codes, half(rows, 2)).reshape(-1)


Q4_1 = Codec(
    id="q4_1",
    name="Q4_1",
    block=32,
    block_bytes=2 + 2 + 16,
    decode=decode_q4_1,
    ggml_type=3,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L211",
)

CODECS = (Q4_1,)
