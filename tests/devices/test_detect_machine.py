"""Names of drivers found in the registry, and the machine as a whole."""

import pickle
from dataclasses import replace

import pytest

from weigh.devices import detect, devices
from weigh.devices.adapters import Adapter
from weigh.devices.detect import host, machine, to_gpu
from weigh.devices.machine import measured
from weigh.devices.match import match, words
from weigh.types import Device

MIB = 2**20


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376),
        ("NVIDIA GeForce RTX 4090 D", 24564),
        ("NVIDIA GeForce RTX 3080", 12288),
        ("NVIDIA GeForce RTX 4060 Ti", 8188),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9856),
        ("GRID A100-10C", 10240),
        ("Tesla V100-PCIE-16GB", 16384),
        ("Quadro RTX 6000", 24576),
        ("NVIDIA GH200 144G HBM3e", 146831),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887),
        ("NVIDIA Graphics Device", 24564),
        ("AMD graphics", None),
        ("", None),
    ],
)
def test_a_product_that_only_sounds_alike_is_unknown(name: str, mib: int | None) -> None:
    memory = None if mib is None else mib * MIB
    assert match(name, memory, devices()) is None
    gpu = to_gpu(Adapter(name, "NVIDIA", memory, None, "nvidia-smi"), devices())
    assert not gpu.known
    assert gpu.device.memory_bandwidth is None
    assert not gpu.device.peak
    assert (gpu.device.memory_bytes is None) == (mib is None)


@pytest.mark.parametrize(
    ("name", "mib", "id_"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", 81559, "h100-pcie-80gb"),
        ("NVIDIA H100 NVL", 95830, "h100-nvl-94gb"),
        ("NVIDIA H200", 143771, "h200-sxm-141gb"),
        ("NVIDIA A100-SXM4-80GB", 81920, "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", 40960, "a100-sxm-40gb"),
        ("NVIDIA A100-PCIE-40GB", 40960, "a100-pcie-40gb"),
        ("NVIDIA A100 80GB PCIe", 81920, "a100-pcie-80gb"),
        ("Tesla V100-SXM2-32GB", 32768, "v100-sxm2-32gb"),
        ("Tesla V100-SXM2-16GB", 16384, "v100-sxm2-16gb"),
        ("Tesla T4", 15360, "t4"),
        ("NVIDIA A10", 23028, "a10"),
        ("NVIDIA L4", 23034, "l4"),
        ("NVIDIA L40S", 46068, "l40s"),
        ("NVIDIA RTX A6000", 49140, "rtx-a6000"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "rtx-6000-ada"),
        ("NVIDIA GeForce RTX 4090", 24564, "rtx-4090"),
        ("NVIDIA GeForce RTX 3090 Ti", 24564, "rtx-3090-ti"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 16376, "rtx-4070-ti-super"),
        ("NVIDIA GeForce RTX 3060", 12288, "rtx-3060-12gb"),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, "rtx-4060-ti-16gb"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "rtx-pro-6000-blackwell-server"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "rtx-pro-6000-blackwell-workstation"),
        ("NVIDIA GB10", None, "dgx-spark"),
    ],
)
def test_names_that_drivers_give_are_found(name: str, mib: int | None, id_: str) -> None:
    found = match(name, None if mib is None else mib * MIB, devices())
    assert found is not None
    assert found.id == id_


def device(id_: str, name: str, gib: int) -> Device:
    return Device(id_, name, "X", "consumer", memory_bytes=measured(gib * 2**30, f"{gib} GB", "test"))


def test_of_one_name_the_nearest_memory_decides_and_a_tie_does_not() -> None:
    near, far = device("a-24gb", "Card A 24 GB", 24), device("a-25gb", "Card A 25 GB", 25)
    assert match("Card A", 24 * 2**30, (near, far)) is near
    assert match("Card A", None, (near, far)) is None
    assert match("Card A", 24 * 2**30, (near, replace(near, id="twin"))) is None


def test_words_that_tell_nothing_apart_are_left_out() -> None:
    assert words("NVIDIA H100 80GB HBM3") == {"h100"}
    assert words("NVIDIA A100-SXM4-80GB") == {"a100", "sxm"}
    assert words("NVIDIA GeForce RTX 3080 10 GB") == {"rtx", "3080"}
    assert words("AMD Radeon(TM) Graphics") == frozenset()


def test_the_driver_s_memory_replaces_that_of_the_datasheet() -> None:
    gpu = to_gpu(Adapter("Card A", "X", 23 * 2**30, 5, "some-smi"), (device("a", "Card A", 24),))
    assert gpu.known
    assert gpu.free_bytes == 5
    assert gpu.device.memory_bytes is not None
    assert gpu.device.memory_bytes.value == 23 * 2**30
    assert gpu.device.memory_bytes.source == "some-smi"


def test_shared_memory_is_the_host_s_and_not_the_datasheet_s() -> None:
    own, shared = device("a", "Card A", 24), replace(device("b", "Chip B", 128), unified_memory=True)
    host_memory = measured(96 * 2**30, "MemTotal", "/proc/meminfo")
    assert (
        to_gpu(Adapter("Chip B", "X", None, None, "t"), (own, shared), host_memory).device.memory_bytes == host_memory
    )
    assert to_gpu(Adapter("Card A", "X", None, None, "t"), (own, shared), host_memory).device == own
    assert match("Chip B", 36 * 2**30, (own, shared)) is shared
    carved = to_gpu(Adapter("Chip B", "X", 2**29, 2**28, "t"), (own, shared), host_memory)
    assert (carved.device.memory_bytes, carved.free_bytes) == (host_memory, None)
    four = measured(512 * 2**30, "MemTotal", "/proc/meminfo")
    one_of_four = to_gpu(Adapter("Chip B", "X", 127 * 2**30, 2**28, "t"), (own, shared), four)
    assert one_of_four.device.memory_bytes is not None
    assert (one_of_four.device.memory_bytes.value, one_of_four.free_bytes) == (127 * 2**30, 2**28)
    most = to_gpu(Adapter("Chip B", "X", 112 * 2**30, 2**28, "t"), (own, shared), host_memory)
    assert most.device.memory_bytes is not None
    assert (most.device.memory_bytes.value, most.free_bytes) == (112 * 2**30, 2**28)


def test_the_machine_of_this_test_is_seen() -> None:
    here = machine()
    assert here.device.id == "this"
    assert here.device.kind == "host"
    assert here.memory_total is not None
    assert here.memory_available is not None
    assert 0 < here.memory_available <= here.memory_total
    assert here.usable_cores is not None
    assert here.usable_cores >= 1
    assert here.device.memory_bandwidth is None
    assert pickle.loads(pickle.dumps(here)) == here


def test_warnings_of_tools_reach_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Adapter("NVIDIA GeForce RTX 4090", "NVIDIA", 24564 * MIB, 20000 * MIB, "nvidia-smi")
    monkeypatch.setattr(detect, "_adapters", lambda: ((card,), ("rocm-smi gave no answer",)))
    here = machine()
    assert here.warnings[-1] == "rocm-smi gave no answer"
    assert here.gpus[0].device.id == "rtx-4090"
    assert host().gpus == ()
