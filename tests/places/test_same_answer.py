"""Whatever a file is, from a hub it gives the same inventory, or breaks the same rule, as in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.hostile import cases, cases_onnx, cases_pytorch
from tests.hostile.cases import Case
from tests.places.loopback import Loopback
from weigh import formats
from weigh.places import hub
from weigh.places.names import HubName
from weigh.types import Inventory, Limits, WeighError

ALL = tuple(case for source in (cases, cases_onnx, cases_pytorch) for case in (*source.REFUSED, *source.EXOTIC))


def outcome(path: Path) -> Inventory | str:
    """The inventory without the names of places, or the rule."""
    try:
        found = formats.read(path)
    except WeighError as error:
        return error.rule
    return replace(found, source="", folder="")


def write(folder: Path, case: Case) -> Path:
    place = folder / case.name.replace("/", "-")
    place.mkdir()
    path = place / case.name.rpartition("/")[2]
    path.write_bytes(case.content)
    return path


def test_every_odd_and_every_hostile_file_has_one_outcome(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(folder, case) for case in ALL if len(case.content) < 2**20]
    assert len(paths) > 150
    with Loopback(folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        root = hub.mount(HubName("org/model"), Limits())
        different = {}
        for path in paths:
            here, there = outcome(path), outcome(root / path.relative_to(folder))
            if here != there:
                different[path.name] = (here, there)
    assert different == {}
