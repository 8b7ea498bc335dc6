"""A device's TOML file: what is refused, naming file and key, and what it becomes."""

from pathlib import Path

import pytest

from weigh.devices.sheet import parse_sheet, read_sheet
from weigh.types import WeighError

PATH = Path("example-x1.toml")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "Example X1"', "", "name"),
        ('name = "Example X1"', "name = 1", "name"),
        ('vendor = "Example"', 'vendor = " "', "vendor"),
        ('class = "edge"', 'class = "fridge"', "class"),
        ('class = "edge"', 'kind = "edge"', "kind"),
        ("unified_memory = true", 'unified_memory = "yes"', "unified_memory"),
        ('aliases = ["x1", "example"]', 'aliases = "x1"', "aliases"),
        ('aliases = ["x1", "example"]', 'aliases = ["X 1"]', "aliases"),
        ("[figures]", "[numbers]", "numbers"),
        ("memory_bytes =", "memory =", "figures.memory"),
        ("int8 =", "int7 =", "figures.peak.int7"),
        ('says = "67 TOPS", ', "", "figures.peak.int8.says"),
        ('says = "67 TOPS"', 'says = ""', "figures.peak.int8.says"),
        ('says = "67 TOPS"', 'said = "67 TOPS"', "figures.peak.int8.said"),
        ('says = "67 TOPS", source = "page"', 'says = "67 TOPS"', "figures.peak.int8.source"),
        ('source = "page"', 'source = "brochure"', "figures.peak.int8.source"),
        ("value = 6.7e13, ", "", "figures.peak.int8.value"),
        ("value = 6.7e13", "value = nan", "figures.peak.int8.value"),
        ("value = 6.7e13", "value = inf", "figures.peak.int8.value"),
        ("value = 6.7e13", "value = 0", "figures.peak.int8.value"),
        ("value = 6.7e13", "value = -1", "figures.peak.int8.value"),
        ("value = 6.7e13", "value = true", "figures.peak.int8.value"),
        ("value = 6.7e13", 'value = "67"', "figures.peak.int8.value"),
        ("value = 8_589_934_592", "value = 8.5e9", "figures.memory_bytes.value"),
        ("read = 2026-02-01", "", "sources.page.read"),
        ("read = 2026-02-01", 'read = "2026-02-01"', "sources.page.read"),
        ("read = 2026-02-01", "read = 2026-02-01T10:00:00", "sources.page.read"),
        ('url = "https://example.com/x1"', "", "sources.page.url"),
        ('url = "https://example.com/x1"', 'url = "x1.html"', "sources.page.url"),
        ('title = "X1 datasheet"', 'author = "X"', "sources.datasheet.author"),
        ("published = 2025-06-01", "published = 2025", "sources.datasheet.published"),
    ],
)
def test_a_fault_is_named_with_its_file_and_key(old: str, new: str, key: str, sheet: str) -> None:
    assert old in sheet
    with pytest.raises(WeighError) as caught:
        parse_sheet(sheet.replace(old, new), PATH)
    assert caught.value.rule == "DEVICE-FILE"
    assert caught.value.path == "example-x1.toml"
    assert "example-x1.toml" in caught.value.message
    assert caught.value.where == key
    assert "add-a-device" in caught.value.hint


@pytest.mark.parametrize("text", ["name = ", "a = 1\na = 2", "x = " + "[" * 5000, "figures = 1"])
def test_what_is_no_sheet_is_refused(text: str) -> None:
    with pytest.raises(WeighError, match=r"example-x1\.toml"):
        parse_sheet(text, PATH)


def test_a_file_is_named_after_the_id(sheet: str) -> None:
    with pytest.raises(WeighError, match="named after no id"):
        parse_sheet(sheet, Path("Example X1.toml"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('name = "é"'.encode("latin-1"))
    (tmp_path / "large.toml").write_bytes(b"#" * 200_000)
    (tmp_path / "folder.toml").mkdir()
    for name, problem in (("latin", "UTF-8"), ("large", "larger than"), ("folder", "read"), ("absent", "read")):
        with pytest.raises(WeighError, match=rf"{name}\.toml.*{problem}"):
            read_sheet(tmp_path / f"{name}.toml")


def test_a_sheet_becomes_a_device_with_words_and_sources(sheet: str) -> None:
    device = parse_sheet(sheet, PATH)
    assert (device.id, device.name, device.vendor, device.kind) == ("example-x1", "Example X1", "Example", "edge")
    assert device.aliases == ("x1", "example")
    assert device.unified_memory
    assert device.memory_bytes is not None
    assert device.memory_bytes.value == 8 * 2**30
    assert isinstance(device.memory_bytes.value, int)
    assert device.memory_bytes.says == "8GB LPDDR5"
    assert device.memory_bytes.source == "https://example.com/x1.pdf"
    assert device.memory_bytes.read == "2026-01-31"
    assert device.peak["int8"].source == "https://example.com/x1"


def test_a_number_that_is_left_out_is_none_and_never_a_default(sheet: str) -> None:
    device = parse_sheet(sheet, PATH)
    missing = (device.link_bandwidth, device.host_bandwidth, device.power_w, device.rental_usd_per_hour, device.cores)
    assert missing == (None,) * 5
    assert set(device.peak) == {"int8"}
