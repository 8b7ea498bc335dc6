"""8-bit floating-point numbers, a byte each: E4M3 and E5M2, their FNUZ variants, and the bare exponent E8M0.

Decoded through tables of all 256 values, which are built from the formula on first use.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from weigh.codecs.bits import frozen, minifloat
from weigh.codecs.sources import ML_DTYPES, SAFETENSORS
from weigh.types import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@cache
def _e4m3_values() -> NDArray[np.float32]:
    """Bias 7, no infinity: only the code of all ones is NaN, so that 448 is the largest."""
    import numpy as np

    table = minifloat(exponent_bits=4, mantissa_bits=3, bias=7)
    table[0x7F] = np.nan
    table[0xFF] = -np.nan
    return frozen(table)


@cache
def _e5m2_values() -> NDArray[np.float32]:
    """Bias 15, as IEEE 754: the highest exponent holds infinity (mantissa 0) and NaN."""
    import numpy as np

    table = minifloat(exponent_bits=5, mantissa_bits=2, bias=15)
    table[0x7C:0x80] = [np.inf, np.nan, np.nan, np.nan]
    table[0xFC:0x100] = -table[0x7C:0x80]
    return frozen(table)


@cache
def _fnuz_values(exponent_bits: int, mantissa_bits: int, bias: int) -> NDArray[np.float32]:
    """No infinity and no negative zero: the code that would be -0 is the only NaN."""
    import numpy as np

    table = minifloat(exponent_bits, mantissa_bits, bias)
    table[0x80] = -np.nan
    return frozen(table)


@cache
def _e8m0_values() -> NDArray[np.float32]:
    """2^(code - 127), no sign and no zero; 0xFF is NaN."""
    import numpy as np

    powers = np.ldexp(np.float32(1), np.arange(255, dtype=np.int32) - 127)
    return frozen(np.append(powers, np.float32(np.nan)))


def decode_e4m3(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """S EEEE MMM: (-1)^S * 2^(E - 7) * (1 + M / 8); E = 0: (-1)^S * 2^-6 * M / 8; S 1111 111 is NaN."""
    return _e4m3_values()[raw]


def decode_e5m2(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """S EEEEE MM: (-1)^S * 2^(E - 15) * (1 + M / 4); E = 0: (-1)^S * 2^-14 * M / 4; E = 31 is infinity or NaN."""
    return _e5m2_values()[raw]


def decode_e4m3fnuz(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """S EEEE MMM: (-1)^S * 2^(E - 8) * (1 + M / 8); E = 0: (-1)^S * 2^-7 * M / 8; 1 0000 000 is NaN."""
    return _fnuz_values(exponent_bits=4, mantissa_bits=3, bias=8)[raw]


def decode_e5m2fnuz(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """S EEEEE MM: (-1)^S * 2^(E - 16) * (1 + M / 4); E = 0: (-1)^S * 2^-15 * M / 4; 1 00000 00 is NaN."""
    return _fnuz_values(exponent_bits=5, mantissa_bits=2, bias=16)[raw]


def decode_e8m0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """EEEEEEEE: 2^(E - 127); 255 is NaN."""
    return _e8m0_values()[raw]


F8_E4M3 = Codec(
    id="f8_e4m3",
    name="F8_E4M3",
    block=1,
    block_bytes=1,
    decode=decode_e4m3,
    safetensors="F8_E4M3",
    reference=f"bit-exact to ml_dtypes.float8_e4m3fn; {ML_DTYPES}#float8_e4m3fn {SAFETENSORS}",
)

F8_E5M2 = Codec(
    id="f8_e5m2",
    name="F8_E5M2",
    block=1,
    block_bytes=1,
    decode=decode_e5m2,
    safetensors="F8_E5M2",
    reference=f"bit-exact to ml_dtypes.float8_e5m2; {ML_DTYPES}#float8_e5m2 {SAFETENSORS}",
)

F8_E4M3FNUZ = Codec(
    id="f8_e4m3fnuz",
    name="F8_E4M3FNUZ",
    block=1,
    block_bytes=1,
    decode=decode_e4m3fnuz,
    safetensors="F8_E4M3FNUZ",
    reference=f"bit-exact to ml_dtypes.float8_e4m3fnuz; {ML_DTYPES}#float8_e4m3fnuz {SAFETENSORS}",
)

F8_E5M2FNUZ = Codec(
    id="f8_e5m2fnuz",
    name="F8_E5M2FNUZ",
    block=1,
    block_bytes=1,
    decode=decode_e5m2fnuz,
    safetensors="F8_E5M2FNUZ",
    reference=f"bit-exact to ml_dtypes.float8_e5m2fnuz; {ML_DTYPES}#float8_e5m2fnuz {SAFETENSORS}",
)

F8_E8M0 = Codec(
    id="f8_e8m0",
    name="F8_E8M0",
    block=1,
    block_bytes=1,
    decode=decode_e8m0,
    safetensors="F8_E8M0",
    reference=f"bit-exact to ml_dtypes.float8_e8m0fnu; {ML_DTYPES}#float8_e8m0fnu {SAFETENSORS}",
)

CODECS = (F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ, F8_E8M0)
