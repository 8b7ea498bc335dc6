"""The probe of memory and matrices: odd machines first, then that what it measures is plausible and says how."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from weigh.devices import probe as probing
from weigh.devices.machine import Machine, host_device
from weigh.devices.probe import cache_bytes, matrix_rate, probe, read_bandwidth
from weigh.types import Quoted

Build = Callable[[dict[str, str]], Path]
MB = 10**6
SHORT = 0.01


def cache(cpu: int, index: int, level: str, size: str, shared: str) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    return {f"{folder}/level": level, f"{folder}/size": size, f"{folder}/shared_cpu_list": shared}


def machine(cores: int | None = 2, free: int | None = 64 * MB) -> Machine:
    device = host_device(name="Example", vendor="", features=frozenset(), cores=None, memory=None)
    return Machine(device=device, usable_cores=cores, memory_available=free)


def test_a_machine_that_does_not_tell_its_caches_is_taken_for_a_large_one(tmp_path: Path) -> None:
    assert cache_bytes(tmp_path) >= 32 * MB


@pytest.mark.parametrize(("level", "size"), [("", "32K"), ("3", ""), ("3", "large"), ("three", "32K")])
def test_files_that_say_nothing_of_a_cache_are_passed_over(level: str, size: str, build: Build) -> None:
    assert cache_bytes(build(cache(0, 0, level, size, "0"))) == cache_bytes(Path("/nowhere"))


def test_a_cache_counts_once_however_many_cores_share_it(build: Build) -> None:
    files: dict[str, str] = {}
    for cpu in range(4):
        files |= cache(cpu, 0, "1", "32K", str(cpu))
        files |= cache(cpu, 3, "3", "16M", "0-1" if cpu < 2 else "2-3")
    assert cache_bytes(build(files)) == 2 * 16 * 2**20


def test_little_memory_is_never_filled_and_the_words_say_that_the_caches_may_help() -> None:
    small = read_bandwidth(2, free_bytes=128 * MB, seconds=SHORT)
    assert "reading 14 MB with 2 threads" in small.says
    assert small.says.endswith("which the caches may hold in part")


def test_buffers_never_take_more_than_a_part_of_what_is_free() -> None:
    for free in (0, 100 * MB, 10**9, 10**12):
        size, _ = probing._buffer_bytes(32 * MB, free)
        assert size <= free // 8
    size, beyond = probing._buffer_bytes(32 * MB, 10**12)
    assert beyond
    assert size >= 4 * 32 * MB


def test_no_memory_and_no_cores_still_give_a_figure() -> None:
    assert read_bandwidth(0, free_bytes=0, seconds=SHORT).value > 0
    assert matrix_rate(0, seconds=SHORT).value > 0


def test_a_clock_that_stands_still_makes_no_rate_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(probing.time, "perf_counter", lambda: float(next(ticks)))
    assert probing._best(lambda: 0.0, 2.0) > 0


def test_the_shortest_repeat_counts_and_one_that_stands_alone_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(probing.time, "perf_counter", lambda: float(next(ticks)))
    times = iter([9.0, 8.0, 4.0, 7.0, 4.1, 1.0])
    assert probing._best(lambda: next(times), 1.0) == 4.0
    assert next(times) == 1.0


def test_bandwidth_is_of_this_world_and_says_how_it_was_measured() -> None:
    found = read_bandwidth(2, free_bytes=512 * MB, seconds=SHORT)
    assert 1e8 < found.value < 1e13
    assert found.says.startswith("measured on this machine by reading ")
    assert "with 2 threads" in found.says
    assert found.source == found.says
    assert found.read == date.today().isoformat()


def test_matrix_rate_is_of_this_world_and_says_how_it_was_measured() -> None:
    found = matrix_rate(1, seconds=SHORT)
    assert 1e7 < found.value < 1e16
    assert found.says.startswith("measured on this machine by multiplying float32 matrices")
    assert found.read == date.today().isoformat()


def test_the_machine_gets_both_and_keeps_the_rest() -> None:
    before = machine()
    after = probe(before, seconds=SHORT)
    assert after.device.memory_bandwidth is not None
    assert set(after.device.peak) == {"f32"}
    assert isinstance(after.device.peak["f32"], Quoted)
    assert after.device.name == before.device.name
    assert after.memory_available == before.memory_available
    assert before.device.memory_bandwidth is None


def test_a_machine_of_unknown_cores_is_probed_with_one_thread() -> None:
    after = probe(machine(cores=None, free=None), seconds=SHORT)
    assert after.device.memory_bandwidth is not None
    assert "1 thread" in after.device.memory_bandwidth.says
