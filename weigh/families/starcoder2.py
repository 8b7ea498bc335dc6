"""StarCoder 2 and Nemotron: grouped attention and rotary positions, layer norms with biases, an MLP without a gate."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head, rope_sizes
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Attention, Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def starcoder2(config: Config) -> Architecture:
    """StarCoder 2: every matrix but the head has a bias unless `use_bias` is off, every layer the same window.

    KV heads left out are 2. Source: transformers 5.23, {configuration,modeling}_starcoder2.py.
    """
    sizes = rope_sizes(config, context=4096, kv_heads=2)
    biased = config.switch("use_bias", default=True)
    attention = grouped_attention(
        sizes,
        window=config.optional_integer("sliding_window"),
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        o_bias=biased,
    )
    mlp = Mlp(sizes.width, sizes.hidden, up_bias=biased, down_bias=biased)
    tied = config.switch("tie_word_embeddings", default=True)
    behind = head(config, "Starcoder2", sizes.width, sizes.vocabulary, tied=tied)
    return _assembled(config, sizes, attention, mlp, behind)


def nemotron(config: Config) -> Architecture:
    """Nemotron 3 and 4, Minitron: the MLP squares its hidden values; gains are stored less one.

    The class has no default for KV heads that it could be built with: they have to be written down.
    Source: transformers 5.23, {configuration,modeling}_nemotron.py.
    """
    groups = config.integer("num_key_value_heads")
    sizes = rope_sizes(config, context=4096, kv_heads=groups)
    biased = config.switch("attention_bias", default=False)
    mlp_biased = config.switch("mlp_bias", default=False)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
    mlp = Mlp(sizes.width, sizes.hidden, up_bias=mlp_biased, down_bias=mlp_biased)
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "Nemotron", sizes.width, sizes.vocabulary, tied=tied)
    return _assembled(config, sizes, attention, mlp, behind)


def _assembled(config: Config, sizes: Sizes, attention: Attention, mlp: Mlp, behind: list[Part]) -> Architecture:
    norm = Norm(sizes.width, bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", attention, i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i in range(sizes.layers)
    ]
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


STARCODER2 = Family(
    id="starcoder2",
    model_types=("starcoder2",),
    build=starcoder2,
    names={
        "hf": {
            **LLAMA_HF,
            "mlp.up": "model.layers.{layer}.mlp.c_fc",
            "mlp.down": "model.layers.{layer}.mlp.c_proj",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2402.19173",),
)

NEMOTRON = Family(
    id="nemotron",
    model_types=("nemotron",),
    build=nemotron,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.", "transformer."),
    sources=("https://arxiv.org/abs/2402.16819",),
)
