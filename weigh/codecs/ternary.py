"""One to two bits a value: the ternary TQ1_0 and TQ2_0, the binary Q1_0 and the four-valued Q2_0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, half, product
from weigh.codecs.sources import GGML_BLOCKS, GGML_DECODERS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _digits(packed: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first `count` base-3 digits of each byte: (n, bytes) to (n, count * bytes), all first digits first.

    A byte holds the fraction 0.d0 d1 d2 ... in base 3, scaled to 256: times 3^k modulo 256 drops the first k
    digits, and times 3 divided by 256 is the next one.
    """
    import numpy as np

    powers = np.array([3**k for k in range(count)], dtype=np.uint8)
    rest = (packed[:, None, :] * powers[:, None]).astype(np.uint16)
    return (rest * np.uint16(3) >> np.uint16(8)).astype(np.uint8).reshape(len(packed), count * packed.shape[1])


def decode_tq1_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """48 bytes of five ternary digits, 4 bytes of four, fp16 scale d: d * (digit - 1).

    The digits of the first 32 bytes, of the next 16 and of the last 4 follow each other; within each of the three
    runs all first digits come first, then all second ones, and so on.
    """
    import numpy as np

    rows = blocks(raw, 48 + 4 + 2)
    runs = [_digits(rows[:, :32], 5), _digits(rows[:, 32:48], 5), _digits(rows[:, 48:52], 4)]
    digits = np.concatenate(runs, axis=1).view(np.int8)
    return product(half(rows, 52), digits - np.int8(1)).reshape(-1)


def decode_tq2_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """64 bytes of 2-bit codes q, fp16 scale d: d * (q - 1).

    Each half of 128 values takes 32 bytes: the lowest fields of all, then the next ones, and so on.
    """
    import numpy as np

    rows = blocks(raw, 64 + 2)
    codes = fields(rows[:, :64].reshape(-1, 2, 32), 2).reshape(-1, 256).view(np.int8)
    return product(half(rows, 64), codes - np.int8(1)).reshape(-1)


def decode_q1_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, then 16 bytes of bits, lowest first: d where the bit is set, else -d."""
    import numpy as np

    rows = blocks(raw, 2 + 16)
    bits = np.unpackbits(rows[:, 2:], axis=1, bitorder="little").view(np.int8)
    return product(half(rows, 0), bits * np.int8(2) - np.int8(1)).reshape(-1)


def decode_q2_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, then 16 bytes of 2-bit codes q, four neighbours a byte, lowest first: d * (q - 1)."""
    import numpy as np

    rows = blocks(raw, 2 + 16)
    # One byte at a time, so that its fields are neighbours.
    codes = fields(rows[:, 2:, None], 2).reshape(-1, 64).view(np.int8)
    return product(half(rows, 0), codes - np.int8(1)).reshape(-1)


TQ1_0 = Codec(
    id="tq1_0",
    name="TQ1_0",
    block=256,
    block_bytes=48 + 4 + 2,
    decode=decode_tq1_0,
    ggml_type=34,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L280",
)

TQ2_0 = Codec(
    id="tq2_0",
    name="TQ2_0",
    block=256,
    block_bytes=64 + 2,
    decode=decode_tq2_0,
    ggml_type=35,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L287",
)

Q1_0 = Codec(
    id="q1_0",
    name="Q1_0",
    block=128,
    block_bytes=2 + 16,
    decode=decode_q1_0,
    ggml_type=41,
    reference=f"bit-exact to dequantize_row_q1_0 of ggml; {GGML_DECODERS}#L419",
)

Q2_0 = Codec(
    id="q2_0",
    name="Q2_0",
    block=64,
    block_bytes=2 + 16,
    decode=decode_q2_0,
    ggml_type=42,
    reference=f"bit-exact to dequantize_row_q2_0 of ggml; {GGML_DECODERS}#L439",
)

CODECS = (TQ1_0, TQ2_0, Q1_0, Q2_0)
