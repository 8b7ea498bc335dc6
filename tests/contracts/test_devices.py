"""Every device of the registry: plausible numbers, unique names, dated sources."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from weigh.devices import find, sheets
from weigh.devices.sheet import FIGURES, KINDS, NUMBER_TYPES, read_sheet
from weigh.devices.sizes import looks_like_size
from weigh.types import Device, Quoted

SHEETS = sheets(())
RANGES = {
    "memory_bytes": (1e9, 1.1e12),
    "memory_bandwidth": (1e9, 1e14),
    "link_bandwidth": (1e9, 1e14),
    "host_bandwidth": (1e8, 1e13),
    "power_w": (0.5, 3000),
    "launch_year": (2010, date.today().year + 1),
    "rental_usd_per_hour": (0.01, 100),
    "cores": (1, 200_000),
}
RISING = (("f64", "f32"), ("f32", "tf32"), ("tf32", "bf16"), ("bf16", "fp8"), ("fp8", "fp4"), ("int8", "int4"))
"""Number types of which the narrower is never slower on one device. Older consumer parts have a slow f16 and f64."""


@pytest.fixture(params=sorted(SHEETS))
def device(request: pytest.FixtureRequest) -> Device:
    return read_sheet(SHEETS[request.param])


def figures(device: Device) -> dict[str, Quoted]:
    """What a sheet states, by name."""
    stated = {name: getattr(device, name) for name in FIGURES}
    return {name: figure for name, figure in stated.items() if figure is not None} | {
        f"peak.{name}": figure for name, figure in device.peak.items()
    }


def test_numbers_are_of_this_world(device: Device) -> None:
    for name, figure in figures(device).items():
        low, high = RANGES.get(name, (1e9, 1e17))
        assert low <= figure.value <= high, f"{name}: {figure.value}"


def test_a_device_is_of_a_known_kind_and_tells_something(device: Device) -> None:
    assert device.kind in KINDS
    assert figures(device)


def test_a_narrower_type_is_not_slower(device: Device) -> None:
    for wide, narrow in RISING:
        if wide in device.peak and narrow in device.peak:
            assert device.peak[wide].value <= 1.02 * device.peak[narrow].value, f"{wide} above {narrow}"


def test_tensor_cores_are_faster_than_the_plain_ones(device: Device) -> None:
    if "tf32" in device.peak and "bf16" in device.peak and "f32" in device.peak:
        assert device.peak["bf16"].value > device.peak["f32"].value


def test_sources_are_pages_that_were_opened(device: Device) -> None:
    for name, figure in figures(device).items():
        assert figure.source.startswith(("https://", "http://")), name
        assert " " not in figure.source, name
        assert date(2025, 1, 1) <= date.fromisoformat(figure.read) <= date.today(), name


def test_it_is_found_by_its_id_and_by_every_alias(device: Device) -> None:
    for name in (device.id, *device.aliases):
        assert find(name).device == device
        assert find(f"{name}x8").count == 8
        assert name != "this"
        assert not looks_like_size(name)
        assert name == name.lower()


def test_what_a_sheet_leaves_out_is_none(device: Device) -> None:
    text = SHEETS[device.id].read_text()
    for name in FIGURES:
        if f"\n{name} = " not in text:
            assert getattr(device, name) is None
    assert set(device.peak) <= set(NUMBER_TYPES)


def test_no_two_devices_share_a_name() -> None:
    owners: dict[str, list[str]] = {}
    for path in SHEETS.values():
        device = read_sheet(path)
        for name in {device.id, *device.aliases, device.name.lower()}:
            owners.setdefault(name, []).append(device.id)
        assert len(device.aliases) == len(set(device.aliases)), device.id
        assert device.id not in device.aliases
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}


def test_there_are_enough_of_each_kind() -> None:
    kinds = [read_sheet(path).kind for path in SHEETS.values()]
    assert len(kinds) >= 60
    assert set(kinds) >= {"datacenter", "consumer", "workstation", "apple", "edge"}


@pytest.mark.parametrize(("alias", "memory"), [("a100", 80), ("h100", 80), ("h200", 141)])
def test_the_short_name_means_the_module_with_the_largest_memory(alias: str, memory: int) -> None:
    device = find(alias).device
    assert "sxm" in device.id
    assert device.id.endswith(f"{memory}gb")
    siblings = [read_sheet(path) for id_, path in SHEETS.items() if id_.startswith(f"{alias}-sxm")]
    assert device.memory_bytes is not None
    assert all(
        other.memory_bytes is None or other.memory_bytes.value <= device.memory_bytes.value for other in siblings
    )


def test_one_look_up_reads_one_sheet_and_loads_no_array_library() -> None:
    script = (
        "import sys; import weigh.devices as d; read = []; sheet = d.read_sheet; "
        "d.read_sheet = lambda path: (read.append(path.stem), sheet(path))[1]; "
        "d.find('h100-sxm-80gb'); d.find('h100'); "
        "assert 'numpy' not in sys.modules; assert 'weigh.devices.detect' not in sys.modules; print(*read)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["h100-sxm-80gb"]


def test_sheets_are_read_from_the_package_and_nowhere_else() -> None:
    assert {path.parent for path in SHEETS.values()} == {Path(read_sheet.__code__.co_filename).parent}


def test_the_example_of_the_guide_is_the_file_itself() -> None:
    guide = Path(__file__).parents[2] / "docs/add-a-device.md"
    example = guide.read_text().split("```toml\n")[1].split("```")[0]
    assert example.strip() == SHEETS["l4"].read_text().strip()
