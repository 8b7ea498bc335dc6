"""Decodes ggml's common blocks in C. The twins of `blocks.c` are the decoders of `weigh.codecs`, bit for bit."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from weigh.kernels import library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS: Final = {
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
}
"""Values and bytes of a block, in the order of the kernel's numbers."""
NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}


def decode(kind: str, raw: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """All values of flat whole blocks; None where the kernels are not compiled or do not know the codec."""
    import numpy as np

    compiled = library()
    if compiled is None or kind not in KINDS:
        return None
    block, size = KINDS[kind]
    if raw.size % size or not raw.flags.c_contiguous:
        raise ValueError("a kernel takes whole blocks without gaps only")
    values = np.empty(raw.size // size * block, np.float32)
    compiled.weigh_blocks(
        ctypes.c_void_p(raw.ctypes.data),
        ctypes.c_int(NUMBERS[kind]),
        ctypes.c_int64(raw.size // size),
        ctypes.c_void_p(values.ctypes.data),
    )
    return values
