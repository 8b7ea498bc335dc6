"""Qwen3-Next and Qwen3.5: three layers of a gated delta net to one of gated attention; Qwen3.5 sees images as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, grouped_attention, head
from weigh.families.names import GGML, LLAMA_HF, fused
from weigh.parts import Applied, Attention, Conv, Embedding, GatedDeltaNet, Linear, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

MIXERS = ("linear_attention", "full_attention")
_OLD = {"mamba": "linear_attention", "attention": "full_attention"}

STEMS = {
    "qwen3_next": "Qwen3Next",
    "qwen3_5": "Qwen3_5",
    "qwen3_5_text": "Qwen3_5",
    "qwen3_5_moe": "Qwen3_5Moe",
    "qwen3_5_moe_text": "Qwen3_5Moe",
}
_KV_HEADS = {"qwen3_next": 2, "qwen3_5_text": 4, "qwen3_5_moe_text": 2}


def _sizes(config: Config, kind: str) -> Sizes:
    """Heads of 256 unless written down.

    Source: transformers 5.23, configuration_{qwen3_next,qwen3_5,qwen3_5_moe}.py.
    """
    heads = config.integer("num_attention_heads")
    groups = config.integer("num_key_value_heads", default=_KV_HEADS[kind])
    config.divide(heads, groups, "num_attention_heads / num_key_value_heads")
    return Sizes(
        layers=config.layers("num_hidden_layers"),
        width=config.integer("hidden_size"),
        heads=heads,
        kv_heads=groups,
        head_dim=config.integer("head_dim", default=256),
        hidden=config.integer("intermediate_size") if kind != "qwen3_5_moe_text" else 0,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=32768),
    )


def _mixers(config: Config, layers: int) -> list[str]:
    """`layer_types`, or full attention in every fourth layer (`full_attention_interval`)."""
    listed = config.words("layer_types", (*MIXERS, *_OLD))
    if listed is None:
        interval = config.integer("full_attention_interval", default=4)
        return [MIXERS[(i + 1) % interval == 0] for i in range(layers)]
    if len(listed) != layers:
        raise WeighError(
            f"`layer_types` names {len(listed)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    return [_OLD.get(kind, kind) for kind in listed]


def _attention(config: Config, sizes: Sizes) -> Attention:
    """Norms over each head, and a gate as wide as the queries in one matrix with them."""
    biased = config.switch("attention_bias", default=False)
    return grouped_attention(
        sizes,
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        o_bias=biased,
        q_norm=sizes.head_dim,
        k_norm=sizes.head_dim,
        gate=True,
    )


def _delta(config: Config, width: int) -> GatedDeltaNet:
    """The sizes of the delta net have to be written down, but for the convolution's 4 tokens."""
    keys, values = config.integer("linear_num_key_heads"), config.integer("linear_num_value_heads")
    config.divide(values, keys, "linear_num_value_heads / linear_num_key_heads")
    return GatedDeltaNet(
        width=width,
        key_heads=keys,
        value_heads=values,
        key_dim=config.integer("linear_key_head_dim"),
        value_dim=config.integer("linear_value_head_dim"),
        kernel=config.integer("linear_conv_kernel_dim", default=4),
    )


def _feeds(config: Config, kind: str, sizes: Sizes) -> list[Mlp | Moe]:
    """The feed-forward block of each layer. Qwen3-Next may have dense ones among its layers of experts."""
    dense = Mlp(sizes.width, sizes.hidden, gated=True)
    if kind == "qwen3_5_text":
        return [dense] * sizes.layers
    experts = config.integer("num_experts", "num_local_experts")
    sparse = Moe(
        width=sizes.width,
        hidden=config.integer("moe_intermediate_size"),
        experts=experts,
        used=experts_used(config, experts),
        shared_hidden=config.integer("shared_expert_intermediate_size"),
        shared_gate=True,
    )
    if kind == "qwen3_5_moe_text":
        return [sparse] * sizes.layers
    step = config.integer("decoder_sparse_step", default=1)
    plain = set(config.integers("mlp_only_layers", default=[]))
    return [sparse if i not in plain and (i + 1) % step == 0 else dense for i in range(sizes.layers)]


def _feed_path(feed: Mlp | Moe) -> str:
    return "moe" if isinstance(feed, Moe) else "mlp"


