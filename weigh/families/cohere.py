"""Cohere (Command R, Aya): attention and MLP side by side behind one norm, a tied head; from Command R7B on windows."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, rope_sizes, windows
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family

STEMS = {"cohere": "Cohere", "cohere2": "Cohere2"}


def _windows(config: Config, kind: str, layers: int) -> list[int | None]:
    """Cohere 2 slides in all but each fourth layer, over 4,096 tokens unless written down; Cohere never."""
    if kind == "cohere":
        return [None] * layers
    pattern = config.integer("sliding_window_pattern", default=4)
    return windows(config, layers, [(i + 1) % pattern != 0 for i in range(layers)], default=4096)


def cohere(config: Config) -> Architecture:
    """cohere and cohere2. Norms have a gain and no bias; with `use_qk_norm` each head of q and k has a gain of its own.

    Source: transformers 5.23, {configuration,modeling}_{cohere,cohere2}.py.
    """
    kind = str(config.values["model_type"])
    sizes = rope_sizes(config, context=8192)
    window = _windows(config, kind, sizes.layers)
    biased = config.switch("attention_bias", default=False)
    normed = sizes.head_dim if kind == "cohere" and config.switch("use_qk_norm", default=False) else 0
    layers = []
    for i in range(sizes.layers):
        attention = grouped_attention(
            sizes,
            window=window[i],
            q_bias=biased,
            k_bias=biased,
            v_bias=biased,
            o_bias=biased,
            q_norm=normed,
            k_norm=normed,
            qk_norm_apart=bool(normed),
        )
        layers.append(
            [
                part("attention_norm", Norm(sizes.width), i),
                part("attention", attention, i),
                part("mlp", Mlp(sizes.width, sizes.hidden, gated=True), i),
            ]
        )
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


COHERE = Family(
    id="cohere",
    model_types=("cohere", "cohere2"),
    build=cohere,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.",),
    sources=(
        "https://docs.cohere.com/docs/command-r",
        "https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/cohere2",
    ),
)
