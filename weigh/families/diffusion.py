"""Denoisers of diffusers: the UNet of Stable Diffusion and the transformer DiT. A token is an image and one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of
from weigh.families.names import fused
from weigh.parts import Applied, Conv, CrossAttention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

TIMES = 256
"""Values that a time is spread over before the first matrix of DiT: diffusers, models/embeddings.py."""
WORDS = 77
"""Tokens of the text that the UNet looks at, for FLOPs: those of its text tower, arXiv 2103.00020."""


def dit(config: Config) -> Architecture:
    """Each block has its own embedding of time and class, from which the shifts and scales of its norms come.

    Source: diffusers 0.42, models/transformers/dit_transformer_2d.py.
    """
    config.choice("norm_type", ("ada_norm_zero",), default="ada_norm_zero")
    config.choice("activation_fn", ("gelu-approximate", "gelu"), default="gelu-approximate")
    config.expect("norm_elementwise_affine", value=False, default=False)
    _only_class(config, "DiTTransformer2DModel")
    heads = config.integer("num_attention_heads")
    size = config.integer("attention_head_dim")
    width = heads * size
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
            part("time_in", Linear(TIMES, width, bias=True), i),
            part("time_out", Linear(width, width, bias=True), i),
            part("class", Embedding(kinds + 1, width, role="other"), i),
            part("shifts", Linear(width, 6 * width, bias=True), i),
            part("attention", Applied(attention, "token", places), i),
            part("mlp", Applied(mlp, "token", places), i),
        ]
    parts.append(part("final_shifts", Linear(width, 2 * width, bias=True, role="head")))
    parts.append(part("head", Applied(Linear(width, patch**2 * outputs, bias=True, role="head"), "token", places)))
    dimensions = {"layers": layers, "width": width, "heads": heads, "head_dim": size, "hidden": 4 * width}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _only_class(config: Config, name: str) -> None:
    """diffusers writes the class as `_class_name`, and no `architectures`."""
    if config.values.get("_class_name") != name or "architectures" in config.values:
        class_of(config, (name,), default=name, what=name)


_PLAIN: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "only_cross_attention": False,
    "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "num_attention_heads": None,
    "dual_cross_attention": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
    "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "attention_bias": None,
}
"""What is understood of the keys that change what the UNet holds: their documented defaults."""


def unet(config: Config) -> Architecture:
    """Blocks of residual convolutions and transformers, down to the narrowest image and up again beside the way down.

    `attention_head_dim` is the number of heads: diffusers kept the wrong name. The image has `sample_size` (64) points
    a side; the text 77 tokens, whose keys and values are made anew in each step.
    Source: diffusers 0.42, models/unets/unet_2d_condition.py and unet_2d_blocks.py.
    """
    for key, value in _PLAIN.items():
        if config.values.get(key, value) not in (value, None):
            raise config.variant(key, repr(value), config.values[key])
    _only_class(config, "UNet2DConditionModel")
    widths = config.integers("block_out_channels", minimum=1)
    config.integer("norm_num_groups", default=32)
    layers = config.integer("layers_per_block", default=2, maximum=1000)
    stages = _stages(config, len(widths))
    side = config.integer("sample_size", default=64)
    build = _Builder(config, widths[0] * 4)
    inward = Conv(config.integer("in_channels", default=4), widths[0], 3, side**2, bias=True, input_gradient=False)
    parts = [
        part("conv_in", inward),
        part("time_in", Linear(widths[0], build.time, bias=True)),
        part("time_out", Linear(build.time, build.time, bias=True)),
    ]
    sides = [max(side >> i, 1) for i in range(len(widths))]
    for i, width in enumerate(widths):
        before = widths[max(i - 1, 0)]
        for j in range(layers):
            parts += build.layer(f"down.{i}", j, before if j == 0 else width, width, sides[i], attends=stages[0][i])
        if i < len(widths) - 1:
            parts.append(part(f"down.{i}.sampler", Conv(width, width, 3, sides[i + 1] ** 2, bias=True), build.index))
    parts += build.layer("middle", 0, widths[-1], widths[-1], sides[-1], attends=True)
    parts += build.layer("middle", 1, widths[-1], widths[-1], sides[-1], attends=False)
    parts += _upwards(build, widths, layers, sides, stages[1])
    parts.append(part("final_norm", Norm(widths[0], bias=True)))
    outputs = config.integer("out_channels", default=4)
    parts.append(part("head", Conv(widths[0], outputs, 3, side**2, bias=True)))
    dimensions = {"layers": build.index, "width": widths[-1], "stages": len(widths), "channels": outputs}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _upwards(
    build: _Builder, widths: tuple[int, ...], layers: int, sides: list[int], attends: list[bool]
) -> Iterator[Part]:
    """One layer more than on the way down; each also reads what the layer across gave."""
    back = widths[::-1]
    for i, width in enumerate(back):
        side = sides[len(sides) - 1 - i]
        across = back[min(i + 1, len(back) - 1)]
        for j in range(layers + 1):
            own = (back[i - 1] if i else width) if j == 0 else width
            skip = across if j == layers else width
            yield from build.layer(f"up.{i}", j, own + skip, width, side, attends=attends[i])
        if i < len(back) - 1:
            wider = sides[len(sides) - 2 - i] ** 2
            yield part(f"up.{i}.sampler", Conv(width, width, 3, wider, bias=True), build.index)


def _stages(config: Config, count: int) -> tuple[list[bool], list[bool]]:
    """Whether the stages on the way down and up have transformers; by default all of four but the narrowest."""
    found = []
    for way, default in (("down", [True, True, True, False]), ("up", [False, True, True, True])):
        key = f"{way}_block_types"
        crossed, plain = f"CrossAttn{way.title()}Block2D", f"{way.title()}Block2D"
        kinds = config.words(key, (crossed, plain))
        chosen = default if kinds is None else [kind == crossed for kind in kinds]
        if len(chosen) != count or not count or count > 64:
            raise WeighError(
                f"`{key}` has {len(chosen)} stages, `block_out_channels` {count}",
                rule="CONFIG-RANGE",
                path=config.source or None,
            )
        found.append(chosen)
    return found[0], found[1]


class _Builder:
    """Layers of the UNet, numbered in the order in which they run."""

    def __init__(self, config: Config, time: int) -> None:
        self.config = config
        self.time = time
        self.index = 0
        self.heads = config.integer("attention_head_dim", default=8)
        self.words = config.integer("cross_attention_dim")
        self.linear = config.switch("use_linear_projection", default=False)

    def layer(self, path: str, j: int, inputs: int, width: int, side: int, *, attends: bool) -> list[Part]:
        """Two convolutions with norms and the time between them, a shortcut if the width changes, a transformer."""
        points = side * side
        where = f"{path}.{j}."
        layers: list[tuple[str, Any]] = [
            ("norm1", Norm(inputs, bias=True)),
            ("conv1", Conv(inputs, width, 3, points, bias=True)),
            ("time", Linear(self.time, width, bias=True)),
            ("norm2", Norm(width, bias=True)),
            ("conv2", Conv(width, width, 3, points, bias=True)),
        ]
        if inputs != width:
            layers.append(("shortcut", Conv(inputs, width, 1, points, bias=True)))
        if attends:
            layers += self._transformer(width, points)
        self.index += 1
        return [part(where + name, dimensions, self.index - 1) for name, dimensions in layers]

    def _transformer(self, width: int, points: int) -> Iterator[tuple[str, Any]]:
        """Into the transformer, attention among points, attention to the text, a gated block, and out."""
        size = self.config.divide(width, self.heads, "block_out_channels / attention_head_dim")
        turn = Linear(width, width, bias=True, role="conv") if self.linear else Conv(width, width, 1, points, bias=True)
        among = both_ways(width, self.heads, size, q_bias=False, k_bias=False, v_bias=False)
        text = CrossAttention(width, self.words, self.heads, size, size, o_bias=True, source=WORDS)
        mlp = Mlp(width, 4 * width, gated=True, up_bias=True, down_bias=True)
        outward = Applied(turn, "token", points) if self.linear else turn
        yield "turn_norm", Norm(width, bias=True)
        yield "turn_in", outward
        yield "attention_norm", Norm(width, bias=True)
        yield "attention", Applied(among, "token", points)
        yield "cross_norm", Norm(width, bias=True)
        yield "cross", Applied(text, "token", points)
        yield "mlp_norm", Norm(width, bias=True)
        yield "mlp", Applied(mlp, "token", points)
        yield "turn_out", outward


def _stage_names(path: str, stem: str) -> dict[str, str]:
    """Names of the layers of one way: `path` and `stem` with their numbers left open."""
    residual, outer = stem + ".resnets.{}.", stem + ".attentions.{}."
    inner = outer + "transformer_blocks.0."
    attentions = {"attention": "attn1", "cross": "attn2"}
    here = path + ".{}."
    return {
        **{f"{here}{name}": residual + name for name in ("norm1", "conv1", "norm2", "conv2")},
        f"{here}time": residual + "time_emb_proj",
        f"{here}shortcut": residual + "conv_shortcut",
        f"{here}turn_norm": outer + "norm",
        f"{here}turn_in": outer + "proj_in",
        f"{here}turn_out": outer + "proj_out",
        f"{here}attention_norm": inner + "norm1",
        f"{here}cross_norm": inner + "norm2",
        f"{here}mlp_norm": inner + "norm3",
        **{f"{here}{a}.{x}": f"{inner}{b}.to_{x}" for a, b in attentions.items() for x in "qkv"},
        **{f"{here}{a}.o": f"{inner}{b}.to_out.0" for a, b in attentions.items()},
        **fused({}, inner + "ff.net.0.proj", f"{here}mlp.gate", f"{here}mlp.up"),
        f"{here}mlp.down": inner + "ff.net.2",
    }


UNET = Family(
    id="unet",
    model_types=("UNet2DConditionModel",),
    build=unet,
    names={
        "hf": {
            "conv_in": "conv_in",
            "time_in": "time_embedding.linear_1",
            "time_out": "time_embedding.linear_2",
            **_stage_names("down.{}", "down_blocks.{}"),
            **_stage_names("middle", "mid_block"),
            **_stage_names("up.{}", "up_blocks.{}"),
            "down.{}.sampler": "down_blocks.{}.downsamplers.0.conv",
            "up.{}.sampler": "up_blocks.{}.upsamplers.0.conv",
            "final_norm": "conv_norm_out",
            "head": "conv_out",
        }
    },
    sources=("https://arxiv.org/abs/2112.10752",),
)

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
