"""What the vendors' tools print, garbage first."""

import json

import pytest

from weigh.devices import adapters
from weigh.devices.adapters import Adapter, parse_amd, parse_nvidia, parse_rocm, read_adapters

MIB = 2**20
NVIDIA_TWO = "NVIDIA H100 80GB HBM3, 81559, 81004\nNVIDIA H100 80GB HBM3, 81559, 512\n"
ROCM = {
    "card0": {
        "GPU use (%)": "0",
        "VRAM Total Memory (B)": "21458059264",
        "VRAM Total Used Memory (B)": "27856896",
        "Card Series": "Radeon RX 7900 XT",
        "Card Model": "0x744c",
        "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
        "GFX Version": "gfx1100",
    },
    "card1": {"VRAM Total Memory (B)": "67108864", "Card series": "0x164e", "Card model": "Raphael"},
    "system": {"Driver version": "6.10.5"},
}
AMD = [
    {
        "gpu": 0,
        "asic": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002", "num_compute_units": 304},
        "vram": {"type": "HBM3", "vendor": "N/A", "size": {"value": 196592, "unit": "MB"}, "bit_width": "N/A"},
    },
    {"gpu": 1, "asic": {"market_name": "N/A"}, "vram": "N/A"},
]
AMD_USE = [
    {
        "gpu": 0,
        "mem_usage": {
            "total_vram": {"value": 196592, "unit": "MB"},
            "used_vram": {"value": 285, "unit": "MB"},
            "free_vram": {"value": 196307, "unit": "MB"},
        },
    }
]


@pytest.mark.parametrize(
    "text",
    [
        'Field "memory.free" is not a valid field to query.',
        "a, b",
        "NVIDIA A, 1, 2, 3",
        "[N/A], 1, 2",
        ", 1, 2",
        "\0\0, \x1b[31m",
        '"unclosed, 1',
    ],
)
def test_a_line_of_nvidia_that_is_not_understood_is_a_warning(text: str) -> None:
    found, warnings = parse_nvidia(text)
    assert found == ()
    assert len(warnings) == 1
    assert "\x1b" not in warnings[0]


def test_nothing_printed_is_nothing_found() -> None:
    assert parse_nvidia("") == ((), ())
    assert parse_nvidia("\n\n") == ((), ())


@pytest.mark.parametrize("text", ["", "garbage", "{", "[1, 2", "ERROR: no driver", "[" * 9000])
def test_what_is_no_json_is_a_warning(text: str) -> None:
    assert parse_rocm(text)[0] == ()
    assert parse_amd(text)[0] == ()
    assert "printed no JSON" in parse_rocm(text)[1][0]
    assert "printed no JSON" in parse_amd(text)[1][0]


@pytest.mark.parametrize("text", ["[]", "{}", "null", "3", '"words"', '{"card0": 3}', '{"gpu_data": 3}', "[3, null]"])
def test_json_of_another_shape_is_nothing_found(text: str) -> None:
    assert parse_rocm(text)[0] == ()
    assert parse_amd(text, text)[0] == ()


def test_nvidia_s_mib_become_bytes() -> None:
    found, warnings = parse_nvidia(NVIDIA_TWO)
    assert warnings == ()
    assert found[0] == Adapter("NVIDIA H100 80GB HBM3", "NVIDIA", 81559 * MIB, 81004 * MIB, "nvidia-smi")
    assert found[1].free_bytes == 512 * MIB


@pytest.mark.parametrize("unsaid", ["[N/A]", "[Not Supported]", "[Insufficient Permissions]", "N/A", "[Unknown Error]"])
def test_memory_that_nvidia_does_not_say_is_none(unsaid: str) -> None:
    found, _ = parse_nvidia(f"NVIDIA GB10, {unsaid}, {unsaid}\n")
    assert (found[0].name, found[0].memory_bytes, found[0].free_bytes) == ("NVIDIA GB10", None, None)


def test_rocm_s_cards_are_read_whatever_the_capitals() -> None:
    found, warnings = parse_rocm("WARNING: AMD GPU device(s) is/are in a low-power state.\n" + json.dumps(ROCM))
    assert warnings == ()
    assert found[0] == Adapter("Radeon RX 7900 XT", "AMD", 21458059264, 21458059264 - 27856896, "rocm-smi")
    assert found[1] == Adapter("Raphael", "AMD", 67108864, None, "rocm-smi")
    assert len(found) == 2


@pytest.mark.parametrize("wrap", [lambda cards: cards, lambda cards: {"gpu_data": cards}], ids=["list", "gpu_data"])
def test_amd_s_cards_are_read_in_both_shapes(wrap) -> None:
    found, warnings = parse_amd(json.dumps(wrap(AMD)), json.dumps(wrap(AMD_USE)))
    assert warnings == ()
    assert found[0] == Adapter("AMD Instinct MI300X", "AMD", 196592 * MIB, 196307 * MIB, "amd-smi")
    assert found[1] == Adapter("AMD graphics", "AMD", None, None, "amd-smi")


def test_amd_s_older_versions_give_a_bare_number_of_mb() -> None:
    cards = [{"gpu": 0, "asic": {"market_name": "MI210"}, "vram": {"vram_type": "HBM", "vram_size_mb": 65520}}]
    assert parse_amd(json.dumps(cards))[0][0].memory_bytes == 65520 * MIB


def test_amd_s_memory_in_use_is_a_guess_that_is_not_made() -> None:
    found, _ = parse_amd(json.dumps(AMD), "no rights")
    assert found[0].free_bytes is None


def tools(monkeypatch: pytest.MonkeyPatch, printed: dict[tuple[str, ...], str]) -> None:
    monkeypatch.setattr(adapters, "run_tool", lambda command, **_: (printed.get(command), ()))


def test_nvidia_without_a_driver_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    tools(monkeypatch, {adapters.NVIDIA: words})
    found, warnings = read_adapters({})
    assert found == ()
    assert warnings == (f"nvidia-smi: {words.strip()}",)


def test_the_tools_of_both_vendors_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    tools(
        monkeypatch, {adapters.NVIDIA: NVIDIA_TWO, adapters.AMD: json.dumps(AMD), adapters.AMD_USE: json.dumps(AMD_USE)}
    )
    found, warnings = read_adapters({})
    assert [adapter.vendor for adapter in found] == ["NVIDIA", "NVIDIA", "AMD", "AMD"]
    assert warnings == ()


def test_the_older_tool_of_amd_is_asked_where_the_newer_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tools(monkeypatch, {adapters.AMD: "garbage", adapters.ROCM: json.dumps(ROCM)})
    found, warnings = read_adapters({})
    assert len(found) == 2
    assert "amd-smi printed no JSON" in warnings[0]


def test_a_variable_that_hides_processors_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tools(monkeypatch, {adapters.NVIDIA: NVIDIA_TWO})
    found, warnings = read_adapters({"CUDA_VISIBLE_DEVICES": "0"})
    assert len(found) == 2
    assert warnings[0].startswith("CUDA_VISIBLE_DEVICES")
