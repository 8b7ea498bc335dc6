"""OPT: learned positions (two rows more than the context), optional projections around a narrower embedding."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.parts import Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family


def opt(config: Config) -> Architecture:
    """Source: transformers 5.23, models/opt/modeling_opt.py.

    The position table has max_position_embeddings + 2 rows. The final norm exists only where norms stand before
    the blocks and `_remove_final_layer_norm` is off.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    sizes = Sizes(
        layers=config.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "hidden_size / num_attention_heads"),
        hidden=config.integer("ffn_dim"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings"),
    )
    narrow = config.optional_integer("word_embed_proj_dim") or width
    biased = config.switch("enable_bias", default=True)
    affine = config.switch("layer_norm_elementwise_affine", default=True)
    norm = Norm(width, weight=affine, bias=affine)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    named = config.values.get("activation_function", "relu")
    mlp = Mlp(width, sizes.hidden, up_bias=biased, down_bias=biased, relu=named == "relu")
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    before = [part("position", Embedding(sizes.context + 2, width, role="position"))]
    after = []
    if narrow != width:
        before.append(part("project_in", Linear(narrow, width)))
        after.append(part("project_out", Linear(width, narrow)))
    normed_before = config.switch("do_layer_norm_before", default=True)
    removed = config.switch("_remove_final_layer_norm", default=False)
    tied = config.switch("tie_word_embeddings", default=True)
    return assemble(
        config,
        sizes,
        layers,
        before=before,
        after=after,
        embedding_width=narrow,
        head=head(config, "OPT", narrow, sizes.vocabulary, tied=tied),
        final_norm=norm if normed_before and not removed else None,
    )


_LAYER = "model.decoder.layers.{layer}."

OPT = Family(
    id="opt",
    model_types=("opt",),
    build=opt,
    names={
        "hf": {
            "embedding": "model.decoder.embed_tokens",
            "position": "model.decoder.embed_positions",
            "project_in": "model.decoder.project_in",
            "project_out": "model.decoder.project_out",
            "attention_norm": _LAYER + "self_attn_layer_norm",
            "attention.q": _LAYER + "self_attn.q_proj",
            "attention.k": _LAYER + "self_attn.k_proj",
            "attention.v": _LAYER + "self_attn.v_proj",
            "attention.o": _LAYER + "self_attn.out_proj",
            "mlp_norm": _LAYER + "final_layer_norm",
            "mlp.up": _LAYER + "fc1",
            "mlp.down": _LAYER + "fc2",
            "final_norm": "model.decoder.final_layer_norm",
            "head": "lm_head",
            "score": "score",
            "qa_outputs": "qa_outputs",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2205.01068",),
)
