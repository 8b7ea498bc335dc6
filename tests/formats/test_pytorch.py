"""PyTorch checkpoints: which tensors are the model's, where their values lie, what is shared, what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hostile import craft, craft_pytorch
from tests.hostile.craft_pytorch import EVIL, archive, called, checkpoint, legacy, named, pickled, put, stored, tensor
from weigh import formats
from weigh.commands import show
from weigh.formats import pytorch
from weigh.types import Inventory, Limits, WeighError

FOUR = struct.pack("<4f", 0, 1, 2, 3)
EIGHT = struct.pack("<8f", *range(8))


def _read(folder: Path, content: bytes, name: str = "a.pt", limits: Limits | None = None) -> Inventory:
    path = folder / name
    path.write_bytes(content)
    return formats.read(path, limits or Limits())


def _refusal(folder: Path, content: bytes, name: str = "a.pt", limits: Limits | None = None) -> WeighError:
    with pytest.raises(WeighError) as caught:
        _read(folder, content, name, limits)
    return caught.value


def _held(inventory: Inventory) -> dict[str, Any]:
    return {one.name: formats.values(inventory, one).tolist() for one in inventory.tensors}


def _one(opcodes: bytes, storage: bytes = FOUR) -> bytes:
    return checkpoint({"a": opcodes}, {"0": storage})


# ----------------------------------------------------------------------------------------------------- refusals


def test_an_unsafe_import_is_named_with_its_place(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, EVIL)
    assert (refusal.rule, refusal.exit_code, refusal.offset) == ("PICKLE-UNSAFE", 3, 16)
    assert "posix.system" in refusal.message
    assert "--unsafe-report" in refusal.hint


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = b"\x80\x02cposix\nsystem\n" + put("touch made") + b"\x85R."
    assert _refusal(tmp_path, evil).rule == "PICKLE-UNSAFE"
    pytorch.imports(tmp_path / "a.pt", Limits())
    assert not (tmp_path / "made").exists()


def test_what_follows_the_first_unsafe_import_is_listed_too(tmp_path: Path) -> None:
    value = {"a": tensor(), "b": called("os", "system", "x"), "c": named("argparse", "Namespace") + b")\x81}b"}
    path = tmp_path / "a.pt"
    path.write_bytes(checkpoint(value))
    answer = show.run_imports(str(path))
    told = [(row["module"], row["name"]) for row in answer.result["imports"] if not row["allowed"]]
    assert told == [("os", "system"), ("argparse", "Namespace")]
    assert answer.result["unsafe"] == 2
    assert any(row["name"] == "_rebuild_tensor_v2" and row["allowed"] for row in answer.result["imports"])
    assert answer.warnings == []


def test_imports_of_a_second_pickle_and_of_a_broken_one_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pickled({"a": 1}) + EVIL)
    found = pytorch.imports(path, Limits())
    assert [one.name for _, one in found.asked] == ["system"]
    path.write_bytes(EVIL[:-3])
    found = pytorch.imports(path, Limits())
    assert [one.name for _, one in found.asked] == ["system"]
    assert found.stopped is not None


def test_imports_of_the_old_form_are_listed_without_its_storages(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(legacy({"a": tensor()}, {"0": (4, FOUR)}))
    found = pytorch.imports(path, Limits())
    assert {one.allowed for _, one in found.asked} == {True}
    assert found.stopped is None


def test_a_pickle_that_is_too_long_or_makes_too_much(tmp_path: Path) -> None:
    content = checkpoint([0] * 5000 + [tensor()])
    for limits in (Limits(opcodes=4000), Limits(keys=1000)):
        refusal = _refusal(tmp_path, content, limits=limits)
        assert (refusal.rule, refusal.exit_code) == ("PICKLE-BUDGET", 5)
        assert "Limits(" in refusal.hint
    long = checkpoint({"a" * 1000: tensor()})
    assert _refusal(tmp_path, long, limits=Limits(string_bytes=900)).rule == "PICKLE-BUDGET"
    assert _refusal(tmp_path, long, limits=Limits(header_bytes=900)).rule == "ZIP-SIZE"
    assert _refusal(tmp_path, long, limits=Limits(header_bytes=50)).rule == "ZIP-ENTRIES"
    three = checkpoint({"a": tensor(), "b": tensor(), "c": tensor()})
    assert _refusal(tmp_path, three, limits=Limits(tensors=2)).exit_code == 5


def test_values_of_a_big_endian_checkpoint_are_not_decoded(tmp_path: Path) -> None:
    for content in (
        checkpoint({"a": tensor()}, byteorder=b"big"),
        legacy({"a": tensor()}, {"0": (4, FOUR)}, little=False),
    ):
        inventory = _read(tmp_path, content)
        with pytest.raises(WeighError) as caught:
            formats.values(inventory, inventory.tensors[0])
        assert caught.value.rule == "VALUES-ORDER"


def test_a_shape_without_values_has_none(tmp_path: Path) -> None:
    meta = called("torch._utils", "_rebuild_meta_tensor_no_storage", named("torch", "float32"), (3, 5), (5, 1), False)
    inventory = _read(tmp_path, _one(meta))
    assert (inventory.tensors[0].parameters, inventory.tensors[0].nbytes) == (15, 0)
    assert any("meta" in word for word in inventory.warnings)
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, inventory.tensors[0])
    assert caught.value.rule == "VALUES-PIECES"


# ------------------------------------------------------------------------------------------------ which tensors


def test_a_state_dictionary(tmp_path: Path) -> None:
    inventory = _read(tmp_path, checkpoint({"a.weight": tensor((2, 2), (2, 1))}, {"0": FOUR}))
    assert (inventory.format, inventory.dialect, inventory.warnings) == ("pytorch", "hf", ())
    assert _held(inventory) == {"a.weight": [[0, 1], [2, 3]]}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module"])
def test_the_model_in_a_training_checkpoint(key: str, tmp_path: Path) -> None:
    moments = {"state": {0: {"exp_avg": tensor(storage=stored("1"))}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    value = {"epoch": 3, key: {"w": tensor()}, "optimizer": moments, "teacher": {"w": tensor((2,))}}
    inventory = _read(tmp_path, checkpoint(value, {"0": FOUR, "1": FOUR}))
    assert _held(inventory) == {"w": [0, 1, 2, 3]}
    assert inventory.metadata["apart"] == {
        "optimizer": {"tensors": 1, "bytes": 16},
        "teacher": {"tensors": 1, "bytes": 8},
    }
    assert any("optimizer (1 tensor, 16 bytes)" in word for word in inventory.warnings)


def test_the_model_below_two_keys(tmp_path: Path) -> None:
    inventory = _read(tmp_path, checkpoint({"model": {"module": {"w": tensor()}, "other": tensor((1,))}}, {"0": FOUR}))
    assert [one.name for one in inventory.tensors] == ["w"]
    assert inventory.metadata["apart"] == {"other": {"tensors": 1, "bytes": 4}}


def test_several_networks_are_all_counted_without_the_optimizer(tmp_path: Path) -> None:
    value = {"generator": {"w": tensor((2,))}, "critic": [tensor((2,), offset=2)], "optimizer_state_dict": [tensor()]}
    inventory = _read(tmp_path, checkpoint(value, {"0": FOUR}))
    assert [one.name for one in inventory.tensors] == ["generator.w", "critic.0"]


def test_a_key_like_a_models_that_holds_no_tensors(tmp_path: Path) -> None:
    inventory = _read(tmp_path, checkpoint({"model": {"name": "x"}, "layer": tensor()}))
    assert [one.name for one in inventory.tensors] == ["layer"]


def test_numbers_of_numpy_are_no_tensors(tmp_path: Path) -> None:
    dtype = called("numpy", "dtype", "f8", False, True) + put((3, "<", None, None, None, -1, -1, 0)) + b"b"
    scalar = called("numpy.core.multiarray", "scalar", dtype, b"U\x08" + b"\0" * 8)
    array = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), (0,), b"U\x01b")
    array += put((1, (2, 3), dtype, False, b"U\x06" + b"\0" * 6)) + b"b"
    inventory = _read(tmp_path, checkpoint({"a": tensor(), "loss": scalar, "history": array}, {"0": FOUR}))
    assert [one.name for one in inventory.tensors] == ["a"]
    assert "NumPy" in inventory.warnings[0]


def test_torchscript_modules_by_the_path_of_attributes(tmp_path: Path) -> None:
    inner = called("__torch__.torch.nn.modules.linear", "Linear") + put({"weight": tensor((2, 2), (2, 1))}) + b"b"
    outer = named("__torch__", "Net") + b")\x81" + put({"training": False, "proj": inner, "scale": tensor((1,))}) + b"b"
    entries = {
        "n/data.pkl": pickled(outer),
        "n/constants.pkl": pickled(()),
        "n/data/0": FOUR,
        "n/code/x.py": b"import os",
    }
    inventory = _read(tmp_path, archive(entries), "net.pt")
    assert [one.name for one in inventory.tensors] == ["proj.weight"]
    assert inventory.metadata["shared"] == {"scale": "proj.weight"}


# --------------------------------------------------------------------------------------------- what is shared


def test_a_tied_tensor_is_counted_once(tmp_path: Path) -> None:
    inventory = _read(
        tmp_path, checkpoint({"embed": tensor((2, 2), (2, 1)), "head": tensor((2, 2), (2, 1))}, {"0": FOUR})
    )
    assert [one.name for one in inventory.tensors] == ["embed"]
    assert inventory.metadata["shared"] == {"head": "embed"}
    assert "head in embed" in inventory.warnings[0]


def test_slices_and_transposes_lie_in_the_whole(tmp_path: Path) -> None:
    value = {
        "row": tensor((2,), offset=2),
        "t": tensor((2, 2), (1, 2)),
        "whole": tensor((4,)),
        "again": tensor((9, 4), (0, 1)),
    }
    inventory = _read(tmp_path, checkpoint(value, {"0": FOUR}))
    assert sum(one.nbytes for one in inventory.tensors) == 16
    assert len(inventory.tensors) == 1
    assert len(inventory.metadata["shared"]) == 3


def test_parts_of_one_storage_are_tensors_of_their_own(tmp_path: Path) -> None:
    columns = {"q": tensor((2, 2), (4, 1)), "k": tensor((2, 2), (4, 1), 2)}
    columns = {name: opcodes.replace(put(4) + b"tQ", put(8) + b"tQ") for name, opcodes in columns.items()}
    inventory = _read(tmp_path, checkpoint(columns, {"0": EIGHT}))
    assert _held(inventory) == {"q": [[0, 1], [4, 5]], "k": [[2, 3], [6, 7]]}
    assert "shared" not in inventory.metadata


def test_bytes_of_a_storage_that_no_tensor_uses_are_told(tmp_path: Path) -> None:
    inventory = _read(tmp_path, _one(tensor((1,), offset=3)))
    assert _held(inventory) == {"a": [3]}
    assert inventory.warnings == ("12 bytes of the storages belong to no tensor of the model",)


# ------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("shape", "strides", "expected"),
    [
        ((2, 2), (1, 2), [[0, 2], [1, 3]]),
        ((2,), (3,), [0, 3]),
        ((3, 2), (0, 1), [[0, 1]] * 3),
        ((2, 1, 2), (1, 7, 2), [[[0, 2]], [[1, 3]]]),
        ((1, 4), (99, 1), [[0, 1, 2, 3]]),
    ],
)
def test_values_in_steps(shape: tuple[int, ...], strides: tuple[int, ...], expected: Any, tmp_path: Path) -> None:
    inventory = _read(tmp_path, _one(tensor(shape, strides)))
    found = inventory.tensors[0]
    assert formats.values(inventory, found).tolist() == expected
    for size in (1, 3):
        chunks = list(formats.chunks(inventory, found, size))
        assert all(chunk.size <= size for chunk in chunks)
        assert np.concatenate(chunks).tolist() == np.array(expected).ravel().tolist()


def test_steps_that_do_not_fit_the_bytes_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    inventory = _read(tmp_path, _one(tensor((2, 2), (1, 2))))
    found = inventory.tensors[0]
    for piece in (replace(found.pieces[0], nbytes=12), replace(found.pieces[0], strides=(1, -2))):
        with pytest.raises(WeighError) as caught:
            formats.values(inventory, replace(found, pieces=(piece,)))
        assert caught.value.rule == "VALUES-SIZE"


def test_the_old_form_and_windows_of_its_storages(tmp_path: Path) -> None:
    window = tensor((2,), storage=stored("0", 4, "FloatStorage", ("v", 2, 2)))
    inventory = _read(tmp_path, legacy({"a": window, "b": tensor((2,))}, {"0": (4, FOUR)}), "a.th")
    assert _held(inventory) == {"a": [2, 3], "b": [0, 1]}


def test_a_compressed_pickle_is_read(tmp_path: Path) -> None:
    inventory = _read(tmp_path, checkpoint({"a": tensor()}, {"0": FOUR}, packed=("m/data.pkl",)))
    assert _held(inventory) == {"a": [0, 1, 2, 3]}


# ----------------------------------------------------------------------------------------------------- folders


def _shards(folder: Path) -> None:
    for number, name in ((1, "a"), (2, "b")):
        value = {name: tensor(), "tied": tensor()} if number == 2 else {name: tensor()}
        (folder / f"pytorch_model-0000{number}-of-00002.bin").write_bytes(checkpoint(value, {"0": FOUR}))
    names = {"a": 1, "b": 2, "tied": 2}
    index = craft.index(
        {name: f"pytorch_model-0000{place}-of-00002.bin" for name, place in names.items()}, total_size=32
    )
    (folder / "pytorch_model.bin.index.json").write_bytes(index)


def test_shards_by_their_index_their_folder_or_one_of_them(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x"}))
    (tmp_path / "training_args.bin").write_bytes(EVIL)
    for place in ("", "pytorch_model.bin.index.json", "pytorch_model-00002-of-00002.bin"):
        inventory = formats.read(tmp_path / place)
        assert [one.name for one in inventory.tensors] == ["a", "b"]
        assert inventory.configuration == {"model_type": "x"}
        assert len(inventory.warnings) == 1


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path)
    assert caught.value.rule == "INDEX-MISSING"
    assert "00001-of-00002.bin" in caught.value.message


def test_shards_without_an_index(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    assert len(formats.read(tmp_path).tensors) == 2


def test_safetensors_come_first_in_a_folder(tmp_path: Path) -> None:
    _shards(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(craft.safetensors({"x": craft.entry("F32", [1], 0, 4)}, b"\0" * 4))
    assert formats.read(tmp_path).format == "safetensors"


def test_the_weights_of_transformers_come_before_other_checkpoints(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "rewards.pt"):
        (tmp_path / name).write_bytes(craft_pytorch.checkpoint({"a": tensor()}, {"0": FOUR}))
    assert formats.read(tmp_path).files[0][0] == "pytorch_model.bin"
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "other.pt")
    with pytest.raises(WeighError) as caught:
        formats.read(tmp_path)
    assert caught.value.rule == "FOLDER-MANY"


# ------------------------------------------------------------------------------------------------ the command


def test_the_unsafe_report_is_printed_and_its_names_are_escaped(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from weigh.cli import cli

    path = tmp_path / "a.pt"
    path.write_bytes(checkpoint({"a": tensor(), "b": named("os\x1b[2J", "system")}))
    shown = CliRunner().invoke(cli, ["show", str(path), "--unsafe-report"])
    assert shown.exit_code == 0
    assert "1 of" in shown.output
    assert "\x1b" not in shown.output
    told = json.loads(CliRunner().invoke(cli, ["show", str(path), "--unsafe-report", "--json"]).output)
    assert told["result"]["unsafe"] == 1


def test_a_report_on_what_is_no_pickle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(craft.safetensors({}))
    with pytest.raises(WeighError):
        show.run_imports(str(path))
