"""What fuzzing found in files of more than one part, or behind an inventory that was accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hostile import craft, seeds
from weigh import formats
from weigh.types import WeighError


def test_a_part_that_the_manifest_lists_without_a_size(tmp_path: Path) -> None:
    told = json.loads(seeds.MANIFEST["p.weigh-manifest.json"])
    told["weigh.manifest"]["parts"]["more.gguf"] = {}
    seed = seeds.SEEDS["p.weigh-manifest.json"]._replace(content=json.dumps(told).encode())
    with pytest.raises(WeighError) as caught:
        formats.read(seeds.write(tmp_path, "p.weigh-manifest.json", seed))
    assert caught.value.rule == "MANIFEST-PARTS"
    assert "more.gguf" in caught.value.message


def test_a_shape_without_values_that_no_array_can_have(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(craft.safetensors({"a": craft.entry("F32", [0, 2**61], 0, 0)}))
    inventory = formats.read(path)
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, inventory.tensors[0])
    assert caught.value.rule == "VALUES-MEMORY"
