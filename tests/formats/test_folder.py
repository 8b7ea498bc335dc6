"""Folders and configurations: which model lies there, and what is said where it is none or several."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import craft
from weigh import formats
from weigh.types import WeighError

MODEL = craft.safetensors({"a": craft.entry("F32", [1], 0, 4)}, b"\0" * 4)
CONFIG = '{"model_type": "llama", "hidden_size": 64}'


def _fill(folder: Path, **contents: bytes | str) -> Path:
    """Files by name; two underscores stand for a dot."""
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def _refusal(path: Path) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    return caught.value


def test_an_empty_folder(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path)
    assert (refusal.rule, refusal.exit_code) == ("FOLDER-EMPTY", 3)


def test_a_folder_of_other_things(tmp_path: Path) -> None:
    refusal = _refusal(_fill(tmp_path, README__md="x", flax_model__msgpack=b"\x89"))
    assert refusal.rule == "FOLDER-NONE"
    assert "flax_model.msgpack" in refusal.message


def test_a_folder_of_folders_names_them(tmp_path: Path) -> None:
    for name in ("unet", "vae"):
        (tmp_path / name).mkdir()
    refusal = _refusal(tmp_path)
    assert refusal.rule == "FOLDER-NONE"
    assert "unet, vae" in refusal.hint


@pytest.mark.parametrize(
    "names", [("a.safetensors", "b.safetensors"), ("a.gguf", "b.gguf"), ("a.gguf", "model.safetensors")]
)
def test_two_models_are_both_named(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(MODEL if name.endswith("s") else craft.llama())
    refusal = _refusal(tmp_path)
    assert (refusal.rule, refusal.exit_code) == ("FOLDER-MANY", 3)
    assert all(name in refusal.message for name in names)


def test_a_broken_configuration_in_the_named_folder_is_refused(tmp_path: Path) -> None:
    assert _refusal(_fill(tmp_path, a__safetensors=MODEL, config__json="{")).rule == "JSON-SYNTAX"


def test_a_broken_index_in_the_named_folder_is_refused(tmp_path: Path) -> None:
    assert _refusal(_fill(tmp_path, a__safetensors=MODEL, m__safetensors__index__json="[]")).rule == "JSON-OBJECT"


def test_weights_and_configuration(tmp_path: Path) -> None:
    inventory = formats.read(_fill(tmp_path, model__safetensors=MODEL, config__json=CONFIG, tokenizer__json="{}"))
    assert inventory.format == "safetensors"
    assert inventory.configuration == {"model_type": "llama", "hidden_size": 64}
    assert [name for name, _ in inventory.files] == ["model.safetensors", "config.json"]


def test_a_configuration_alone(tmp_path: Path) -> None:
    inventory = formats.read(_fill(tmp_path, config__json=CONFIG))
    assert (inventory.format, inventory.tensors) == ("config", ())
    assert inventory.configuration == {"model_type": "llama", "hidden_size": 64}
    assert inventory.warnings == ()


def test_a_configuration_beside_weights_that_are_not_read(tmp_path: Path) -> None:
    inventory = formats.read(_fill(tmp_path, config__json=CONFIG, flax_model__msgpack=b"\x89"))
    assert inventory.format == "config"
    assert "flax_model.msgpack" in inventory.warnings[0]


def test_one_gguf(tmp_path: Path) -> None:
    assert formats.read(_fill(tmp_path, a__gguf=craft.llama(), config__json=CONFIG)).format == "gguf"


def test_shards_are_one_model(tmp_path: Path) -> None:
    shard = "m-0000{}-of-00002.safetensors"
    for number in (1, 2):
        content = craft.safetensors({f"t{number}": craft.entry("F32", [1], 0, 4)}, b"\0" * 4)
        (tmp_path / shard.format(number)).write_bytes(content)
    assert len(formats.read(tmp_path).tensors) == 2
    index = craft.index({"t1": shard.format(1), "t2": shard.format(2)})
    (tmp_path / "m.safetensors.index.json").write_bytes(index)
    inventory = formats.read(tmp_path)
    assert len(inventory.tensors) == 2
    assert inventory.warnings == ()


def test_parts_are_one_model(tmp_path: Path) -> None:
    for number in (0, 1):
        keys = [craft.named()] if number == 0 else []
        keys.append(craft.key("split.no", craft.U16, craft.number(craft.U16, number)))
        keys.append(craft.key("split.count", craft.U16, craft.number(craft.U16, 2)))
        content = craft.gguf(keys, [craft.tensor(f"t{number}", [8])], b"\0" * 32)
        (tmp_path / f"m-{number + 1:05d}-of-00002.gguf").write_bytes(content)
    assert len(formats.read(tmp_path).tensors) == 2


def test_the_same_weights_in_the_vendors_layout_are_left_out(tmp_path: Path) -> None:
    inventory = formats.read(_fill(tmp_path, model__safetensors=MODEL, consolidated__safetensors=MODEL))
    assert inventory.files[0][0] == "model.safetensors"
    assert "consolidated.safetensors" in inventory.warnings[0]


def test_hidden_files_are_not_models(tmp_path: Path) -> None:
    inventory = formats.read(_fill(tmp_path, model__safetensors=MODEL, **{"._model.safetensors": b"\0"}))
    assert len(inventory.tensors) == 1


def test_a_configuration_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "Some__Model.json"
    path.write_text(CONFIG)
    inventory = formats.read(path)
    assert (inventory.format, inventory.dialect) == ("config", "hf")
    assert inventory.files == (("Some__Model.json", len(CONFIG)),)


def test_json_that_is_no_model_is_told_what_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"added_tokens": []}')
    refusal = _refusal(path)
    assert refusal.rule == "CONFIG-MODEL"
    assert "tokenizer" in refusal.message


def test_exact_integers_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"model_type": "a", "n": 1000000000000000001}')
    configuration = formats.read(path).configuration
    assert configuration is not None
    assert configuration["n"] == 10**18 + 1
