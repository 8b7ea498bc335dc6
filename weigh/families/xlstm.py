"""xLSTM: an mLSTM and a gated block in every layer, and no attention."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import head
from weigh.families.encoder import number
from weigh.parts import Embedding, Mlp, Mlstm, Norm, part
from weigh.types import Architecture, Family, Part


def xlstm(config: Config) -> Architecture:
    """Queries half as wide as the values, a block of 2.667 x the width rounded up to 64, unless written down.

    The final norm never has a bias, and the head is never tied, whatever `tie_word_embeddings` says.
    Source: transformers 5.23, {configuration,modeling}_xlstm.py.
    """
    width = config.integer("hidden_size", "embedding_dim")
    if config.integer("embedding_dim", default=width) != width:
        raise config.variant("embedding_dim", f"the width, {width:,}", config.values["embedding_dim"])
    layers = config.layers("num_blocks", "num_hidden_layers")
    heads = config.integer("num_heads")
    vocabulary = config.integer("vocab_size")
    biased = config.switch("use_bias", default=False)
    queries = _share(config, "qk_dim_factor", width, heads, default=0.5)
    values = _share(config, "v_dim_factor", width, heads, default=1.0)
    step = config.integer("ffn_round_up_to_multiple_of", default=64)
    # The class's own rounding: a part of one value more is not rounded up.
    hidden = int((width * number(config, "ffn_proj_factor", default=2.667) + step - 1) // step) * step
    # Both hold the same matrices: `fused` lays those of one input side by side in one tensor.
    config.expect("weight_mode", value="single", default="single")
    norm = Norm(width, bias=biased)
    parts: list[Part] = [part("embedding", Embedding(vocabulary, width))]
    for i in range(layers):
        parts += [
            part("mlstm_norm", norm, i),
            part("mlstm", Mlstm(width, heads, queries, values, bias=biased), i),
            part("mlp_norm", norm, i),
            part("mlp", Mlp(width, hidden, gated=True, up_bias=biased, down_bias=biased), i),
        ]
    parts.append(part("final_norm", Norm(width)))
    parts += head(config, "xLSTM", width, vocabulary, tied=False)
    dimensions = {"layers": layers, "width": width, "heads": heads, "hidden": hidden, "vocabulary": vocabulary}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def _share(config: Config, key: str, width: int, heads: int, *, default: float) -> int:
    """A share of the width, rounded down, that the heads divide evenly."""
    size = int(width * number(config, key, default=default))
    if not size:
        raise config.variant(key, "a share of the width that leaves something", config.values.get(key))
    config.divide(size, heads, f"{key} x hidden_size / num_heads")
    return size


_LAYER = "backbone.blocks.{layer}."
_MIXER = _LAYER + "mlstm_layer."

XLSTM = Family(
    id="xlstm",
    model_types=("xlstm",),
    build=xlstm,
    names={
        "hf": {
            "embedding": "backbone.embeddings",
            "mlstm_norm": _LAYER + "norm_mlstm",
            **{f"mlstm.{name}": _MIXER + name for name in "qkv"},
            "mlstm.output_gate": _MIXER + "ogate_preact",
            "mlstm.input_gate": _MIXER + "igate_preact",
            "mlstm.forget_gate": _MIXER + "fgate_preact",
            "mlstm.norm": _MIXER + "multihead_norm",
            "mlstm.o": _MIXER + "out_proj",
            "mlp_norm": _LAYER + "norm_ffn",
            "mlp.gate": _LAYER + "ffn.proj_up_gate",
            "mlp.up": _LAYER + "ffn.proj_up",
            "mlp.down": _LAYER + "ffn.proj_down",
            "final_norm": "backbone.out_norm",
            "head": "lm_head",
        },
    },
    prefixes=("backbone.",),
    sources=("https://arxiv.org/abs/2503.13427",),
)
