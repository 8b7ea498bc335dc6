"""Step 3.7: layers that slide have heads of their own number; a gate on attention, experts, and a vision tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import LAYER_TYPES, Sizes, experts_used, grouped_attention, rope_sizes, window_size
from weigh.families.encoder import both_ways, class_of, number, section
from weigh.families.experts import biases, finish, sparse_layer
from weigh.families.glm_moe import MLP_TYPES
from weigh.families.names import LLAMA_HF, fused
from weigh.parts import Applied, Array, Attention, Conv, Embedding, Linear, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

ALIASES = {
    "num_attention_groups": "num_key_value_heads",
    "moe_num_experts": "n_routed_experts",
    "num_local_experts": "n_routed_experts",
    "moe_top_k": "num_experts_per_tok",
    "share_expert_dims": "share_expert_dim",
    "num_mtp_layers": "num_nextn_predict_layers",
}
"""Released keys, and what the class calls them."""

TOWER = {"hidden_size": 1536, "num_hidden_layers": 47, "num_attention_heads": 16, "image_size": 728, "patch_size": 14}
"""Sizes that `vision_config` may leave out: transformers 5.23, configuration_step3p7.py."""


def _listed(config: Config, key: str, allowed: tuple[str, ...], layers: int) -> list[str] | None:
    """A word for each layer; released lists go on with those of the layers for multi-token prediction."""
    words = config.words(key, allowed)
    if words is None:
        return None
    ahead = config.integer("num_nextn_predict_layers", default=0, minimum=0)
    if len(words) not in (layers, layers + ahead):
        raise config.variant(key, f"a word for each of {layers} layers", list(words))
    return list(words[:layers])


def _sparse(config: Config, layers: int) -> list[bool]:
    """`mlp_layer_types`, else the layers that `moe_layers_enum` lists, else all from the fourth on."""
    kinds = _listed(config, "mlp_layer_types", MLP_TYPES, layers)
    if kinds is not None:
        return [kind == "sparse" for kind in kinds]
    numbered = config.values.get("moe_layers_enum")
    if numbered is None:
        return [i >= 3 for i in range(layers)]
    items = numbered.split(",") if isinstance(numbered, str) else numbered
    if not isinstance(items, list | tuple) or not all(str(item).strip().isdecimal() for item in items):
        raise config.variant("moe_layers_enum", "numbers of layers with commas between them", numbered)
    return [i in {int(str(item)) for item in items} for i in range(layers)]


def _sliding_heads(config: Config, heads: int) -> int:
    """Heads of the layers that slide: the class's key, or that of the section in released configurations."""
    own = config.optional_integer("num_sliding_attention_heads")
    other = config.values.get("attention_other_setting")
    if own is None and isinstance(other, Mapping) and other:
        inner = Config(other, config.source)
        inner.assumed = config.assumed
        own = inner.integer("num_attention_heads", default=heads)
    return own or heads


def _attention(config: Config, sizes: Sizes) -> list[Attention]:
    """Norms over each head and a gate with one value a head, or, where `gating` is another word, one a value."""
    if config.values.get("per_layer_config") is not None:
        raise config.variant("per_layer_config", "nothing", config.values["per_layer_config"])
    kinds = _listed(config, "layer_types", LAYER_TYPES, sizes.layers) or ["full_attention"] * sizes.layers
    gate = config.values.get("gating", True)
    if not isinstance(gate, bool | str):
        raise config.variant("gating", "true, false or a word", gate)
    heads = _sliding_heads(config, sizes.heads)
    config.divide(heads, sizes.kv_heads, "heads of a layer that slides / num_key_value_heads")
    window = window_size(config, None)
    full = grouped_attention(
        sizes,
        **biases(config),
        q_norm=sizes.head_dim,
        k_norm=sizes.head_dim,
        gate=True,
        head_gate=gate is True or gate == "per-head",
    )
    slides = replace(full, heads=heads, window=window)
    return [slides if kind == "sliding_attention" else full for kind in kinds]


def _text(words: Config, *, tied: bool) -> Architecture:
    """The decoder with its head."""
    values: dict[str, Any] = dict(words.values)
    for released, key in ALIASES.items():
        if released in values:
            values.setdefault(key, values[released])
    config = Config(
        {
            **values,
            "model_type": "step3p7",
            "architectures": ["Step3p7ForCausalLM"],
            "tie_word_embeddings": tied,
        },
        words.source,
        limits=words.limits,
    )
    config.assumed, config.warnings = words.assumed, words.warnings
    null = config.is_null("head_dim")
    sizes = rope_sizes(config, context=128000, kv_heads=8, head_dim=None if null else 128)
    biased = config.switch("mlp_bias", default=False)
    experts = config.integer("n_routed_experts")
    moe = Moe(
        sizes.width,
        config.integer("moe_intermediate_size"),
        experts,
        experts_used(config, experts, default=8),
        shared_hidden=config.integer("share_expert_dim"),
        shared_bias=biased,
        correction="buffer",
    )
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=biased, down_bias=biased)
    attention, sparse = _attention(config, sizes), _sparse(config, sizes.layers)
    layers = [sparse_layer(i, Norm(sizes.width), attention[i], moe if sparse[i] else mlp) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "Step3p7")


