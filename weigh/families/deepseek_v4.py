"""DeepSeek V4: a window of shared rows, compressed rows of what lies before, lanes instead of one residual stream."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, experts_used
from weigh.families.encoder import section
from weigh.families.experts import finish
from weigh.families.glm_moe import per_layer
from weigh.parts import Compressor, HyperConnection, Moe, Norm, SharedAttention, part
from weigh.types import Architecture, Family, Part

WINDOW = "sliding_attention"
SPARSE = "compressed_sparse_attention"
HEAVY = "heavily_compressed_attention"
BY_RATIO = {0: WINDOW, 4: SPARSE, 128: HEAVY}
"""`compress_ratios` of older configurations; no other ratio is known."""
ROUTING = ("hash_moe", "moe")


def _kinds(config: Config, layers: int) -> tuple[str, ...]:
    """`layer_types`, else the ratios, else two heavy layers and then heavy and sparse ones in turn.

    The ratios may name the layers for multi-token prediction too, behind the others.
    """
    types = per_layer(config, "layer_types", (WINDOW, SPARSE, HEAVY), layers)
    if types is not None:
        return types
    if config.values.get("compress_ratios") is None:
        return tuple(SPARSE if i > 2 and i % 2 else HEAVY for i in range(layers))
    ratios = config.integers("compress_ratios")
    if len(ratios) < layers or not set(ratios) <= set(BY_RATIO):
        raise config.variant("compress_ratios", f"{layers} numbers out of 0, 4 and 128", list(ratios))
    return tuple(BY_RATIO[ratio] for ratio in ratios[:layers])


def _rates(config: Config) -> dict[str, int]:
    """Tokens a compressed row stands for, by kind of layer: 4 and 128 unless written down, one way or the other."""
    rates = {SPARSE: 4, HEAVY: 128}
    given = config.values.get("compress_rates")
    if given is not None:
        inner = section(config, "compress_rates")
        rates = {kind: inner.integer(kind) for kind in rates}
    for kind, key in ((SPARSE, "compress_rate_csa"), (HEAVY, "compress_rate_hca")):
        rates[kind] = config.optional_integer(key) or rates[kind]
    return rates


def _hashed(config: Config, layers: int) -> list[bool]:
    """Layers whose experts a table of tokens fixes: `mlp_layer_types`, else the first `num_hash_layers`, or 3."""
    kinds = per_layer(config, "mlp_layer_types", ROUTING, layers)
    if kinds is not None:
        return [kind == "hash_moe" for kind in kinds]
    first = config.integer("num_hash_layers", default=3, minimum=0)
    return [i < first for i in range(layers)]


def _attention(config: Config, sizes: Sizes) -> list[list[Part]]:
    """The window of each layer, and the compressor of those that look further back."""
    kinds = _kinds(config, sizes.layers)
    rates = _rates(config)
    groups = config.integer("o_groups")
    config.divide(sizes.heads * sizes.head_dim, groups, "num_attention_heads x head_dim / o_groups")
    window = SharedAttention(
        width=sizes.width,
        heads=sizes.heads,
        head_dim=sizes.head_dim,
        q_rank=config.integer("q_lora_rank"),
        o_groups=groups,
        o_rank=config.integer("o_lora_rank"),
        window=config.integer("sliding_window", default=128),
    )
    further = {
        HEAVY: Compressor(sizes.width, sizes.heads, sizes.head_dim, rates[HEAVY]),
        SPARSE: Compressor(
            sizes.width,
            sizes.heads,
            sizes.head_dim,
            rates[SPARSE],
            overlap=True,
            top=config.integer("index_topk", default=512),
            index_heads=config.integer("index_n_heads"),
            index_dim=config.integer("index_head_dim"),
            q_rank=window.q_rank,
        ),
    }
    return [
        [part("attention", window, i), *([part("compressor", further[kind], i)] if kind in further else [])]
        for i, kind in enumerate(kinds)
    ]


def deepseek_v4(config: Config) -> Architecture:
    """Every layer has experts and a shared one of the same width, whatever `n_shared_experts` says; 4 lanes by default.

    Source: transformers 5.23, {configuration,modeling}_deepseek_v4.py.
    """
    hidden = config.integer("moe_intermediate_size", "intermediate_size")
    sizes = Sizes(
        layers=config.layers("num_hidden_layers"),
        width=config.integer("hidden_size"),
        heads=config.integer("num_attention_heads"),
        kv_heads=1,
        head_dim=config.integer("head_dim"),
        hidden=hidden,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=1048576),
    )
    experts = config.integer("n_routed_experts", "num_local_experts")
    used = experts_used(config, experts, default=6)
    biased = config.switch("mlp_bias", default=False)
    feeds = {
        hashed: Moe(
            sizes.width,
            hidden,
            experts,
            used,
            shared_hidden=hidden,
            shared_bias=biased,
            correction="" if hashed else "buffer",
            hashed_tokens=sizes.vocabulary if hashed else 0,
        )
        for hashed in (False, True)
    }
    lanes = config.integer("hc_mult", default=4)
    attention = _attention(config, sizes)
    norm, lane = Norm(sizes.width), HyperConnection(sizes.width, lanes)
    layers = [
        [
            part("attention_lanes", lane, i),
            part("attention_norm", norm, i),
            *attention[i],
            part("mlp_lanes", lane, i),
            part("mlp_norm", norm, i),
            part("moe", feeds[hashed], i),
        ]
        for i, hashed in enumerate(_hashed(config, sizes.layers))
    ]
    joined = [part("joined_lanes", HyperConnection(sizes.width, lanes, joins=True))]
    return finish(config, sizes, layers, feeds[False], "DeepseekV4", after=joined)


def _lanes(path: str, name: str) -> dict[str, str]:
    return {f"{path}.{key}": f"{name}_{key.partition('.')[0]}" for key in ("fn.weight", "base.bias", "scale.bias")}


_HF = {
    "embedding": "embed",
    "final_norm": "norm",
    "head": "head",
    **_lanes("joined_lanes", "hc_head"),
    **_lanes("attention_lanes", "layers.{layer}.hc_attn"),
    **_lanes("mlp_lanes", "layers.{layer}.hc_ffn"),
    "attention_norm": "layers.{layer}.attn_norm",
    "mlp_norm": "layers.{layer}.ffn_norm",
    "attention.q_a": "layers.{layer}.attn.wq_a",
    "attention.q_a_norm": "layers.{layer}.attn.q_norm",
    "attention.q_b": "layers.{layer}.attn.wq_b",
    "attention.kv": "layers.{layer}.attn.wkv",
    "attention.kv_norm": "layers.{layer}.attn.kv_norm",
    "attention.o_a": "layers.{layer}.attn.wo_a",
    "attention.o_b": "layers.{layer}.attn.wo_b",
    "attention.sinks.weight": "layers.{layer}.attn.attn_sink",
    "compressor.kv": "layers.{layer}.attn.compressor.wkv",
    "compressor.gate": "layers.{layer}.attn.compressor.wgate",
    "compressor.position.bias": "layers.{layer}.attn.compressor.ape",
    "compressor.norm": "layers.{layer}.attn.compressor.norm",
    "compressor.index_kv": "layers.{layer}.attn.indexer.compressor.wkv",
    "compressor.index_gate": "layers.{layer}.attn.indexer.compressor.wgate",
    "compressor.index_position.bias": "layers.{layer}.attn.indexer.compressor.ape",
    "compressor.index_norm": "layers.{layer}.attn.indexer.compressor.norm",
    "compressor.index_q": "layers.{layer}.attn.indexer.wq_b",
    "compressor.index_weights": "layers.{layer}.attn.indexer.weights_proj",
    "moe.router": "layers.{layer}.ffn.gate",
    "moe.correction.bias": "layers.{layer}.ffn.gate.bias",
    "moe.table.weight": "layers.{layer}.ffn.gate.tid2eid",
    "moe.experts.gate": "layers.{layer}.ffn.experts.{expert}.w1",
    "moe.experts.up": "layers.{layer}.ffn.experts.{expert}.w3",
    "moe.experts.down": "layers.{layer}.ffn.experts.{expert}.w2",
    "moe.shared.gate": "layers.{layer}.ffn.shared_experts.w1",
    "moe.shared.up": "layers.{layer}.ffn.shared_experts.w3",
    "moe.shared.down": "layers.{layer}.ffn.shared_experts.w2",
}

DEEPSEEK_V4 = Family(
    id="deepseek_v4",
    model_types=("deepseek_v4", "deepseek_ref"),
    build=deepseek_v4,
    names={"hf": _HF},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/deepseek_v4",),
    ignored={
        f"{kind}.n_shared_experts": "https://huggingface.co/docs/transformers/main/model_doc/deepseek_v4"
        for kind in ("deepseek_v4", "deepseek_ref")
    },
)
