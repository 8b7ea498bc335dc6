"""Qwen 2 VL and Qwen 2.5 VL: Qwen 2 with a vision tower that merges 2 x 2 patches into one token of the text."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, section
from weigh.families.names import LLAMA_HF, fused
from weigh.families.qwen import qwen
from weigh.parts import Applied, Conv, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

STEMS = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}

TOWERS = {
    "qwen2_vl": {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16},
    "qwen2_5_vl": {
        "depth": 32,
        "hidden_size": 3584,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}
"""Sizes that `vision_config` may leave out, since it is saved as its differences from these: transformers 5.23,
configuration_{qwen2_vl,qwen2_5_vl}.py."""


def qwen2_vl(config: Config) -> Architecture:
    """The tower, then Qwen 2 by `text_config`, or by the configuration itself where there is none, as in older files.

    KV heads are 8, and layers slide from the 80th on where they slide at all, unless written down. FLOPs and states
    are those of text alone. Source: transformers 5.23, {configuration,modeling}_{qwen2_vl,qwen2_5_vl}.py.
    """
    kind = str(config.values["model_type"])
    whole = STEMS[kind] + "ForConditionalGeneration"
    class_of(config, (whole,), default=whole, what="the model for conditional generation")
    tied = config.switch("tie_word_embeddings", default=False)
    values = dict(config.values)
    if config.values.get("text_config") is not None or "hidden_size" not in values:
        words = section(config, "text_config")
        values = dict(words.values)
        tied = tied or words.switch("tie_word_embeddings", default=False)
    # The class reads no `head_dim`.
    values.pop("head_dim", None)
    if "num_key_value_heads" not in values:
        config.assumed.append("num_key_value_heads = 8")
        values["num_key_value_heads"] = 8
    values.setdefault("max_window_layers", 80)
    inner = Config(
        {**values, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": tied},
        config.source,
        limits=config.limits,
    )
    inner.assumed, inner.warnings = config.assumed, config.warnings
    text = qwen(inner)
    images = section(config, "vision_config", default=TOWERS[kind])
    missing = {key: size for key, size in TOWERS[kind].items() if images.values.get(key) is None}
    config.assumed.extend(f"vision_config.{key} = {size}" for key, size in missing.items())
    images.values = {**images.values, **missing}
    parts = (*_tower(images, kind), *text.parts)
    dimensions = {**text.dimensions, "vision_layers": images.layers("depth", "num_hidden_layers")}
    return Architecture(parts, dimensions, tuple(config.warnings), tuple(config.assumed))


def _seen(path: str, layer: object) -> Part:
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _tower(config: Config, kind: str) -> Iterator[Part]:
    """Patches of two frames, layers, a merger. Qwen 2 has layer norms and `mlp_ratio`; 2.5 gates its blocks."""
    newer = kind == "qwen2_5_vl"
    width = config.integer("hidden_size" if newer else "embed_dim")
    out = config.integer("out_hidden_size" if newer else "hidden_size")
    heads = config.integer("num_heads", "num_attention_heads")
    patch = config.integer("patch_size", default=14)
    frames = config.integer("temporal_patch_size", default=2)
    channels = config.integer("in_channels", default=3)
    hidden = config.integer("intermediate_size") if newer else width * config.integer("mlp_ratio", default=4)
    yield _seen("patches", Conv(channels, width, patch, 1, extent=(frames, patch, patch)))
    norm = Norm(width, bias=not newer)
    attention = both_ways(width, heads, config.divide(width, heads, "width of the tower / num_heads"))
    mlp = Mlp(width, hidden, gated=newer, up_bias=True, down_bias=True)
    for i in range(config.layers("depth", "num_hidden_layers")):
        yield _seen(f"{i}.attention_norm", norm)
        yield _seen(f"{i}.attention", attention)
        yield _seen(f"{i}.mlp_norm", norm)
        yield _seen(f"{i}.mlp", mlp)
    merged = width * config.integer("spatial_merge_size", default=2) ** 2
    yield _seen("merger.norm", norm)
    yield _seen("merger.up", Linear(merged, merged, bias=True))
    yield _seen("merger.down", Linear(merged, out, bias=True))


_BLOCK = "visual.blocks.{}."
_NAMES = {
    **LLAMA_HF,
    **fused({}, _BLOCK + "attn.qkv", *(f"vision.{{}}.attention.{name}" for name in "qkv")),
    "vision.patches": "visual.patch_embed.proj",
    "vision.{}.attention_norm": _BLOCK + "norm1",
    "vision.{}.attention.o": _BLOCK + "attn.proj",
    "vision.{}.mlp_norm": _BLOCK + "norm2",
    "vision.merger.norm": "visual.merger.ln_q",
    "vision.merger.up": "visual.merger.mlp.0",
    "vision.merger.down": "visual.merger.mlp.2",
}
_SOURCE = "https://github.com/huggingface/transformers/tree/main/src/transformers/models/"

QWEN2_VL = Family(
    id="qwen2_vl",
    model_types=("qwen2_vl",),
    build=qwen2_vl,
    names={"hf": {**_NAMES, "vision.{}.mlp.up": _BLOCK + "mlp.fc1", "vision.{}.mlp.down": _BLOCK + "mlp.fc2"}},
    sources=("https://arxiv.org/abs/2409.12191", _SOURCE + "qwen2_vl"),
)

QWEN25_VL = Family(
    id="qwen2_5_vl",
    model_types=("qwen2_5_vl",),
    build=qwen2_vl,
    names={
        "hf": {**_NAMES, **{f"vision.{{}}.mlp.{name}": f"{_BLOCK}mlp.{name}_proj" for name in ("gate", "up", "down")}}
    },
    sources=("https://arxiv.org/abs/2502.13923", _SOURCE + "qwen2_5_vl"),
)
