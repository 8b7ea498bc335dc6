"""A Mac from sysctl, vm_stat and system_profiler. The parsers take text, so a Mac can be tested anywhere."""

from __future__ import annotations

import json
import re

from weigh.devices.adapters import Adapter
from weigh.devices.machine import Machine, host_device, known_features, measured
from weigh.devices.tools import run_tool

SYSCTL = (
    "sysctl",
    "hw.memsize",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "machdep.cpu.brand_string",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "hw.optional",
)
VM_STAT = ("vm_stat",)
PROFILER = ("system_profiler", "SPHardwareDataType", "-json")

_OPTIONAL = {
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.arm.FEAT_SME2": "sme2",
    "hw.optional.avx1_0": "avx",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma",
    "hw.optional.bmi2": "bmi2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512bw": "avx512bw",
    "hw.optional.avx512dq": "avx512dq",
    "hw.optional.avx512vl": "avx512vl",
    "hw.optional.avx512vbmi": "avx512_vbmi",
}
"""Switches of sysctl, and the instruction set that a 1 there stands for."""
_PAGES = re.compile(r"Pages (free|inactive|speculative):\s+(\d+)\.")


def parse_sysctl(text: str) -> dict[str, str]:
    """`name: value` lines by name."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def mac_features(values: dict[str, str]) -> frozenset[str]:
    """Instruction sets of an Apple or Intel Mac under the names that Linux gives them."""
    listed = f"{values.get('machdep.cpu.features', '')} {values.get('machdep.cpu.leaf7_features', '')}".lower()
    flags = set(listed.replace("avx1.0", "avx").split())
    flags |= {feature for name, feature in _OPTIONAL.items() if values.get(name) == "1"}
    return known_features(flags)


def parse_vm_stat(text: str) -> int | None:
    """Bytes free or given back at once: free, inactive and speculative pages. None where the text is another."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = dict(_PAGES.findall(text))
    if size is None or "free" not in pages:
        return None
    return int(size[1]) * sum(int(count) for count in pages.values())


def parse_profiler(text: str) -> tuple[Adapter | None, tuple[str, ...]]:
    """The chip of SPHardwareDataType as an adapter; None for an Intel Mac, whose entry has no chip_type."""
    try:
        entry = json.loads(text)["SPHardwareDataType"][0]
        chip = entry.get("chip_type")
        memory = entry.get("physical_memory")
    except (json.JSONDecodeError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return None, ("system_profiler printed something that is not understood",)
    if not isinstance(chip, str) or not chip.strip():
        return None, ()
    # It writes `32 GB` for 32 x 2^30 bytes.
    size = re.fullmatch(r"(\d{1,6}) (GB|TB)", memory) if isinstance(memory, str) else None
    scale = {"GB": 2**30, "TB": 2**40}
    total = None if size is None else int(size[1]) * scale[size[2]]
    return Adapter(chip.strip(), "Apple", total, None, "system_profiler"), ()


def read_macos() -> Machine:
    """This Mac, graphics processors left out."""
    text, warnings = run_tool(SYSCTL)
    # sysctl ends with an error over each name that this generation lacks, and prints the others.
    values = parse_sysctl(text or "")
    pages, said = run_tool(VM_STAT)
    total = _whole(values.get("hw.memsize"))
    physical = _whole(values.get("hw.physicalcpu"))
    logical = _whole(values.get("hw.logicalcpu"))
    name = values.get("machdep.cpu.brand_string", "")
    return Machine(
        device=host_device(
            name=name,
            vendor="Apple" if name.startswith("Apple") else "",
            features=mac_features(values),
            cores=measured(physical, f"hw.physicalcpu: {physical}", "sysctl"),
            memory=measured(total, f"hw.memsize: {total}", "sysctl"),
            unified_memory=name.startswith("Apple"),
        ),
        physical_cores=physical,
        logical_cores=logical,
        usable_cores=logical,
        memory_total=total,
        memory_available=parse_vm_stat(pages or ""),
        warnings=(*(warnings if not values else ()), *said),
    )


def read_apple_adapter() -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    """The graphics part of an Apple chip, which shares the machine's memory."""
    text, warnings = run_tool(PROFILER, seconds=15.0)
    if text is None:
        return (), warnings
    adapter, said = parse_profiler(text)
    return (() if adapter is None else (adapter,)), (*warnings, *said)


def _whole(word: str | None) -> int | None:
    return int(word) if word is not None and word.isascii() and word.isdecimal() and len(word) <= 18 else None
