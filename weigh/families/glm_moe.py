"""Grouped attention with experts in all but some layers: GLM 4.5, ERNIE 4.5 and MiMo-V2-Flash."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, experts_used, grouped_attention, rope_sizes, window_size, windows
from weigh.families.experts import EXPERTS_GGML, EXPERTS_HF, Feed, biases, finish, sparse_layer
from weigh.parts import Attention, Mlp, Moe, Norm
from weigh.types import Architecture, Family, WeighError

MLP_TYPES = ("dense", "sparse")


def per_layer(config: Config, key: str, allowed: tuple[str, ...], layers: int) -> tuple[str, ...] | None:
    """A list with a word for each layer, or None where the configuration has none. Errors: CONFIG-RANGE."""
    words = config.words(key, allowed)
    if words is not None and len(words) != layers:
        raise WeighError(
            f"`{key}` names {len(words)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where=f"key {key}",
        )
    return words


def glm4_moe(config: Config) -> Architecture:
    """The first layers are dense, one unless written down; biases on q, k, v only; norms of heads by `use_qk_norm`.

    Source: transformers 5.23, {configuration,modeling}_glm4_moe.py.
    """
    sizes = rope_sizes(config, context=131072, kv_heads=8)
    experts = config.integer("n_routed_experts", "num_local_experts")
    hidden = config.integer("moe_intermediate_size")
    shared = config.integer("n_shared_experts", default=1, minimum=0)
    used = experts_used(config, experts, default=8)
    moe = Moe(sizes.width, hidden, experts, used, shared_hidden=shared * hidden, correction="buffer")
    dense = config.integer("first_k_dense_replace", default=1, minimum=0)
    normed = sizes.head_dim if config.switch("use_qk_norm", default=False) else 0
    attention = grouped_attention(sizes, **biases(config, output=False), q_norm=normed, k_norm=normed)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    norm = Norm(sizes.width)
    layers = [sparse_layer(i, norm, attention, mlp if i < dense else moe) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "Glm4Moe")


def ernie(config: Config) -> Architecture:
    """Experts from `moe_layer_start_index` to `moe_layer_end_index` every `moe_layer_interval`; one switch of biases.

    The correction of the router's scores is a parameter without gradient, so it is counted and not trained. The head
    is tied unless written down. Source: transformers 5.23, {configuration,modeling}_ernie4_5_moe.py.
    """
    sizes = rope_sizes(config, context=131072, kv_heads=4)
    biased = config.switch("use_bias", default=False)
    experts = config.integer("moe_num_experts", "num_experts")
    hidden = config.integer("moe_intermediate_size")
    shared = hidden * config.integer("moe_num_shared_experts", default=2, minimum=0)
    moe = Moe(
        sizes.width,
        hidden,
        experts,
        experts_used(config, experts, default=6, key="moe_k", other="num_experts_per_tok"),
        shared_hidden=shared,
        shared_bias=biased,
        correction="frozen",
    )
    first = config.integer("moe_layer_start_index", default=1, minimum=0)
    last = config.integer("moe_layer_end_index", default=-1, minimum=-1)
    step = config.integer("moe_layer_interval", default=1)
    last = sizes.layers - 1 if last == -1 else last
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=biased, down_bias=biased)
    feeds: list[Feed] = [moe if first <= i <= last and (i + 1) % step == 0 else mlp for i in range(sizes.layers)]
    attention = grouped_attention(sizes, **biases(config, key="use_bias"))
    layers = [sparse_layer(i, Norm(sizes.width), attention, feed) for i, feed in enumerate(feeds)]
    return finish(config, sizes, layers, moe, "Ernie4_5_Moe", tied=True, bias=biased)


def _mimo_attention(config: Config, sizes: Sizes) -> list[Attention]:
    """Layers that slide have twice the KV heads and sinks; values are narrower than keys, 128 unless written down.

    All but the first and every sixth layer slide over 129 tokens unless written down; `sliding_window_size` does not
    count the token itself.
    """
    count = range(sizes.layers)
    window = windows(config, sizes.layers, [i > 0 and (i + 1) % 6 != 0 for i in count], default=129)
    before = config.optional_integer("sliding_window_size")
    types = per_layer(config, "layer_types", ("full_attention", "sliding_attention"), sizes.layers)
    slides = [kind == "sliding_attention" for kind in types] if types else [i > 0 and (i + 1) % 6 != 0 for i in count]
    value_dim = config.integer("v_head_dim", default=128)
    if any(slides):
        config.divide(sizes.heads, 2 * sizes.kv_heads, "num_attention_heads / (2 x num_key_value_heads)")
        if before is None and window_size(config, 129) is None:
            raise config.variant("sliding_window", "a number of tokens", None)
    biased = config.switch("attention_bias", default=False)
    return [
        Attention(
            sizes.width,
            sizes.heads,
            sizes.kv_heads * (2 if slides[i] else 1),
            sizes.head_dim,
            value_dim,
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            window=before + 1 if before is not None and slides[i] else window[i],
            sinks=slides[i],
        )
        for i in count
    ]


def mimo(config: Config) -> Architecture:
    """MiMo-V2-Flash: heads of 192 and 4 KV heads unless written down; the first layer is dense, nothing is shared.

    Source: transformers 5.23, {configuration,modeling}_mimo_v2_flash.py.
    """
    sizes = rope_sizes(config, context=131072, kv_heads=4, head_dim=192)
    experts = config.integer("n_routed_experts", "num_local_experts")
    moe = Moe(
        sizes.width,
        config.integer("moe_intermediate_size"),
        experts,
        experts_used(config, experts, default=8),
        correction="buffer",
    )
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    kinds = per_layer(config, "mlp_layer_types", MLP_TYPES, sizes.layers)
    sparse = [kind == "sparse" for kind in kinds] if kinds else [i > 0 for i in range(sizes.layers)]
    attention = _mimo_attention(config, sizes)
    layers = [sparse_layer(i, Norm(sizes.width), attention[i], moe if sparse[i] else mlp) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, "MiMoV2Flash")


_MIMO_CLASS = "https://github.com/huggingface/transformers/blob/main/src/transformers/models/mimo_v2_flash/"

GLM4_MOE = Family(
    id="glm4_moe",
    model_types=("glm4_moe",),
    build=glm4_moe,
    names={"hf": EXPERTS_HF, "ggml": {**EXPERTS_GGML, "mlp_norm": "blk.{layer}.post_attention_norm"}},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2508.06471",),
)

ERNIE_MOE = Family(
    id="ernie4_5_moe",
    model_types=("ernie4_5_moe",),
    build=ernie,
    names={
        "hf": {
            **EXPERTS_HF,
            "moe.correction.bias": "model.layers.{layer}.mlp.moe_statics.e_score_correction_bias",
        }
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/ernie4_5_moe",),
)

MIMO_FLASH = Family(
    id="mimo_v2_flash",
    model_types=("mimo_v2_flash",),
    build=mimo,
    names={
        "hf": {**EXPERTS_HF, "attention.sinks.weight": "model.layers.{layer}.self_attn.attention_sink_bias"},
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/mimo_v2_flash",),
    ignored={
        f"mimo_v2_flash.{key}": _MIMO_CLASS + "configuration_mimo_v2_flash.py"
        for key in ("swa_num_key_value_heads", "swa_head_dim", "swa_v_head_dim", "hybrid_layer_pattern")
    },
)
