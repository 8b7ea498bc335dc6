"""MiniMax-Text-01: lightning attention in most layers, softmax attention in the rest, experts in all."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, experts_used, grouped_attention, head, rope_sizes
from weigh.families.names import LLAMA_HF
from weigh.parts import LightningAttention, Moe, Norm, part
from weigh.types import Architecture, Family, WeighError

KINDS = ("linear_attention", "full_attention")


def minimax(config: Config) -> Architecture:
    """minimax. Without `layer_types` every other layer is of lightning attention, the first is not.

    Source: transformers 5.23, configuration_minimax.py, modeling_minimax.py.
    """
    sizes = rope_sizes(config, context=131072, kv_heads=8)
    listed = config.words("layer_types", KINDS) or tuple(KINDS[(i + 1) % 2] for i in range(sizes.layers))
    if len(listed) != sizes.layers:
        raise WeighError(
            f"`layer_types` names {len(listed)} layers, `num_hidden_layers` says {sizes.layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    lightning = LightningAttention(sizes.width, sizes.heads, sizes.head_dim, config.integer("block_size", default=256))
    attention = grouped_attention(sizes)
    experts = config.integer("num_local_experts", "num_experts")
    moe = Moe(sizes.width, sizes.hidden, experts, experts_used(config, experts, default=2))
    norm = Norm(sizes.width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("lightning", lightning, i) if kind == "linear_attention" else part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("moe", moe, i),
        ]
        for i, kind in enumerate(listed)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "MiniMax", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=norm,
        experts=moe.experts,
        experts_used=moe.used,
        expert_hidden=moe.hidden,
    )


_MIXER = "model.layers.{layer}.self_attn"
_FEED = "model.layers.{layer}.block_sparse_moe"

MINIMAX = Family(
    id="minimax",
    model_types=("minimax",),
    build=minimax,
    names={
        "hf": {
            **LLAMA_HF,
            **{f"lightning.{name}": f"{_MIXER}.qkv_proj" for name in "qkv"},
            "lightning.gate": f"{_MIXER}.output_gate",
            "lightning.norm": f"{_MIXER}.norm",
            "lightning.o": f"{_MIXER}.out_proj",
            "lightning.slope.weight": f"{_MIXER}.slope_rate",
            "lightning.query_decay.weight": f"{_MIXER}.query_decay",
            "lightning.key_decay.weight": f"{_MIXER}.key_decay",
            "lightning.diagonal_decay.weight": f"{_MIXER}.diagonal_decay",
            "moe.router": f"{_FEED}.gate",
            "moe.experts.gate": f"{_FEED}.experts.{{expert}}.w1",
            "moe.experts.up": f"{_FEED}.experts.{{expert}}.w3",
            "moe.experts.down": f"{_FEED}.experts.{{expert}}.w2",
        }
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2501.08313",),
)
