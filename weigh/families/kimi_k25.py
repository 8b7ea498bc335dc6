"""Kimi K2.5: Kimi K2 with a vision tower of native resolution and two matrices between them."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from weigh.families.config import Config
from weigh.families.deepseek import LATENT_HF, deepseek
from weigh.families.encoder import both_ways, section
from weigh.parts import Applied, Array, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

WHOLE = ("Kimi_K25ForConditionalGeneration", "KimiK25ForConditionalGeneration")
"""The class of transformers, and what the model's own code calls it."""
BARE = "Kimi_K25Model"

VISION_DEFAULTS = {
    "hidden_size": 1152,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "intermediate_size": 4304,
}
"""What the class documents where there is no `vision_config`: transformers 5.23, configuration_kimi_k25.py."""


def kimi_k25(config: Config) -> Architecture:
    """The text is a DeepSeek V3. The head is tied by the outer `tie_word_embeddings`, true unless written down.

    The model's own configurations put `vt_` before the sizes of the tower and `init_` before those of its positions.
    Source: transformers 5.23, models/kimi_k25/{configuration,modeling}_kimi_k25.py.
    """
    name = config.architecture()
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the model for text and images")
    elif name not in (*WHOLE, BARE):
        raise config.variant("architectures", f"one of {', '.join(WHOLE)}", name)
    words = section(config, "text_config")
    kind = words.choice("model_type", ("deepseek_v3", "kimi_k2"), default="deepseek_v3")
    words.values = {
        **words.values,
        "model_type": kind,
        "architectures": ["DeepseekV3Model" if name == BARE else "DeepseekV3ForCausalLM"],
        "tie_word_embeddings": config.switch("tie_word_embeddings", default=True),
    }
    text = deepseek(words)
    images = section(config, "vision_config", default=VISION_DEFAULTS)
    normed = config.integer("projection_hidden_size", default=1152)
    dimensions = {**text.dimensions, "vision_layers": images.layers("num_hidden_layers", "vt_num_hidden_layers")}
    tower = _vision(images, normed, text.dimensions["width"])
    return Architecture((*text.parts, *tower), dimensions, tuple(config.warnings), tuple(config.assumed))


def _vision(config: Config, normed: int, text_width: int) -> Iterator[Part]:
    """Patches, a grid of positions, layers, a norm; groups of patches are joined and led to the text's width.

    Documented defaults: patches of 14, a grid of 64 x 64, groups of 2 x 2. Positions are those of a full grid.
    """
    width = config.integer("hidden_size", "vt_hidden_size")
    heads = config.integer("num_attention_heads", "vt_num_attention_heads")
    hidden = config.integer("intermediate_size", "vt_intermediate_size")
    patch = config.integer("patch_size", default=14)
    rows = config.integer("pos_emb_height", "init_pos_emb_height", default=64)
    columns = config.integer("pos_emb_width", "init_pos_emb_width", default=64)
    merged = config.integers("merge_kernel_size", default=[2, 2], minimum=1)
    if len(merged) != 2:
        raise config.variant("merge_kernel_size", "two whole numbers", list(merged))
    joined = width * prod(merged)
    places = rows * columns
    groups = max(1, places // prod(merged))
    attention = both_ways(width, heads, config.divide(width, heads, "hidden_size / num_attention_heads"))
    norm = Norm(width, bias=True)
    mlp = Mlp(width, hidden, up_bias=True, down_bias=True)
    found = [
        ("patches", Conv(3, width, patch, places, bias=True, input_gradient=False), 1),
        ("position", Array((rows, columns, width)), 0),
    ]
    for i in range(config.layers("num_hidden_layers", "vt_num_hidden_layers")):
        found += [
            (f"{i}.attention_norm", norm, 0),
            (f"{i}.attention", attention, places),
            (f"{i}.mlp_norm", norm, 0),
            (f"{i}.mlp", mlp, places),
        ]
    found += [
        ("final_norm", norm, 0),
        ("joined_norm", Norm(normed, bias=True), 0),
        ("joined", Linear(joined, joined, bias=True), groups),
        ("projector", Linear(joined, text_width, bias=True), groups),
    ]
    for path, layer, count in found:
        yield part(f"vision.{path}", Applied(layer, "image", count, role="vision"))


_LAYER = "vision_tower.encoder.blocks.{}."

KIMI_K25 = Family(
    id="kimi_k25",
    model_types=("kimi_k25",),
    build=kimi_k25,
    names={
        "hf": {
            **{key: f"language_model.{name}" for key, name in LATENT_HF.items()},
            "vision.patches": "vision_tower.patch_embed.proj",
            "vision.position.weight": "vision_tower.patch_embed.pos_emb.weight",
            **{f"vision.{{}}.attention.{x}": _LAYER + "wqkv" for x in "qkv"},
            "vision.{}.attention.o": _LAYER + "wo",
            "vision.{}.attention_norm": _LAYER + "norm0",
            "vision.{}.mlp_norm": _LAYER + "norm1",
            "vision.{}.mlp.up": _LAYER + "mlp.fc0",
            "vision.{}.mlp.down": _LAYER + "mlp.fc1",
            "vision.final_norm": "vision_tower.encoder.final_layernorm",
            "vision.joined_norm": "mm_projector.pre_norm",
            "vision.joined": "mm_projector.proj.0",
            "vision.projector": "mm_projector.proj.2",
        }
    },
    sources=("https://huggingface.co/docs/transformers/main/model_doc/kimi_k25",),
)
