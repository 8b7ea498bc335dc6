"""Mixtral: Mistral's attention, and a router over gated experts in every layer."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, experts_used, grouped_attention, head, rope_sizes
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Moe, Norm, part
from weigh.types import Architecture, Family


def mixtral(config: Config) -> Architecture:
    """8 KV heads unless written down; `intermediate_size` is the hidden size of one expert.

    Source: transformers 5.23, models/mixtral/configuration_mixtral.py.
    """
    sizes = rope_sizes(config, context=131072, kv_heads=8)
    experts = config.integer("num_local_experts", "num_experts")
    attention = grouped_attention(sizes, window=config.optional_integer("sliding_window"))
    moe = Moe(
        width=sizes.width,
        hidden=sizes.hidden,
        experts=experts,
        used=experts_used(config, experts, default=2),
    )
    layers = [
        [
            part("attention_norm", Norm(sizes.width), i),
            part("attention", attention, i),
            part("mlp_norm", Norm(sizes.width), i),
            part("moe", moe, i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Mixtral", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=Norm(sizes.width),
        experts=moe.experts,
        experts_used=moe.used,
        expert_hidden=moe.hidden,
    )


MIXTRAL = Family(
    id="mixtral",
    model_types=("mixtral",),
    build=mixtral,
    names={
        "hf": {
            **LLAMA_HF,
            "moe.router": "model.layers.{layer}.block_sparse_moe.gate",
            "moe.experts.gate": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1",
            "moe.experts.up": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3",
            "moe.experts.down": "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2401.04088",),
)
