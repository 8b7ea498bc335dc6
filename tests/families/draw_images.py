"""Random configurations of networks that see images and hear sound, for `draw.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.families import draw_encoders
from tests.families.draw_encoders import one_of

CLASSES: dict[str, tuple[str, str]] = {
    "deit": ("DeiT", "ForImageClassification ForImageClassificationWithTeacher Model"),
    "vit_msn": ("ViTMSN", "ForImageClassification Model"),
    "audio-spectrogram-transformer": ("AST", "ForAudioClassification Model"),
    "beit": ("Beit", "ForImageClassification Model"),
    "dinov2_with_registers": ("Dinov2WithRegisters", "Model ForImageClassification"),
    "dinov3_vit": ("DINOv3ViT", "Model"),
    "convnextv2": ("ConvNextV2", "ForImageClassification Model"),
    "efficientnet": ("EfficientNet", "ForImageClassification Model"),
    "hubert": ("Hubert", "Model ForCTC ForSequenceClassification"),
    "unispeech": ("UniSpeech", "Model ForCTC ForSequenceClassification"),
    "unispeech-sat": ("UniSpeechSat", "Model ForCTC ForSequenceClassification"),
    "wavlm": ("WavLM", "Model ForCTC ForSequenceClassification"),
    "encodec": ("Encodec", "Model"),
    "dac": ("Dac", "Model"),
    "clip_text_model": ("CLIPText", "Model ModelWithProjection"),
    "clip_vision_model": ("CLIPVision", "Model ModelWithProjection"),
    "siglip_vision_model": ("SiglipVision", "Model"),
}
"""Stem of the class names, and their endings; the first is the one taken where none is named."""

UNTIED = frozenset(CLASSES)
"""None of them has anything to tie."""

_LAYERS = draw_encoders.SIZES["vit"]

_SOUND = ("hubert", "unispeech", "unispeech-sat", "wavlm")


def _efficientnet(rng: random.Random) -> dict[str, Any]:
    """The stages of the smallest net, fewer; the last convolution is of twice 1,280."""
    stages = rng.randint(2, 4)
    widths = [32, *(8 * rng.randint(1, 4) for _ in range(stages))]
    return {
        "hidden_dim": 2560,
        "in_channels": widths[:-1],
        "out_channels": widths[1:],
        "kernel_sizes": [rng.choice([3, 5]) for _ in range(stages)],
        "strides": [rng.choice([1, 2]) for _ in range(stages)],
        "num_block_repeats": [rng.randint(1, 2) for _ in range(stages)],
        "expand_ratios": [rng.choice([1, 6]) for _ in range(stages)],
    }


def _encodec(rng: random.Random) -> dict[str, Any]:
    return {
        "hidden_size": rng.choice([16, 24]),
        "num_filters": 2 * rng.randint(2, 5),
        "num_residual_layers": rng.randint(1, 3),
    }


def _dac(rng: random.Random) -> dict[str, Any]:
    return {
        "encoder_hidden_size": rng.choice([4, 6]),
        "decoder_hidden_size": 16 * rng.randint(2, 4),
        "n_codebooks": rng.randint(1, 4),
        "codebook_size": rng.choice([16, 32]),
    }


SIZES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    **dict.fromkeys(("deit", "vit_msn", "audio-spectrogram-transformer", "beit", "dinov3_vit"), _LAYERS),
    "dinov2_with_registers": draw_encoders.SIZES["dinov2"],
    **dict.fromkeys(_SOUND, draw_encoders.SIZES["wav2vec2"]),
    "convnextv2": draw_encoders.SIZES["convnext"],
    "efficientnet": _efficientnet,
    "encodec": _encodec,
    "dac": _dac,
    "clip_text_model": draw_encoders.SIZES["modernbert"],
    **dict.fromkeys(("clip_vision_model", "siglip_vision_model"), _LAYERS),
}
"""By model type: the sizes that no class may guess."""

_IMAGE: dict[str, list[Any]] = {"image_size": [32, 50], "patch_size": [8, 16], "num_channels": [1, 3]}

SWITCHES: dict[str, Callable[[random.Random, dict[str, Any]], dict[str, Any]]] = {
    "deit": one_of(**_IMAGE, qkv_bias=[True, False], pooler_output_size=[None, 6]),
    "vit_msn": one_of(**_IMAGE, qkv_bias=[True, False]),
    "audio-spectrogram-transformer": one_of(
        qkv_bias=[True, False],
        patch_size=[8, 16],
        frequency_stride=[8, 10],
        time_stride=[6, 10],
        max_length=[40, 1024],
        num_mel_bins=[32, 128],
    ),
    "beit": one_of(
        **_IMAGE,
        use_mask_token=[True, False],
        use_absolute_position_embeddings=[True, False],
        use_relative_position_bias=[True, False],
        use_shared_relative_position_bias=[True, False],
        use_mean_pooling=[True, False],
        layer_scale_init_value=[0.0, 0.1],
    ),
    "dinov2_with_registers": one_of(
        **_IMAGE,
        qkv_bias=[True, False],
        use_swiglu_ffn=[True, False],
        use_mask_token=[True, False],
        num_register_tokens=[1, 4],
        mlp_ratio=[2, 4],
    ),
    "dinov3_vit": one_of(
        **_IMAGE,
        query_bias=[True, False],
        key_bias=[True, False],
        value_bias=[True, False],
        proj_bias=[True, False],
        mlp_bias=[True, False],
        use_gated_mlp=[True, False],
        num_register_tokens=[1, 4],
    ),
    **dict.fromkeys(_SOUND, draw_encoders.SWITCHES["wav2vec2"]),
    "convnextv2": one_of(num_channels=[1, 3], patch_size=[2, 4]),
    "efficientnet": one_of(
        image_size=[64, 101],
        num_channels=[1, 3],
        width_coefficient=[1.999, 2.0],
        depth_coefficient=[1.0, 1.4],
        squeeze_expansion_ratio=[0.25, 0.5],
        depthwise_padding=[None, [1]],
    ),
    "encodec": one_of(
        audio_channels=[1, 2],
        upsampling_ratios=[None, [4, 2]],
        norm_type=["weight_norm", "time_group_norm"],
        kernel_size=[5, 7],
        last_kernel_size=[5, 7],
        residual_kernel_size=[3, 5],
        compress=[1, 2],
        num_lstm_layers=[1, 2],
        codebook_size=[16, 1024],
        codebook_dim=[None, 12],
        use_conv_shortcut=[True, False],
        target_bandwidths=[None, [0.9, 3.0]],
        sampling_rate=[24000, 48000],
    ),
    "clip_text_model": one_of(max_position_embeddings=[9, 77], projection_dim=[6, 512]),
    "clip_vision_model": one_of(**_IMAGE, projection_dim=[6, 512]),
    "siglip_vision_model": one_of(**_IMAGE, vision_use_head=[True, False]),
    "dac": one_of(downsampling_ratios=[None, [2, 4]], codebook_dim=[4, 8]),
}
"""By model type: values for keys that a configuration may leave out, given its sizes."""
