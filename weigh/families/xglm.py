"""XGLM and BioGPT: OPT's layer with a norm before each block, with computed and with learned positions."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head, multi_head_sizes
from weigh.parts import Embedding, Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def xglm(config: Config) -> Architecture:
    """XGLM: positions are sines and cosines, not kept in checkpoints.

    Source: transformers 5.23, {configuration,modeling}_xglm.py.
    """
    config.expect("add_cross_attention", value=False, default=False)
    width = config.integer("d_model", "hidden_size")
    heads = config.integer("attention_heads", "num_attention_heads")
    sizes = Sizes(
        layers=config.layers("num_layers", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "d_model / attention_heads"),
        hidden=config.integer("ffn_dim"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=2048),
    )
    tied = config.switch("tie_word_embeddings", default=True)
    return _assembled(config, sizes, head(config, "XGLM", width, sizes.vocabulary, tied=tied))


def biogpt(config: Config) -> Architecture:
    """BioGPT: the table of positions has two rows more than there are positions.

    Source: transformers 5.23, {configuration,modeling}_biogpt.py.
    """
    sizes = multi_head_sizes(config)
    tied = config.switch("tie_word_embeddings", default=True)
    position = part("position", Embedding(sizes.context + 2, sizes.width, role="position"))
    return _assembled(config, sizes, head(config, "BioGpt", sizes.width, sizes.vocabulary, tied=tied), position)


def _assembled(config: Config, sizes: Sizes, behind: list[Part], *before: Part) -> Architecture:
    """Biases everywhere but in the head."""
    norm = Norm(sizes.width, bias=True)
    attention = grouped_attention(sizes, q_bias=True, k_bias=True, v_bias=True, o_bias=True)
    mlp = Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    return assemble(config, sizes, layers, before=before, head=behind, final_norm=norm)


def _names(base: str) -> dict[str, str]:
    layer = f"{base}.layers.{{layer}}."
    return {
        "embedding": f"{base}.embed_tokens",
        "position": f"{base}.embed_positions",
        "attention_norm": layer + "self_attn_layer_norm",
        "attention.q": layer + "self_attn.q_proj",
        "attention.k": layer + "self_attn.k_proj",
        "attention.v": layer + "self_attn.v_proj",
        "attention.o": layer + "self_attn.out_proj",
        "mlp_norm": layer + "final_layer_norm",
        "mlp.up": layer + "fc1",
        "mlp.down": layer + "fc2",
        "final_norm": f"{base}.layer_norm",
    }


XGLM = Family(
    id="xglm",
    model_types=("xglm",),
    build=xglm,
    names={"hf": {**_names("model"), "head": "lm_head"}},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2112.10668",),
)

BIOGPT = Family(
    id="biogpt",
    model_types=("biogpt",),
    build=biogpt,
    names={
        "hf": {
            **_names("biogpt"),
            "head": "output_projection",
            "score": "score",
            "classifier": "classifier",
        },
    },
    prefixes=("biogpt.",),
    sources=("https://arxiv.org/abs/2210.10341",),
)
