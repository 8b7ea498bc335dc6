"""`weigh devices` as plain data."""

import json
from pathlib import Path

import pytest

from weigh.commands import devices as command
from weigh.devices.machine import Gpu, Machine, host_device, measured
from weigh.types import Device, WeighError


@pytest.mark.parametrize("options", [{"kind": "fridge"}, {"vendor": "nobody"}, {"minimum_memory": "8"}])
def test_a_filter_that_cannot_match_is_a_usage_error(options: dict[str, str]) -> None:
    with pytest.raises(WeighError) as caught:
        command.run(**options)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_search_for_nothing_known_is_an_empty_list() -> None:
    assert command.run(search="no such words")["devices"] == []


def test_every_row_is_plain_data_with_every_column() -> None:
    result = command.run()
    json.dumps(result, allow_nan=False)
    columns = {tuple(row) for row in result["devices"]}
    assert len(columns) == 1
    assert {tuple(row["peak"]) for row in result["devices"]} == {
        ("f64", "f32", "tf32", "bf16", "f16", "fp8", "fp4", "int8", "int4")
    }
    assert [row["id"] for row in result["devices"]] == sorted(row["id"] for row in result["devices"])
    assert result["this"] is None


def test_every_number_has_its_words_and_what_is_unknown_is_none() -> None:
    for row in command.run()["devices"]:
        for name, value in {**row, **{f"peak.{name}": peak for name, peak in row["peak"].items()}}.items():
            if name in row["why"]:
                assert value is not None
                assert set(row["why"][name]) == {"says", "source", "read"}
            elif name in ("memory_bytes", "power_w", "cores") or name.startswith("peak."):
                assert value is None


def test_filters_narrow_together() -> None:
    rows = command.run(kind="datacenter", vendor="nvidia", minimum_memory="80GB", search="sxm H100")["devices"]
    assert [row["id"] for row in rows] == ["h100-sxm-80gb"]
    assert isinstance(rows[0]["memory_bytes"], int)
    many = command.run(minimum_memory=80 * 10**9)["devices"]
    assert many == command.run(minimum_memory="80GB")["devices"]
    assert all(row["memory_bytes"] >= 80e9 for row in many)


def test_unknown_memory_meets_no_minimum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet: str) -> None:
    monkeypatch.setenv("WEIGH_DEVICES", str(tmp_path))
    lines = [line for line in sheet.splitlines() if not line.startswith("memory_bytes")]
    (tmp_path / "example-x1.toml").write_text("\n".join(lines))
    assert command.run(search="example-x1")["devices"][0]["memory_bytes"] is None
    assert command.run(search="example-x1", minimum_memory="1B")["devices"] == []


def test_this_machine_comes_with_its_limits_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = measured(2**30, "1073741824 bytes", "/sys/fs/cgroup/memory.max")
    card = Device("unknown", "Card", "X", "host", memory_bytes=memory)
    here = Machine(
        device=host_device(name="CPU", vendor="V", features=frozenset({"avx2"}), cores=None, memory=memory),
        usable_cores=2,
        memory_total=2**31,
        memory_available=2**29,
        memory_limit=2**30,
        memory_limit_by="/sys/fs/cgroup/memory.max",
        gpus=(Gpu(card, known=False, free_bytes=None),),
        warnings=("a tool failed",),
    )
    monkeypatch.setattr("weigh.devices.detect.machine", lambda: here)
    result = command.run(search="no such words", this=True)
    json.dumps(result)
    row = result["this"]
    assert result["warnings"] == ["a tool failed"]
    assert (row["id"], row["class"], row["features"], row["memory_limit"]) == ("this", "host", ["avx2"], 2**30)
    assert row["memory_limit_by"] == "/sys/fs/cgroup/memory.max"
    assert row["physical_cores"] is None
    assert row["gpus"][0]["memory_bytes"] == 2**30
    assert row["gpus"][0]["known"] is False
