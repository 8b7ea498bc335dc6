"""Q5_1: blocks of 32, a scale and a minimum, 5-bit codes, the fifth bits apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import affine, blocks, fields, half
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q5_1(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d and minimum m, 4 bytes of fifth bits h, 16 bytes of low 4 bits l: d * (l + 16 * h) + m.

    Bit j of the 32 fifth bits (lowest first) belongs to value j. The low bits of values 0-15 lie in the low
    halves of the bytes, those of 16-31 in the high halves.
    """
    import numpy as np

    rows = blocks(raw, 2 + 2 + 4 + 16)
    fifth = np.unpackbits(rows[:, 4:8], axis=1, bitorder="little") << np.uint8(4)
    codes = fields(rows[:, 8:], 4).reshape(-1, 32) | fifth
    return affine(half(rows, 0), codes, half(rows, 2)).reshape(-1)


Q5_1 = Codec(
    id="q5_1",
    name="Q5_1",
    block=32,
    block_bytes=2 + 2 + 4 + 16,
    decode=decode_q5_1,
    ggml_type=7,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L248",
)

CODECS = (Q5_1,)
