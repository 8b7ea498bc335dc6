"""Q5_0: blocks of 32, one scale, 5-bit codes around 16, the fifth bits apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, half, product
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q5_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, 4 bytes of fifth bits h, 16 bytes of low 4 bits l: d * (l + 16 * h - 16).

    Bit j of the 32 fifth bits (lowest first) belongs to value j. The low bits of values 0-15 lie in the low
    halves of the bytes, those of 16-31 in the high halves.
    """
    import numpy as np

    rows = blocks(raw, 2 + 4 + 16)
    fifth = np.unpackbits(rows[:, 2:6], axis=1, bitorder="little") << np.uint8(4)
    codes = (fields(rows[:, 6:], 4).reshape(-1, 32) | fifth).view(np.int8)
    return product(half(rows, 0), codes - np.int8(16)).reshape(-1)


Q5_0 = Codec(
    id="q5_0",
    name="Q5_0",
    block=32,
    block_bytes=2 + 4 + 16,
    decode=decode_q5_0,
    ggml_type=6,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L234",
)

CODECS = (Q5_0,)
