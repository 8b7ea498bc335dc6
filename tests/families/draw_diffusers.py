"""Random configurations of the networks of diffusers, for `draw.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.families.draw_encoders import one_of

CLASSES: dict[str, tuple[str, str]] = {
    name: (name.removesuffix("Model"), "Model")
    for name in (
        "DiTTransformer2DModel",
        "PixArtTransformer2DModel",
        "SD3Transformer2DModel",
        "FluxTransformer2DModel",
        "UNet2DConditionModel",
        "UNet2DModel",
        "ControlNetModel",
    )
} | {name: (name, "") for name in ("AutoencoderKL", "AutoencoderTiny")}
"""The class is the model type."""


def _transformer(rng: random.Random) -> dict[str, Any]:
    return {"num_attention_heads": rng.choice([2, 4]), "attention_head_dim": 24, "num_layers": rng.randint(1, 4)}


def _flux(rng: random.Random) -> dict[str, Any]:
    return {**_transformer(rng), "num_single_layers": rng.randint(1, 4)}


def _unet(rng: random.Random) -> dict[str, Any]:
    return {"block_out_channels": [32 * rng.randint(1, 3) for _ in range(4)], "cross_attention_dim": rng.randint(4, 20)}


def _autoencoder(rng: random.Random) -> dict[str, Any]:
    stages = rng.randint(2, 4)
    return {
        "block_out_channels": [32 * rng.randint(1, 3) for _ in range(stages)],
        "down_block_types": ["DownEncoderBlock2D"] * stages,
        "up_block_types": ["UpDecoderBlock2D"] * stages,
    }


def _tiny(rng: random.Random) -> dict[str, Any]:
    return {
        "encoder_block_out_channels": [rng.choice([4, 8])] * 4,
        "decoder_block_out_channels": [rng.choice([4, 8])] * 4,
    }


SIZES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "DiTTransformer2DModel": _transformer,
    "PixArtTransformer2DModel": _transformer,
    "SD3Transformer2DModel": _transformer,
    "FluxTransformer2DModel": _flux,
    "UNet2DConditionModel": _unet,
    "UNet2DModel": lambda rng: {"block_out_channels": [32 * rng.randint(1, 3) for _ in range(4)]},
    "ControlNetModel": _unet,
    "AutoencoderKL": _autoencoder,
    "AutoencoderTiny": _tiny,
}
"""By model type: the sizes that no class may guess."""

_STAGES: dict[str, list[Any]] = {
    "in_channels": [3, 4],
    "layers_per_block": [1, 2, 3],
    "attention_head_dim": [4, 8, [2, 4, 8, 8]],
    "use_linear_projection": [True, False],
    "only_cross_attention": [None, True, [True, False, True, False]],
    "transformer_layers_per_block": [None, 2, [1, 2, 3, 1]],
    "down_block_types": [None, ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]],
}


def _conditions(switches: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """What a UNet may be told beside the text, in the combinations that its class allows."""

    def chosen(rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
        kind = rng.choice([None, "timestep", "projection"])
        more = {"class_embed_type": kind} if kind else {"num_class_embeds": rng.choice([None, 7])}
        if rng.random() < 0.5:
            more |= {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
        more["projection_class_embeddings_input_dim"] = 20
        more["encoder_hid_dim"] = rng.choice([None, 12])
        return {**switches(rng, given), **more}

    return chosen


SWITCHES: dict[str, Callable[[random.Random, dict[str, Any]], dict[str, Any]]] = {
    "DiTTransformer2DModel": one_of(
        in_channels=[3, 4],
        out_channels=[None, 8],
        patch_size=[1, 2],
        sample_size=[8, 32],
        num_embeds_ada_norm=[10, 1000],
        attention_bias=[True, False],
    ),
    "PixArtTransformer2DModel": one_of(
        in_channels=[3, 4],
        out_channels=[4, 8],
        patch_size=[1, 2],
        sample_size=[8, 128],
        cross_attention_dim=[10, 96],
        attention_bias=[True, False],
        use_additional_conditions=[None, True, False],
        caption_channels=[None, 12],
    ),
    "SD3Transformer2DModel": one_of(
        in_channels=[4, 16],
        out_channels=[4, 16],
        patch_size=[1, 2],
        sample_size=[8, 128],
        pos_embed_max_size=[64, 192],
        joint_attention_dim=[10, 4096],
        pooled_projection_dim=[9, 2048],
        caption_projection_dim=[48, 96],
        dual_attention_layers=[None, [0], [0, 2]],
        qk_norm=[None, "rms_norm"],
    ),
    "FluxTransformer2DModel": one_of(
        in_channels=[16, 64],
        out_channels=[None, 8],
        patch_size=[1, 2],
        joint_attention_dim=[10, 4096],
        pooled_projection_dim=[9, 768],
        guidance_embeds=[True, False],
    ),
    "UNet2DConditionModel": _conditions(
        one_of(
            **_STAGES,
            out_channels=[4, 8],
            sample_size=[16, 64],
            time_cond_proj_dim=[None, 16],
            time_embedding_dim=[None, 24],
            conv_in_kernel=[1, 3],
            conv_out_kernel=[1, 3],
            up_block_types=[None, ["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"]],
        )
    ),
    "UNet2DModel": one_of(
        in_channels=[1, 3],
        out_channels=[1, 3],
        sample_size=[16, 32],
        layers_per_block=[1, 2, 3],
        attention_head_dim=[4, 8],
        add_attention=[True, False],
        resnet_time_scale_shift=["default", "scale_shift"],
        attn_norm_num_groups=[None, 32],
        class_embed_type=[None, "timestep"],
        num_class_embeds=[None, 7],
        time_embedding_dim=[None, 24],
        down_block_types=[None, ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]],
        up_block_types=[None, ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"]],
    ),
    "ControlNetModel": _conditions(
        one_of(
            **{**_STAGES, "layers_per_block": [1, 2]},
            conditioning_channels=[1, 3],
            conditioning_embedding_out_channels=[None, [4, 8], [4, 8, 12, 16]],
        )
    ),
    "AutoencoderKL": one_of(
        in_channels=[1, 3],
        out_channels=[1, 3],
        layers_per_block=[1, 2, 3],
        latent_channels=[4, 16],
        sample_size=[32, 64],
        use_quant_conv=[True, False],
        use_post_quant_conv=[True, False],
        mid_block_add_attention=[True, False],
    ),
    "AutoencoderTiny": one_of(
        in_channels=[1, 3],
        out_channels=[1, 3],
        latent_channels=[4, 16],
        num_encoder_blocks=[None, [1, 2, 1, 3]],
        num_decoder_blocks=[None, [2, 1, 0, 3]],
    ),
}
"""By model type: values for keys that a configuration may leave out, given its sizes."""


def reference(name: str, values: dict[str, Any]) -> Any:
    """The class of diffusers, with the values that say what it holds."""
    import diffusers

    values.pop("id2label", None)
    values.pop("tie_word_embeddings", None)
    return getattr(diffusers, name)(**values)