def _ahead(config: Config, sizes: Sizes, attention: Attention, feed: Mlp | Moe) -> list[Part]:
    """Multi-token prediction: layers of full attention behind a fusion of token and hidden state.

    Source: vllm, model_executor/models/qwen3_next_mtp.py. The key is Qwen3.5's; Qwen3-Next's has none.
    """
    count = config.integer("mtp_num_hidden_layers", default=0, minimum=0, maximum=config.limits.layers)
    if not count:
        return []
    if config.switch("mtp_use_dedicated_embeddings", default=False):
        raise config.variant("mtp_use_dedicated_embeddings", "false", True)
    norm = Norm(sizes.width)
    held: dict[str, Any] = {
        "fc": Linear(2 * sizes.width, sizes.width),
        "pre_fc_norm_embedding": norm,
        "pre_fc_norm_hidden": norm,
    }
    for i in range(count):
        layer = {"attention_norm": norm, "attention": attention, "mlp_norm": norm, _feed_path(feed): feed}
        held |= {f"layers.{i}.{name}": dimensions for name, dimensions in layer.items()}
    held["norm"] = norm
    return [part(f"mtp.{path}", Applied(dimensions, "never", role="mtp")) for path, dimensions in held.items()]


def _text(
    config: Config, kind: str, behind: list[Part] | None, stem: str, *, tied: bool, tower: list[Part]
) -> Architecture:
    """The decoder; `behind` is what stands behind the final norm, None = what the class's name says."""
    sizes = _sizes(config, kind)
    mixers = _mixers(config, sizes.layers)
    attention, feeds = _attention(config, sizes), _feeds(config, kind, sizes)
    delta = _delta(config, sizes.width) if "linear_attention" in mixers else None
    norm = Norm(sizes.width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("linear_attention", delta, i) if mixers[i] == "linear_attention" else part("attention", attention, i),
            part("mlp_norm", norm, i),
            part(_feed_path(feeds[i]), feeds[i], i),
        ]
        for i in range(sizes.layers)
    ]
    if behind is None:
        behind = head(config, stem, sizes.width, sizes.vocabulary, tied=tied)
    more: dict[str, int] = {}
    if isinstance(moe := feeds[-1], Moe):
        more = {"experts": moe.experts, "experts_used": moe.used, "expert_hidden": moe.hidden}
    ahead = _ahead(config, sizes, attention, feeds[-1])
    whole = assemble(config, sizes, layers, head=[*behind, *tower, *ahead], final_norm=norm)
    return replace(whole, dimensions={**whole.dimensions, **more})


def qwen_next(config: Config) -> Architecture:
    """The decoders alone: qwen3_next, qwen3_5_text and qwen3_5_moe_text, whose bare class is called TextModel."""
    kind = str(config.values["model_type"])
    tied = config.switch("tie_word_embeddings", default=False)
    name, stem = config.architecture(), STEMS[kind]
    if name in (f"{stem}TextModel", f"{stem}TextForSequenceClassification") and kind != "qwen3_next":
        stem += "Text"
    return _text(config, kind, None, stem, tied=tied, tower=[])


def _inner(config: Config, key: str) -> Config:
    """The configuration of a part of the model; its assumptions and warnings are the whole one's."""
    values = config.values.get(key)
    if not isinstance(values, Mapping):
        values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise WeighError(
                f"the configuration's `{key}` should be a configuration, found {str(values)[:60]!r}",
                rule="CONFIG-TYPE",
                path=config.source or None,
                where=f"key {key}",
            )
    inner = Config(values, config.source, limits=config.limits)
    inner.assumed, inner.warnings = config.assumed, config.warnings
    return inner


