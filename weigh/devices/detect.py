"""This machine: processor, memory that a process may really use, and graphics processors matched with the registry.

Nothing here raises for a tool or file that fails: what is not known is None, and `Machine.warnings` say why.
A new platform is a file with `read_<platform>() -> Machine` and a branch in `host`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace

from weigh.devices import devices
from weigh.devices.adapters import Adapter, read_adapters
from weigh.devices.machine import Gpu, Machine, measured
from weigh.devices.match import match
from weigh.types import Device, Quoted


def host() -> Machine:
    """This machine without its graphics processors. On Linux no tool is run, so this takes a few milliseconds."""
    if sys.platform == "darwin":
        from weigh.devices.macos import read_macos

        return read_macos()
    if sys.platform == "win32":
        from weigh.devices.windows import read_windows

        return read_windows()
    from weigh.devices.linux import read_linux

    return read_linux()


def machine() -> Machine:
    """This machine with its graphics processors. Runs the vendors' tools where they are installed."""
    here = host()
    adapters, warnings = _adapters()
    # The registry is parsed only where there is something to look up in it.
    known = devices() if adapters else ()
    gpus = tuple(to_gpu(adapter, known, here.device.memory_bytes) for adapter in adapters)
    return replace(here, gpus=gpus, warnings=(*here.warnings, *warnings))


def to_gpu(adapter: Adapter, known: Iterable[Device], shared: Quoted | None = None) -> Gpu:
    """An adapter as a Device: that of the registry where the name tells, else one of which only the memory is known.

    The memory is the driver's: error correction and firmware keep some of what the datasheet states. `shared` is
    the host's, which counts where the device has little or none of its own.
    """
    memory = measured(adapter.memory_bytes, f"{adapter.memory_bytes} bytes", adapter.tool)
    found = match(adapter.name, adapter.memory_bytes, known)
    if found is None:
        unknown = Device(id="unknown", name=adapter.name, vendor=adapter.vendor, kind="host", memory_bytes=memory)
        return Gpu(unknown, known=False, free_bytes=adapter.free_bytes)
    free = adapter.free_bytes
    if (
        found.unified_memory
        and shared is not None
        and _has_more(shared, memory)
        and _has_more(found.memory_bytes, shared)
    ):
        # Drivers call only the part set aside at start-up theirs; programs may take the rest of the host's too.
        # Several such devices in one machine have more together than one can have: then the driver's stands.
        memory, free = shared, None
    return Gpu(replace(found, memory_bytes=memory or found.memory_bytes), known=True, free_bytes=free)


def _has_more(one: Quoted | None, other: Quoted | None) -> bool:
    """Is `one` known and at least as large as `other`, which is nothing where it is unknown?"""
    return one is not None and (other is None or one.value >= other.value)


def _adapters() -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    if sys.platform == "darwin":
        from weigh.devices.macos import read_apple_adapter

        return read_apple_adapter()
    return read_adapters()
