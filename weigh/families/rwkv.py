"""RWKV-4: time mixing and channel mixing in the place of attention and feed-forward block."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import head
from weigh.parts import ChannelMix, Embedding, Norm, TimeMix, part
from weigh.types import Architecture, Family, Part


def rwkv(config: Config) -> Architecture:
    """rwkv: the first layer has a third norm in front of the others, and the head is called `head`.

    Source: transformers 5.23, configuration_rwkv.py, modeling_rwkv.py.
    """
    width, layers = config.integer("hidden_size"), config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    inner = config.optional_integer("attention_hidden_size") or width
    hidden = config.optional_integer("intermediate_size") or 4 * width
    norm = Norm(width, bias=True)
    parts: list[Part] = [part("embedding", Embedding(vocabulary, width))]
    for i in range(layers):
        if i == 0:
            parts.append(part("first_norm", norm, i))
        parts += [part("time_norm", norm, i), part("time_mix", TimeMix(width, inner), i)]
        parts += [part("channel_norm", norm, i), part("channel_mix", ChannelMix(width, hidden), i)]
    parts.append(part("final_norm", norm))
    tied = config.switch("tie_word_embeddings", default=False)
    parts += head(config, "Rwkv", width, vocabulary, tied=tied)
    context = config.integer("context_length", "max_position_embeddings", default=1024)
    dimensions = {
        "layers": layers,
        "width": width,
        "inner": inner,
        "hidden": hidden,
        "vocabulary": vocabulary,
        "context": context,
    }
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


_BLOCK = "rwkv.blocks.{layer}"
_TIME = f"{_BLOCK}.attention"
_CHANNEL = f"{_BLOCK}.feed_forward"

RWKV = Family(
    id="rwkv",
    model_types=("rwkv",),
    build=rwkv,
    names={
        "hf": {
            "embedding": "rwkv.embeddings",
            "first_norm": f"{_BLOCK}.pre_ln",
            "time_norm": f"{_BLOCK}.ln1",
            "channel_norm": f"{_BLOCK}.ln2",
            "time_mix.decay.weight": f"{_TIME}.time_decay",
            "time_mix.first.weight": f"{_TIME}.time_first",
            **{f"time_mix.mix_{name}.weight": f"{_TIME}.time_mix_{name}" for name in ("key", "value", "receptance")},
            **{f"time_mix.{name}": f"{_TIME}.{name}" for name in ("key", "value", "receptance", "output")},
            **{f"channel_mix.mix_{name}.weight": f"{_CHANNEL}.time_mix_{name}" for name in ("key", "receptance")},
            **{f"channel_mix.{name}": f"{_CHANNEL}.{name}" for name in ("key", "value", "receptance")},
            "final_norm": "rwkv.ln_out",
            "head": "head",
        }
    },
    prefixes=("rwkv.",),
    sources=("https://arxiv.org/abs/2305.13048",),
)
