"""CTRL: computed positions, biases everywhere, a head that shares the token table and has a bias of its own."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.parts import Linear, Mlp, Norm, part
from weigh.types import Architecture, Family


def ctrl(config: Config) -> Architecture:
    """The hidden size `dff` is written down apart; the classifier has no bias.

    Source: transformers 5.23, {configuration,modeling}_ctrl.py.
    """
    width = config.integer("n_embd", "hidden_size")
    heads = config.integer("n_head", "num_attention_heads")
    sizes = Sizes(
        layers=config.layers("n_layer", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "n_embd / n_head"),
        hidden=config.integer("dff"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("n_positions", "max_position_embeddings", default=256),
    )
    norm = Norm(width, bias=True)
    attention = grouped_attention(sizes, q_bias=True, k_bias=True, v_bias=True, o_bias=True)
    mlp = Mlp(width, sizes.hidden, up_bias=True, down_bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    if config.architecture() == "CTRLForSequenceClassification":
        behind = [part("classifier", Linear(width, config.labels(), role="head", positions="one"))]
    else:
        behind = head(config, "CTRL", width, sizes.vocabulary, tied=tied, bias=True)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_LAYER = "transformer.h.{layer}."

CTRL = Family(
    id="ctrl",
    model_types=("ctrl",),
    build=ctrl,
    names={
        "hf": {
            "embedding": "transformer.w",
            "attention_norm": _LAYER + "layernorm1",
            "attention.q": _LAYER + "multi_head_attention.Wq",
            "attention.k": _LAYER + "multi_head_attention.Wk",
            "attention.v": _LAYER + "multi_head_attention.Wv",
            "attention.o": _LAYER + "multi_head_attention.dense",
            "mlp_norm": _LAYER + "layernorm2",
            "mlp.up": _LAYER + "ffn.0",
            "mlp.down": _LAYER + "ffn.2",
            "final_norm": "transformer.layernorm",
            "head": "lm_head",
            "classifier": "classifier",
        },
    },
    prefixes=("transformer.",),
    sources=("https://arxiv.org/abs/1909.05858",),
)
