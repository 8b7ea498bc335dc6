"""Gemma 4: wider heads where a layer attends to all, keys that serve as values, experts beside the block, a tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, grouped_attention, rope_sizes, window_size
from weigh.families.encoder import class_of, section
from weigh.families.gemma3n import LAYER_INPUTS_GGML, kv_lender, layer_inputs, layer_kinds
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Applied, Array, Attention, Linear, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

CLASSES = {
    "gemma4": ("Gemma4ForConditionalGeneration", "Gemma4Model"),
    "gemma4_text": ("Gemma4ForCausalLM", "Gemma4TextModel"),
}


def gemma4(config: Config) -> Architecture:
    """gemma4 (with a vision tower if there is a `vision_config`) and gemma4_text.

    FLOPs and states are those of text alone; a tower for sound is refused.
    Source: transformers 5.23, models/gemma4/{configuration,modeling}_gemma4.py.
    """
    kind = str(config.values["model_type"])
    whole = CLASSES[kind][0]
    name = class_of(config, CLASSES[kind], default=whole, what=f"the language model, {whole}")
    words = config
    tower: list[Part] = []
    dimensions: dict[str, int] = {}
    if kind == "gemma4":
        words = section(config, "text_config")
        config.expect("audio_config", value=None, default=None)
        if config.values.get("vision_config") is not None:
            images = section(config, "vision_config")
            tower = [*_tower(images), _projection(images, words)]
            dimensions["vision_layers"] = images.layers("num_hidden_layers")
    architecture = _text(words, tied=config.switch("tie_word_embeddings", default=True), headed=name == whole)
    return replace(
        architecture,
        parts=(*tower, *architecture.parts),
        dimensions={**architecture.dimensions, **dimensions},
    )


def _text(config: Config, *, tied: bool, headed: bool) -> Architecture:
    """The decoder: norms on both sides of each block, one input more to each layer, a head."""
    sizes = rope_sizes(config, context=131072, kv_heads=4, head_dim=256)
    kinds = layer_kinds(config, sizes.layers, every=6, last_attends_to_all=True)
    inner = config.integer("hidden_size_per_layer_input", default=256, minimum=0)
    borrowed = config.integer("num_kv_shared_layers", default=0, minimum=0, maximum=sizes.layers - 1)
    moe = _experts(config, sizes)
    norm = Norm(sizes.width)
    doubled = config.switch("use_double_wide_mlp", default=False)
    layers: list[list[Part]] = []
    for i, slides in enumerate(kinds):
        lender = kv_lender(config, kinds, i, borrowed)
        hidden = sizes.hidden * (2 if doubled and lender else 1)
        layer = [
            part("attention_norm", norm, i),
            part("attention", _attention(config, sizes, i, slides=slides, lender=lender), i),
            part("attention_post_norm", norm, i),
            part("mlp_norm", norm, i),
            part("mlp", Mlp(sizes.width, hidden, gated=True), i),
        ]
        if moe is not None:
            layer += [
                part("mlp_own_norm", norm, i),
                part("moe_norm", norm, i),
                part("moe_scale", Array((sizes.width,), role="router"), i),
                part("moe", moe, i),
                part("moe_expert_scale", Array((moe.experts,), role="router"), i),
                part("moe_post_norm", norm, i),
            ]
        layer.append(part("mlp_post_norm", norm, i))
        if inner:
            layer += [
                part("layer_gate", Linear(sizes.width, inner), i),
                part("layer_projection", Linear(inner, sizes.width), i),
                part("layer_norm", norm, i),
            ]
        layer.append(part("layer_scale", Array((1,), role="buffer"), i))
        layers.append(layer)
    head = Linear(
        sizes.width,
        sizes.vocabulary,
        role="head",
        tied="embedding.weight" if tied else "",
        positions="outputs",
    )
    routed: dict[str, Any] = {}
    if moe is not None:
        routed = {"experts": moe.experts, "experts_used": moe.used, "expert_hidden": moe.hidden}
    return assemble(
        config,
        sizes,
        layers,
        head=[part("head", head)] if headed else [],
        final_norm=norm,
        before=layer_inputs(config, sizes, inner) if inner else (),
        **routed,
    )


def _attention(config: Config, sizes: Sizes, i: int, *, slides: bool, lender: str) -> Attention:
    """Layers that attend to all have heads of `global_head_dim` (512), and by `attention_k_eq_v` other KV heads.

    `use_bidirectional_attention` "all" makes an encoder of it; with "vision" only images look ahead.
    """
    head_dim, kv_heads = sizes.head_dim, sizes.kv_heads
    same = config.switch("attention_k_eq_v", default=False)
    both = config.choice("use_bidirectional_attention", ("none", "vision", "all"), default="none") == "all"
    per_layer = config.values.get("per_layer_config")
    if isinstance(per_layer, Mapping):
        head_dim, kv_heads = _written_out(config, per_layer, i, head_dim, kv_heads)
    elif per_layer is not None:
        raise config.variant("per_layer_config", "a section of layers", per_layer)
    elif not slides:
        head_dim = config.integer("global_head_dim", default=512)
        if same:
            kv_heads = config.integer("num_global_key_value_heads", default=kv_heads)
    config.divide(sizes.heads, kv_heads, "num_attention_heads / key-value heads of a layer")
    window = (window_size(config, 512) if slides else None) or None
    if both and window is not None:
        window = window // 2 + 1
    biased = config.switch("attention_bias", default=False)
    return grouped_attention(
        replace(sizes, head_dim=head_dim, kv_heads=kv_heads),
        window=window,
        causal=not both,
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        o_bias=biased,
        q_norm=head_dim,
        k_norm=head_dim,
        values_are_keys=same and not slides,
        shared_with=lender,  # type: ignore[arg-type]
    )


def _written_out(
    config: Config, per_layer: Mapping[object, object], i: int, head_dim: int, kv_heads: int
) -> tuple[int, int]:
    """Head size and KV heads where `per_layer_config` lists the layers that differ, under their numbers."""
    found = next((value for key, value in per_layer.items() if str(key).lstrip("0") == str(i or "")), None)
    if found is None:
        return head_dim, kv_heads
    if not isinstance(found, Mapping) or not set(found) <= {"head_dim", "num_key_value_heads"}:
        raise config.variant("per_layer_config", "head_dim and num_key_value_heads by layer", found)
    inner = Config(found, config.source, limits=config.limits)
    return inner.integer("head_dim", default=head_dim), inner.integer("num_key_value_heads", default=kv_heads)


def _experts(config: Config, sizes: Sizes) -> Moe | None:
    """The experts beside the block of every layer, if `enable_moe_block`."""
    if not config.switch("enable_moe_block", default=False):
        return None
    experts = config.integer("num_experts")
    used = experts_used(config, experts, key="top_k_experts")
    return Moe(sizes.width, config.integer("moe_intermediate_size"), experts, used)


def _seen(path: str, layer: object) -> Part:
    """A layer of the tower, which text does not run through."""
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _tower(config: Config) -> Iterator[Part]:
    """Patches by a matrix, two tables of positions, layers like those of the text; bounds and scales are buffers."""
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", default=12)
    config.divide(heads, kv_heads, "num_attention_heads / num_key_value_heads")
    size = config.integer("head_dim", default=64)
    hidden = config.integer("intermediate_size")
    patch = config.integer("patch_size", default=16)
    places = config.integer("position_embedding_size", default=10240)
    clipped = config.switch("use_clipped_linears", default=False)
    yield _seen("patches", Linear(3 * patch**2, width))
    yield _seen("position", Array((2, places, width), role="vision"))
    attention = Attention(width, heads, kv_heads, size, size, q_norm=size, k_norm=size, causal=False)
    for i in range(config.layers("num_hidden_layers")):
        for path, layer in (
            ("attention_norm", Norm(width)),
            ("attention", attention),
            ("attention_post_norm", Norm(width)),
            ("mlp_norm", Norm(width)),
            ("mlp", Mlp(width, hidden, gated=True)),
            ("mlp_post_norm", Norm(width)),
        ):
            yield _seen(f"{i}.{path}", layer)
        if clipped:
            for matrix in _CLIPPED:
                for bound in _BOUNDS:
                    yield _seen(f"{i}.{matrix}.{bound}", Array((), role="buffer"))
    if config.switch("standardize", default=False):
        yield _seen("shift", Array((width,), role="buffer"))
        yield _seen("scale", Array((width,), role="buffer"))


def _projection(images: Config, words: Config) -> Part:
    """From the width of the tower to that of the text."""
    return _seen("projection", Linear(images.integer("hidden_size"), words.integer("hidden_size")))


_BOUNDS = ("input_min", "input_max", "output_min", "output_max")
_CLIPPED = (
    *(f"self_attn.{x}_proj" for x in "qkvo"),
    *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
)
_SEEN = "model.vision_tower."
_BLOCK = _SEEN + "encoder.layers.{}."
_TOWER = {
    "vision.patches": _SEEN + "patch_embedder.input_proj",
    "vision.position.weight": _SEEN + "patch_embedder.position_embedding_table",
    **{f"vision.{{}}.attention.{x}": f"{_BLOCK}self_attn.{x}_proj.linear" for x in "qkvo"},
    **{f"vision.{{}}.attention.{x}_norm": f"{_BLOCK}self_attn.{x}_norm" for x in "qk"},
    **{f"vision.{{}}.mlp.{x}": f"{_BLOCK}mlp.{x}_proj.linear" for x in ("gate", "up", "down")},
    **{f"vision.{{}}.{m}.{b}.weight": f"{_BLOCK}{m}.{b}" for m in _CLIPPED for b in _BOUNDS},
    "vision.{}.attention_norm": _BLOCK + "input_layernorm",
    "vision.{}.attention_post_norm": _BLOCK + "post_attention_layernorm",
    "vision.{}.mlp_norm": _BLOCK + "pre_feedforward_layernorm",
    "vision.{}.mlp_post_norm": _BLOCK + "post_feedforward_layernorm",
    "vision.shift.weight": _SEEN + "std_bias",
    "vision.scale.weight": _SEEN + "std_scale",
    "vision.projection": "model.embed_vision.embedding_projection",
}
_LAYER = "model.layers.{layer}."
_TEXT = {
    **LLAMA_HF,
    "attention_post_norm": _LAYER + "post_attention_layernorm",
    "mlp_norm": _LAYER + "pre_feedforward_layernorm",
    "mlp_post_norm": _LAYER + "post_feedforward_layernorm",
    "mlp_own_norm": _LAYER + "post_feedforward_layernorm_1",
    "moe_norm": _LAYER + "pre_feedforward_layernorm_2",
    "moe_post_norm": _LAYER + "post_feedforward_layernorm_2",
    "moe_scale.weight": _LAYER + "router.scale",
    "moe_expert_scale.weight": _LAYER + "router.per_expert_scale",
    "moe.router": _LAYER + "router.proj",
    "moe.experts.gate.weight": _LAYER + "experts.gate_up_proj",
    "moe.experts.up.weight": _LAYER + "experts.gate_up_proj",
    "moe.experts.down.weight": _LAYER + "experts.down_proj",
    "layer_gate": _LAYER + "per_layer_input_gate",
    "layer_projection": _LAYER + "per_layer_projection",
    "layer_norm": _LAYER + "post_per_layer_input_norm",
    "layer_scale.weight": _LAYER + "layer_scalar",
    "layer_embedding": "model.embed_tokens_per_layer",
    "layer_inputs": "model.per_layer_model_projection",
    "layer_inputs_norm": "model.per_layer_projection_norm",
}
SOURCES = ("https://github.com/huggingface/transformers/tree/main/src/transformers/models/gemma4",)

GEMMA4 = Family(
    id="gemma4",
    model_types=("gemma4",),
    build=gemma4,
    names={"hf": {**{k: s.replace("model.", "model.language_model.", 1) for k, s in _TEXT.items()}, **_TOWER}},
    prefixes=("model.",),
    sources=SOURCES,
)

GEMMA4_TEXT = Family(
    id="gemma4_text",
    model_types=("gemma4_text",),
    build=gemma4,
    names={
        "hf": _TEXT,
        "ggml": {
            **GGML,
            **LAYER_INPUTS_GGML,
            **dict.fromkeys(("moe.experts.gate", "moe.experts.up"), "blk.{layer}.ffn_gate_up_exps"),
            "mlp_own_norm": "blk.{layer}.post_ffw_norm_1",
            "moe_norm": "blk.{layer}.pre_ffw_norm_2",
            "moe_post_norm": "blk.{layer}.post_ffw_norm_2",
            "moe_scale.weight": "blk.{layer}.ffn_gate_inp.scale",
            "moe_expert_scale.weight": "blk.{layer}.ffn_down_exps.scale",
            "layer_scale": "blk.{layer}.layer_output_scale",
        },
    },
    prefixes=("model.",),
    sources=SOURCES,
)
