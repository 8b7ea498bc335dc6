"""CLIP and SigLIP: a tower for text and one for images, whose outputs are compared. One image a text."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, section, sizes_of
from weigh.families.names import fused
from weigh.parts import Applied, Array, Attention, Conv, CrossAttention, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

LAYER_SOURCE = "transformers 5.23, models/{clip,siglip}/modeling_{clip,siglip}.py"


def _layer(path: str, number: int, attention: Attention, mlp: Mlp, places: int, role: str) -> Iterator[Part]:
    """Norm, attention, norm, block; it runs once a sequence."""
    norm = Norm(attention.width, bias=True)
    for name, layer in (("attention_norm", norm), ("attention", attention), ("mlp_norm", norm), ("mlp", mlp)):
        yield part(f"{path}.{name}", Applied(layer, "sequence", places, role=role), number)


def _text(config: Config, *, causal: bool) -> tuple[list[Part], dict[str, int]]:
    """Token and position tables, layers, a norm."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    hidden = config.integer("intermediate_size")
    layers = config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings", default=77 if causal else 64)
    attention = both_ways(width, heads, head_dim, causal=causal)
    mlp = Mlp(width, hidden, up_bias=True, down_bias=True)
    parts = [
        part("embedding", Embedding(vocabulary, width)),
        part("position", Embedding(context, width, role="position")),
    ]
    for i in range(layers):
        parts += _layer(f"text.{i}", i, attention, mlp, 0, "")
    parts.append(part("text.final_norm", Norm(width, bias=True)))
    return parts, sizes_of(layers, width, heads, head_dim, hidden, vocabulary, context)


