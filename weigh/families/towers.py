"""Vision towers inside models that write text: CLIP's, SigLIP's, Pixtral's and InternVL's. Text does not run them.

To add one: a function from its section to its parts, in `TOWERS` with the sizes that its class documents; its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from weigh.families.clip import tower_names, vision_tower
from weigh.families.config import Config
from weigh.families.encoder import both_ways
from weigh.parts import Applied, Array, Attention, Conv, Mlp, Norm, part
from weigh.types import Part


@dataclass(frozen=True, slots=True)
class Tower:
    """The parts of a tower, its layers and the width of what it gives."""

    parts: tuple[Part, ...]
    layers: int
    width: int


def _seen(path: str, layer: object) -> Part:
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _unseen(parts: list[Part]) -> Iterator[Part]:
    """The layers of a tower that runs once a sequence elsewhere, outside the numbered layers of the text."""
    for each in parts:
        layer = each.dimensions
        yield replace(each, dimensions=replace(layer, per="never") if isinstance(layer, Applied) else layer, layer=None)


def _side(config: Config, key: str) -> int:
    """A size in values; a pair has to be a square."""
    value = config.values[key]
    if isinstance(value, list | tuple):
        pair = config.integers(key, minimum=1)
        if len(pair) != 2 or pair[0] != pair[1]:
            raise config.variant(key, "a square", list(pair))
        return pair[0]
    return config.integer(key)


def _contrastive(config: Config, *, class_token: bool) -> Iterator[Part]:
    yield from _unseen(vision_tower(config, None, class_token=class_token))


def _clip(config: Config) -> Iterator[Part]:
    yield from _contrastive(config, class_token=True)


def _siglip(config: Config) -> Iterator[Part]:
    yield from _contrastive(config, class_token=False)


def _idefics(config: Config) -> Iterator[Part]:
    """SigLIP's without its pooling."""
    config.values = {**config.values, "vision_use_head": False}
    yield from _contrastive(config, class_token=False)


