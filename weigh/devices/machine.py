"""What this machine is: the record that detection fills, and the names of the instruction sets that engines ask for.

A new instruction set is its name in FEATURES, as /proc/cpuinfo spells it, or a row in SAME_FEATURE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from weigh.types import Device, Quoted

FEATURES = frozenset({
    "ssse3", "avx", "avx2", "f16c", "fma", "bmi2", "avx_vnni",
    "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vbmi", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "neon", "dotprod", "fp16", "i8mm", "bf16", "sve", "sve2", "sme", "sme2",
    "vsx", "vxe", "rvv",
})  # fmt: skip
SAME_FEATURE = {
    "avx512vbmi": "avx512_vbmi",
    "amx_tile": "amx",
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
}
"""What Linux calls it: the name that engines use for it. Both are kept where both are known."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor found here."""

    device: Device
    """From the registry where the name is known, with the memory that the driver states; else only name and memory."""
    known: bool
    """Is `device` from the registry?"""
    free_bytes: int | None
    """Not in use at the moment; None where the tool does not say."""


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as far as it lets itself be seen. What could not be found out is None, and `warnings` say why."""

    device: Device
    """Id `this`, kind `host`: the processor with the memory that a process may use."""
    physical_cores: int | None = None
    logical_cores: int | None = None
    usable_cores: int | None = None
    """Logical cores that this process may keep busy: affinity and quota respected."""
    cpu_quota: float | None = None
    """Cores' worth of time that a control group allows; None = no limit."""
    memory_total: int | None = None
    memory_available: int | None = None
    """Bytes that can be taken now without swapping and without breaking a limit."""
    memory_limit: int | None = None
    """Bytes that a control group allows, where that is less than the machine has."""
    memory_limit_by: str = ""
    """The file that sets `memory_limit`."""
    gpus: tuple[Gpu, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def features(self) -> frozenset[str]:
        """Instruction sets that engines care about."""
        return self.device.features


def known_features(flags: Iterable[str]) -> frozenset[str]:
    """Those of a processor's flags that engines ask for, under the engines' names."""
    spelled = {flag.lower() for flag in flags}
    spelled |= {SAME_FEATURE[flag] for flag in spelled if flag in SAME_FEATURE}
    return frozenset(spelled & FEATURES)


def measured(value: int | None, says: str, source: str) -> Quoted | None:
    """A figure read off this machine today; None stays None."""
    if value is None:
        return None
    return Quoted(value=value, says=says, source=source, read=date.today().isoformat())


def host_device(
    *,
    name: str,
    vendor: str,
    features: frozenset[str],
    cores: Quoted | None,
    memory: Quoted | None,
    unified_memory: bool = False,
) -> Device:
    """This machine as a Device. Bandwidth and peak stay None: they are measured, never guessed from a name."""
    return Device(
        id="this",
        name=name or "this machine",
        vendor=vendor,
        kind="host",
        unified_memory=unified_memory,
        memory_bytes=memory,
        cores=cores,
        features=features,
    )
