"""RecurrentGemma (Griffin): two recurrent layers to one of windowed attention."""

from __future__ import annotations

from dataclasses import replace

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.names import LLAMA_HF
from weigh.parts import Mlp, Norm, RgLru, part
from weigh.types import Architecture, Family


def recurrent_gemma(config: Config) -> Architecture:
    """recurrent_gemma: each half of `intermediate_size` is the width of one of the gated block's two matrices.

    Source: transformers 5.23, configuration_recurrent_gemma.py, modeling_recurrent_gemma.py: every kind of layer
    that is not `recurrent` attends, the list of kinds is repeated 100 times, and `head_dim` is not read.
    """
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    groups = config.integer("num_key_value_heads", default=heads)
    config.divide(heads, groups, "num_attention_heads / num_key_value_heads")
    layers = config.layers("num_hidden_layers")
    sizes = Sizes(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=groups,
        head_dim=config.divide(width, heads, "hidden_size / num_attention_heads"),
        hidden=config.integer("intermediate_size", minimum=2) // 2,
        vocabulary=config.integer("vocab_size"),
        context=0,
    )
    inner = config.optional_integer("lru_width") or width
    config.divide(inner, heads, "lru_width / num_attention_heads")
    recurrent = RgLru(width, inner, heads, config.integer("conv1d_width", default=4))
    biased = config.switch("attention_bias", default=False)
    window = config.integer("attention_window_size", "sliding_window", default=2048)
    attention = grouped_attention(sizes, window=window, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=True)
    pattern = config.words("block_types", ("recurrent", "attention")) or ("recurrent", "recurrent", "attention")
    if 100 * len(pattern) < layers:
        raise config.variant("block_types", "a list that covers the layers when repeated 100 times", pattern)
    kinds = [pattern[i % len(pattern)] for i in range(layers)]
    mlp = Mlp(width, sizes.hidden, gated=True, up_bias=True, down_bias=True)
    stacked = [
        [
            part("attention_norm", Norm(width), i),
            part("recurrent", recurrent, i) if kind == "recurrent" else part("attention", attention, i),
            part("mlp_norm", Norm(width), i),
            part("mlp", mlp, i),
        ]
        for i, kind in enumerate(kinds)
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, "RecurrentGemma", width, sizes.vocabulary, tied=tied)
    whole = assemble(config, sizes, stacked, head=behind, final_norm=Norm(width), inner=inner)
    # No key bounds the context: what lies behind the window lives on in the recurrence.
    return replace(whole, dimensions={name: size for name, size in whole.dimensions.items() if name != "context"})


_MIXER = "model.layers.{layer}.temporal_block"
_FEED = "model.layers.{layer}.mlp_block"
_UNIT = f"{_MIXER}.rg_lru"

RECURRENT_GEMMA = Family(
    id="recurrent_gemma",
    model_types=("recurrent_gemma",),
    build=recurrent_gemma,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_norm": "model.layers.{layer}.temporal_pre_norm",
            **{f"attention.{name}": f"{_MIXER}.{name}_proj" for name in "qkvo"},
            "recurrent.y": f"{_MIXER}.linear_y",
            "recurrent.x": f"{_MIXER}.linear_x",
            "recurrent.out": f"{_MIXER}.linear_out",
            "recurrent.conv": f"{_MIXER}.conv_1d",
            "recurrent.decay.weight": f"{_UNIT}.recurrent_param",
            "recurrent.input_gate.weight": f"{_UNIT}.input_gate_weight",
            "recurrent.input_gate.bias": f"{_UNIT}.input_gate_bias",
            "recurrent.recurrent_gate.weight": f"{_UNIT}.recurrent_gate_weight",
            "recurrent.recurrent_gate.bias": f"{_UNIT}.recurrent_gate_bias",
            "mlp_norm": "model.layers.{layer}.channel_pre_norm",
            "mlp.gate": f"{_FEED}.gate_proj",
            "mlp.up": f"{_FEED}.up_proj",
            "mlp.down": f"{_FEED}.down_proj",
            "final_norm": "model.final_norm",
        }
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2404.07839",),
)
