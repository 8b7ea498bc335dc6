"""The IQ types. IQ4_NL and IQ4_XS look their 16 values up in a codebook and are decoded.

IQ1 to IQ3 look groups of four or eight values up in lattices of up to 2048 entries: by size only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, half, product
from weigh.codecs.sources import GGML_BLOCKS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""The values of the sixteen 4-bit codes, as ggml-common.h lists them at line 1120."""


def decode_iq4_nl(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, then 16 bytes of 4-bit codes q: d * CODEBOOK[q].

    Values 0-15 lie in the low halves of the bytes, 16-31 in the high halves.
    """
    import numpy as np

    rows = blocks(raw, 2 + 16)
    codes = fields(rows[:, 2:], 4).reshape(-1, 32)
    return product(half(rows, 0), np.array(CODEBOOK, dtype=np.int8)[codes]).reshape(-1)


def decode_iq4_xs(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """fp16 scale d, 2 bytes of high and 4 bytes of low bits of group scales s, 128 bytes of 4-bit codes q.

    8 groups of 32: (d * (s - 32)) * CODEBOOK[q]. Low 4 bits of s: halves of 4 bytes, low half first; high 2 bits:
    eight fields of 2 bytes, lowest first. Codes of a group as in IQ4_NL.
    """
    import numpy as np

    rows = blocks(raw, 2 + 2 + 4 + 128)
    # One byte at a time, so that its fields are neighbours.
    high = fields(rows[:, 2:4, None], 2).reshape(-1, 8)
    low = fields(rows[:, 4:8, None], 4).reshape(-1, 8)
    scales = (low | high << np.uint8(4)).view(np.int8) - np.int8(32)
    codes = fields(rows[:, 8:].reshape(-1, 8, 16), 4).reshape(-1, 8, 32)
    scale = product(half(rows, 0), scales)
    return product(scale[:, :, None], np.array(CODEBOOK, dtype=np.int8)[codes]).reshape(-1)


def _lattice(name: str, block_bytes: int, ggml_type: int, line: int) -> Codec:
    """A type whose lattice is not built in: the size of its super-blocks of 256."""
    reference = f"size only: its lattice is not built in; {GGML_BLOCKS}#L{line}"
    return Codec(name.lower(), name, 256, block_bytes, ggml_type=ggml_type, reference=reference)


# The literals name the arrays of the struct in order: d, qs, qh, signs, scales, as far as the type has them.
IQ2_XXS = _lattice("IQ2_XXS", 2 + 64, ggml_type=16, line=384)
IQ2_XS = _lattice("IQ2_XS", 2 + 64 + 8, ggml_type=17, line=392)
IQ3_XXS = _lattice("IQ3_XXS", 2 + 96, ggml_type=18, line=410)
IQ1_S = _lattice("IQ1_S", 2 + 32 + 16, ggml_type=19, line=429)
IQ3_S = _lattice("IQ3_S", 2 + 64 + 8 + 32 + 4, ggml_type=21, line=421)
IQ2_S = _lattice("IQ2_S", 2 + 64 + 8 + 8, ggml_type=22, line=401)
# IQ1_M has no d: its fp16 scale is spread over the top 4 bits of its four 16-bit scales.
IQ1_M = _lattice("IQ1_M", 32 + 16 + 8, ggml_type=29, line=437)

IQ4_NL = Codec(
    id="iq4_nl",
    name="IQ4_NL",
    block=32,
    block_bytes=2 + 16,
    decode=decode_iq4_nl,
    ggml_type=20,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L451",
)

IQ4_XS = Codec(
    id="iq4_xs",
    name="IQ4_XS",
    block=256,
    block_bytes=2 + 2 + 4 + 128,
    decode=decode_iq4_xs,
    ggml_type=23,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L459",
)

CODECS = (IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS)
