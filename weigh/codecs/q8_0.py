"""Q8_0: blocks of 32, one scale, signed bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, half, product
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q8_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, then 32 signed bytes q: d * q."""
    import numpy as np

    rows = blocks(raw, 2 + 32)
    return product(half(rows, 0), rows[:, 2:].view(np.int8)).reshape(-1)


Q8_0 = Codec(
    id="q8_0",
    name="Q8_0",
    block=32,
    block_bytes=2 + 32,
    decode=decode_q8_0,
    ggml_type=8,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L255",
)

CODECS = (Q8_0,)
