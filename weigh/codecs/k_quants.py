"""The K types: super-blocks of 256 with an fp16 scale for the scales of their groups. Q2_K to Q6_K, and Q8_K.

In every layout below the codes of 128 (or 64) neighbouring values share a run of 32 bytes: the lowest fields of
all 32 bytes come first, then the next fields, and so on. That is what `bits.fields` gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import affine, blocks, fields, half, product
from weigh.codecs.sources import GGML_BLOCKS, GGML_DECODERS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_q2_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """16 bytes of group scales, 64 bytes of 2-bit codes q, fp16 d, fp16 dmin.

    16 groups of 16, a byte each: scale s in the low half, minimum m in the high half. (d * s) * q - dmin * m.
    """
    rows = blocks(raw, 16 + 64 + 2 + 2)
    scales = fields(rows[:, :16], 4)
    codes = fields(rows[:, 16:80].reshape(-1, 2, 32), 2).reshape(-1, 16, 16)
    scale = product(half(rows, 80), scales[:, 0])
    minimum = product(half(rows, 82), scales[:, 1])
    return affine(scale[:, :, None], codes, -minimum[:, :, None]).reshape(-1)


def decode_q3_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """32 bytes of third bits h, 64 bytes of low 2 bits l, 12 bytes of group scales, fp16 d.

    16 groups of 16: (d * (s - 32)) * (l + 4 * h - 4). Scales s of 6 bits: the low 4 bits of groups 0-7 are the low
    halves of bytes 0-7, those of groups 8-15 the high halves; the high 2 bits of group g are field g // 4 of byte
    8 + g % 4. Bit b of byte i of the third bits belongs to value 32 * b + i.
    """
    import numpy as np

    rows = blocks(raw, 32 + 64 + 12 + 2)
    third = fields(rows[:, :32], 1).reshape(-1, 256)
    low = fields(rows[:, 32:96].reshape(-1, 2, 32), 2).reshape(-1, 256)
    codes = (low | third << np.uint8(2)).view(np.int8) - np.int8(4)
    scale_low = fields(rows[:, 96:104], 4).reshape(-1, 16)
    scale_high = fields(rows[:, 104:108], 2).reshape(-1, 16)
    scales = (scale_low | scale_high << np.uint8(4)).view(np.int8) - np.int8(32)
    scale = product(half(rows, 108), scales)
    return product(scale[:, :, None], codes.reshape(-1, 16, 16)).reshape(-1)


def _scales_and_minimums(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Twelve bytes to 8 scales and 8 minimums of 6 bits each: (n, 12) to two of (n, 8).

    Bytes 0-3 hold scales 0-3 and bytes 4-7 minimums 0-3 in their low 6 bits. Bytes 8-11 hold the low 4 bits of
    scales 4-7 (low halves) and minimums 4-7 (high halves), whose upper 2 bits are the spare top bits of bytes 0-7.
    """
    import numpy as np

    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    six, four = np.uint8(0x3F), np.uint8(0x0F)
    scales_high = (first >> np.uint8(6)) << np.uint8(4)
    minimums_high = (second >> np.uint8(6)) << np.uint8(4)
    scales = np.concatenate([first & six, (third & four) | scales_high], axis=1)
    minimums = np.concatenate([second & six, (third >> np.uint8(4)) | minimums_high], axis=1)
    return scales, minimums


def decode_q4_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 d, fp16 dmin, 12 bytes of group scales s and minimums m, 128 bytes of 4-bit codes q.

    8 groups of 32: (d * s) * q - dmin * m. Groups 2i and 2i + 1 are the low and the high halves of 32 bytes.
    """
    rows = blocks(raw, 2 + 2 + 12 + 128)
    scales, minimums = _scales_and_minimums(rows[:, 4:16])
    codes = fields(rows[:, 16:].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    scale = product(half(rows, 0), scales)
    minimum = product(half(rows, 2), minimums)
    return affine(scale[:, :, None], codes, -minimum[:, :, None]).reshape(-1)


def decode_q5_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 d, fp16 dmin, 12 bytes of group scales s and minimums m, 32 bytes of fifth bits h, 128 of low 4 bits l.

    8 groups of 32: (d * s) * (l + 16 * h) - dmin * m. Low bits as in Q4_K; bit g of byte i of the fifth bits
    belongs to value i of group g.
    """
    import numpy as np

    rows = blocks(raw, 2 + 2 + 12 + 32 + 128)
    scales, minimums = _scales_and_minimums(rows[:, 4:16])
    fifth = fields(rows[:, 16:48], 1) << np.uint8(4)
    codes = fields(rows[:, 48:].reshape(-1, 4, 32), 4).reshape(-1, 8, 32) | fifth
    scale = product(half(rows, 0), scales)
    minimum = product(half(rows, 2), minimums)
    return affine(scale[:, :, None], codes, -minimum[:, :, None]).reshape(-1)


def decode_q6_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """128 bytes of low 4 bits l, 64 bytes of high 2 bits h, 16 signed group scales s, fp16 d.

    16 groups of 16: (d * s) * (l + 16 * h - 32). Each half of 128 values takes 64 bytes of l (64 low halves, then
    64 high halves) and 32 bytes of h (four 2-bit fields).
    """
    import numpy as np

    rows = blocks(raw, 128 + 64 + 16 + 2)
    low = fields(rows[:, :128].reshape(-1, 2, 64), 4).reshape(-1, 256)
    high = fields(rows[:, 128:192].reshape(-1, 2, 32), 2).reshape(-1, 256)
    codes = (low | high << np.uint8(4)).view(np.int8) - np.int8(32)
    scale = product(half(rows, 208), rows[:, 192:208].view(np.int8))
    return product(scale[:, :, None], codes.reshape(-1, 16, 16)).reshape(-1)


def decode_q8_k(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp32 scale d, 256 signed bytes q, 16 int16 sums of the groups (not needed here): d * q."""
    import numpy as np

    rows = blocks(raw, 4 + 256 + 16 * 2)
    return product(rows[:, :4].view("<f4"), rows[:, 4:260].view(np.int8)).reshape(-1)


Q2_K = Codec(
    id="q2_k",
    name="Q2_K",
    block=256,
    block_bytes=16 + 64 + 2 + 2,
    decode=decode_q2_k,
    ggml_type=10,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L308",
)

Q3_K = Codec(
    id="q3_k",
    name="Q3_K",
    block=256,
    block_bytes=32 + 64 + 12 + 2,
    decode=decode_q3_k,
    ggml_type=11,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L320",
)

Q4_K = Codec(
    id="q4_k",
    name="Q4_K",
    block=256,
    block_bytes=2 + 2 + 12 + 128,
    decode=decode_q4_k,
    ggml_type=12,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L337",
)

Q5_K = Codec(
    id="q5_k",
    name="Q5_K",
    block=256,
    block_bytes=2 + 2 + 12 + 32 + 128,
    decode=decode_q5_k,
    ggml_type=13,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L355",
)

Q6_K = Codec(
    id="q6_k",
    name="Q6_K",
    block=256,
    block_bytes=128 + 64 + 16 + 2,
    decode=decode_q6_k,
    ggml_type=14,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L367",
)

Q8_K = Codec(
    id="q8_k",
    name="Q8_K",
    block=256,
    block_bytes=4 + 256 + 16 * 2,
    decode=decode_q8_k,
    ggml_type=15,
    reference=f"bit-exact to dequantize_row_q8_K of ggml; {GGML_DECODERS}#L2807",
)

CODECS = (Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K)
