"""Transformers over an image and its text at once: Stable Diffusion 3 and Flux. A token is an image and one step.

Paths of parts are what diffusers calls their tensors.
"""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.denoiser import TIMES, at, block, finished, heads_of, only_class, times
from weigh.families.names import DIFFUSERS
from weigh.parts import Array, Conv, JointAttention, Linear, part
from weigh.types import Architecture, Family, Part

SD3_WORDS = 77 + 256
"""Tokens of the text, for FLOPs: those of the CLIP towers and of T5, diffusers 0.42, pipeline_stable_diffusion_3.py."""
FLUX_WORDS = 512
"""Tokens of the text, for FLOPs: `max_sequence_length`, diffusers 0.42, pipelines/flux/pipeline_flux.py."""
FLUX_PLACES = 64 * 64
"""Places of an image of 1024 x 1024, for FLOPs: the latent has 128 points a side, of which two by two are a place."""


def modulation(path: str, width: int, count: int, layer: int | None = None) -> Part:
    """The shifts, scales and gates of a norm, made from the embedding of time."""
    return part(f"{path}.linear", Linear(width, count * width, bias=True), layer)


def sd3(config: Config) -> Architecture:
    """Blocks whose two streams meet in attention alone; the last one gives no text. Some attend to the image again.

    Source: diffusers 0.42, models/transformers/transformer_sd3.py and models/attention.py (JointTransformerBlock).
    """
    only_class(config)
    heads, size, width = heads_of(config)
    layers = config.layers("num_layers")
    patch = config.integer("patch_size", default=2)
    channels = config.integer("in_channels", default=16)
    outputs = config.integer("out_channels", default=channels if config.is_null("out_channels") else 16)
    side = config.integer("sample_size", default=128, minimum=patch) // patch
    longest = config.integer("pos_embed_max_size", default=96)
    places = side * side
    again = config.integers("dual_attention_layers", default=())
    if config.values.get("qk_norm") is not None:
        config.choice("qk_norm", ("rms_norm",))
    norm = size if config.values.get("qk_norm") is not None else 0
    caption = config.integer("caption_projection_dim", default=1152)
    words = config.integer("joint_attention_dim", default=4096)
    parts = [
        part("pos_embed.proj", Conv(channels, width, patch, places, bias=True, input_gradient=False)),
        part("pos_embed.pos_embed", Array((1, longest * longest, width), role="buffer")),
        *times("time_text_embed.timestep_embedder", TIMES, width),
        *times("time_text_embed.text_embedder", config.integer("pooled_projection_dim", default=2048), width),
        part("context_embedder", at(words, caption, SD3_WORDS)),
    ]
    for i in range(layers):
        last = i == layers - 1
        path = f"transformer_blocks.{i}"
        parts.append(modulation(f"{path}.norm1", width, 9 if i in again else 6, i))
        parts.append(modulation(f"{path}.norm1_context", width, 2 if last else 6, i))
        both = two_streams(width, heads, size, (places, SD3_WORDS), norm=norm, added_out=not last)
        parts.append(part(f"{path}.attn", both, i))
        if i in again:
            own = JointAttention(width, heads, size, places, bias=True, o_bias=True, norm=norm)
            parts.append(part(f"{path}.attn2", own, i))
        parts.append(part(f"{path}.ff", block(width, places), i))
        if not last:
            parts.append(part(f"{path}.ff_context", block(width, SD3_WORDS), i))
    parts.append(modulation("norm_out", width, 2))
    parts.append(part("proj_out", at(width, patch**2 * outputs, places, role="head")))
    dimensions = {"layers": layers, "width": width, "heads": heads, "head_dim": size, "hidden": 4 * width}
    return finished(config, parts, dimensions)


def two_streams(
    width: int, heads: int, size: int, places: tuple[int, int], *, norm: int, added_out: bool = True
) -> JointAttention:
    """Matrices with biases for both streams, of one width."""
    return JointAttention(
        width,
        heads,
        size,
        places[0],
        width,
        places[1],
        bias=True,
        o_bias=True,
        added_bias=True,
        added_o_bias=True,
        norm=norm,
        added_norm=norm,
        added_out=added_out,
    )


def flux(config: Config) -> Architecture:
    """Blocks of two streams, then blocks of one, in which attention and the wide layer stand side by side.

    Source: diffusers 0.42, models/transformers/transformer_flux.py.
    """
    only_class(config)
    heads, size, width = heads_of(config)
    double = config.layers("num_layers")
    single = config.layers("num_single_layers")
    patch = config.integer("patch_size", default=1)
    channels = config.integer("in_channels", default=64)
    outputs = config.integer("out_channels", default=channels, minimum=0) or channels
    words = config.integer("joint_attention_dim", default=4096)
    pooled = config.integer("pooled_projection_dim", default=768)
    parts = [*times("time_text_embed.timestep_embedder", TIMES, width)]
    if config.switch("guidance_embeds", default=False):
        parts += times("time_text_embed.guidance_embedder", TIMES, width)
    parts += times("time_text_embed.text_embedder", pooled, width)
    parts.append(part("context_embedder", at(words, width, FLUX_WORDS)))
    parts.append(part("x_embedder", at(channels, width, FLUX_PLACES)))
    for i in range(double):
        parts += _double(i, heads, size)
    for i in range(single):
        parts += _single(i, double + i, heads, size)
    parts.append(modulation("norm_out", width, 2))
    parts.append(part("proj_out", at(width, patch**2 * outputs, FLUX_PLACES, role="head")))
    dimensions = {"layers": double + single, "width": width, "heads": heads, "head_dim": size, "hidden": 4 * width}
    return finished(config, parts, dimensions)


def _double(i: int, heads: int, size: int) -> Iterator[Part]:
    path, width = f"transformer_blocks.{i}", heads * size
    yield modulation(f"{path}.norm1", width, 6, i)
    yield modulation(f"{path}.norm1_context", width, 6, i)
    yield part(f"{path}.attn", two_streams(width, heads, size, (FLUX_PLACES, FLUX_WORDS), norm=size), i)
    yield part(f"{path}.ff", block(width, FLUX_PLACES), i)
    yield part(f"{path}.ff_context", block(width, FLUX_WORDS), i)


def _single(i: int, layer: int, heads: int, size: int) -> Iterator[Part]:
    """Attention has no matrix behind it: one takes what it gives and what the wide layer gives, side by side."""
    path, width = f"single_transformer_blocks.{i}", heads * size
    places = FLUX_PLACES + FLUX_WORDS
    yield modulation(f"{path}.norm", width, 3, layer)
    yield part(f"{path}.proj_mlp", at(width, 4 * width, places, role="mlp_up"), layer)
    yield part(f"{path}.proj_out", at(5 * width, width, places, role="mlp_down"), layer)
    yield part(f"{path}.attn", JointAttention(width, heads, size, places, bias=True, norm=size, out=False), layer)


SD3 = Family(
    id="sd3",
    model_types=("SD3Transformer2DModel",),
    build=sd3,
    names={"hf": {**DIFFUSERS, "pos_embed.pos_embed.weight": "pos_embed.pos_embed"}},
    sources=("https://arxiv.org/abs/2403.03206",),
)

FLUX = Family(
    id="flux",
    model_types=("FluxTransformer2DModel",),
    build=flux,
    names={"hf": DIFFUSERS},
    sources=("https://github.com/black-forest-labs/flux",),
)
