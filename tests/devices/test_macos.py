"""A Mac from the text of its tools."""

import json

import pytest

from weigh.devices import macos
from weigh.devices.macos import mac_features, parse_profiler, parse_sysctl, parse_vm_stat, read_macos

APPLE = """hw.memsize: 34359738368
hw.physicalcpu: 12
hw.logicalcpu: 12
machdep.cpu.brand_string: Apple M2 Max
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.neon: 1
hw.optional.floatingpoint: 1
"""
INTEL = """hw.memsize: 17179869184
hw.physicalcpu: 4
hw.logicalcpu: 8
machdep.cpu.brand_string: Intel(R) Core(TM) i5-1038NG7 CPU @ 2.00GHz
machdep.cpu.features: FPU VME SSE SSE2 SSSE3 FMA AVX1.0 RDRAND F16C
machdep.cpu.leaf7_features: RDWRFSGS BMI1 AVX2 BMI2 AVX512F
hw.optional.avx512bw: 1
"""
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               43021.
Pages active:                            801231.
Pages inactive:                          780110.
Pages speculative:                        18222.
Pages wired down:                        151515.
"Translation faults":                 987654321.
"""
PROFILER = {
    "SPHardwareDataType": [
        {
            "_name": "hardware_overview",
            "chip_type": "Apple M2 Max",
            "machine_model": "Mac14,6",
            "machine_name": "MacBook Pro",
            "number_processors": "proc 12:8:4",
            "physical_memory": "32 GB",
        }
    ]
}


@pytest.mark.parametrize(
    "text", ["", "garbage", "[]", "{}", '{"SPHardwareDataType": []}', '{"SPHardwareDataType": [1]}', "[" * 9000]
)
def test_garbage_of_the_profiler_is_a_warning(text: str) -> None:
    adapter, warnings = parse_profiler(text)
    assert adapter is None
    assert len(warnings) == 1


@pytest.mark.parametrize("text", ["", "garbage", "Pages free: 10.", "(page size of 16384 bytes)"])
def test_garbage_of_vm_stat_is_unknown(text: str) -> None:
    assert parse_vm_stat(text) is None


def test_a_mac_whose_tools_all_fail_is_unknown_with_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(macos, "run_tool", lambda command, **_: (None, (f"{command[0]} failed",)))
    machine = read_macos()
    assert machine.memory_total is None
    assert machine.device.memory_bytes is None
    assert machine.warnings == ("sysctl failed", "vm_stat failed")
    assert macos.read_apple_adapter() == ((), ("system_profiler failed",))


def test_a_mac_without_an_apple_chip_has_no_adapter() -> None:
    document = {"SPHardwareDataType": [{"cpu_type": "Quad-Core Intel Core i5", "physical_memory": "16 GB"}]}
    assert parse_profiler(json.dumps(document)) == (None, ())


def test_the_chip_is_an_adapter_with_the_memory_of_the_machine() -> None:
    adapter, warnings = parse_profiler(json.dumps(PROFILER))
    assert warnings == ()
    assert adapter is not None
    assert (adapter.name, adapter.vendor, adapter.memory_bytes) == ("Apple M2 Max", "Apple", 32 * 2**30)


def test_an_apple_mac_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = {"sysctl": APPLE, "vm_stat": VM_STAT}
    monkeypatch.setattr(
        macos, "run_tool", lambda command, **_: (printed[command[0]], ("sysctl ended with exit code 1",))
    )
    machine = read_macos()
    assert machine.device.name == "Apple M2 Max"
    assert machine.device.unified_memory
    assert machine.features == {"neon", "dotprod", "bf16", "i8mm"}
    assert (machine.physical_cores, machine.logical_cores) == (12, 12)
    assert machine.memory_total == 32 * 2**30
    assert machine.memory_available == 16384 * (43021 + 780110 + 18222)


def test_an_intel_mac_has_the_names_of_linux() -> None:
    assert mac_features(parse_sysctl(INTEL)) == {"ssse3", "fma", "avx", "f16c", "avx2", "bmi2", "avx512f", "avx512bw"}
