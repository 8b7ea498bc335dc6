"""FLOPs of networks that see and make images and sound, against those that torch counts inside the classes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.families import draw, draw_diffusers
from weigh import parts
from weigh.families.identify import identify
from weigh.types import Inventory, Pass

WORDS, TOKENS = 16, 7
"""Length of the texts, and a token that is no class's padding."""


def _zeros(*shape: int) -> Any:
    import torch

    return torch.zeros(*shape, device="meta")


def _ones(*shape: int) -> Any:
    import torch

    return torch.full(shape, TOKENS, dtype=torch.long, device="meta")


def _image(side: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda sizes: {
        "pixel_values": _zeros(1, sizes.get("num_channels", 3), *2 * (sizes.get("image_size", side),))
    }


def _text(_sizes: dict[str, Any]) -> dict[str, Any]:
    return {"input_ids": _ones(1, WORDS)}


def _unet(sizes: dict[str, Any]) -> dict[str, Any]:
    side = sizes.get("sample_size", 64)
    words = sizes.get("encoder_hid_dim") or sizes["cross_attention_dim"]
    kind = sizes.get("class_embed_type")
    given = {
        "sample": _zeros(1, sizes.get("in_channels", 4), side, side),
        "timestep": _ones(1),
        "encoder_hidden_states": _zeros(1, 77, words),
        "class_labels": _zeros(1, 20) if kind == "projection" else _ones(1),
        "added_cond_kwargs": {"text_embeds": _zeros(1, 4), "time_ids": _zeros(1, 2)},
    }
    if kind is None and sizes.get("num_class_embeds") is None:
        del given["class_labels"]
    if sizes.get("time_cond_proj_dim"):
        given["timestep_cond"] = _zeros(1, sizes["time_cond_proj_dim"])
    return given


def _unet_alone(sizes: dict[str, Any]) -> dict[str, Any]:
    side = sizes.get("sample_size", 32)
    sees = sizes.get("class_embed_type") or sizes.get("num_class_embeds")
    given = {"sample": _zeros(1, sizes.get("in_channels", 3), side, side), "timestep": _ones(1)}
    return {**given, "class_labels": _ones(1)} if sees else given


def _controlnet(sizes: dict[str, Any]) -> dict[str, Any]:
    """The class makes a projection of the text that its forward pass does not use: then the text has its width."""
    stripes = len(sizes.get("conditioning_embedding_out_channels", (0, 0, 0, 0)))
    side = 64 * 2 ** (stripes - 1)
    given = _unet({**sizes, "encoder_hid_dim": None})
    given["controlnet_cond"] = _zeros(1, sizes.get("conditioning_channels", 3), side, side)
    return given


def _autoencoder(side: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda sizes: {"sample": _zeros(1, sizes.get("in_channels", 3), *2 * (sizes.get("sample_size", side),))}


def _dit(sizes: dict[str, Any]) -> dict[str, Any]:
    side = sizes.get("sample_size", 32)
    return {
        "hidden_states": _zeros(1, sizes.get("in_channels", 4), side, side),
        "timestep": _ones(1),
        "class_labels": _ones(1),
    }


def _pixart(sizes: dict[str, Any]) -> dict[str, Any]:
    side = sizes.get("sample_size", 128)
    words = sizes.get("caption_channels") or sizes.get("cross_attention_dim", 1152)
    return {
        "hidden_states": _zeros(1, sizes.get("in_channels", 4), side, side),
        "timestep": _ones(1),
        "encoder_hidden_states": _zeros(1, 300, words),
        "added_cond_kwargs": {"resolution": _zeros(1, 2), "aspect_ratio": _zeros(1, 1)},
    }


def _sd3(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_states": _zeros(1, sizes.get("in_channels", 16), sizes["sample_size"], sizes["sample_size"]),
        "timestep": _ones(1),
        "encoder_hidden_states": _zeros(1, 333, sizes.get("joint_attention_dim", 4096)),
        "pooled_projections": _zeros(1, sizes.get("pooled_projection_dim", 2048)),
    }


def _flux(sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "hidden_states": _zeros(1, 4096, sizes.get("in_channels", 64)),
        "timestep": _ones(1),
        "encoder_hidden_states": _zeros(1, 512, sizes.get("joint_attention_dim", 4096)),
        "pooled_projections": _zeros(1, sizes.get("pooled_projection_dim", 768)),
        "img_ids": _zeros(4096, 3),
        "txt_ids": _zeros(512, 3),
        "guidance": _ones(1) if sizes.get("guidance_embeds") else None,
    }


SEEN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "UNet2DConditionModel": _unet,
    "UNet2DModel": _unet_alone,
    "ControlNetModel": _controlnet,
    "AutoencoderKL": _autoencoder(32),
    "AutoencoderTiny": _autoencoder(512),
    "DiTTransformer2DModel": _dit,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux,
    "audio-spectrogram-transformer": lambda sizes: {
        "input_values": _zeros(1, sizes.get("max_length", 1024), sizes.get("num_mel_bins", 128))
    },
    "efficientnet": _image(600),
    **dict.fromkeys(("deit", "vit_msn", "beit", "dinov3_vit", "dinov2_with_registers", "convnextv2"), _image(224)),
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model"), _image(224)),
    **dict.fromkeys(("xlm-roberta", "camembert", "mpnet", "esm", "nomic_bert"), _text),
}
"""What the class of each type is given: one image with its text, one recording, or `WORDS` tokens."""

SOUND = ("wav2vec2", "hubert", "unispeech", "unispeech-sat", "wavlm")
"""Types whose tokens are frames of 320 samples, the first of which sees 400."""

FITTING: dict[str, dict[str, Any]] = {
    "PixArtTransformer2DModel": {"caption_channels": 9},
    "SD3Transformer2DModel": {"sample_size": 32, "patch_size": 2},
    "FluxTransformer2DModel": {"patch_size": 1},
    "UNet2DModel": {"sample_size": 32},
}
"""Sizes that must hang together for a class to run, though not for it to be built."""


def _runnable(drawn: dict[str, Any]) -> dict[str, Any]:
    model_type = drawn["model_type"]
    fitting = {**drawn, **FITTING.get(model_type, {})}
    width = drawn.get("num_attention_heads", 0) * drawn.get("attention_head_dim", 0)
    if model_type == "PixArtTransformer2DModel":
        fitting["cross_attention_dim"] = width
    if model_type == "SD3Transformer2DModel":
        fitting["caption_projection_dim"] = width
    if model_type == "FluxTransformer2DModel":
        fitting["axes_dims_rope"] = [8, 8, 8]
    return fitting


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", SEEN)
def test_flops_are_those_that_torch_counts(model_type: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if model_type in draw_diffusers.CLASSES and not find_spec("diffusers"):
        pytest.skip("diffusers is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    tokens = WORDS if SEEN[model_type] is _text else 1
    for drawn in draw.configurations(seed=2):
        if drawn["model_type"] != model_type or drawn["architectures"][0] != draw.classes(model_type)[0]:
            continue
        configuration = _runnable(drawn)
        model = identify(Inventory("memory", "config", "hf", configuration=configuration))
        built = draw.reference(configuration)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            built(**SEEN[model_type](configuration))
        ours = sum(parts.forward(part, Pass(tokens, outputs=tokens)) for part in model.parts)
        assert ours == counter.get_total_flops(), configuration


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", SOUND)
def test_ten_frames_more_of_sound_cost_as_much_as_torch_counts(model_type: str) -> None:
    """What the convolutions compute at the ends of a recording is the same for every length, and left out."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    configuration = next(drawn for drawn in draw.configurations(seed=2) if drawn["model_type"] == model_type)
    model = identify(Inventory("memory", "config", "hf", configuration=configuration))
    built = draw.reference(configuration).eval()

    def seen(frames: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            built(input_values=_zeros(1, 400 + 320 * (frames - 1)))
        return int(counter.get_total_flops())

    ours, theirs = (
        [sum(parts.forward(part, Pass(frames, outputs=frames)) for part in model.parts) for frames in (20, 30)],
        [seen(frames) for frames in (20, 30)],
    )
    assert ours[1] - ours[0] == theirs[1] - theirs[0] > 0
    assert 0 < theirs[0] - ours[0] < theirs[0] / 50
