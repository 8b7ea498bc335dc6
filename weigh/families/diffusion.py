"""Transformers of diffusers over the patches of an image: DiT, whose images are of a class, and PixArt, told by a text.

A token is an image and one step.
"""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.denoiser import TIMES, at, block, finished, heads_of, only_class, times, understood
from weigh.families.encoder import both_ways
from weigh.families.names import DIFFUSERS
from weigh.parts import Applied, Array, Conv, CrossAttention, Embedding, Linear, Mlp, part
from weigh.types import Architecture, Family

PIXART_WORDS = 300
"""Tokens of the text, for FLOPs: `max_sequence_length`, diffusers 0.42, pixart_alpha/pipeline_pixart_sigma.py."""


def dit(config: Config) -> Architecture:
    """Each block has its own embedding of time and class, from which the shifts and scales of its norms come.

    That of the first block runs again for the last norm.
    Source: diffusers 0.42, models/transformers/dit_transformer_2d.py.
    """
    config.choice("norm_type", ("ada_norm_zero",), default="ada_norm_zero")
    config.choice("activation_fn", ("gelu-approximate", "gelu"), default="gelu-approximate")
    config.expect("norm_elementwise_affine", value=False, default=False)
    only_class(config)
    heads, size, width = heads_of(config)
    layers = config.layers("num_layers")
    channels = config.integer("in_channels", default=4)
    outputs = config.integer("out_channels", default=channels)
    patch = config.integer("patch_size", default=2)
    side = config.integer("sample_size", default=32, minimum=patch) // patch
    kinds = config.integer("num_embeds_ada_norm", default=1000)
    biased = config.switch("attention_bias", default=True)
    places = side * side
    attention = both_ways(width, heads, size, q_bias=biased, k_bias=biased, v_bias=biased)
    mlp = Mlp(width, 4 * width, up_bias=True, down_bias=True)
    parts = [part("patches", Conv(channels, width, patch, places, bias=True, input_gradient=False))]
    for i in range(layers):
        parts += [
            part("time_in", Applied(Linear(TIMES, width, bias=True), times=2 if i == 0 else 1), i),
            part("time_out", Applied(Linear(width, width, bias=True), times=2 if i == 0 else 1), i),
            part("class", Embedding(kinds + 1, width, role="other"), i),
            part("shifts", Linear(width, 6 * width, bias=True), i),
            part("attention", Applied(attention, "token", places), i),
            part("mlp", Applied(mlp, "token", places), i),
        ]
    parts.append(part("final_shifts", Linear(width, 2 * width, bias=True, role="head")))
    parts.append(part("head", Applied(Linear(width, patch**2 * outputs, bias=True, role="head"), "token", places)))
    dimensions = {"layers": layers, "width": width, "heads": heads, "head_dim": size, "hidden": 4 * width}
    return finished(config, parts, dimensions)


def pixart(config: Config) -> Architecture:
    """One embedding of time for all blocks, each of which shifts it by a table of its own; attention to the text.

    Models for images of 1024 are also told the size and the shape.
    Source: diffusers 0.42, models/transformers/pixart_transformer_2d.py and models/normalization.py.
    """
    understood(config, {"norm_type": "ada_norm_single", "norm_elementwise_affine": False, "attention_type": "default"})
    config.choice("activation_fn", ("gelu-approximate", "gelu"), default="gelu-approximate")
    only_class(config)
    heads, size, width = heads_of(config)
    layers = config.layers("num_layers")
    channels = config.integer("in_channels", default=4)
    outputs = config.integer("out_channels", default=channels if config.is_null("out_channels") else 8)
    patch = config.integer("patch_size", default=2)
    whole = config.integer("sample_size", default=128, minimum=patch)
    places = (whole // patch) ** 2
    words = config.integer("cross_attention_dim", default=1152)
    biased = config.switch("attention_bias", default=True)
    biases = {"q_bias": biased, "k_bias": biased, "v_bias": biased}
    among = both_ways(width, heads, size, **biases)
    text = CrossAttention(width, words, heads, size, size, o_bias=True, source=PIXART_WORDS, **biases)
    parts = [
        part("scale_shift_table", Array((2, width))),
        part("pos_embed.proj", Conv(channels, width, patch, places, bias=True, input_gradient=False)),
    ]
    for i in range(layers):
        path = f"transformer_blocks.{i}"
        parts.append(part(f"{path}.scale_shift_table", Array((6, width)), i))
        parts.append(part(f"{path}.attn1", Applied(among, "token", places), i))
        parts.append(part(f"{path}.attn2", Applied(text, "token", places), i))
        parts.append(part(f"{path}.ff", block(width, places), i))
    parts.append(part("proj_out", at(width, patch**2 * outputs, places, role="head")))
    parts += times("adaln_single.emb.timestep_embedder", TIMES, width)
    if config.switch("use_additional_conditions", default=whole == 128):
        third = config.divide(width, 3, "width / 3 conditions")
        parts += times("adaln_single.emb.resolution_embedder", TIMES, third, numbers=2)
        parts += times("adaln_single.emb.aspect_ratio_embedder", TIMES, third)
    parts.append(part("adaln_single.linear", Linear(width, 6 * width, bias=True)))
    if config.values.get("caption_channels") is not None:
        caption = config.integer("caption_channels")
        parts.append(part("caption_projection.linear_1", at(caption, width, PIXART_WORDS)))
        parts.append(part("caption_projection.linear_2", at(width, width, PIXART_WORDS)))
    dimensions = {"layers": layers, "width": width, "heads": heads, "head_dim": size, "hidden": 4 * width}
    return finished(config, parts, dimensions)


_BLOCK = "transformer_blocks.{layer}."

DIT = Family(
    id="dit",
    model_types=("DiTTransformer2DModel",),
    build=dit,
    names={
        "hf": {
            "patches": "pos_embed.proj",
            "time_in": _BLOCK + "norm1.emb.timestep_embedder.linear_1",
            "time_out": _BLOCK + "norm1.emb.timestep_embedder.linear_2",
            "class": _BLOCK + "norm1.emb.class_embedder.embedding_table",
            "shifts": _BLOCK + "norm1.linear",
            **{f"attention.{x}": f"{_BLOCK}attn1.to_{x}" for x in "qkv"},
            "attention.o": _BLOCK + "attn1.to_out.0",
            "mlp.up": _BLOCK + "ff.net.0.proj",
            "mlp.down": _BLOCK + "ff.net.2",
            "final_shifts": "proj_out_1",
            "head": "proj_out_2",
        }
    },
    sources=("https://arxiv.org/abs/2212.09748",),
)

PIXART = Family(
    id="pixart",
    model_types=("PixArtTransformer2DModel",),
    build=pixart,
    names={
        "hf": {
            **DIFFUSERS,
            "scale_shift_table.weight": "scale_shift_table",
            _BLOCK.replace("{layer}", "{}") + "scale_shift_table.weight": _BLOCK + "scale_shift_table",
        }
    },
    sources=("https://arxiv.org/abs/2310.00426", "https://arxiv.org/abs/2403.04692"),
)
