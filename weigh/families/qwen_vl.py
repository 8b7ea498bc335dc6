"""Qwen 3 VL: Qwen 3, dense or mixture of experts, with a vision tower whose inner layers also feed the text."""

from __future__ import annotations

from collections.abc import Iterator

from weigh.families.config import Config
from weigh.families.encoder import both_ways, class_of, section
from weigh.families.names import LLAMA_HF, fused
from weigh.families.qwen import qwen, qwen_moe
from weigh.parts import Applied, Conv, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part

STEMS = {"qwen3_vl": "Qwen3VL", "qwen3_vl_moe": "Qwen3VLMoe"}
TEXT = {"qwen3_vl": ("qwen3", "Qwen3"), "qwen3_vl_moe": ("qwen3_moe", "Qwen3Moe")}
READ = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "attention_bias",
    "decoder_sparse_step",
    "moe_intermediate_size",
    "num_experts_per_tok",
    "num_experts",
    "mlp_only_layers",
)
"""Keys of `text_config` that the class reads: there are no windows, and the head is tied by the outer configuration."""

TOWER = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "out_hidden_size": 3584,
}
"""Sizes of the tower where there is no `vision_config`: transformers 5.23, Qwen3VLVisionConfig."""


def qwen_vl(config: Config) -> Architecture:
    """The vision tower, then Qwen 3 with the sizes of `text_config`. FLOPs and states are those of text alone.

    Source: transformers 5.23, models/qwen3_vl{,_moe}/{configuration,modeling}_qwen3_vl{,_moe}.py.
    """
    kind = str(config.values["model_type"])
    stem = STEMS[kind]
    name = class_of(
        config,
        (stem + "ForConditionalGeneration", stem + "Model"),
        default=stem + "ForConditionalGeneration",
        what="the model for conditional generation",
    )
    words = section(config, "text_config")
    text_type, text_stem = TEXT[kind]
    values = {key: words.values[key] for key in READ if key in words.values}
    if kind == "qwen3_vl_moe" and values.get("num_key_value_heads") is None:
        config.assumed.append("num_key_value_heads = 16")
        values["num_key_value_heads"] = 16
    inner = Config(
        {
            **values,
            "model_type": text_type,
            "architectures": [text_stem + ("Model" if name.endswith("Model") else "ForCausalLM")],
            "tie_word_embeddings": config.switch("tie_word_embeddings", default=False),
        },
        config.source,
        limits=config.limits,
    )
    text = qwen(inner) if kind == "qwen3_vl" else qwen_moe(inner)
    tower = section(config, "vision_config", default=TOWER)
    parts = (*_tower(tower), *text.parts)
    dimensions = {**text.dimensions, "vision_layers": tower.layers("depth")}
    warnings = (*config.warnings, *text.warnings)
    left_out = [line for line in text.assumptions if not line.startswith("use_sliding_window")]
    return Architecture(parts, dimensions, warnings, (*config.assumed, *left_out))


def _seen(path: str, layer: Conv | Embedding | Linear | Norm | Mlp | object) -> Part:
    """A layer of the tower, which text does not run through."""
    return part(f"vision.{path}", Applied(layer, "never", role="vision"))


def _tower(config: Config) -> Iterator[Part]:
    """Patches of two frames, positions, layers, and mergers of 2 x 2 patches into one token of the text."""
    width = config.integer("hidden_size")
    heads = config.integer("num_heads")
    head_dim = config.divide(width, heads, "hidden_size / num_heads")
    patch = config.integer("patch_size", default=16)
    frames = config.integer("temporal_patch_size", default=2)
    channels = config.integer("in_channels", default=3)
    yield _seen("patches", Conv(channels, width, patch, 1, bias=True, extent=(frames, patch, patch)))
    yield _seen("position", Embedding(config.integer("num_position_embeddings", default=2304), width))
    attention = both_ways(width, heads, head_dim)
    mlp = Mlp(width, config.integer("intermediate_size"), up_bias=True, down_bias=True)
    norm = Norm(width, bias=True)
    for i in range(config.layers("depth")):
        yield _seen(f"{i}.attention_norm", norm)
        yield _seen(f"{i}.attention", attention)
        yield _seen(f"{i}.mlp_norm", norm)
        yield _seen(f"{i}.mlp", mlp)
    merged = width * config.integer("spatial_merge_size", default=2) ** 2
    out = config.integer("out_hidden_size")
    deep = len(config.integers("deepstack_visual_indexes", default=[8, 16, 24]))
    for path in ("merger", *(f"mergers.{i}" for i in range(deep))):
        yield _seen(f"{path}.norm", norm if path == "merger" else Norm(merged, bias=True))
        yield _seen(f"{path}.up", Linear(merged, merged, bias=True))
        yield _seen(f"{path}.down", Linear(merged, out, bias=True))


_BLOCK = "model.visual.blocks.{}."
_TOWER_NAMES = {
    **fused({}, _BLOCK + "attn.qkv", *(f"vision.{{}}.attention.{x}" for x in "qkv")),
    "vision.patches": "model.visual.patch_embed.proj",
    "vision.position": "model.visual.pos_embed",
    "vision.{}.attention_norm": _BLOCK + "norm1",
    "vision.{}.attention.o": _BLOCK + "attn.proj",
    "vision.{}.mlp_norm": _BLOCK + "norm2",
    "vision.{}.mlp.up": _BLOCK + "mlp.linear_fc1",
    "vision.{}.mlp.down": _BLOCK + "mlp.linear_fc2",
    "vision.merger.norm": "model.visual.merger.norm",
    "vision.merger.up": "model.visual.merger.linear_fc1",
    "vision.merger.down": "model.visual.merger.linear_fc2",
    "vision.mergers.{}.norm": "model.visual.deepstack_merger_list.{}.norm",
    "vision.mergers.{}.up": "model.visual.deepstack_merger_list.{}.linear_fc1",
    "vision.mergers.{}.down": "model.visual.deepstack_merger_list.{}.linear_fc2",
}
_TEXT_NAMES = {key: stem.replace("model.", "model.language_model.", 1) for key, stem in LLAMA_HF.items()}
_MLP = "model.language_model.layers.{layer}.mlp."

QWEN_VL = Family(
    id="qwen_vl",
    model_types=("qwen3_vl",),
    build=qwen_vl,
    names={"hf": {**_TEXT_NAMES, **_TOWER_NAMES}},
    prefixes=("model.",),
    sources=("https://github.com/huggingface/transformers/tree/main/src/transformers/models/qwen3_vl",),
)

QWEN_VL_MOE = Family(
    id="qwen_vl_moe",
    model_types=("qwen3_vl_moe",),
    build=qwen_vl,
    names={
        "hf": {
            **_TEXT_NAMES,
            **_TOWER_NAMES,
            "moe.router": _MLP + "gate",
            "moe.experts.gate.weight": _MLP + "experts.gate_up_proj",
            "moe.experts.up.weight": _MLP + "experts.gate_up_proj",
            "moe.experts.down.weight": _MLP + "experts.down_proj",
        }
    },
    prefixes=("model.",),
    sources=("https://github.com/huggingface/transformers/tree/main/src/transformers/models/qwen3_vl",),
)
