"""Llama 3.2 Vision: Llama with layers between its own that attend to an image, and a tower that reads it in tiles."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, rope_sizes
from weigh.families.encoder import both_ways, class_of, section
from weigh.families.llama import pre_norm_layer
from weigh.families.names import LLAMA_HF
from weigh.parts import Applied, Array, Conv, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

TEXT = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "intermediate_size": 14336,
}
TOWER = {
    "hidden_size": 1280,
    "num_hidden_layers": 32,
    "num_global_layers": 8,
    "attention_heads": 16,
    "intermediate_size": 5120,
    "vision_output_dim": 7680,
    "image_size": 448,
    "patch_size": 14,
    "max_num_tiles": 4,
}
"""Sizes that a section may leave out, since it is saved as its differences from these: transformers 5.23,
configuration_mllama.py."""

RATIOS = 8
"""Shapes of tiles that the tower documents."""
CROSSING = (3, 8, 13, 18, 23, 28, 33, 38)
"""Layers that attend to the image, unless written down."""


def _filled(config: Config, key: str, documented: dict[str, int]) -> Config:
    inner = section(config, key, default={} if key == "vision_config" else None)
    missing = {name: size for name, size in documented.items() if inner.values.get(name) is None}
    config.assumed.extend(f"{key}.{name} = {size}" for name, size in missing.items())
    inner.values = {**inner.values, **missing}
    return inner


def mllama(config: Config) -> Architecture:
    """Eight tokens more than the head knows stand for images; the head is never tied.

    Text without an image skips the layers that attend to one, so they, the tower and the matrix between are counted
    and not computed. Source: transformers 5.23, models/mllama/{configuration,modeling}_mllama.py.
    """
    whole = "MllamaForConditionalGeneration"
    class_of(config, (whole,), default=whole, what="the model for conditional generation")
    words = _filled(config, "text_config", TEXT)
    sizes = rope_sizes(words, context=131072, kv_heads=8, reads_head_dim=False)
    crossing = set(words.integers("cross_attention_layers", default=list(CROSSING)))
    images = _filled(config, "vision_config", TOWER)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    own = grouped_attention(sizes)
    cross = grouped_attention(sizes, q_norm=sizes.head_dim, k_norm=sizes.head_dim, causal=False)
    layers = []
    for i in range(sizes.layers):
        if i not in crossing:
            layers.append(pre_norm_layer(sizes, i, own, mlp))
            continue
        held = {"attention_norm": Norm(sizes.width), "cross": cross, "mlp_norm": Norm(sizes.width), "mlp": mlp}
        held |= {"cross_gate": Array((1,)), "mlp_gate": Array((1,))}
        layers.append([part(path, Applied(layer, "never"), i) for path, layer in held.items()])
    tower = list(_tower(images))
    out = images.integer("vision_output_dim")
    tower.append(_seen("projector", Linear(out, sizes.width, bias=True)))
    head = Linear(sizes.width, sizes.vocabulary, role="head", positions="outputs")
    text = assemble(words, sizes, layers, head=[part("head", head)], final_norm=Norm(sizes.width))
    table = part("embedding", Embedding(sizes.vocabulary + 8, sizes.width))
    decoder = (table, *(each for each in text.parts if each.path != "embedding"))
    dimensions = {**text.dimensions, "vision_layers": images.layers("num_hidden_layers")}
    return Architecture((*tower, *decoder), dimensions, tuple(config.warnings), tuple(config.assumed))


def _seen(path: str, layer: object) -> Part:
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _tower(config: Config) -> Iterator[Part]:
    """Patches and a class token; tables of positions by shape of tiles, each behind a gate; local and global layers."""
    width = config.integer("hidden_size")
    heads = config.integer("attention_heads", "num_attention_heads")
    patch = config.integer("patch_size")
    places = (config.integer("image_size", minimum=patch) // patch) ** 2 + 1
    tiles = config.integer("max_num_tiles")
    ratios = config.values.get("supported_aspect_ratios")
    if ratios is not None and not isinstance(ratios, list | tuple):
        raise config.variant("supported_aspect_ratios", "a list of pairs", ratios)
    shapes = 1 + (RATIOS if ratios is None else len(ratios))
    norm = Norm(width, bias=True)
    yield _seen("patches", Conv(config.integer("num_channels", default=3), width, patch, 1))
    yield _seen("class_token", Array((width,)))
    yield _seen("position", Array((places, width)))
    yield _seen("position_gate", Array((1,)))
    yield _seen("tile_position", Embedding(shapes, tiles * places * width, role="position"))
    for name in ("before", "after"):
        yield _seen(f"tile_{name}", Embedding(shapes, tiles * width, role="position"))
        yield _seen(f"tile_{name}_gate", Array((1,)))
        yield _seen(f"norm_{name}", norm)
    attention = both_ways(
        width,
        heads,
        config.divide(width, heads, "hidden_size / attention_heads"),
        q_bias=False,
        k_bias=False,
        v_bias=False,
        o_bias=False,
    )
    mlp = Mlp(width, config.integer("intermediate_size"), up_bias=True, down_bias=True)
    block = {"attention_norm": norm, "attention": attention, "mlp_norm": norm, "mlp": mlp}
    gates = {"attention_gate": Array((1,)), "mlp_gate": Array((1,))}
    stacks: tuple[tuple[str, str, dict[str, Array]], ...] = (
        ("local", "num_hidden_layers", {}),
        ("global", "num_global_layers", gates),
    )
    for stack, key, more in stacks:
        for i in range(config.layers(key)):
            for path, layer in {**block, **more}.items():
                yield _seen(f"{stack}.{i}.{path}", layer)


_VISION = "vision_model."


def _stack(name: str, stored: str) -> dict[str, str]:
    layer = f"{_VISION}{stored}.layers.{{}}."
    return {
        f"vision.{name}.{{}}.attention_norm": layer + "input_layernorm",
        **{f"vision.{name}.{{}}.attention.{x}": f"{layer}self_attn.{x}_proj" for x in "qkvo"},
        f"vision.{name}.{{}}.attention_gate.weight": layer + "gate_attn",
        f"vision.{name}.{{}}.mlp_norm": layer + "post_attention_layernorm",
        f"vision.{name}.{{}}.mlp.up": layer + "mlp.fc1",
        f"vision.{name}.{{}}.mlp.down": layer + "mlp.fc2",
        f"vision.{name}.{{}}.mlp_gate.weight": layer + "gate_ffn",
    }


_CROSS = "language_model.model.layers.{layer}."

MLLAMA = Family(
    id="mllama",
    model_types=("mllama",),
    build=mllama,
    names={
        "hf": {
            **{key: f"language_model.{name}" for key, name in LLAMA_HF.items()},
            **{f"cross.{name}": f"{_CROSS}cross_attn.{name}_proj" for name in "qkvo"},
            **{f"cross.{name}_norm": f"{_CROSS}cross_attn.{name}_norm" for name in "qk"},
            "cross_gate.weight": _CROSS + "cross_attn_attn_gate",
            "mlp_gate.weight": _CROSS + "cross_attn_mlp_gate",
            "vision.patches": _VISION + "patch_embedding",
            "vision.class_token.weight": _VISION + "class_embedding",
            "vision.position.weight": _VISION + "gated_positional_embedding.embedding",
            "vision.position_gate.weight": _VISION + "gated_positional_embedding.gate",
            "vision.tile_position": _VISION + "gated_positional_embedding.tile_embedding",
            "vision.tile_before": _VISION + "pre_tile_positional_embedding.embedding",
            "vision.tile_before_gate.weight": _VISION + "pre_tile_positional_embedding.gate",
            "vision.tile_after": _VISION + "post_tile_positional_embedding.embedding",
            "vision.tile_after_gate.weight": _VISION + "post_tile_positional_embedding.gate",
            "vision.norm_before": _VISION + "layernorm_pre",
            "vision.norm_after": _VISION + "layernorm_post",
            **_stack("local", "transformer"),
            **_stack("global", "global_transformer"),
            "vision.projector": "multi_modal_projector",
        },
    },
    sources=("https://arxiv.org/abs/2407.21783", "https://huggingface.co/docs/transformers/main/model_doc/mllama"),
)
