"""Whole numbers stored as they are, little-endian: I8 to I64, U8 to U64, BOOL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from weigh.codecs.sources import GGML_TYPES, SAFETENSORS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode_integer(dtype: str, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Integers of NumPy type `dtype`; those beyond 2^24 are rounded to the nearest float32."""
    import numpy as np

    return raw.view(dtype).astype(np.float32)


def decode_bool(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A byte a value: 0 is 0, anything else is 1."""
    import numpy as np

    return np.not_equal(raw, 0).astype(np.float32)


def _integer(bits: int, signed: bool, ggml_type: int | None = None) -> Codec:
    """The codec of a plain integer type; only the signed ones are ggml types."""
    name = f"{'I' if signed else 'U'}{bits}"
    source = SAFETENSORS if ggml_type is None else f"{GGML_TYPES} {SAFETENSORS}"
    return Codec(
        id=name.lower(),
        name=name,
        block=1,
        block_bytes=bits // 8,
        decode=partial(decode_integer, f"<{'i' if signed else 'u'}{bits // 8}"),
        ggml_type=ggml_type,
        safetensors=name,
        reference=f"bit-exact to numpy {'' if signed else 'u'}int{bits} cast to float32; {source}",
    )


I8 = _integer(8, signed=True, ggml_type=24)
I16 = _integer(16, signed=True, ggml_type=25)
I32 = _integer(32, signed=True, ggml_type=26)
I64 = _integer(64, signed=True, ggml_type=27)
U8 = _integer(8, signed=False)
U16 = _integer(16, signed=False)
U32 = _integer(32, signed=False)
U64 = _integer(64, signed=False)

BOOL = Codec(
    id="bool",
    name="BOOL",
    block=1,
    block_bytes=1,
    decode=decode_bool,
    safetensors="BOOL",
    reference=f"bit-exact to `numpy uint8 != 0`; {SAFETENSORS}",
)

CODECS = (I8, I16, I32, I64, U8, U16, U32, U64, BOOL)