def vision_tower(config: Config, first: int | None, *, class_token: bool, role: str = "vision") -> list[Part]:
    """Patches, positions, layers, a norm; with `class_token` CLIP's, else SigLIP's with its attention pooling.

    `first` is the number of the first layer. Documented defaults: 3 channels, images of 224, patches of 32 or 16.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_attention_heads")
    patch = config.integer("patch_size", default=32 if class_token else 16)
    side = config.integer("image_size", default=224, minimum=patch) // patch
    places = side * side + int(class_token)
    channels = config.integer("num_channels", default=3)
    attention = both_ways(width, heads, head_dim)
    mlp = Mlp(width, config.integer("intermediate_size"), up_bias=True, down_bias=True)
    conv = Conv(channels, width, patch, side * side, bias=not class_token, input_gradient=False)
    parts = [part("vision.patches", Applied(conv, "sequence", 1, role=role))]
    if class_token:
        parts.append(part("vision.class_token", Array((width,), role=role)))
    parts.append(part("vision.position", Embedding(places, width, role=role)))
    norm = Applied(Norm(width, bias=True), role=role)
    if class_token:
        parts.append(part("vision.embedding_norm", norm))
    for i in range(config.layers("num_hidden_layers")):
        number = i if first is None else first + i
        parts += _layer(f"vision.{i}", number, attention, mlp, places, role)
    parts.append(part("vision.final_norm", norm))
    if not class_token and config.switch("vision_use_head", default=True):
        parts.append(part("vision.probe", Array((1, 1, width), role=role)))
        parts.append(part("vision.pooling", Applied(_pooling(attention, places), "sequence", 1, role=role)))
        parts.append(part("vision.pooling_norm", norm))
        parts.append(part("vision.pooling_mlp", Applied(mlp, "sequence", 1, role=role)))
    return parts


def _pooling(layer: Attention, places: int) -> CrossAttention:
    """One query, which is learned, against the keys and values of all places."""
    size, biased = layer.key_dim, layer.q_bias
    return CrossAttention(
        layer.width, layer.width, layer.heads, size, size, biased, layer.k_bias, layer.v_bias, layer.o_bias, places
    )


def clip(config: Config) -> Architecture:
    """A causal text tower, an image tower with a class token, a projection of each, one scale.

    Source: transformers 5.23, models/clip/{configuration,modeling}_clip.py.
    """
    class_of(config, ("CLIPModel",), default="CLIPModel", what="the model with both towers")
    text, dimensions = _text(section(config, "text_config"), causal=True)
    images = section(config, "vision_config")
    shared = config.integer("projection_dim", default=512)
    width = images.integer("hidden_size")
    parts = [
        part("scale", Array(())),
        *text,
        *vision_tower(images, dimensions["layers"], class_token=True),
        part("vision.projection", Applied(Linear(width, shared, positions="one"), "sequence", 1, role="vision")),
        part("text.projection", Linear(dimensions["width"], shared, positions="one")),
    ]
    dimensions["vision_layers"] = images.layers("num_hidden_layers")
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def clip_text(config: Config) -> Architecture:
    """The text tower alone, as pipelines that make images hold it; one class adds the projection.

    Source: transformers 5.23, models/clip/modeling_clip.py.
    """
    classes = ("CLIPTextModel", "CLIPTextModelWithProjection")
    name = class_of(config, classes, default=classes[0], what="the bare text tower")
    parts, dimensions = _text(config, causal=True)
    if name == classes[1]:
        shared = config.integer("projection_dim", default=512)
        parts.append(part("text.projection", Linear(dimensions["width"], shared, positions="one")))
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def vision_alone(config: Config) -> Architecture:
    """The image tower alone: CLIP's, one of whose classes adds the projection, or SigLIP's. A sequence is an image.

    Source: transformers 5.23, models/{clip,siglip}/modeling_{clip,siglip}.py.
    """
    of_clip = config.values["model_type"] == "clip_vision_model"
    classes = ("CLIPVisionModel", "CLIPVisionModelWithProjection") if of_clip else ("SiglipVisionModel",)
    name = class_of(config, classes, default=classes[0], what="the bare image tower")
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    layers = config.layers("num_hidden_layers")
    parts = vision_tower(config, None, class_token=of_clip)
    if name.endswith("WithProjection"):
        shared = config.integer("projection_dim", default=512)
        parts.append(
            part("vision.projection", Applied(Linear(width, shared, positions="one"), "sequence", 1, role="vision"))
        )
    dimensions = sizes_of(layers, width, heads, width // heads, config.integer("intermediate_size"))
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def siglip(config: Config) -> Architecture:
    """Both towers attend to both sides; the image tower is pooled by attention, the text tower by a matrix.

    Source: transformers 5.23, models/siglip/{configuration,modeling}_siglip.py.
    """
    class_of(config, ("SiglipModel",), default="SiglipModel", what="the model with both towers")
    words = section(config, "text_config")
    text, dimensions = _text(words, causal=False)
    images = section(config, "vision_config")
    width = dimensions["width"]
    parts = [
        part("scale", Array((1,))),
        part("shift", Array((1,))),
        *text,
        part(
            "text.projection",
            Linear(width, words.integer("projection_size", default=width), bias=True, positions="one"),
        ),
        *vision_tower(images, dimensions["layers"], class_token=False),
    ]
    dimensions["vision_layers"] = images.layers("num_hidden_layers")
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def tower_names(path: str, stem: str) -> dict[str, str]:
    """Names of a tower's layers, norms and pooling."""
    layer = stem + "encoder.layers.{}."
    head = stem + "head."
    return {
        **{f"{path}.{{}}.attention.{x}": f"{layer}self_attn.{x}_proj" for x in "qkv"},
        f"{path}.{{}}.attention.o": layer + "self_attn.out_proj",
        f"{path}.{{}}.attention_norm": layer + "layer_norm1",
        f"{path}.{{}}.mlp.up": layer + "mlp.fc1",
        f"{path}.{{}}.mlp.down": layer + "mlp.fc2",
        f"{path}.{{}}.mlp_norm": layer + "layer_norm2",
        f"{path}.patches": stem + "embeddings.patch_embedding",
        f"{path}.class_token.weight": stem + "embeddings.class_embedding",
        f"{path}.position": stem + "embeddings.position_embedding",
        f"{path}.embedding_norm": stem + "pre_layrnorm",
        **fused({}, head + "attention.in_proj_weight", *(f"{path}.pooling.{x}.weight" for x in "qkv")),
        **fused({}, head + "attention.in_proj_bias", *(f"{path}.pooling.{x}.bias" for x in "qkv")),
        f"{path}.probe.weight": head + "probe",
        f"{path}.pooling.o": head + "attention.out_proj",
        f"{path}.pooling_norm": head + "layernorm",
        f"{path}.pooling_mlp.up": head + "mlp.fc1",
        f"{path}.pooling_mlp.down": head + "mlp.fc2",
        f"{path}.final_norm": stem + ("final_layer_norm" if path == "text" else "post_layernorm"),
    }


_BOTH = {
    **tower_names("text", "text_model."),
    **tower_names("vision", "vision_model."),
    "embedding": "text_model.embeddings.token_embedding",
    "position": "text_model.embeddings.position_embedding",
    "scale.weight": "logit_scale",
}

CLIP = Family(
    id="clip",
    model_types=("clip",),
    build=clip,
    names={"hf": {**_BOTH, "text.projection": "text_projection", "vision.projection": "visual_projection"}},
    sources=("https://arxiv.org/abs/2103.00020",),
)

SIGLIP = Family(
    id="siglip",
    model_types=("siglip",),
    build=siglip,
    names={"hf": {**_BOTH, "text.projection": "text_model.head", "shift.weight": "logit_bias"}},
    sources=("https://arxiv.org/abs/2303.15343",),
)

CLIP_TEXT = Family(
    id="clip_text",
    model_types=("clip_text_model",),
    build=clip_text,
    names={"hf": {**_BOTH, "text.projection": "text_projection"}},
    prefixes=("text_model.",),
    sources=("https://arxiv.org/abs/2103.00020",),
)

VISION_TOWER = Family(
    id="vision_tower",
    model_types=("clip_vision_model", "siglip_vision_model"),
    build=vision_alone,
    names={"hf": {**_BOTH, "vision.projection": "visual_projection"}},
    prefixes=("vision_model.",),
    sources=("https://arxiv.org/abs/2103.00020", "https://arxiv.org/abs/2303.15343"),
)