def _tower(config: Config) -> list[Part]:
    """Patches of a video, learned positions, blocks, and the merger of neighbouring patches.

    Where the configuration has none the class builds its default. A pass over text does not run it.
    Source: transformers 5.23, modeling_qwen3_5.py, Qwen3_5VisionModel.
    """
    vision = _inner(config, "vision_config")
    width = vision.integer("hidden_size", default=1152)
    hidden = vision.integer("intermediate_size", default=4304)
    heads = vision.integer("num_heads", default=16)
    patch = vision.integer("patch_size", default=16)
    frames = vision.integer("temporal_patch_size", default=2)
    merged = vision.integer("spatial_merge_size", default=2) ** 2 * width
    outputs = vision.integer("out_hidden_size", default=3584)
    channels = vision.integer("in_channels", default=3)
    positions = vision.integer("num_position_embeddings", default=2304)
    blocks = vision.integer("depth", default=27, maximum=config.limits.layers)
    size = vision.divide(width, heads, "hidden_size / num_heads of the vision tower")
    norm = Norm(width, bias=True)
    held: dict[str, Any] = {
        "patch_embed.proj": Conv(channels, width, patch, 1, bias=True, extent=(frames, patch, patch)),
        "pos_embed": Embedding(positions, width, role="position"),
    }
    block = {
        "norm1": norm,
        "norm2": norm,
        "attn": Attention(width, heads, heads, size, size, True, True, True, True, causal=False),
        "mlp": Mlp(width, hidden, up_bias=True, down_bias=True),
    }
    for i in range(blocks):
        held |= {f"blocks.{i}.{name}": dimensions for name, dimensions in block.items()}
    held["merger.norm"] = norm
    held["merger.mlp"] = Mlp(merged, merged, up_bias=True, down_bias=True)
    parts = [part(f"visual.{path}", Applied(dims, "never", role="vision")) for path, dims in held.items()]
    # The merger's second matrix has outputs of its own: two layers, not one block.
    parts[-1:] = [
        part("visual.merger.fc1", Applied(Linear(merged, merged, bias=True), "never", role="vision")),
        part("visual.merger.fc2", Applied(Linear(merged, outputs, bias=True), "never", role="vision")),
    ]
    return parts


def qwen3_5(config: Config) -> Architecture:
    """qwen3_5 and qwen3_5_moe: a decoder and a vision tower, each with a configuration of its own.

    The text class alone leaves the tower out. Whether the head is tied is said outside.
    """
    kind, name = str(config.values["model_type"]), config.architecture()
    stem = STEMS[kind]
    tied = config.switch("tie_word_embeddings", default=False)
    if config.values.get("text_config") is None:
        raise WeighError(
            "the configuration has no `text_config`",
            rule="CONFIG-MISSING",
            path=config.source or None,
            where="key text_config",
        )
    text = _inner(config, "text_config")
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the model that sees and writes")
    if name == f"{stem}ForCausalLM":
        text.values = {**text.values, "architectures": [name]}
        return _text(text, f"{kind}_text", None, stem, tied=tied, tower=[])
    if name not in (None, f"{stem}Model", f"{stem}ForConditionalGeneration"):
        raise config.variant("architectures", f"{stem}ForConditionalGeneration, {stem}Model or {stem}ForCausalLM", name)
    width, vocabulary = text.integer("hidden_size"), text.integer("vocab_size")
    behind: list[Part] = []
    if name != f"{stem}Model":
        shared = "embedding.weight" if tied else ""
        behind.append(part("head", Linear(width, vocabulary, role="head", tied=shared, positions="outputs")))
    return _text(text, f"{kind}_text", behind, stem, tied=tied, tower=_tower(config))


def _experts(stem: str) -> dict[str, str]:
    """Names of a feed-forward block of experts."""
    return {
        "router": f"{stem}.gate",
        "experts.gate": f"{stem}.experts.{{expert}}.gate_proj",
        "experts.up": f"{stem}.experts.{{expert}}.up_proj",
        "experts.down": f"{stem}.experts.{{expert}}.down_proj",
        "shared.gate": f"{stem}.shared_expert.gate_proj",
        "shared.up": f"{stem}.shared_expert.up_proj",
        "shared.down": f"{stem}.shared_expert.down_proj",
        "shared_gate": f"{stem}.shared_expert_gate",
    }


