"""A Windows machine from kernel32 and the registry, through ctypes; what they do not tell stays None."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from weigh.devices.machine import Machine, host_device, known_features, measured

PRESENT = {19: "neon", 36: "ssse3", 39: "avx", 40: "avx2", 41: "avx512f", 43: "dotprod", 46: "sve", 47: "sve2"}
"""Arguments of IsProcessorFeaturePresent (winnt.h, PF_...) and the instruction set that each stands for."""


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("total_page_file", ctypes.c_uint64),
        ("available_page_file", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended", ctypes.c_uint64),
    )


def read_windows() -> Machine:
    """This machine, graphics processors left out."""
    status = _memory()
    total = status.total if status is not None else None
    logical = os.cpu_count()
    return Machine(
        device=host_device(
            name=_processor() or platform.processor(),
            vendor="",
            features=_features(),
            cores=None,
            memory=measured(total, f"ullTotalPhys: {total}", "GlobalMemoryStatusEx"),
        ),
        logical_cores=logical,
        usable_cores=logical,
        memory_total=total,
        memory_available=status.available if status is not None else None,
        warnings=() if status is not None else ("GlobalMemoryStatusEx failed: the memory is not known",),
    )


def _memory() -> _MemoryStatus | None:
    if sys.platform != "win32":
        return None
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    return status if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _features() -> frozenset[str]:
    if sys.platform != "win32":
        return frozenset()
    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    return known_features(name for number, name in PRESENT.items() if present(number))


def _processor() -> str:
    """The name that the firmware gives; `platform.processor()` says only family and model."""
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""
