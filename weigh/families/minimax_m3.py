"""MiniMax M3 (text): grouped attention over the best blocks of tokens, experts behind the first dense layers."""

from __future__ import annotations

from collections.abc import Mapping

from weigh.families.config import Config
from weigh.families.decoder import experts_used, grouped_attention, rope_sizes
from weigh.families.experts import STACKED, Feed, finish
from weigh.families.glm_moe import MLP_TYPES, per_layer
from weigh.families.names import LLAMA_HF, fused
from weigh.parts import BlockIndexer, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part

MIXERS = ("minimax_m3_sparse", "full_attention")
STEMS = {"minimax_m3_vl_text": "MiniMaxM3VL", "minimax_m3": "MiniMaxM3"}


def _switched(config: Config, key: str, layers: int) -> list[bool] | None:
    """A list of zeros and ones, one for each layer, or None where the configuration has none."""
    if config.values.get(key) is None:
        return None
    listed = config.integers(key)
    if len(listed) != layers:
        raise config.variant(key, f"a zero or one for each of {layers} layers", list(listed))
    return [value > 0 for value in listed]


def _sections(config: Config) -> Config:
    """The keys of `sparse_attention_config` in released configurations."""
    listed = config.values.get("sparse_attention_config")
    if listed is not None and not isinstance(listed, Mapping):
        raise config.variant("sparse_attention_config", "a section of keys", listed)
    inner = Config(listed or {}, config.source, limits=config.limits)
    inner.assumed = config.assumed
    return inner


def minimax_m3(config: Config) -> Architecture:
    """minimax_m3_vl_text, and minimax_m3, whose class is published with the model and is not in transformers 5.23.

    Of the latter the sizes are read as the former reads them, since its configuration is the one that the former
    converts; what it has beyond (an output gate, another norm of queries and keys) is refused.
    Source: transformers 5.23, models/minimax_m3_vl/{configuration,modeling}_minimax_m3_vl.py.
    """
    kind = str(config.values["model_type"])
    if kind == "minimax_m3":
        config.expect("attention_output_gate", value=False, default=False)
        config.expect("qk_norm_type", value="per_head", default="per_head")
        config.expect("use_qk_norm", value=True, default=True)
        config.expect("n_shared_experts", value=1, default=1)
    sizes = rope_sizes(config, context=524288, kv_heads=4, head_dim=128)
    sparse_config = _sections(config)
    indexer = BlockIndexer(
        sizes.width,
        heads=_indexed(config, sparse_config, "index_n_heads", "sparse_num_index_heads", 4),
        head_dim=_indexed(config, sparse_config, "index_head_dim", "sparse_index_dim", 128),
    )
    block = _indexed(config, sparse_config, "index_block_size", "sparse_block_size", 128)
    top = block * _indexed(config, sparse_config, "index_topk_blocks", "sparse_topk_blocks", 16)
    mixers = per_layer(config, "layer_types", MIXERS, sizes.layers)
    picks = [mixer == MIXERS[0] for mixer in mixers] if mixers else None
    picks = picks or _switched(sparse_config, "sparse_attention_freq", sizes.layers) or [False] * sizes.layers
    kinds = per_layer(config, "mlp_layer_types", MLP_TYPES, sizes.layers)
    routes = [each == "sparse" for each in kinds] if kinds else None
    routes = routes or _switched(config, "moe_layer_freq", sizes.layers) or [True] * sizes.layers
    experts = config.integer("num_local_experts", "num_experts")
    moe = Moe(
        sizes.width,
        sizes.hidden,
        experts,
        experts_used(config, experts, default=4),
        shared_hidden=config.integer("shared_intermediate_size"),
        correction="buffer",
    )
    dense = Mlp(sizes.width, config.integer("dense_intermediate_size"), gated=True)
    normed = {"q_norm": sizes.head_dim, "k_norm": sizes.head_dim}
    norm = Norm(sizes.width)
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        feed: Feed = moe if routes[i] else dense
        layer = [
            part("attention_norm", norm, i),
            part("attention", grouped_attention(sizes, **normed, top=top if picks[i] else 0), i),
            part("mlp_norm", norm, i),
            part("moe" if routes[i] else "mlp", feed, i),
        ]
        if picks[i]:
            layer.insert(1, part("indexer", indexer, i))
        layers.append(layer)
    bare = config.architecture() == "MiniMaxM3VLTextModel"
    return finish(config, sizes, layers, moe, STEMS[kind] + ("Text" if bare else ""))


def _indexed(config: Config, listed: Config, key: str, released: str, default: int) -> int:
    """The released section wins over the class's own key."""
    if listed.values.get(released) is not None:
        return listed.integer(released)
    return config.integer(key, default=default)


_ATTENTION = "model.layers.{layer}.self_attn."
_FEED = "model.layers.{layer}.mlp."
_INDEXER = {
    "indexer.q": _ATTENTION + "indexer.q_proj",
    "indexer.k": _ATTENTION + "indexer.k_proj",
    "indexer.q_norm": _ATTENTION + "indexer.q_norm",
    "indexer.k_norm": _ATTENTION + "indexer.k_norm",
}
_SHARED = {
    "moe.shared.gate": _FEED + "shared_experts.gate_up_proj",
    "moe.shared.up": _FEED + "shared_experts.gate_up_proj",
    "moe.shared.down": _FEED + "shared_experts.down_proj",
}
_SOURCES = ("https://huggingface.co/docs/transformers/main/model_doc/minimax_m3_vl",)

MINIMAX_M3 = Family(
    id="minimax_m3",
    model_types=("minimax_m3_vl_text", "minimax_m3"),
    build=minimax_m3,
    names={
        "hf": {
            **fused(LLAMA_HF, _FEED + "gate_up_proj", "mlp.gate", "mlp.up"),
            **_INDEXER,
            **_SHARED,
            "moe.router": _FEED + "gate",
            "moe.correction.bias": _FEED + "gate.e_score_correction_bias",
            **dict.fromkeys([f"{key}.weight" for key in STACKED], _FEED + "experts.gate_up_proj"),
            "moe.experts.down.weight": _FEED + "experts.down_proj",
        },
    },
    prefixes=("model.",),
    sources=_SOURCES,
)
