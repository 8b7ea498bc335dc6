"""Microscaling formats: ggml's MXFP4 with its scale, and the bare sub-byte numbers of safetensors, F4 and F6."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from weigh.codecs.bits import blocks, fields, frozen, minifloat, product
from weigh.codecs.sources import GGML_BLOCKS, ML_DTYPES, SAFETENSORS, TORCH_FLOAT4
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Twice the value of each 4-bit float S EE M, as whole numbers: -0 becomes 0."""


@cache
def _e2m1_values() -> NDArray[np.float32]:
    """S EE M, bias 1, no infinity and no NaN."""
    return frozen(minifloat(exponent_bits=2, mantissa_bits=1, bias=1))


def decode_mxfp4(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A byte of scale exponent E, then 16 bytes of 4-bit floats: 2^(E - 128) * E2M1_DOUBLED[q].

    Values 0-15 lie in the low halves of the bytes, 16-31 in the high halves. E = 255, NaN in F8_E8M0, is an
    ordinary exponent to ggml, and so it is here.
    """
    import numpy as np

    rows = blocks(raw, 1 + 16)
    scale = np.ldexp(np.float32(1), rows[:, :1].astype(np.int32) - 128)
    codes = fields(rows[:, 1:], 4).reshape(-1, 32)
    return product(scale, np.array(E2M1_DOUBLED, dtype=np.int8)[codes]).reshape(-1)


def decode_f4(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Two 4-bit floats S EE M a byte, the first in the low half: (-1)^S * 2^(E - 1) * (1 + M / 2); E = 0: M / 2."""
    return _e2m1_values()[fields(raw[:, None], 4)].reshape(-1)


MXFP4 = Codec(
    id="mxfp4",
    name="MXFP4",
    block=32,
    block_bytes=1 + 16,
    decode=decode_mxfp4,
    ggml_type=39,
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_BLOCKS}#L218",
)

F4 = Codec(
    id="f4",
    name="F4",
    block=2,
    block_bytes=1,
    decode=decode_f4,
    safetensors="F4",
    reference=f"bit-exact to ml_dtypes.float4_e2m1fn, halves ordered as in {TORCH_FLOAT4}; {SAFETENSORS}",
)

F6_E2M3 = Codec(
    id="f6_e2m3",
    name="F6_E2M3",
    block=4,
    block_bytes=3,
    safetensors="F6_E2M3",
    reference=f"size only: nothing says in which order four numbers share three bytes; {ML_DTYPES}#float6_e2m3fn "
    f"{SAFETENSORS}",
)

F6_E3M2 = Codec(
    id="f6_e3m2",
    name="F6_E3M2",
    block=4,
    block_bytes=3,
    safetensors="F6_E3M2",
    reference=f"size only: nothing says in which order four numbers share three bytes; {ML_DTYPES}#float6_e3m2fn "
    f"{SAFETENSORS}",
)

CODECS = (MXFP4, F4, F6_E2M3, F6_E3M2)
