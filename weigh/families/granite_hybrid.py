"""Granite 4: Mamba-2 in most layers, attention in the rest; experts beside a block that always runs, or that alone."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, experts_used, grouped_attention, head, rope_sizes
from weigh.families.jamba import mamba2_mixer
from weigh.families.mamba import mixer2_names
from weigh.families.names import LLAMA_HF
from weigh.parts import Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, WeighError

ATTENDS = ("full_attention", "attention")
KINDS = ("linear_attention", "mamba", *ATTENDS)


def granite_hybrid(config: Config) -> Architecture:
    """granitemoehybrid: without a list every layer is of Mamba-2; without experts the shared block stands alone.

    Source: transformers 5.23, configuration_granitemoehybrid.py, modeling_granitemoehybrid.py.
    """
    sizes = rope_sizes(config)
    listed = config.words("layer_types", KINDS) or config.words("layers_block_type", KINDS) or ("mamba",) * sizes.layers
    if len(listed) != sizes.layers:
        raise WeighError(
            f"`layer_types` names {len(listed)} layers, `num_hidden_layers` says {sizes.layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    mixer = mamba2_mixer(config, sizes.width)
    biased = config.switch("attention_bias", default=False)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    shared = config.integer("shared_intermediate_size")
    experts = config.integer("num_local_experts", "num_experts", minimum=0)
    used = experts_used(config, experts, default=2) if experts else 0
    feed = part("mlp", Mlp(sizes.width, shared, gated=True))
    if experts:
        feed = part("moe", Moe(sizes.width, sizes.hidden, experts, used, shared_hidden=shared))
    norm = Norm(sizes.width)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i) if kind in ATTENDS else part("mamba", mixer, i),
            part("mlp_norm", norm, i),
            part(feed.path, feed.dimensions, i),
        ]
        for i, kind in enumerate(listed)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "GraniteMoeHybrid", sizes.width, sizes.vocabulary, tied=tied)
    return assemble(
        config,
        sizes,
        layers,
        head=behind,
        final_norm=norm,
        experts=experts,
        experts_used=used,
        expert_hidden=sizes.hidden,
        state=mixer.state,
    )


_ROUTED = "model.layers.{layer}.block_sparse_moe"
_SHARED = "model.layers.{layer}.shared_mlp"

GRANITE_HYBRID = Family(
    id="granite_hybrid",
    model_types=("granitemoehybrid",),
    build=granite_hybrid,
    names={
        "hf": {
            **LLAMA_HF,
            **mixer2_names("mamba", "model.layers.{layer}.mamba"),
            "moe.router": f"{_ROUTED}.router.layer",
            **dict.fromkeys(("moe.experts.gate", "moe.experts.up"), f"{_ROUTED}.input_linear"),
            "moe.experts.down": f"{_ROUTED}.output_linear",
            **dict.fromkeys(("moe.shared.gate", "moe.shared.up", "mlp.gate", "mlp.up"), f"{_SHARED}.input_linear"),
            **dict.fromkeys(("moe.shared.down", "mlp.down"), f"{_SHARED}.output_linear"),
        }
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/model_doc/granitemoehybrid",),
)
