"""Latent attention with experts: DeepSeek V2, V3 (Kimi K2 is one), V3.2 and GLM 5, which pick what they attend to."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, head
from weigh.families.experts import EXPERTS_GGML, EXPERTS_HF, finish, sparse_layer
from weigh.families.glm_moe import MLP_TYPES, per_layer
from weigh.parts import LatentAttention, Mlp, Moe, Norm
from weigh.types import Architecture, Family, WeighError

STEMS = {
    "deepseek_v2": "DeepseekV2",
    "deepseek_v3": "DeepseekV3",
    "kimi_k2": "DeepseekV3",
    "deepseek_v32": "DeepseekV32",
    "glm_moe_dsa": "GlmMoeDsa",
    "glm4_moe_lite": "Glm4MoeLite",
    "youtu": "Youtu",
    "minicpm3": "MiniCPM3",
}
CONTEXT = {
    "youtu": 131072,
    "minicpm3": 32768,
    "glm4_moe_lite": 202752,
    "deepseek_v2": 2048,
    "deepseek_v32": 163840,
    "glm_moe_dsa": 202752,
}
INDEXER = ("full", "shared")


def latent_sizes(config: Config, kind: str) -> Sizes:
    """The sizes; a head is `qk_nope_head_dim` + `qk_rope_head_dim` wide, and `head_dim` is not read."""
    heads = config.integer("num_attention_heads")
    return Sizes(
        layers=config.layers("num_hidden_layers"),
        width=config.integer("hidden_size"),
        heads=heads,
        kv_heads=heads,
        head_dim=config.integer("qk_nope_head_dim") + config.integer("qk_rope_head_dim"),
        hidden=config.integer("intermediate_size"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=CONTEXT.get(kind, 4096)),
    )


def _attention(config: Config, kind: str, sizes: Sizes) -> list[LatentAttention]:
    """Each layer's attention. A null `q_lora_rank` is one matrix for the queries; those with an indexer need a rank."""
    indexed = kind in ("deepseek_v32", "glm_moe_dsa")
    rank = 0 if config.is_null("q_lora_rank") and not indexed else config.integer("q_lora_rank")
    heads = config.integer("index_n_heads") if indexed else 0
    size = config.integer("index_head_dim") if indexed else 0
    top = config.integer("index_topk", default=2048) if indexed else 0
    rope = config.integer("qk_rope_head_dim")
    value_dim = config.optional_integer("v_head_dim") if kind == "minicpm3" else config.integer("v_head_dim")
    if value_dim is None:
        value_dim = config.divide(sizes.width, sizes.heads, "hidden_size / num_attention_heads")
    kv_rank = config.integer("kv_lora_rank")
    biased = config.switch("attention_bias", default=False)
    own = _indexers(config, sizes.layers) if kind == "glm_moe_dsa" else [indexed] * sizes.layers
    return [
        LatentAttention(
            width=sizes.width,
            heads=sizes.heads,
            nope_dim=sizes.head_dim - rope,
            rope_dim=rope,
            value_dim=value_dim,
            kv_rank=kv_rank,
            q_rank=rank,
            bias=biased,
            top=top,
            index_heads=heads if own[i] else 0,
            index_dim=size if own[i] else 0,
        )
        for i in range(sizes.layers)
    ]


def _indexers(config: Config, layers: int) -> list[bool]:
    """Which layers pick tokens themselves and which take over the choice of the layer before.

    `indexer_types`, else `index_topk_pattern` (F and S, or words), else every `index_topk_freq`-th layer, counted
    from `index_skip_topk_offset` - 1 on. Source: transformers 5.23, configuration_glm_moe_dsa.py.
    """
    types = per_layer(config, "indexer_types", INDEXER, layers)
    pattern = config.values.get("index_topk_pattern")
    if types is None and isinstance(pattern, str):
        letters = {"F": "full", "S": "shared"}
        if len(pattern) != layers or not set(pattern) <= set(letters):
            raise config.variant("index_topk_pattern", f"{layers} letters, F or S", pattern)
        types = tuple(letters[letter] for letter in pattern)
    elif types is None and pattern is not None:
        types = per_layer(config, "index_topk_pattern", INDEXER, layers)
    if types is None:
        step = config.integer("index_topk_freq", default=1)
        offset = config.integer("index_skip_topk_offset", default=2, minimum=0)
        types = tuple("full" if max(i - offset + 1, 0) % step == 0 else "shared" for i in range(layers))
    if types[0] == "shared":
        raise WeighError(
            "the first layer has no indexer and none before it to take the choice from",
            rule="CONFIG-VARIANT",
            path=config.source or None,
            where="key indexer_types",
        )
    return [kind == "full" for kind in types]


def _sparse(config: Config, kind: str, layers: int) -> list[bool]:
    """Which layers have experts: `mlp_layer_types` where the class reads it, else all behind the first dense ones.

    They are 3 unless written down, in V2 none, in GLM 4.7 Flash always 1.
    """
    kinds = None
    if kind in ("deepseek_v32", "glm_moe_dsa", "glm4_moe_lite"):
        kinds = per_layer(config, "mlp_layer_types", MLP_TYPES, layers)
    if kinds is not None:
        return [each == "sparse" for each in kinds]
    if kind == "glm4_moe_lite":
        return [i > 0 for i in range(layers)]
    dense = config.integer("first_k_dense_replace", default=0 if kind == "deepseek_v2" else 3, minimum=0)
    return [i >= dense for i in range(layers)]


