"""A folder with several models that make a pipeline: their sum, each apart, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weigh import formats
from weigh.commands import show
from weigh.formats import pipeline
from weigh.report import inventory
from weigh.report.text import html
from weigh.types import Limits, WeighError

UNET = {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
TEXT = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 49408,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "feature_extractor": [None, None],
    "requires_safety_checker": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shape of Stable Diffusion 1, without weights."""
    for name, configuration in (("unet", UNET), ("vae", VAE), ("text_encoder", TEXT)):
        _write(tmp_path / name / "config.json", configuration)
    _write(tmp_path / "scheduler" / "scheduler_config.json", {"_class_name": "PNDMScheduler"})
    _write(tmp_path / "model_index.json", INDEX)
    return tmp_path


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def refused(folder: Path) -> WeighError:
    with pytest.raises(WeighError) as caught:
        show.run(str(folder))
    return caught.value


def test_models_are_counted_apart_and_together(folder: Path) -> None:
    result = show.run(str(folder)).result
    counted = {row["name"]: row["parameters"] for row in result["components"]}
    assert counted == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    held = result["parameters"]
    assert held["total"] == held["trainable"] == sum(counted.values())
    assert sum(role["parameters"] for role in held["by_role"].values()) == held["total"]
    assert sum(layer["parameters"] for layer in held["by_layer"]) == held["total"]
    assert result["bytes"] == 4 * held["total"]
    assert (result["architecture"], result["family"], held["active"]) == ("StableDiffusionPipeline", None, None)


def test_weights_of_one_model_are_counted_from_its_file(folder: Path) -> None:
    header = json.dumps({"x": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    data = len(header).to_bytes(8, "little") + header + np.zeros(6, np.float16).tobytes()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(data)
    answer = show.run(str(folder), tensors=True)
    assert next(row["parameters"] for row in answer.result["components"] if row["name"] == "vae") == 6
    assert any(row["name"] == "vae/x" for row in answer.result["tensors"])
    assert any(warning.startswith("vae: ") for warning in answer.warnings)


def test_what_the_index_names_in_vain_is_said(folder: Path) -> None:
    _write(folder / "model_index.json", {**INDEX, "safety_checker": ["diffusers", "StableDiffusionSafetyChecker"]})
    assert any("safety_checker" in warning and "not counted" in warning for warning in show.run(str(folder)).warnings)


def test_the_page_lists_the_models(folder: Path) -> None:
    answer = show.run(str(folder))
    told = html(inventory.page(answer.result, answer.warnings))
    assert "StableDiffusionPipeline, a pipeline of 3 models" in told
    assert "859,520,964" in told
    assert "By depth" not in told


def test_a_model_that_no_family_knows_is_named(folder: Path) -> None:
    _write(folder / "vae" / "config.json", {"_class_name": "AutoencoderOfNobody"})
    told = refused(folder)
    assert (told.rule, told.exit_code) == ("ARCH-UNKNOWN", 3)
    assert told.message.startswith("vae: ")


def test_an_index_without_a_class_is_refused(folder: Path) -> None:
    _write(folder / "model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]})
    assert refused(folder).rule == "PIPELINE-INDEX"


def test_a_pipeline_without_a_model_is_refused(folder: Path) -> None:
    _write(folder / "model_index.json", {"_class_name": "X", "scheduler": ["diffusers", "PNDMScheduler"], "y": 3})
    assert refused(folder).rule == "PIPELINE-EMPTY"


@pytest.mark.parametrize("name", ["../unet", "..", "/", "unet/../vae", ""])
def test_a_name_that_leads_out_of_the_folder_is_no_model_of_it(folder: Path, name: str) -> None:
    _write(folder / "model_index.json", {"_class_name": "X", name: ["diffusers", "AutoencoderKL"]})
    assert refused(folder).rule == "PIPELINE-EMPTY"


def test_an_index_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "model_index.json").write_text("{", encoding="utf-8")
    assert refused(folder).exit_code == 3


def test_a_link_to_another_folder_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    _write(elsewhere / "config.json", VAE)
    (folder / "vae" / "config.json").unlink()
    (folder / "vae").rmdir()
    (folder / "vae").symlink_to(elsewhere)
    assert [name for name, _ in _read(folder).components] == ["unet", "text_encoder"]


def _read(folder: Path) -> pipeline.Pipeline:
    found = pipeline.read(folder, Limits())
    assert found is not None
    return found


def test_readers_of_one_model_say_that_it_is_a_pipeline(folder: Path) -> None:
    with pytest.raises(WeighError) as caught:
        formats.read(folder)
    assert caught.value.rule == "FOLDER-PIPELINE"
    assert "unet" in caught.value.hint


def test_a_folder_without_an_index_is_no_pipeline(folder: Path) -> None:
    assert pipeline.read(folder / "unet", Limits()) is None
