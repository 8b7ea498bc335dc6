"""A Linux machine from the text of its /proc."""

from pathlib import Path

import pytest

from weigh.devices import linux
from weigh.devices.linux import (
    parse_cpuinfo,
    parse_meminfo,
    physical_cores,
    processor_flags,
    processor_name,
    read_linux,
)

GIB = 2**30
MEMINFO = """MemTotal:       24684084 kB
MemFree:        23420652 kB
MemAvailable:   24263340 kB
Buffers:            6116 kB
Active(anon):      98424 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""

_X86 = """processor	: {number}
vendor_id	: AuthenticAMD
cpu family	: 25
model name	: AMD EPYC 9354 32-Core Processor
cpu MHz		: 2596.138
physical id	: {package}
siblings	: 4
core id		: {core}
cpu cores	: 2
flags		: fpu vme sse sse2 ssse3 fma avx f16c avx2 bmi2 avx512f avx512bw avx512vbmi avx512_vnni avx512_bf16{more}
bugs		: sysret_ss_attrs spectre_v1
power management:
"""
X86 = "\n".join(
    _X86.format(number=4 * package + 2 * core + thread, package=package, core=core, more=" amx_tile amx_int8")
    for package in (0, 1)
    for core in (0, 1)
    for thread in (0, 1)
)
RASPBERRY = """processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

processor	: 1
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes
CPU implementer	: 0x41
CPU part	: 0xd0b

Revision	: c04170
Serial		: 0123456789abcdef
Model		: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.mark.parametrize("text", ["", "MemTotal", "MemTotal: many kB", "MemTotal: 12 MB", "\0\0\0", ":::\n"])
def test_garbage_in_meminfo_gives_nothing(text: str) -> None:
    assert parse_meminfo(text) == {}


@pytest.mark.parametrize("text", ["", "\n\n\n", "garbage", "Revision : c04170\n", ":\n:"])
def test_garbage_in_cpuinfo_gives_nothing(text: str) -> None:
    cores = parse_cpuinfo(text)
    assert cores == []
    assert physical_cores(cores) is None
    assert processor_name(cores) == ""
    assert processor_flags(cores) == frozenset()


def test_an_empty_machine_is_all_none_with_warnings(tmp_path: Path) -> None:
    machine = read_linux(tmp_path)
    assert machine.memory_total is None
    assert machine.memory_available is None
    assert machine.device.memory_bytes is None
    assert machine.physical_cores is None
    assert machine.device.name
    assert any("meminfo" in warning for warning in machine.warnings)


def test_kilobytes_of_meminfo_are_of_1024() -> None:
    memory = parse_meminfo(MEMINFO)
    assert memory["MemTotal"] == 24684084 * 1024
    assert memory["MemAvailable"] == 24263340 * 1024
    assert memory["Active(anon)"] == 98424 * 1024
    assert "HugePages_Total" not in memory


def test_cores_of_several_packages_are_told_apart() -> None:
    cores = parse_cpuinfo(X86)
    assert len(cores) == 8
    assert physical_cores(cores) == 4
    assert processor_name(cores) == "AMD EPYC 9354 32-Core Processor"


def test_flags_come_under_the_names_that_engines_use() -> None:
    flags = processor_flags(parse_cpuinfo(X86))
    assert {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_vbmi", "amx", "amx_int8", "f16c", "fma"} <= flags
    assert not {"fpu", "avx512vbmi", "neon"} & flags


def test_a_flag_that_only_some_cores_have_is_none_of_the_machine() -> None:
    assert processor_flags(parse_cpuinfo(RASPBERRY)) == {"neon"}
    assert processor_flags(parse_cpuinfo(RASPBERRY)[:1]) == {"neon", "dotprod", "fp16"}


def test_arm_has_no_model_name_and_no_core_ids(build) -> None:
    cores = parse_cpuinfo(RASPBERRY)
    assert len(cores) == 2
    assert processor_name(cores) == "ARM implementer 0x41 part 0xd0b"
    topology = {
        f"sys/devices/system/cpu/cpu{number}/topology/{name}": text
        for number in (0, 1)
        for name, text in (("physical_package_id", "0\n"), ("core_id", f"{number}\n"))
    }
    root = build({"proc/cpuinfo": RASPBERRY, "proc/meminfo": MEMINFO} | topology)
    assert read_linux(root).physical_cores == 2


def test_a_machine_without_limits_has_what_meminfo_says(build) -> None:
    machine = read_linux(build({"proc/cpuinfo": X86, "proc/meminfo": MEMINFO}))
    assert machine.memory_total == 24684084 * 1024
    assert machine.memory_available == 24263340 * 1024
    assert (machine.memory_limit, machine.memory_limit_by) == (None, "")
    assert machine.device.memory_bytes is not None
    assert machine.device.memory_bytes.says == "MemTotal: 24684084 kB"
    assert machine.device.memory_bytes.source == "/proc/meminfo"
    assert (machine.physical_cores, machine.logical_cores) == (4, 8)
    assert machine.features == machine.device.features


def test_a_limit_clips_the_memory_and_what_is_available(monkeypatch: pytest.MonkeyPatch, grouped) -> None:
    monkeypatch.setattr(linux, "_affinity", lambda: 6)
    root = grouped(
        "/job",
        {
            "proc/cpuinfo": X86,
            "proc/meminfo": MEMINFO,
            "sys/fs/cgroup/job/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/job/memory.current": f"{GIB // 2}",
            "sys/fs/cgroup/job/cpu.max": "350000 100000",
        },
    )
    machine = read_linux(root)
    assert machine.memory_limit == 2 * GIB
    assert machine.memory_limit_by == "/sys/fs/cgroup/job/memory.max"
    assert machine.memory_available == 2 * GIB - GIB // 2
    assert machine.memory_total == 24684084 * 1024
    assert machine.device.memory_bytes is not None
    assert machine.device.memory_bytes.value == 2 * GIB
    assert machine.device.memory_bytes.source == "/sys/fs/cgroup/job/memory.max"
    assert machine.cpu_quota == 3.5
    assert machine.usable_cores == 3


def test_a_limit_above_the_memory_is_none(grouped) -> None:
    files = {"proc/meminfo": MEMINFO, "sys/fs/cgroup/job/memory.max": f"{999 * GIB}"}
    machine = read_linux(grouped("/job", files))
    assert machine.memory_limit is None
    assert machine.memory_available == 24263340 * 1024


def test_half_a_core_still_is_one_thread_and_affinity_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped
) -> None:
    files = {"proc/cpuinfo": X86, "proc/meminfo": MEMINFO, "sys/fs/cgroup/job/cpu.max": "50000 100000"}
    assert read_linux(grouped("/job", files)).usable_cores == 1
    monkeypatch.setattr(linux, "_affinity", lambda: 3)
    (tmp_path / "sys/fs/cgroup/job/cpu.max").write_text("max 100000")
    assert read_linux(tmp_path).usable_cores == 3
