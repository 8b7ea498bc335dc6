"""A Linux machine from /proc, /sys and its control groups. The parsers take text, so any machine can be tested here."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from pathlib import Path

from weigh.devices.control_groups import read_limits
from weigh.devices.machine import Machine, host_device, known_features, measured
from weigh.types import Quoted

_KIB = re.compile(r"(\w+(?:\(\w+\))?):\s+(\d{1,18}) kB")


def parse_meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo to bytes by name. Its `kB` are of 1024 bytes."""
    return {match[1]: 1024 * int(match[2]) for match in map(_KIB.match, text.splitlines()) if match}


def parse_cpuinfo(text: str) -> list[dict[str, str]]:
    """/proc/cpuinfo to one table a logical core, keys in small letters.

    Some ARM kernels add a last block about the board, which has no `processor` and is left out.
    """
    cores = []
    for block in re.split(r"\n\s*\n", text):
        pairs = (line.partition(":") for line in block.splitlines())
        table = {key.strip().lower(): value.strip() for key, found, value in pairs if found}
        if "processor" in table:
            cores.append(table)
    return cores


def physical_cores(cores: list[dict[str, str]]) -> int | None:
    """Pairs of package and core; None where /proc/cpuinfo does not tell them apart (ARM, some virtual machines)."""
    pairs = {(core.get("physical id", "0"), core["core id"]) for core in cores if "core id" in core}
    return len(pairs) or None


def processor_name(cores: list[dict[str, str]]) -> str:
    """Model name, or what ARM gives instead: the implementer's and the part's number."""
    first = cores[0] if cores else {}
    for key in ("model name", "cpu model", "uarch", "cpu"):
        if first.get(key):
            return first[key]
    if "cpu implementer" in first:
        return f"ARM implementer {first['cpu implementer']} part {first.get('cpu part', 'unknown')}"
    return ""


def processor_flags(cores: list[dict[str, str]]) -> frozenset[str]:
    """Instruction sets that every core has: a thread may land on any of them."""
    flags = [set(core.get("flags", core.get("features", "")).split()) for core in cores]
    return known_features(set.intersection(*flags)) if flags else frozenset()


def read_linux(root: Path = Path("/")) -> Machine:
    """This machine, graphics processors left out. `root` is where its file system begins."""
    warnings: list[str] = []
    memory = parse_meminfo(_text(root / "proc/meminfo", warnings))
    cores = parse_cpuinfo(_text(root / "proc/cpuinfo", warnings))
    limits = read_limits(root)
    total = memory.get("MemTotal")
    if total is None:
        warnings.append("/proc/meminfo does not state MemTotal: the memory of this machine is not known")
    bound = limits.memory if limits.memory is not None and (total is None or limits.memory < total) else None
    physical = physical_cores(cores) or _topology(root)
    logical = len(cores) or os.cpu_count()
    usable = _affinity() or logical
    if limits.cores is not None and usable is not None:
        # A started quarter of a core is no core: threads beyond the quota are stopped mid-step.
        usable = max(1, min(usable, math.floor(limits.cores)))
    device = host_device(
        name=processor_name(cores) or _board(root) or platform.machine(),
        vendor=cores[0].get("vendor_id", "") if cores else "",
        features=processor_flags(cores),
        cores=measured(physical, f"{physical} physical cores", "/proc/cpuinfo"),
        memory=_memory(total, bound, limits.memory_by),
    )
    return Machine(
        device=device,
        physical_cores=physical,
        logical_cores=logical,
        usable_cores=usable,
        cpu_quota=limits.cores,
        memory_total=total,
        memory_available=_least(memory.get("MemAvailable"), limits.headroom),
        memory_limit=bound,
        memory_limit_by=limits.memory_by if bound is not None else "",
        warnings=(*warnings, *limits.warnings),
    )


def _memory(total: int | None, bound: int | None, bound_by: str) -> Quoted | None:
    """What a process may have: the control group's limit where that is less than the machine holds."""
    if bound is not None:
        return measured(bound, f"{bound} bytes", bound_by)
    if total is None:
        return None
    return measured(total, f"MemTotal: {total // 1024} kB", "/proc/meminfo")


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _affinity() -> int | None:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return None


def _topology(root: Path) -> int | None:
    """Physical cores from /sys, for processors whose /proc/cpuinfo has no core ids."""
    pairs = set()
    for folder in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology"):
        package = _text(folder / "physical_package_id", []).strip()
        core = _text(folder / "core_id", []).strip()
        if core:
            pairs.add((package, core))
    return len(pairs) or None


def _board(root: Path) -> str:
    """Name of a single-board computer, which the device tree ends with a zero byte."""
    return _text(root / "proc/device-tree/model", []).strip("\0 \n")


def _text(path: Path, warnings: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as cause:
        warnings.append(f"{path}: {cause.strerror}")
        return ""
