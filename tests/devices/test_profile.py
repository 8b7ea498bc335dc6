"""The profile of this machine: written, read again, and left aside where it is of another one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from weigh.devices import find, profile
from weigh.devices.machine import Machine
from weigh.devices.profile import applied, save, sheet
from weigh.devices.sheet import read_sheet
from weigh.types import Device, Measured, Quoted, WeighError

TODAY = date.today().isoformat()


def quoted(value: float, read: str = TODAY) -> Quoted:
    return Quoted(value, "measured", "weigh bench 0.1.0", read)


HERE = Device(
    id="this",
    name="A Processor",
    vendor="Somebody",
    kind="host",
    memory_bytes=quoted(16 * 2**30),
    cores=quoted(8),
)
RATED = replace(
    HERE,
    memory_bandwidth=quoted(4e10),
    disk_bandwidth=quoted(2e9),
    cached_bandwidth=quoted(9e9),
    peak={"f32": quoted(1e11)},
    measured={
        "llama.cpp": Measured(
            "llama.cpp", "nowhere 1.0", TODAY, 8, {"read q8_0": 1.25e-11, "step": 3e-4}, 0.1, 0.2, "how"
        )
    },
)


def machine(device: Device = HERE) -> Machine:
    from weigh.devices.detect import host

    return replace(host(), device=device, warnings=())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "deep" / "this.toml"
    monkeypatch.setenv(profile.FILE_VARIABLE, str(file))
    return file


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeighError) as refused:
        save("", tmp_path / "file" / "this.toml")
    assert (refused.value.rule, refused.value.exit_code) == ("PROFILE-FOLDER", 2)
    assert profile.FILE_VARIABLE in refused.value.hint


def test_a_damaged_profile_names_its_file_and_what_to_do(kept: Path) -> None:
    save("name = ", kept)
    with pytest.raises(WeighError) as refused:
        applied(machine())
    assert refused.value.rule == "DEVICE-FILE"
    assert "weigh bench" in refused.value.hint


def test_without_a_profile_the_machine_is_as_it_was(kept: Path) -> None:
    here = machine()
    assert applied(here) is here


def test_what_was_measured_comes_back_from_the_file(kept: Path) -> None:
    save(sheet(RATED, RATED.name), kept)
    found = applied(machine()).device
    assert (found.memory_bandwidth, found.disk_bandwidth) == (RATED.memory_bandwidth, RATED.disk_bandwidth)
    assert (found.peak, dict(found.measured)) == (RATED.peak, dict(RATED.measured))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"name": "Another"}, "of A Processor, here is Another"),
        ({"cores": quoted(4)}, "of 8 cores, here are 4"),
        ({"memory_bytes": quoted(8 * 2**30)}, "bytes of memory"),
    ],
)
def test_the_profile_of_another_machine_is_left_aside(kept: Path, other: dict[str, object], told: str) -> None:
    save(sheet(RATED, RATED.name), kept)
    here = applied(machine(replace(HERE, **other)))
    assert here.device.memory_bandwidth is None
    assert told in here.warnings[0]


def test_an_old_profile_is_used_with_a_warning(kept: Path) -> None:
    long_ago = (date.today() - timedelta(days=profile.FRESH_DAYS + 1)).isoformat()
    save(sheet(replace(RATED, memory_bandwidth=quoted(4e10, long_ago)), RATED.name), kept)
    here = applied(machine())
    assert here.device.memory_bandwidth is not None
    assert f"{profile.FRESH_DAYS + 1} days old" in here.warnings[0]


def test_a_profile_is_a_device_file_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(sheet(RATED, "My box"), tmp_path / "mybox.toml")
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    found = find("mybox").device
    assert (found.name, found.kind, found.id) == ("My box", "host", "mybox")
    assert read_sheet(tmp_path / "mybox.toml") == found
