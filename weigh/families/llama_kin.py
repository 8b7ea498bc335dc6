"""Dense decoders that differ from Llama by a norm, a bias, an activation or a default, each under its own type."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head, rope_sizes, window_size, windows
from weigh.families.llama import pre_norm_layer
from weigh.families.names import GGML, LLAMA_HF
from weigh.parts import Array, Mlp, Norm, part
from weigh.types import Architecture, Family, Part


@dataclass(frozen=True, slots=True)
class Kin:
    """What a type documents; the switches are the keys that its class reads, with the default of each."""

    stem: str
    context: int
    kv_heads: int | None = None
    head_dim: int | None = None
    """Unless written down; a null stands for width / heads."""
    head_dim_needed: bool = False
    """The class cannot be built without."""
    bias: tuple[str, bool] | None = None
    """Key and default of the biases of q, k, v and the output."""
    mlp_bias: tuple[str, bool] | None = None
    gated: bool = True
    norm_bias: bool = False
    norm_weight: bool = True
    qk_norm: bool = False
    """Each head of q and k is normalised with a gain."""
    inner_norms: bool = False
    """What attention and block give is normalised before their last matrix."""
    tied: bool = False


_BIAS = ("attention_bias", False)

KIN = {
    "arcee": Kin("Arcee", 4096, bias=_BIAS, mlp_bias=("mlp_bias", False), gated=False),
    "ministral": Kin("Ministral", 131072, kv_heads=8, head_dim_needed=True),
    "ministral3": Kin("Ministral3", 262144, kv_heads=8, head_dim=128),
    "cwm": Kin("Cwm", 131072, kv_heads=8, head_dim=128, mlp_bias=("mlp_bias", False)),
    "internlm3": Kin("InternLM3", 32768, kv_heads=2, head_dim=128, bias=_BIAS, mlp_bias=("mlp_bias", False)),
    "iquestcoder": Kin("IQuestCoder", 131072, kv_heads=8, head_dim=128, bias=_BIAS, mlp_bias=("mlp_bias", False)),
    "ernie4_5": Kin(
        "Ernie4_5",
        131072,
        kv_heads=2,
        head_dim=128,
        bias=("use_bias", False),
        mlp_bias=("use_bias", False),
        tied=True,
    ),
    "hunyuan_v1_dense": Kin("HunYuanDenseV1", 2048, head_dim_needed=True, bias=_BIAS, qk_norm=True),
    "apertus": Kin("Apertus", 65536, bias=_BIAS, gated=False, qk_norm=True),
    "bitnet": Kin("BitNet", 2048, kv_heads=5, bias=_BIAS, inner_norms=True),
    "nanochat": Kin("NanoChat", 2048, bias=_BIAS, gated=False, norm_weight=False),
    "jais2": Kin(
        "Jais2", 8192, bias=("attention_bias", True), mlp_bias=("mlp_bias", True), gated=False, norm_bias=True
    ),
    "diffllama": Kin("DiffLlama", 2048, bias=_BIAS),
    "granite_swa": Kin("GraniteSWA", 8192, kv_heads=4, bias=_BIAS, mlp_bias=("mlp_bias", False), tied=True),
}
"""Source: transformers 5.23, models/*/{configuration,modeling}_*.py of each type."""

STANDS_FOR = ("internlm3", "iquestcoder")
"""Types whose class in transformers is Llama's own."""


def _switch(config: Config, named: tuple[str, bool] | None) -> bool:
    return named is not None and config.switch(named[0], default=named[1])


def _windows(config: Config, kind: str, layers: int) -> list[int | None]:
    """Which layers slide where a type documents it: all, or all but the first of every four."""
    if kind == "ministral":
        if config.is_null("sliding_window"):
            return [None] * layers
        return windows(config, layers, [True] * layers, default=4096)
    if kind == "ministral3":
        return [window_size(config, None)] * layers
    if kind in ("cwm", "granite_swa"):
        return windows(config, layers, [i % 4 != 0 for i in range(layers)], default=8192 if kind == "cwm" else 128)
    return [None] * layers


def _sizes(config: Config, kind: str, kin: Kin) -> Sizes:
    if kin.head_dim_needed:
        config.integer("head_dim")
    size = None if config.is_null("head_dim") else kin.head_dim
    sizes = rope_sizes(config, context=kin.context, kv_heads=kin.kv_heads, head_dim=size)
    if kind == "diffllama":
        config.divide(sizes.kv_heads, 2, "num_key_value_heads / 2")
    if kin.inner_norms and sizes.heads * sizes.head_dim != sizes.width:
        raise config.variant("head_dim", "hidden_size / num_attention_heads", sizes.head_dim)
    return sizes


def _inner_norms(layer: list[Part], sizes: Sizes, index: int) -> list[Part]:
    norm, attention, mlp_norm, mlp = layer
    return [
        norm,
        attention,
        part("attention_inner_norm", Norm(sizes.width), index),
        mlp_norm,
        mlp,
        part("mlp_inner_norm", Norm(sizes.hidden), index),
    ]


def _learned_activation(config: Config, index: int) -> list[Part]:
    """xIELU has two slopes that are trained and two constants; another activation has none."""
    if config.choice("hidden_act", ("xielu", "silu", "gelu", "relu", "relu2"), default="xielu") != "xielu":
        return []
    trained = [part(f"mlp_{name}", Array((1,)), index) for name in ("slope_above", "slope_below")]
    return trained + [part(f"mlp_{name}", Array((), role="buffer"), index) for name in ("beta", "epsilon")]


def llama_kin(config: Config) -> Architecture:
    """All of them, by the table above.

    Apertus's activation has parameters of its own; DiffLlama subtracts one attention from another; the heads of
    Granite with windows have sinks.
    """
    kind = str(config.values["model_type"])
    kin = KIN[kind]
    sizes = _sizes(config, kind, kin)
    window = _windows(config, kind, sizes.layers)
    biased, mlp_biased = _switch(config, kin.bias), _switch(config, kin.mlp_bias)
    normed = sizes.head_dim if kin.qk_norm else 0
    attention = grouped_attention(
        sizes,
        q_bias=biased,
        k_bias=biased,
        v_bias=biased,
        o_bias=biased,
        q_norm=normed,
        k_norm=normed,
        sinks=kind == "granite_swa",
        differential=kind == "diffllama",
    )
    mlp = Mlp(sizes.width, sizes.hidden, gated=kin.gated, up_bias=mlp_biased, down_bias=mlp_biased)
    norm = Norm(sizes.width, weight=kin.norm_weight, bias=kin.norm_bias)
    layers: list[list[Part]] = []
    for i in range(sizes.layers):
        layer = pre_norm_layer(sizes, i, replace(attention, window=window[i]), mlp)
        layer[0], layer[2] = part("attention_norm", norm, i), part("mlp_norm", norm, i)
        if kin.inner_norms:
            layer = _inner_norms(layer, sizes, i)
        if kind == "apertus":
            layer += _learned_activation(config, i)
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=kin.tied)
    stands_for = kind in STANDS_FOR and (config.architecture() or "").startswith("Llama")
    behind = head(config, "Llama" if stands_for else kin.stem, sizes.width, sizes.vocabulary, tied=tied)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_ATTENTION = "model.layers.{layer}.self_attn."
_MLP = "model.layers.{layer}.mlp."
_LAMBDAS = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")

_GGML = ("ministral3", "ernie4_5", "arcee")
"""Types that differ in defaults or the gate alone, and that llama.cpp runs."""

LLAMA_DEFAULTS = Family(
    id="llama_defaults",
    model_types=_GGML,
    build=llama_kin,
    names={"hf": LLAMA_HF, "ggml": GGML},
    prefixes=("model.", "transformer."),
    sources=(
        "https://huggingface.co/docs/transformers/main/model_doc/ministral3",
        "https://huggingface.co/docs/transformers/main/model_doc/ernie4_5",
        "https://huggingface.co/docs/transformers/main/model_doc/arcee",
    ),
)

LLAMA_KIN = Family(
    id="llama_kin",
    model_types=tuple(kind for kind in KIN if kind not in (*_GGML, "hunyuan_v1_dense", "apertus", "nanochat")),
    build=llama_kin,
    names={
        "hf": {
            **LLAMA_HF,
            **{f"attention.{name}.weight": _ATTENTION + name for name in _LAMBDAS},
            "attention.sinks.weight": _ATTENTION + "sinks",
            "attention_inner_norm": _ATTENTION + "attn_sub_norm",
            "mlp_inner_norm": _MLP + "ffn_sub_norm",
        },
    },
    prefixes=("model.", "transformer."),
    sources=(
        "https://arxiv.org/abs/2410.05258",
        "https://arxiv.org/abs/2402.17764",
    ),
)

HUNYUAN_DENSE = Family(
    id="hunyuan_dense",
    model_types=("hunyuan_v1_dense",),
    build=llama_kin,
    names={
        "hf": {
            **LLAMA_HF,
            "attention.q_norm": _ATTENTION + "query_layernorm",
            "attention.k_norm": _ATTENTION + "key_layernorm",
        },
        "ggml": GGML,
    },
    prefixes=("model.",),
    sources=("https://huggingface.co/docs/transformers/main/model_doc/hunyuan_v1_dense",),
)

APERTUS = Family(
    id="apertus",
    model_types=("apertus",),
    build=llama_kin,
    names={
        "hf": {
            **LLAMA_HF,
            "attention_norm": "model.layers.{layer}.attention_layernorm",
            "mlp_norm": "model.layers.{layer}.feedforward_layernorm",
            "mlp_slope_above.weight": _MLP + "act_fn.alpha_p",
            "mlp_slope_below.weight": _MLP + "act_fn.alpha_n",
            "mlp_beta.weight": _MLP + "act_fn.beta",
            "mlp_epsilon.weight": _MLP + "act_fn.eps",
        },
    },
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2509.14233",),
)

NANOCHAT = Family(
    id="nanochat",
    model_types=("nanochat",),
    build=llama_kin,
    names={"hf": {**LLAMA_HF, "mlp.up": _MLP + "fc1", "mlp.down": _MLP + "fc2"}},
    prefixes=("model.",),
    sources=("https://github.com/karpathy/nanochat",),
)
