"""Floating-point numbers stored as they are, little-endian: F32, F16, BF16, F64; complex C64 by size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from weigh.codecs.sources import GGML_TYPES, SAFETENSORS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_ieee(dtype: str, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """IEEE 754 numbers of NumPy type `dtype`, rounded to the nearest float32 where they are wider.

    What is too large becomes infinite. Always a copy: the bytes may be a read-only map of a file.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        return raw.view(dtype).astype(np.float32)


def decode_bf16(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The upper 16 bits of a float32: value = bits << 16, exact."""
    import numpy as np

    bits: NDArray[np.uint32] = raw.view("<u2").astype(np.uint32)
    bits <<= np.uint32(16)
    return bits.view(np.float32)


F32 = Codec(
    id="f32",
    name="F32",
    block=1,
    block_bytes=4,
    decode=partial(decode_ieee, "<f4"),
    ggml_type=0,
    safetensors="F32",
    reference=f"bit-exact to numpy float32; {GGML_TYPES} {SAFETENSORS}",
)

F16 = Codec(
    id="f16",
    name="F16",
    block=1,
    block_bytes=2,
    decode=partial(decode_ieee, "<f2"),
    ggml_type=1,
    safetensors="F16",
    reference=f"bit-exact to numpy float16; {GGML_TYPES} {SAFETENSORS}",
)

BF16 = Codec(
    id="bf16",
    name="BF16",
    block=1,
    block_bytes=2,
    decode=decode_bf16,
    ggml_type=30,
    safetensors="BF16",
    reference=f"bit-exact to gguf.quants.dequantize (gguf 0.19); {GGML_TYPES} {SAFETENSORS}",
)

F64 = Codec(
    id="f64",
    name="F64",
    block=1,
    block_bytes=8,
    decode=partial(decode_ieee, "<f8"),
    ggml_type=28,
    safetensors="F64",
    reference=f"bit-exact to numpy float64 cast to float32; {GGML_TYPES} {SAFETENSORS}",
)

C64 = Codec(
    id="c64",
    name="C64",
    block=1,
    block_bytes=4 + 4,
    safetensors="C64",
    reference=f"size only: a complex number has no float32 value; {SAFETENSORS}",
)

CODECS = (F32, F16, BF16, F64, C64)
