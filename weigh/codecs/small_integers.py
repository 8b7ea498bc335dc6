"""Whole numbers of a few bits: I4, U4, I2, U2, several a byte, the first in the lowest bits, as in ONNX; U3 by size."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from weigh.codecs.bits import fields
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ONNX = "https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"


def decode_small(bits: int, signed: bool, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """q, or q - 2^bits where the upper half of the codes is negative."""
    import numpy as np

    codes = fields(raw[:, None], bits).reshape(-1).astype(np.float32)
    if signed:
        codes[codes >= 2 ** (bits - 1)] -= 2**bits
    return codes


def _small(bits: int, signed: bool) -> Codec:
    name = f"{'I' if signed else 'U'}{bits}"
    return Codec(
        id=name.lower(),
        name=name,
        block=8 // bits,
        block_bytes=1,
        decode=partial(decode_small, bits, signed),
        reference=f"bit-exact to ml_dtypes.{'' if signed else 'u'}int{bits}, packed as in {_ONNX}",
    )


U3 = Codec(
    id="u3",
    name="U3",
    block=8,
    block_bytes=3,
    reference="size only: 3-bit codes of GPTQ cross the words that they lie in; https://github.com/AutoGPTQ/AutoGPTQ",
)

CODECS = (_small(4, True), _small(4, False), U3, _small(2, True), _small(2, False))
