"""MiMo 7B: Qwen 2 with layers behind it that predict further tokens."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import assemble, grouped_attention, head, rope_sizes
from weigh.families.llama import pre_norm_layer
from weigh.families.names import LLAMA_HF
from weigh.parts import Applied, Attention, Linear, Mlp, Norm, part
from weigh.types import Architecture, Family, Part


def _further(number: int, attention: Attention, mlp: Mlp) -> list[Part]:
    """One layer that predicts a token further on: it joins the last hidden values with the next token's embedding."""
    width = attention.width
    inner = {
        "token_norm": Norm(width),
        "hidden_norm": Norm(width),
        "join": Linear(2 * width, width),
        "attention_norm": Norm(width),
        "attention": attention,
        "mlp_norm": Norm(width),
        "mlp": mlp,
        "final_norm": Norm(width),
    }
    return [part(f"mtp.{number}.{name}", Applied(layer, "never", role="mtp")) for name, layer in inner.items()]


def mimo(config: Config) -> Architecture:
    """The class is published with the model: Qwen 2 and `num_nextn_predict_layers` more layers (role mtp).

    So biases of q, k and v are always there. Sizes that Qwen 2 gives a default for are asked for, since the
    configuration class of MiMo is not in transformers; windows are refused.
    Source: github.com/vllm-project/vllm, vllm/model_executor/models/{mimo,mimo_mtp}.py.
    """
    config.expect("attention_bias", value=True, default=True)
    config.expect("use_sliding_window", value=False, default=False)
    sizes = rope_sizes(config, context=32768, kv_heads=config.integer("num_key_value_heads"))
    attention = grouped_attention(sizes, q_bias=True, k_bias=True, v_bias=True)
    mlp = Mlp(sizes.width, sizes.hidden, gated=True)
    layers = [pre_norm_layer(sizes, i, attention, mlp) for i in range(sizes.layers)]
    ahead = config.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=config.limits.layers)
    tied = config.switch("tie_word_embeddings", default=False)
    return assemble(
        config,
        sizes,
        layers,
        head=head(config, "MiMo", sizes.width, sizes.vocabulary, tied=tied),
        final_norm=Norm(sizes.width),
        after=[piece for i in range(ahead) for piece in _further(i, attention, mlp)],
        mtp_layers=ahead,
    )


_MTP = "model.mtp_layers.{}."

MIMO = Family(
    id="mimo",
    model_types=("mimo",),
    build=mimo,
    names={
        "hf": {
            **LLAMA_HF,
            **{
                f"mtp.{{}}.{slot}": name.replace("model.layers.{layer}.", _MTP)
                for slot, name in LLAMA_HF.items()
                if "{layer}" in name
            },
            "mtp.{}.token_norm": _MTP + "token_layernorm",
            "mtp.{}.hidden_norm": _MTP + "hidden_layernorm",
            "mtp.{}.join": _MTP + "input_proj",
            "mtp.{}.final_norm": _MTP + "final_layernorm",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2505.07608",),
)
