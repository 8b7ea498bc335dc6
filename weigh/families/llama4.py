"""Llama 4: experts in every layer or every other one, attention in chunks, and a vision tower."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.decoder import Sizes, experts_used, grouped_attention, rope_sizes
from weigh.families.encoder import both_ways, section
from weigh.families.experts import STACKED, biases, finish, sparse_layer
from weigh.families.glm_moe import per_layer
from weigh.families.names import LLAMA_HF
from weigh.parts import Applied, Array, Linear, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

VISION_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 34,
    "num_attention_heads": 16,
    "intermediate_size": 5632,
    "vision_output_dim": 7680,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
}
"""What the class documents where there is no `vision_config`: transformers 5.23, configuration_llama4.py."""


def _chunks(config: Config, layers: int) -> list[int | None]:
    """The chunk of each layer: `layer_types`, else chunks where `no_rope_layers` has a 1, three of four by default."""
    kinds = per_layer(config, "layer_types", ("chunked_attention", "full_attention"), layers)
    if kinds is None:
        step = config.integer("no_rope_layer_interval", default=4)
        rotary = tuple(int((i + 1) % step != 0) for i in range(layers))
        # An empty list stands for none.
        if config.values.get("no_rope_layers") not in (None, []):
            rotary = config.integers("no_rope_layers")
        if len(rotary) < layers:
            raise config.variant("no_rope_layers", f"{layers} switches", list(rotary))
        kinds = tuple("chunked_attention" if turns else "full_attention" for turns in rotary[:layers])
    if "chunked_attention" not in kinds:
        return [None] * layers
    if config.is_null("attention_chunk_size"):
        raise config.variant("attention_chunk_size", "a number of tokens", None)
    size = config.integer("attention_chunk_size", default=8192)
    return [size if kind == "chunked_attention" else None for kind in kinds]


def _text(config: Config) -> tuple[Sizes, Moe, list[list[Part]]]:
    """Sizes and layers. Heads of 128 and 8 KV heads unless written down; a shared expert as wide as a routed one."""
    null = config.is_null("head_dim")
    sizes = rope_sizes(config, context=131072, kv_heads=8, head_dim=None if null else 128)
    experts = config.integer("num_local_experts")
    used = experts_used(config, experts, default=1)
    moe = Moe(sizes.width, sizes.hidden, experts, used, shared_hidden=sizes.hidden)
    step = config.integer("interleave_moe_layer_step", default=1)
    sparse = set(range(step - 1, sizes.layers, step))
    if config.values.get("moe_layers") is not None:
        sparse = set(config.integers("moe_layers"))
    chunks = _chunks(config, sizes.layers)
    bias = biases(config)
    dense = None
    if not sparse >= set(range(sizes.layers)):
        dense = Mlp(sizes.width, config.integer("intermediate_size_mlp"), gated=True)
    layers = []
    for i, chunk in enumerate(chunks):
        attention = grouped_attention(sizes, **bias, window=chunk, chunked=chunk is not None)
        layers.append(sparse_layer(i, Norm(sizes.width), attention, moe if i in sparse or dense is None else dense))
    return sizes, moe, layers


def llama4_text(config: Config) -> Architecture:
    """The text model alone. Source: transformers 5.23, {configuration,modeling}_llama4.py."""
    sizes, moe, layers = _text(config)
    stem = "Llama4Text" if config.architecture() == "Llama4TextModel" else "Llama4"
    return finish(config, sizes, layers, moe, stem)


def llama4(config: Config) -> Architecture:
    """The text model with its head, a vision tower that runs only on images, and a matrix between them.

    The head is tied by what the text's section says. Source: transformers 5.23, {configuration,modeling}_llama4.py.
    """
    words = section(config, "text_config")
    name = config.architecture()
    if name not in (None, "Llama4ForConditionalGeneration"):
        raise config.variant("architectures", "Llama4ForConditionalGeneration", name)
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the model for text and images")
    words.values = {**words.values, "model_type": "llama4_text", "architectures": ["Llama4ForCausalLM"]}
    sizes, moe, layers = _text(words)
    images = section(config, "vision_config", default=VISION_DEFAULTS)
    whole = finish(words, sizes, layers, moe, "Llama4", vision_layers=images.layers("num_hidden_layers"))
    return Architecture(
        (*whole.parts, *_vision(images, sizes.width)), whole.dimensions, tuple(config.warnings), tuple(config.assumed)
    )


def _vision(config: Config, text_width: int) -> Iterator[Part]:
    """Patches, positions, layers, two matrices on groups of patches, and the matrix to the text's width.

    Documented defaults: 3 channels, images of 448, patches of 14, of which one in four is left (a ratio of 0.5).
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    patch = config.integer("patch_size", default=14)
    side = config.integer("image_size", default=448, minimum=patch) // patch
    shuffled = max(1, side * side // 4)
    inner, outer = config.integer("projector_input_dim"), config.integer("projector_output_dim")
    hidden = config.integer("intermediate_size")
    channels = config.integer("num_channels", default=3)
    attention = both_ways(width, heads, config.divide(width, heads, "hidden_size / num_attention_heads"))
    norm = Norm(width, bias=True)
    mlp = Mlp(width, hidden, up_bias=True, down_bias=True)
    found = [
        ("patches", Linear(channels * patch * patch, width), side * side),
        ("class_token", Array((width,)), 0),
        ("position", Array((side * side + 1, width)), 0),
        ("before_norm", norm, 0),
    ]
    for i in range(config.layers("num_hidden_layers")):
        found += [
            (f"{i}.attention_norm", norm, 0),
            (f"{i}.attention", attention, side * side + 1),
            (f"{i}.mlp_norm", norm, 0),
            (f"{i}.mlp", mlp, side * side + 1),
        ]
    found += [
        ("after_norm", norm, 0),
        ("adapter_in", Linear(hidden, inner), shuffled),
        ("adapter_out", Linear(outer, outer), shuffled),
        ("projector", Linear(config.integer("vision_output_dim"), text_width), shuffled),
    ]
    for path, layer, places in found:
        yield part(f"vision.{path}", Applied(layer, "image", places, role="vision"))


_TEXT_HF = {
    **{key: name.replace(".mlp.", ".feed_forward.") for key, name in LLAMA_HF.items()},
    "moe.router": "model.layers.{layer}.feed_forward.router",
    **dict.fromkeys([f"{key}.weight" for key in STACKED], "model.layers.{layer}.feed_forward.experts.gate_up_proj^T"),
    "moe.experts.down.weight": "model.layers.{layer}.feed_forward.experts.down_proj^T",
    "moe.shared.gate": "model.layers.{layer}.feed_forward.shared_expert.gate_proj",
    "moe.shared.up": "model.layers.{layer}.feed_forward.shared_expert.up_proj",
    "moe.shared.down": "model.layers.{layer}.feed_forward.shared_expert.down_proj",
}

_VISION_LAYER = "vision_model.model.layers.{}."

_VISION_HF = {
    "vision.patches": "vision_model.patch_embedding.linear",
    "vision.class_token.weight": "vision_model.class_embedding",
    "vision.position.weight": "vision_model.positional_embedding_vlm",
    "vision.before_norm": "vision_model.layernorm_pre",
    "vision.after_norm": "vision_model.layernorm_post",
    **{f"vision.{{}}.attention.{x}": f"{_VISION_LAYER}self_attn.{x}_proj" for x in "qkvo"},
    "vision.{}.attention_norm": _VISION_LAYER + "input_layernorm",
    "vision.{}.mlp_norm": _VISION_LAYER + "post_attention_layernorm",
    "vision.{}.mlp.up": _VISION_LAYER + "mlp.fc1",
    "vision.{}.mlp.down": _VISION_LAYER + "mlp.fc2",
    "vision.adapter_in": "vision_model.vision_adapter.mlp.fc1",
    "vision.adapter_out": "vision_model.vision_adapter.mlp.fc2",
    "vision.projector": "multi_modal_projector.linear_1",
}

_SOURCES = ("https://huggingface.co/docs/transformers/main/model_doc/llama4",)

LLAMA4_TEXT = Family(
    id="llama4_text",
    model_types=("llama4_text",),
    build=llama4_text,
    names={"hf": _TEXT_HF},
    prefixes=("model.",),
    sources=_SOURCES,
)

LLAMA4 = Family(
    id="llama4",
    model_types=("llama4",),
    build=llama4,
    names={"hf": {**{key: f"language_model.{name}" for key, name in _TEXT_HF.items()}, **_VISION_HF}},
    sources=_SOURCES,
)
