"""GLM 4, dense: a Llama with gate and up in one matrix and few KV heads; later ones with norms around each block."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, rope_sizes
from weigh.families.llama import pre_norm_layer
from weigh.families.names import GGML, LLAMA_HF, fused
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family

STEMS = {"glm": "Glm", "glm4": "Glm4"}


def glm(config: Config) -> Architecture:
    """glm and glm4. Biases of q, k and v unless `attention_bias` is off; documented are 2 KV heads of 128 values.

    Source: transformers 5.23, {configuration,modeling}_{glm,glm4}.py.
    """
    kind = str(config.values["model_type"])
    sizes = rope_sizes(config, context=131072, kv_heads=2, head_dim=128)
    biased = config.switch("attention_bias", default=True)
    attention = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = []
    for i in range(sizes.layers):
        layer = pre_norm_layer(sizes, i, attention, mlp)
        if kind == "glm4":
            layer.insert(2, part("attention_post_norm", Norm(sizes.width), i))
            layer.append(part("mlp_post_norm", Norm(sizes.width), i))
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, STEMS[kind], sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=Norm(sizes.width))


_HF = fused(LLAMA_HF, "model.layers.{layer}.mlp.gate_up_proj", "mlp.gate", "mlp.up")

GLM = Family(
    id="glm",
    model_types=("glm",),
    build=glm,
    names={"hf": _HF},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2406.12793",),
)

GLM4 = Family(
    id="glm4",
    model_types=("glm4",),
    build=glm,
    names={
        "hf": {
            **_HF,
            "attention_post_norm": "model.layers.{layer}.post_self_attn_layernorm",
            "mlp_post_norm": "model.layers.{layer}.post_mlp_layernorm",
        },
        "ggml": fused(GGML, "blk.{layer}.ffn_up", "mlp.gate", "mlp.up"),
    },
    prefixes=("model.",),
    sources=("https://github.com/THUDM/GLM-4",),
)
