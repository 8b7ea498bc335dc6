"""Gemma 3n (text): several streams that are mixed in each layer, inputs of its own for each layer, borrowed keys."""

from __future__ import annotations

from collections.abc import Sequence

from weigh.families.config import Config
from weigh.families.decoder import LAYER_TYPES, Sizes, assemble, grouped_attention, head, window_size
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Applied, Array, Embedding, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError


def layer_kinds(config: Config, layers: int, *, every: int, last_attends_to_all: bool = False) -> list[bool]:
    """Whether each layer slides: `layer_types`, else all but each `every`-th."""
    types = config.words("layer_types", LAYER_TYPES)
    if types is None:
        kinds = [(i + 1) % every != 0 for i in range(layers)]
    elif len(types) != layers:
        raise WeighError(
            f"`layer_types` names {len(types)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    else:
        kinds = [kind == "sliding_attention" for kind in types]
    if last_attends_to_all:
        kinds[-1] = False
    return kinds


def kv_lender(config: Config, kinds: Sequence[bool], i: int, borrowed: int) -> str:
    """Address of the attention whose keys and values layer i uses: the last of its kind that has own ones.

    The last `borrowed` layers have none of their own; for all others it is the empty string.
    """
    own = len(kinds) - borrowed
    if i < own:
        return ""
    lenders = [j for j in range(own) if kinds[j] == kinds[i]]
    if not lenders:
        raise WeighError(
            f"layer {i} has no layer of its kind to take keys and values from",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where="key num_kv_shared_layers",
        )
    return f"layers.{lenders[-1]}.attention"


def layer_inputs(config: Config, sizes: Sizes, inner: int) -> list[Part]:
    """A second token table that gives each layer `inner` values of its own, and the same from the first table."""
    rows = config.integer("vocab_size_per_layer_input", default=262144)
    return [
        part("layer_embedding", Embedding(rows, sizes.layers * inner)),
        part("layer_inputs", Linear(sizes.width, sizes.layers * inner)),
        part("layer_inputs_norm", Norm(inner)),
    ]


def gemma3n(config: Config) -> Architecture:
    """`altup_num_inputs` streams (4), of which one runs through attention and block; a low-rank path beside attention.

    The last `num_kv_shared_layers` (15) layers use keys and values of earlier ones. `intermediate_size` may differ by
    layer. Source: transformers 5.23, models/gemma3n/{configuration,modeling}_gemma3n.py.
    """
    sizes, hidden = _sizes(config)
    kinds = layer_kinds(config, sizes.layers, every=5)
    inner = config.integer("hidden_size_per_layer_input", default=256)
    streams = config.integer("altup_num_inputs", default=4, maximum=1000)
    rank = config.integer("laurel_rank", default=64)
    borrowed = config.integer("num_kv_shared_layers", default=15, minimum=0, maximum=sizes.layers - 1)
    biased = config.switch("attention_bias", default=False)
    norm = Norm(sizes.width)
    layers: list[list[Part]] = []
    for i, slides in enumerate(kinds):
        attention = grouped_attention(
            sizes,
            window=window_size(config, 512) if slides else None,
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            o_bias=biased,
            q_norm=sizes.head_dim,
            k_norm=sizes.head_dim,
            shared_with=kv_lender(config, kinds, i, borrowed),  # type: ignore[arg-type]
        )
        layers.append(
            [
                *_mixing(i, sizes.width, streams, rank),
                part("attention_norm", norm, i),
                part("attention", attention, i),
                part("attention_post_norm", norm, i),
                part("mlp_norm", norm, i),
                part("mlp", Mlp(sizes.width, hidden[i], gated=True), i),
                part("mlp_post_norm", norm, i),
                part("layer_gate", Linear(sizes.width, inner), i),
                part("layer_projection", Linear(inner, sizes.width), i),
                part("layer_norm", norm, i),
            ]
        )
    square = Linear(sizes.width, sizes.width)
    spread = [part(f"streams.{i}", square) for i in range(streams - 1)]
    gather = [part(f"streams_back.{i}", square) for i in range(streams - 1)]
    tied = config.switch("tie_word_embeddings", default=True)
    stem = "Gemma3nText" if (config.architecture() or "").startswith("Gemma3nText") else "Gemma3n"
    return assemble(
        config,
        sizes,
        layers,
        head=[*gather, *head(config, stem, sizes.width, sizes.vocabulary, tied=tied)],
        final_norm=norm,
        before=[*layer_inputs(config, sizes, inner), *spread],
    )


def _sizes(config: Config) -> tuple[Sizes, list[int]]:
    """The sizes, and the hidden size of each layer's block. KV heads: 2, head size: 256 unless written down."""
    layers = config.layers("num_hidden_layers")
    if isinstance(config.values.get("intermediate_size"), list | tuple):
        hidden = list(config.integers("intermediate_size", minimum=1))
    else:
        hidden = [config.integer("intermediate_size")] * layers
    if len(hidden) != layers:
        raise WeighError(
            f"`intermediate_size` names {len(hidden)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    heads = config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", default=2)
    config.divide(heads, kv_heads, "num_attention_heads / num_key_value_heads")
    sizes = Sizes(
        layers=layers,
        width=config.integer("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.integer("head_dim", default=256),
        hidden=max(hidden),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=32768),
    )
    return sizes, hidden


def _mixing(i: int, width: int, streams: int, rank: int) -> list[Part]:
    """How a layer mixes the streams, and its low-rank path. The router of the streams runs before and after."""
    return [
        part("mix_scale", Array((width,)), i),
        part("mix_correct", Linear(streams, streams), i),
        part("mix_predict", Linear(streams, streams**2, columns=width), i),
        part("mix_router", Applied(Linear(width, streams), times=2), i),
        part("mix_norm", Norm(width), i),
        part("low_rank_in", Linear(width, rank), i),
        part("low_rank_out", Linear(rank, width), i),
        part("low_rank_norm", Norm(width), i),
    ]


LAYER_INPUTS_GGML = {
    "layer_gate": "blk.{layer}.inp_gate",
    "layer_projection": "blk.{layer}.proj",
    "layer_norm": "blk.{layer}.post_norm",
    "layer_embedding": "per_layer_token_embd",
    "layer_inputs": "per_layer_model_proj",
    "layer_inputs_norm": "per_layer_proj_norm",
}

_LAYER = "model.layers.{layer}."

GEMMA3N = Family(
    id="gemma3n",
    model_types=("gemma3n_text",),
    build=gemma3n,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_post_norm": _LAYER + "post_attention_layernorm",
            "mlp_norm": _LAYER + "pre_feedforward_layernorm",
            "mlp_post_norm": _LAYER + "post_feedforward_layernorm",
            "mix_scale.weight": _LAYER + "altup.correct_output_scale",
            "mix_correct": _LAYER + "altup.correction_coefs",
            "mix_predict": _LAYER + "altup.prediction_coefs",
            "mix_router": _LAYER + "altup.modality_router",
            "mix_norm": _LAYER + "altup.router_norm",
            "low_rank_in": _LAYER + "laurel.linear_left",
            "low_rank_out": _LAYER + "laurel.linear_right",
            "low_rank_norm": _LAYER + "laurel.post_laurel_norm",
            "layer_gate": _LAYER + "per_layer_input_gate",
            "layer_projection": _LAYER + "per_layer_projection",
            "layer_norm": _LAYER + "post_per_layer_input_norm",
            "layer_embedding": "model.embed_tokens_per_layer",
            "layer_inputs": "model.per_layer_model_projection",
            "layer_inputs_norm": "model.per_layer_projection_norm",
            "streams.{}": "model.altup_projections.{}",
            "streams_back.{}": "model.altup_unembed_projections.{}",
        },
        "ggml": {
            **GGML,
            **LAYER_INPUTS_GGML,
            "mix_scale": "blk.{layer}.altup_correct_scale",
            "mix_correct": "blk.{layer}.altup_correct_coef",
            "mix_predict": "blk.{layer}.altup_predict_coef",
            "mix_router": "blk.{layer}.altup_router",
            "mix_norm": "blk.{layer}.altup_router_norm",
            "low_rank_in": "blk.{layer}.laurel_l",
            "low_rank_out": "blk.{layer}.laurel_r",
            "low_rank_norm": "blk.{layer}.laurel_post_norm",
            "streams.{}": "altup_proj",
            "streams_back.{}": "altup_unembd_proj",
        },
    },
    prefixes=("model.",),
    sources=("https://github.com/huggingface/transformers/tree/main/src/transformers/models/gemma3n",),
)
