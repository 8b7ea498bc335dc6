"""Q4_0: blocks of 32, one scale, 4-bit codes around 8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, half, product
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q4_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, then 16 bytes of 4-bit codes q: d * (q - 8).

    Values 0-15 lie in the low halves of the bytes, 16-31 in the high halves.
    """
    import numpy as np

    rows = blocks(raw, 2 + 16)
    codes = fields(rows[:, 2:], 4).reshape(-1, 32).view(np.int8)
    return product(half(rows, 0), codes - np.int8(8)).reshape(-1)


Q4_0 = Codec(
    id="q4_0",
    name="Q4_0",
    block=32,
    block_bytes=2 + 16,
    decode=decode_q4_0,
    ggml_type=2,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L198",
)

CODECS = (Q4_0,)