def _pixtral(config: Config) -> Iterator[Part]:
    """Patches and a norm; layers like Llama's without positions of their own, and no norm at the end."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    size = config.divide(width, heads, "hidden_size / num_attention_heads")
    channels = config.integer("num_channels", default=3)
    yield _seen("patches", Conv(channels, width, config.integer("patch_size"), 1))
    yield _seen("embedding_norm", Norm(width))
    attention = Attention(width, heads, heads, size, size, causal=False)
    mlp = Mlp(width, config.integer("intermediate_size"), gated=True)
    for i in range(config.layers("num_hidden_layers")):
        yield _seen(f"{i}.attention_norm", Norm(width))
        yield _seen(f"{i}.attention", attention)
        yield _seen(f"{i}.mlp_norm", Norm(width))
        yield _seen(f"{i}.mlp", mlp)


def _internvl(config: Config) -> Iterator[Part]:
    """A class token, positions, and layers whose blocks are scaled; a norm at the end unless patches are averaged."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    patch, image = config.integer("patch_size"), config.integer("image_size")
    yield _seen("class_token", Array((1, 1, width)))
    if config.switch("use_mask_token", default=False):
        yield _seen("mask_token", Array((1, 1, width)))
    yield _seen("patches", Conv(config.integer("num_channels", default=3), width, patch, 1, bias=True))
    if config.switch("use_absolute_position_embeddings", default=True):
        yield _seen("position", Array((1, (image // patch) ** 2 + 1, width)))
    biased = config.switch("attention_bias", default=False)
    normed = width if config.switch("use_qk_norm", default=False) else 0
    attention = both_ways(
        width,
        heads,
        config.divide(width, heads, "hidden_size / num_attention_heads"),
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        q_norm=normed,
        k_norm=normed,
    )
    mlp = Mlp(width, config.integer("intermediate_size"), up_bias=True, down_bias=True)
    norm = Norm(width, bias=config.choice("norm_type", ("layer_norm", "rms_norm"), default="layer_norm") != "rms_norm")
    for i in range(config.layers("num_hidden_layers")):
        yield _seen(f"{i}.attention_norm", norm)
        yield _seen(f"{i}.attention", attention)
        yield _seen(f"{i}.attention_scale", Array((width,)))
        yield _seen(f"{i}.mlp_norm", norm)
        yield _seen(f"{i}.mlp", mlp)
        yield _seen(f"{i}.mlp_scale", Array((width,)))
    if not config.switch("use_mean_pooling", default=True):
        yield _seen("final_norm", Norm(width, bias=True))


def _sizes(width: int, hidden: int, layers: int, heads: int, image: int, patch: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": image,
        "patch_size": patch,
    }


_IDEFICS = (_idefics, _sizes(1152, 3072, 12, 16, 224, 32))
TOWERS: Mapping[str, tuple[Callable[[Config], Iterator[Part]], Mapping[str, int]]] = {
    "clip_vision_model": (_clip, _sizes(768, 3072, 12, 12, 224, 32)),
    "siglip_vision_model": (_siglip, _sizes(768, 3072, 12, 12, 224, 16)),
    "pixtral": (_pixtral, _sizes(1024, 4096, 24, 16, 1024, 16)),
    "idefics3_vision": _IDEFICS,
    "smolvlm_vision": _IDEFICS,
    "internvl_vision": (_internvl, _sizes(1024, 4096, 24, 16, 448, 14)),
}
"""Builder, and the sizes that a section may leave out: transformers 5.23, configuration_*.py of each type."""

_OLD_TYPES = {"idefics3": "idefics3_vision", "smolvlm": "smolvlm_vision"}


def tower(config: Config, default: str) -> Tower:
    """The tower of a section; its type is `default` where the section does not name one."""
    found = config.values.get("model_type", default)
    kind = _OLD_TYPES.get(found, found) if isinstance(found, str) else found
    if kind not in TOWERS:
        raise config.variant("model_type", f"one of {', '.join(TOWERS)}", found)
    build, documented = TOWERS[kind]
    missing = {key: size for key, size in documented.items() if config.values.get(key) is None}
    config.assumed.extend(f"vision_config.{key} = {size}" for key, size in missing.items())
    values: dict[str, Any] = {**config.values, **missing}
    config.values = values
    values |= {key: _side(config, key) for key in ("image_size", "patch_size")}
    return Tower(tuple(build(config)), config.layers("num_hidden_layers"), config.integer("hidden_size"))


def contrastive(stem: str) -> dict[str, str]:
    """Names of the towers of CLIP and SigLIP."""
    return tower_names("vision", stem)


def pixtral_names(stem: str) -> dict[str, str]:
    """Names of Pixtral's tower."""
    layer = stem + "transformer.layers.{}."
    return {
        "vision.patches": stem + "patch_conv",
        "vision.embedding_norm": stem + "ln_pre",
        "vision.{}.attention_norm": layer + "attention_norm",
        **{f"vision.{{}}.attention.{name}": f"{layer}attention.{name}_proj" for name in "qkvo"},
        "vision.{}.mlp_norm": layer + "ffn_norm",
        **{f"vision.{{}}.mlp.{name}": f"{layer}feed_forward.{name}_proj" for name in ("gate", "up", "down")},
    }


def internvl_names(stem: str) -> dict[str, str]:
    """Names of InternVL's tower."""
    layer = stem + "encoder.layer.{}."
    return {
        "vision.class_token.weight": stem + "embeddings.cls_token",
        "vision.mask_token.weight": stem + "embeddings.mask_token",
        "vision.patches": stem + "embeddings.patch_embeddings.projection",
        "vision.position.weight": stem + "embeddings.position_embeddings",
        "vision.{}.attention_norm": layer + "layernorm_before",
        **{f"vision.{{}}.attention.{name}": f"{layer}attention.{name}_proj" for name in "qkv"},
        **{f"vision.{{}}.attention.{name}_norm": f"{layer}attention.{name}_norm" for name in "qk"},
        "vision.{}.attention.o": layer + "attention.projection_layer",
        "vision.{}.attention_scale.weight": layer + "lambda_1",
        "vision.{}.mlp_norm": layer + "layernorm_after",
        "vision.{}.mlp.up": layer + "mlp.fc1",
        "vision.{}.mlp.down": layer + "mlp.fc2",
        "vision.{}.mlp_scale.weight": layer + "lambda_2",
        "vision.final_norm": stem + "layernorm",
    }
