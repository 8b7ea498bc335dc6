"""Q8_1: what Q8_0 is, plus the sum of the block. ggml quantizes activations to it."""

from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

Q8_1 = Codec(
    id="q8_1",
    name="Q8_1",
    block=32,
    # The struct holds two fp16. The gguf package 0.19 counts two fp32 instead (4 + 4 + 32), which ggml cannot read.
    block_bytes=2 + 2 + 32,
    ggml_type=9,
    reference=f"size only: ggml has no decoder for it; {GGML_BLOCKS}#L268",
)

CODECS = (Q8_1,)
