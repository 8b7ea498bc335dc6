"""The few loops that NumPy makes too slow, in C, each beside the NumPy twin that specifies it.

The C files are compiled into one library without any of Python's own interface and called through ctypes, which
releases the interpreter's lock; threads are the caller's business. Where there is no compiler at installation, or
`WEIGH_KERNELS=numpy` is set, the twins run: same results, slower. `WEIGH_KERNELS=plain` takes the plain C where there
is a form for AVX-512 as well.
To add a kernel: a function in a `.c` file (its name in `SOURCES` of setup.py where the file is new), and a `.py` file
of the same name with the call, the twin, and `library()` to choose between them; a test that compares the two.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

__all__ = ["implementation", "library"]

STEM = "_kernels"
SUFFIXES = (".so", ".dylib", ".pyd", ".dll")
INTERFACE = 2
"""Number of the interface of the C functions: a library of another one is not used."""
CHOICE = "WEIGH_KERNELS"


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where the twins must do. Looked for once in a process."""
    if os.environ.get(CHOICE, "").lower() == "numpy":
        return None
    for suffix in SUFFIXES:
        place = Path(__file__).with_name(STEM + suffix)
        if not place.is_file():
            continue
        try:
            loaded = ctypes.CDLL(str(place))
            version = loaded.weigh_interface
        except (OSError, AttributeError):
            # Built for another system or another version: as good as absent.
            continue
        version.restype = ctypes.c_int
        if version() == INTERFACE:
            return loaded
    return None


def implementation() -> str:
    """`c` or `numpy`: which of the two runs."""
    return "numpy" if library() is None else "c"