def _experts(config: Config, kind: str, width: int, *, biased: bool) -> Moe:
    """Shared experts lie side by side in one block. V2 names no default for the experts used: all of them."""
    other = "num_experts" if kind == "deepseek_v2" else "num_local_experts"
    keys: tuple[str, ...] = ("n_routed_experts", other)
    # These two read `num_experts` as the newer name of the same and prefer it.
    if kind in ("deepseek_v32", "glm_moe_dsa"):
        keys = ("num_experts", "n_routed_experts") if "num_experts" in config.values else ("n_routed_experts",)
    experts = config.integer(*keys)
    hidden = config.integer("moe_intermediate_size")
    shared = config.integer("n_shared_experts", default=2 if kind == "deepseek_v2" else 1, minimum=0)
    return Moe(
        width,
        hidden,
        experts,
        experts_used(config, experts, default={"deepseek_v2": experts, "glm4_moe_lite": 4}.get(kind, 8)),
        shared_hidden=shared * hidden,
        shared_bias=biased and shared > 0,
        correction="" if kind == "deepseek_v2" else "buffer",
    )


def deepseek(config: Config) -> Architecture:
    """All of them. Only V2 reads `mlp_bias`. Source: transformers 5.23, {configuration,modeling}_*.py of each."""
    kind = str(config.values["model_type"])
    sizes = latent_sizes(config, kind)
    attention = _attention(config, kind, sizes)
    biased = kind == "deepseek_v2" and config.switch("mlp_bias", default=False)
    moe = _experts(config, kind, sizes.width, biased=biased)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=biased, down_bias=biased)
    sparse = _sparse(config, kind, sizes.layers)
    norm = Norm(sizes.width)
    layers = [sparse_layer(i, norm, attention[i], moe if sparse[i] else mlp) for i in range(sizes.layers)]
    return finish(config, sizes, layers, moe, STEMS[kind], latent_rank=attention[0].kv_rank)


def latent_dense(config: Config) -> Architecture:
    """youtu and minicpm3: latent attention and a plain block in every layer; the head is tied unless written down.

    Source: transformers 5.23, {configuration,modeling}_{youtu,minicpm3}.py.
    """
    kind = str(config.values["model_type"])
    sizes = latent_sizes(config, kind)
    biased = kind == "minicpm3" and config.switch("mlp_bias", default=False)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True, up_bias=biased, down_bias=biased)
    layers = [
        sparse_layer(i, Norm(sizes.width), attention, mlp)
        for i, attention in enumerate(_attention(config, kind, sizes))
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    rank = config.integer("kv_lora_rank")
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width), latent_rank=rank)


LATENT_HF = {
    **EXPERTS_HF,
    "attention.q_a": "model.layers.{layer}.self_attn.q_a_proj",
    "attention.q_a_norm": "model.layers.{layer}.self_attn.q_a_layernorm",
    "attention.q_b": "model.layers.{layer}.self_attn.q_b_proj",
    "attention.kv_a": "model.layers.{layer}.self_attn.kv_a_proj_with_mqa",
    "attention.kv_a_norm": "model.layers.{layer}.self_attn.kv_a_layernorm",
    "attention.k_b": "model.layers.{layer}.self_attn.kv_b_proj",
    "attention.v_b": "model.layers.{layer}.self_attn.kv_b_proj",
    "attention.index_q": "model.layers.{layer}.self_attn.indexer.wq_b",
    "attention.index_k": "model.layers.{layer}.self_attn.indexer.wk",
    "attention.index_k_norm": "model.layers.{layer}.self_attn.indexer.k_norm",
    "attention.index_weights": "model.layers.{layer}.self_attn.indexer.weights_proj",
}

LATENT_GGML = {
    **EXPERTS_GGML,
    "attention.q_a": "blk.{layer}.attn_q_a",
    "attention.q_a_norm": "blk.{layer}.attn_q_a_norm",
    "attention.q_b": "blk.{layer}.attn_q_b",
    "attention.kv_a": "blk.{layer}.attn_kv_a_mqa",
    "attention.kv_a_norm": "blk.{layer}.attn_kv_a_norm",
    "attention.k_b": "blk.{layer}.attn_k_b",
    "attention.v_b": "blk.{layer}.attn_v_b",
}

DEEPSEEK = Family(
    id="deepseek",
    model_types=("deepseek_v2", "deepseek_v3", "kimi_k2"),
    build=deepseek,
    names={"hf": LATENT_HF, "ggml": LATENT_GGML},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2405.04434", "https://arxiv.org/abs/2412.19437"),
)

DEEPSEEK_INDEXED = Family(
    id="deepseek_indexed",
    model_types=("deepseek_v32", "glm_moe_dsa"),
    build=deepseek,
    names={"hf": LATENT_HF},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/glm_moe_dsa",),
)

GLM4_LITE = Family(
    id="glm4_moe_lite",
    model_types=("glm4_moe_lite",),
    build=deepseek,
    names={"hf": LATENT_HF},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/glm4_moe_lite",),
)

LATENT_DENSE = Family(
    id="latent_dense",
    model_types=("youtu", "minicpm3"),
    build=latent_dense,
    names={"hf": LATENT_HF},
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/youtu", "https://arxiv.org/abs/2404.06395"),
)
