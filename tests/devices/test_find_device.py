"""What a name on the command line means."""

from pathlib import Path

import pytest

from weigh import devices as registry
from weigh.devices import devices, find
from weigh.types import WeighError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own sheets."""
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["h1000000", "", "x8", "h100-sxm-80gb x8", "h100 x8", "8G", "../h100", "h100.toml", "x"]
)
def test_an_unknown_name_is_exit_4_with_a_hint(name: str) -> None:
    with pytest.raises(WeighError) as caught:
        find(name)
    assert caught.value.rule == "DEVICE-UNKNOWN"
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_a_slip_of_the_finger_is_asked_back(own: Path, sheet: str) -> None:
    (own / "example-x1.toml").write_text(sheet)
    for slip in ("exmaple-x1", "example-x2", "exmaple-x1x8"):
        with pytest.raises(WeighError) as caught:
            find(slip)
        assert "did you mean" in caught.value.hint
        assert "example-x1" in caught.value.hint


def test_a_number_without_a_unit_is_told_about_units() -> None:
    with pytest.raises(WeighError) as caught:
        find("123456789123")
    assert "8GiB" in caught.value.hint


def test_none_of_a_device_is_refused(own: Path, sheet: str) -> None:
    (own / "example-x1.toml").write_text(sheet)
    with pytest.raises(WeighError) as caught:
        find("example-x1x0")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["example-x1", "x1", "example", "EXAMPLE-X1", " X1 "])
def test_ids_and_aliases_in_any_case_are_found(own: Path, name: str, sheet: str) -> None:
    (own / "example-x1.toml").write_text(sheet)
    cluster = find(name)
    assert (cluster.device.id, cluster.count) == ("example-x1", 1)


@pytest.mark.parametrize(("name", "count"), [("example-x1x8", 8), ("x1x2", 2), ("exampleX16", 16)])
def test_xn_is_several_of_them(own: Path, name: str, count: int, sheet: str) -> None:
    (own / "example-x1.toml").write_text(sheet)
    cluster = find(name)
    assert (cluster.device.id, cluster.count) == ("example-x1", count)


def test_a_name_that_ends_like_a_count_is_the_name_first(own: Path, sheet: str) -> None:
    (own / "rt.toml").write_text(sheet)
    (own / "rtx99.toml").write_text(sheet.replace('["x1", "example"]', "[]"))
    assert find("rtx99").device.id == "rtx99"
    assert find("rtx99").count == 1
    assert find("rtx98").count == 98


@pytest.mark.parametrize(
    ("name", "size", "count"), [("8GB", 8 * 10**9, 1), ("6GiB", 6 * 2**30, 1), ("8GBx2", 8 * 10**9, 2)]
)
def test_a_size_is_a_device_of_which_only_the_memory_is_known(name: str, size: int, count: int) -> None:
    cluster = find(name)
    assert cluster.count == count
    assert cluster.device.kind == "size"
    assert cluster.device.memory_bytes is not None
    assert cluster.device.memory_bytes.value == size
    assert cluster.device.memory_bandwidth is None
    assert not cluster.device.peak


@pytest.mark.parametrize("name", ["8Gb", "0GB", "8Gbx2"])
def test_a_size_that_cannot_be_meant_is_a_usage_error(name: str) -> None:
    with pytest.raises(WeighError) as caught:
        find(name)
    assert caught.value.exit_code == 2


def test_a_user_s_sheet_replaces_ours_of_the_same_id(own: Path, sheet: str) -> None:
    first = devices()[0]
    (own / f"{first.id}.toml").write_text(sheet)
    assert find(first.id).device.name == "Example X1"
    assert sum(device.id == first.id for device in devices()) == 1
    for alias in first.aliases:
        with pytest.raises(WeighError):
            find(alias)


def test_the_first_of_several_folders_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(sheet.replace("Example X1", folder))
    monkeypatch.setenv("WEIGH_DEVICES", f"{tmp_path / 'one'}:{tmp_path / 'two'}".replace(":", registry.os.pathsep))
    assert find("mine").device.name == "one"
    assert find("x1").device.name == "one"


def test_an_alias_of_two_sheets_in_one_folder_is_refused(own: Path, sheet: str) -> None:
    (own / "one.toml").write_text(sheet)
    (own / "two.toml").write_text(sheet)
    with pytest.raises(WeighError) as caught:
        find("x1")
    assert caught.value.rule == "DEVICE-AMBIGUOUS"


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path / "gone"))
    with pytest.raises(WeighError, match="gone") as caught:
        devices()
    assert caught.value.exit_code == 2


def test_a_broken_sheet_stops_the_list_and_not_a_look_up(own: Path, sheet: str) -> None:
    (own / "broken.toml").write_text("name = ")
    (own / "good.toml").write_text(sheet)
    assert find("good").device.id == "good"
    assert find("x1").device.id == "good"
    with pytest.raises(WeighError, match=r"broken\.toml"):
        devices()


def test_a_look_up_parses_one_sheet(own: Path, monkeypatch: pytest.MonkeyPatch, sheet: str) -> None:
    (own / "only-one.toml").write_text(sheet)
    parsed: list[str] = []
    read = registry.read_sheet

    def counting(path: Path) -> object:
        parsed.append(path.name)
        return read(path)

    monkeypatch.setattr(registry, "read_sheet", counting)
    assert find("only-one").device.id == "only-one"
    assert find("example").device.id == "only-one"
    assert parsed == ["only-one.toml"]


def test_this_is_the_machine_that_runs_the_test() -> None:
    cluster = find("this")
    assert (cluster.device.id, cluster.device.kind, cluster.count) == ("this", "host", 1)
    assert cluster.device.memory_bandwidth is None
