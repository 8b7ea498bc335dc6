"""NVFP4 as ggml stores it: blocks of 64 4-bit floats, an 8-bit scale for each 16."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, frozen, minifloat, product
from weigh.codecs.mx import E2M1_DOUBLED
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@cache
def _half_scales() -> NDArray[np.float32]:
    """Half of each scale byte's value. The scale is unsigned: E4M3 without regard to the top bit.

    0x7F, NaN in E4M3, counts as 0; 0xFF does not and is 480. ggml reads it so, and never sets the top bit itself.
    """
    import numpy as np

    positive = minifloat(exponent_bits=4, mantissa_bits=3, bias=7)[:128] / np.float32(2)
    table = np.concatenate([positive, positive])
    table[0x7F] = 0
    return frozen(table)


def decode_nvfp4(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """4 bytes of unsigned E4M3 scales s, then 32 bytes of 4-bit floats: (s / 2) * E2M1_DOUBLED[q].

    4 groups of 16, 8 bytes each: values 0-7 in the low halves, 8-15 in the high halves. The scale of the whole
    tensor, where there is one, is another tensor and is not applied here.
    """
    import numpy as np

    rows = blocks(raw, 4 + 32)
    scale = _half_scales()[rows[:, :4]]
    codes = fields(rows[:, 4:].reshape(-1, 4, 8), 4).reshape(-1, 4, 16)
    return product(scale[:, :, None], np.array(E2M1_DOUBLED, dtype=np.int8)[codes]).reshape(-1)


NVFP4 = Codec(
    id="nvfp4",
    name="NVFP4",
    block=64,
    block_bytes=4 + 32,
    decode=decode_nvfp4,
    ggml_type=40,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L226",
)

CODECS = (NVFP4,)
