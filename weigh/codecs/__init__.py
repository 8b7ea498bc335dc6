"""How parameters are stored: every storage type that a file can name, its exact size and how to decode it.

To add one: write a file that holds the decoder and ends with its `CODECS`, import it below, and give it a line in
`CODECS`. Nothing else changes; the contract tests run over the tuple. `docs/add-a-codec.md` shows a real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Final

from weigh.codecs import (
    floats,
    fp8,
    group_int,
    integers,
    iq,
    k_quants,
    mx,
    nvfp4,
    q4_0,
    q4_1,
    q5_0,
    q5_1,
    q8_0,
    q8_1,
    small_integers,
    ternary,
)
from weigh.kernels import blocks
from weigh.types import Codec, WeighError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CODECS", "REMOVED_GGML", "by_id", "decode", "from_ggml", "from_safetensors", "nbytes"]

CODECS: Final[tuple[Codec, ...]] = (
    *floats.CODECS,
    *integers.CODECS,
    *small_integers.CODECS,
    *fp8.CODECS,
    *mx.CODECS,
    *nvfp4.CODECS,
    *q4_0.CODECS,
    *q4_1.CODECS,
    *q5_0.CODECS,
    *q5_1.CODECS,
    *q8_0.CODECS,
    *q8_1.CODECS,
    *k_quants.CODECS,
    *iq.CODECS,
    *ternary.CODECS,
    *group_int.CODECS,
)

REMOVED_GGML: Final[Mapping[int, str]] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
"""ggml types that were given up, by number. Source: the enum named in `codecs.sources`."""

_BY_ID: Final = {codec.id: codec for codec in CODECS}
_BY_GGML: Final = {codec.ggml_type: codec for codec in CODECS if codec.ggml_type is not None}
_BY_SAFETENSORS: Final = {codec.safetensors: codec for codec in CODECS if codec.safetensors is not None}


def by_id(name: str) -> Codec:
    """The codec of that id, written exactly so. WeighError CODEC-UNKNOWN names the nearest ids."""
    if name in _BY_ID:
        return _BY_ID[name]
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), _BY_ID, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`weigh codecs` lists them all."
    raise WeighError(f"there is no codec {name!r}", rule="CODEC-UNKNOWN", hint=hint, exit_code=2)


def from_ggml(number: int) -> Codec | None:
    """The codec of a ggml type number, None where the number is unknown.

    WeighError CODEC-REMOVED where ggml gave the type up and the file must be made again. A reader that wants to say
    where in the file the number stands looks into `REMOVED_GGML` first.
    """
    if number in REMOVED_GGML:
        raise WeighError(
            f"ggml type {number} ({REMOVED_GGML[number]}) was removed from ggml",
            rule="CODEC-REMOVED",
            hint="Quantize the original model again, to a type that is still read, such as Q4_0 or IQ4_NL.",
        )
    return _BY_GGML.get(number)


def from_safetensors(dtype: str) -> Codec | None:
    """The codec of a dtype name in a safetensors header, None where the name is unknown."""
    return _BY_SAFETENSORS.get(dtype)


def nbytes(codec: Codec, shape: Sequence[int]) -> int:
    """Bytes that a tensor of this shape (outermost first) takes, exactly.

    A ggml type packs row by row, so the last axis must be a multiple of its block; safetensors packs its sub-byte
    types through the whole tensor, which must end on a byte. Otherwise WeighError CODEC-BLOCK. No shape at all is
    one value.
    """
    if any(axis < 0 for axis in shape):
        raise WeighError(f"a shape cannot be negative: {list(shape)}", rule="CODEC-SHAPE")
    values = prod(shape)
    if codec.ggml_type is not None:
        row = shape[-1] if shape else 1
        if row % codec.block:
            raise WeighError(
                f"{codec.name} packs {codec.block} values of a row together; a row of {row} is no multiple of that",
                rule="CODEC-BLOCK",
            )
    elif values % codec.block:
        raise WeighError(
            f"{codec.name} packs {codec.block} values together; {values} values are no multiple of that",
            rule="CODEC-BLOCK",
        )
    return values // codec.block * codec.block_bytes


def decode(codec: Codec, raw: bytes | bytearray | memoryview | NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """The first `count` values of whole blocks, as a new flat float32 array. Never warns.

    `raw` must be exactly the blocks that hold `count` values; a chunk of a tensor is decoded by passing its blocks.
    WeighError CODEC-LENGTH where it is not, CODEC-SIZE-ONLY where the codec cannot be decoded.
    """
    if codec.decode is None:
        raise WeighError(
            f"the values of {codec.name} cannot be read, only counted",
            rule="CODEC-SIZE-ONLY",
            hint=codec.reference,
        )
    import numpy as np

    flat = np.frombuffer(raw, dtype=np.uint8)
    expected = -(-count // codec.block) * codec.block_bytes
    if flat.size != expected:
        raise WeighError(
            f"{count} values of {codec.name} take {expected} bytes, not {flat.size}",
            rule="CODEC-LENGTH",
        )
    values = blocks.decode(codec.id, flat)
    return (codec.decode(flat) if values is None else values)[:count]