def step3p7(config: Config) -> Architecture:
    """The tower, a matrix, and the decoder of `text_config`. FLOPs and states are those of text alone.

    Source: transformers 5.23, models/step3p7/{configuration,modeling}_step3p7.py.
    """
    whole = "Step3p7ForConditionalGeneration"
    class_of(config, (whole,), default=whole, what="the model for conditional generation")
    words = section(config, "text_config")
    text = _text(words, tied=config.switch("tie_word_embeddings", default=False))
    images = section(config, "vision_config", default={})
    values = dict(images.values)
    for released, key in (("width", "hidden_size"), ("heads", "num_attention_heads")):
        if released in values:
            values[key] = values[released]
    missing = {key: size for key, size in TOWER.items() if values.get(key) is None}
    config.assumed.extend(f"vision_config.{key} = {size}" for key, size in missing.items())
    images.values = {**values, **missing}
    biased = config.switch("projector_bias", default=False)
    between = Linear(4 * images.integer("hidden_size"), text.dimensions["width"], bias=biased)
    parts = (*_tower(images), _seen("projector", between), *text.parts)
    dimensions = {**text.dimensions, "vision_layers": images.layers("num_hidden_layers")}
    return Architecture(parts, dimensions, tuple(config.warnings), tuple(config.assumed))


def _seen(path: str, layer: object) -> Part:
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _tower(config: Config) -> Iterator[Part]:
    """Patches, positions, layers whose blocks are scaled, and two convolutions that halve the grid."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    patch = config.integer("patch_size")
    places = (config.integer("image_size", minimum=patch) // patch) ** 2
    yield _seen("patches", Conv(config.integer("num_channels", default=3), width, patch, 1))
    yield _seen("position", Embedding(places, width, role="position"))
    norm = Norm(width, bias=True)
    yield _seen("embedding_norm", norm)
    attention = both_ways(width, heads, config.divide(width, heads, "hidden_size / num_attention_heads"))
    mlp = Mlp(width, int(width * number(config, "mlp_ratio", default=8960 / 1536)), up_bias=True, down_bias=True)
    for i in range(config.layers("num_hidden_layers")):
        yield _seen(f"{i}.attention_norm", norm)
        yield _seen(f"{i}.attention", attention)
        yield _seen(f"{i}.attention_scale", Array((width,)))
        yield _seen(f"{i}.mlp_norm", norm)
        yield _seen(f"{i}.mlp", mlp)
        yield _seen(f"{i}.mlp_scale", Array((width,)))
    yield _seen("downsampler.1", Conv(width, 2 * width, 3, 1, bias=True))
    yield _seen("downsampler.2", Conv(2 * width, 4 * width, 3, 1, bias=True))


_LAYER = "model.layers.{layer}."
_BLOCK = "vision_model.transformer.resblocks.{}."

STEP3 = Family(
    id="step3",
    model_types=("step3p7",),
    build=step3p7,
    names={
        "hf": {
            **LLAMA_HF,
            "attention.gate": _LAYER + "self_attn.g_proj",
            "moe.router": _LAYER + "moe.gate",
            "moe.correction.bias": _LAYER + "moe.router_bias",
            **{f"moe.experts.{name}": f"{_LAYER}moe.{name}_proj" for name in ("gate", "up", "down")},
            **{f"moe.shared.{name}": f"{_LAYER}share_expert.{name}_proj" for name in ("gate", "up", "down")},
            "vision.patches": "vision_model.conv1",
            "vision.position.weight": "vision_model.positional_embedding",
            "vision.embedding_norm": "vision_model.ln_pre",
            **fused({}, _BLOCK + "attn.in_proj_weight", *(f"vision.{{}}.attention.{x}.weight" for x in "qkv")),
            **fused({}, _BLOCK + "attn.in_proj_bias", *(f"vision.{{}}.attention.{x}.bias" for x in "qkv")),
            "vision.{}.attention.o": _BLOCK + "attn.out_proj",
            "vision.{}.attention_norm": _BLOCK + "ln_1",
            "vision.{}.attention_scale.weight": _BLOCK + "ls_1.gamma",
            "vision.{}.mlp_norm": _BLOCK + "ln_2",
            "vision.{}.mlp.up": _BLOCK + "mlp.c_fc",
            "vision.{}.mlp.down": _BLOCK + "mlp.c_proj",
            "vision.{}.mlp_scale.weight": _BLOCK + "ls_2.gamma",
            "vision.downsampler.{}": "vision_model.vit_downsampler{}",
            "vision.projector": "vit_large_projector",
        },
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/step3p7",),
)