_MIXER = "model.layers.{layer}.linear_attn"
_QUERIES = ("attention.q", "attention.gate")
_HF = {
    **fused(LLAMA_HF, "model.layers.{layer}.self_attn.q_proj", *_QUERIES),
    **{f"moe.{key}": name for key, name in _experts("model.layers.{layer}.mlp").items()},
    "linear_attention.conv": f"{_MIXER}.conv1d",
    "linear_attention.dt.bias": f"{_MIXER}.dt_bias",
    "linear_attention.a.weight": f"{_MIXER}.A_log",
    "linear_attention.norm": f"{_MIXER}.norm",
    "linear_attention.out": f"{_MIXER}.out_proj",
}
_NEXT_HF = {
    **_HF,
    **dict.fromkeys(("linear_attention.qkv", "linear_attention.z"), f"{_MIXER}.in_proj_qkvz"),
    **dict.fromkeys(("linear_attention.beta", "linear_attention.alpha"), f"{_MIXER}.in_proj_ba"),
}
_NEXT_GGML = {
    **fused(GGML, "blk.{layer}.attn_q", *_QUERIES),
    "mlp_norm": "blk.{layer}.post_attention_norm",
    "linear_attention.qkv": "blk.{layer}.attn_qkv",
    "linear_attention.z": "blk.{layer}.attn_gate",
    **dict.fromkeys(("linear_attention.beta", "linear_attention.alpha"), "blk.{layer}.ssm_ba"),
    "linear_attention.conv": "blk.{layer}.ssm_conv1d",
    "linear_attention.dt": "blk.{layer}.ssm_dt",
    "linear_attention.a.weight": "blk.{layer}.ssm_a",
    "linear_attention.norm": "blk.{layer}.ssm_norm",
    "linear_attention.out": "blk.{layer}.ssm_out",
}
_TEXT_GGML = {
    **_NEXT_GGML,
    "linear_attention.beta": "blk.{layer}.ssm_beta",
    "linear_attention.alpha": "blk.{layer}.ssm_alpha",
}
_AHEAD = "mtp.layers.{}"
_TEXT_HF = {
    **_HF,
    "linear_attention.qkv": f"{_MIXER}.in_proj_qkv",
    "linear_attention.z": f"{_MIXER}.in_proj_z",
    "linear_attention.beta": f"{_MIXER}.in_proj_b",
    "linear_attention.alpha": f"{_MIXER}.in_proj_a",
    **{f"mtp.{word}": f"mtp.{word}" for word in ("fc", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")},
    f"{_AHEAD}.attention_norm": f"{_AHEAD}.input_layernorm",
    f"{_AHEAD}.mlp_norm": f"{_AHEAD}.post_attention_layernorm",
    **{f"{_AHEAD}.attention.{name}": f"{_AHEAD}.self_attn.{name}_proj" for name in "qkvo"},
    f"{_AHEAD}.attention.gate": f"{_AHEAD}.self_attn.q_proj",
    **{f"{_AHEAD}.attention.{name}_norm": f"{_AHEAD}.self_attn.{name}_norm" for name in "qk"},
    **{f"{_AHEAD}.mlp.{name}": f"{_AHEAD}.mlp.{name}_proj" for name in ("gate", "up", "down")},
    **{f"{_AHEAD}.moe.{key}": name for key, name in _experts(f"{_AHEAD}.mlp").items()},
}
_BLOCK = "visual.blocks.{}"
_WHOLE_HF = {
    **{key: name.replace("model.", "model.language_model.", 1) for key, name in _TEXT_HF.items()},
    "visual.patch_embed.proj": "model.visual.patch_embed.proj",
    "visual.pos_embed": "model.visual.pos_embed",
    f"{_BLOCK}.norm1": f"model.{_BLOCK}.norm1",
    f"{_BLOCK}.norm2": f"model.{_BLOCK}.norm2",
    **{f"{_BLOCK}.attn.{name}": f"model.{_BLOCK}.attn.qkv" for name in "qkv"},
    f"{_BLOCK}.attn.o": f"model.{_BLOCK}.attn.proj",
    f"{_BLOCK}.mlp.up": f"model.{_BLOCK}.mlp.linear_fc1",
    f"{_BLOCK}.mlp.down": f"model.{_BLOCK}.mlp.linear_fc2",
    "visual.merger.norm": "model.visual.merger.norm",
    "visual.merger.fc1": "model.visual.merger.linear_fc1",
    "visual.merger.fc2": "model.visual.merger.linear_fc2",
}
_SOURCES = ("https://arxiv.org/abs/2412.06464", "https://huggingface.co/docs/transformers/model_doc/qwen3_next")

QWEN_NEXT = Family(
    id="qwen_next",
    model_types=("qwen3_next",),
    build=qwen_next,
    names={"hf": _NEXT_HF, "ggml": _NEXT_GGML},
    prefixes=("model.", "transformer."),
    sources=_SOURCES,
)

QWEN35_TEXT = Family(
    id="qwen35_text",
    model_types=("qwen3_5_text", "qwen3_5_moe_text"),
    build=qwen_next,
    names={"hf": _TEXT_HF, "ggml": _TEXT_GGML},
    prefixes=("model.language_model.", "language_model.", "model."),
    sources=_SOURCES,
)

QWEN35 = Family(
    id="qwen35",
    model_types=("qwen3_5", "qwen3_5_moe"),
    build=qwen3_5,
    names={"hf": _WHOLE_HF},
    prefixes=("model.language_model.", "language_model.", "model."),
    sources=_SOURCES,
)
