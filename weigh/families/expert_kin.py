"""Further decoders with experts: dots.llm1, EXAONE MoE, Hunyuan A13B, FlexOlmo, Solar Open, Aria."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import experts_used, grouped_attention, rope_sizes, windows
from weigh.families.experts import EXPERTS_GGML, EXPERTS_HF, STACKED, biases, finish, sparse_layer
from weigh.families.glm_moe import MLP_TYPES, per_layer
from weigh.families.names import LLAMA_HF, fused
from weigh.parts import Mlp, Moe, Norm, part
from weigh.types import Architecture, Family


def dots1(config: Config) -> Architecture:
    """The first layers may be dense; norms of heads; layers from the 62nd on slide unless written down.

    Source: transformers 5.23, {configuration,modeling}_dots1.py.
    """
    sizes = rope_sizes(config, context=2048, kv_heads=32)
    hidden = config.integer("moe_intermediate_size")
    experts = config.integer("n_routed_experts", "num_local_experts")
    shared = config.integer("n_shared_experts") * hidden
    moe = Moe(sizes.width, hidden, experts, experts_used(config, experts), shared_hidden=shared, correction="buffer")
    dense = config.integer("first_k_dense_replace", default=0, minimum=0)
    last = config.integer("max_window_layers", default=62, minimum=0)
    window = windows(config, sizes.layers, [i >= last for i in range(sizes.layers)], default=4096)
    bias, normed = biases(config), {"q_norm": sizes.head_dim, "k_norm": sizes.head_dim}
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [
        sparse_layer(
            i,
            Norm(sizes.width),
            grouped_attention(sizes, **bias, **normed, window=window[i]),
            mlp if i < dense else moe,
        )
        for i in range(sizes.layers)
    ]
    return finish(config, sizes, layers, moe, "Dots1")


def _exaone_windows(config: Config, layers: int) -> list[int | None]:
    """All but each fourth layer slide over 4,096 tokens, unless written down."""
    if config.is_null("sliding_window"):
        return [None] * layers
    pattern = config.integer("sliding_window_pattern", default=4)
    return windows(config, layers, [(i + 1) % pattern != 0 for i in range(layers)], default=4096)


def exaone_moe(config: Config) -> Architecture:
    """EXAONE 4's attention without biases; the first layer is dense unless written down.

    Source: transformers 5.23, {configuration,modeling}_exaone_moe.py.
    """
    sizes = rope_sizes(config, context=2048, kv_heads=32)
    hidden = config.integer("moe_intermediate_size")
    experts = config.integer("num_experts", "num_local_experts")
    moe = Moe(
        sizes.width,
        hidden,
        experts,
        experts_used(config, experts, default=8),
        shared_hidden=config.integer("num_shared_experts", default=1) * hidden,
        correction="buffer",
    )
    first = config.integer("first_k_dense_replace", default=1, minimum=0)
    kinds = per_layer(config, "mlp_layer_types", MLP_TYPES, sizes.layers)
    sparse = [kind == "sparse" for kind in kinds] if kinds else [i >= first for i in range(sizes.layers)]
    window = _exaone_windows(config, sizes.layers)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [
        sparse_layer(
            i,
            Norm(sizes.width),
            grouped_attention(sizes, q_norm=sizes.head_dim, k_norm=sizes.head_dim, window=window[i]),
            moe if sparse[i] else mlp,
        )
        for i in range(sizes.layers)
    ]
    return finish(config, sizes, layers, moe, "ExaoneMoe")


def hunyuan_moe(config: Config) -> Architecture:
    """Experts and one shared block of the same size in every layer; `moe_topk` may list the experts used by layer.

    The class reads neither `moe_intermediate_size` nor `num_shared_expert`.
    Source: transformers 5.23, {configuration,modeling}_hunyuan_v1_moe.py.
    """
    config.integer("head_dim")
    sizes = rope_sizes(config, context=2048)
    experts = config.integer("num_experts", "num_local_experts")
    if isinstance(config.values.get("moe_topk"), list | tuple):
        used = [min(each, experts) for each in config.integers("moe_topk", minimum=1)]
        if len(used) < sizes.layers:
            raise config.variant("moe_topk", f"a number for each of {sizes.layers} layers", list(used))
    else:
        key = {"key": "moe_topk", "other": "num_experts_per_tok"}
        used = [experts_used(config, experts, default=1, **key)] * sizes.layers
    moe = [Moe(sizes.width, sizes.hidden, experts, each, shared_hidden=sizes.hidden) for each in used]
    attention = grouped_attention(sizes, **biases(config), q_norm=sizes.head_dim, k_norm=sizes.head_dim)
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe[i]) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe[0], "HunYuanMoEV1")


def flex_olmo(config: Config) -> Architecture:
    """OLMo 2's layer with experts: norms behind attention and experts, and on whole queries and keys.

    Source: transformers 5.23, {configuration,modeling}_flex_olmo.py.
    """
    sizes = rope_sizes(config, context=4096)
    experts = config.integer("num_experts", "num_local_experts")
    moe = Moe(sizes.width, sizes.hidden, experts, experts_used(config, experts, default=5))
    attention = grouped_attention(
        sizes, **biases(config), q_norm=sizes.heads * sizes.head_dim, k_norm=sizes.kv_heads * sizes.head_dim
    )
    norm = Norm(sizes.width)
    layers = [
        [
            part("attention", attention, i),
            part("attention_post_norm", norm, i),
            part("moe", moe, i),
            part("mlp_post_norm", norm, i),
        ]
        for i in range(sizes.layers)
    ]
    return finish(config, sizes, layers, moe, "FlexOlmo")


def solar_open(config: Config) -> Architecture:
    """Experts in every layer; heads of 128 and 8 KV heads unless written down; the output has no bias.

    Source: transformers 5.23, {configuration,modeling}_solar_open.py.
    """
    sizes = rope_sizes(
        config, context=131072, kv_heads=8, head_dim=None if config.is_null("head_dim") else 128, hidden_keys=_ROUTED
    )
    experts = config.integer("n_routed_experts", "num_local_experts")
    moe = Moe(
        sizes.width,
        sizes.hidden,
        experts,
        experts_used(config, experts, default=8),
        shared_hidden=config.integer("n_shared_experts", default=1) * sizes.hidden,
        correction="buffer",
    )
    attention = grouped_attention(sizes, **biases(config, output=False))
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "SolarOpen")


_ROUTED = ("moe_intermediate_size",)


def aria_text(config: Config) -> Architecture:
    """Llama's attention; two shared experts, the two best of the others unless written down.

    Source: transformers 5.23, {configuration,modeling}_aria.py.
    """
    sizes = rope_sizes(config)
    experts = config.integer("moe_num_experts")
    shared = config.integer("moe_num_shared_experts", default=2)
    biased = config.switch("mlp_bias", default=False)
    used = experts_used(config, experts, default=2, key="moe_topk")
    moe = Moe(sizes.width, sizes.hidden, experts, used, shared_hidden=shared * sizes.hidden, shared_bias=biased)
    attention = grouped_attention(sizes, **biases(config))
    layers = [sparse_layer(i, Norm(sizes.width), attention, moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "AriaText")


_LAYER = "model.layers.{layer}."

DOTS1 = Family(
    id="dots1",
    model_types=("dots1",),
    build=dots1,
    names={"hf": EXPERTS_HF, "ggml": EXPERTS_GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2506.05767",),
)

SOLAR_OPEN = Family(
    id="solar_open",
    model_types=("solar_open",),
    build=solar_open,
    names={"hf": EXPERTS_HF},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/solar_open",),
)

EXAONE_MOE = Family(
    id="exaone_moe",
    model_types=("exaone_moe",),
    build=exaone_moe,
    names={"hf": {**EXPERTS_HF, "moe.correction.bias": _LAYER + "mlp.e_score_correction_bias"}},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/exaone_moe",),
)

HUNYUAN_MOE = Family(
    id="hunyuan_moe",
    model_types=("hunyuan_v1_moe",),
    build=hunyuan_moe,
    names={
        "hf": {
            **{key: name.replace("shared_experts", "shared_mlp") for key, name in EXPERTS_HF.items()},
            "attention.q_norm": _LAYER + "self_attn.query_layernorm",
            "attention.k_norm": _LAYER + "self_attn.key_layernorm",
            "moe.router": _LAYER + "mlp.gate.wg",
        },
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/hunyuan_v1_moe",),
)

FLEX_OLMO = Family(
    id="flex_olmo",
    model_types=("flex_olmo",),
    build=flex_olmo,
    names={
        "hf": {
            **EXPERTS_HF,
            "attention_post_norm": _LAYER + "post_attention_layernorm",
            "mlp_post_norm": _LAYER + "post_feedforward_layernorm",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2507.07024",),
)

ARIA_TEXT = Family(
    id="aria_text",
    model_types=("aria_text",),
    build=aria_text,
    names={
        "hf": {
            **fused(LLAMA_HF, _LAYER + "mlp.experts.fc1^T", *STACKED),
            "moe.experts.down": _LAYER + "mlp.experts.fc2^T",
            "moe.router": _LAYER + "mlp.router",
            "moe.shared.gate": _LAYER + "mlp.shared_experts.gate_proj",
            "moe.shared.up": _LAYER + "mlp.shared_experts.up_proj",
            "moe.shared.down": _LAYER + "mlp.shared_experts.down_proj",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2410.05993",),
)
