"""Mamba, Falcon Mamba and Mamba-2: a norm and a state-space layer, again and again, and no attention."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import head
from weigh.parts import Embedding, Mamba, Mamba2, Norm, part
from weigh.types import Architecture, Family, Part, WeighError


def step_rank(config: Config, key: str, width: int) -> int:
    """Width of the time steps' bottleneck: a sixteenth of the model's, rounded up, where it is `auto` or left out."""
    if config.values.get(key) in (None, "auto"):
        config.assumed.append(f"{key} = 'auto'")
        return -(-width // 16)
    return config.integer(key)


def _stack(config: Config, stem: str, mixer: Mamba | Mamba2, *, tied: bool, **more: int) -> Architecture:
    """Token table, layers of norm and mixer, final norm, head."""
    width, layers = mixer.width, config.layers("num_hidden_layers")
    vocabulary = config.integer("vocab_size")
    parts: list[Part] = [part("embedding", Embedding(vocabulary, width))]
    for i in range(layers):
        parts += [part("mamba_norm", Norm(width), i), part("mamba", mixer, i)]
    parts.append(part("final_norm", Norm(width)))
    parts += head(config, stem, width, vocabulary, tied=tied)
    dimensions = {"layers": layers, "width": width, "state": mixer.state, "vocabulary": vocabulary, **more}
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))


def mamba(config: Config) -> Architecture:
    """mamba and falcon_mamba, whose norms inside the layer have no gain.

    The inner width is `intermediate_size`, or expand x width where that is left out.
    Source: transformers 5.23, configuration_{mamba,falcon_mamba}.py.
    """
    kind = str(config.values["model_type"])
    width = config.integer("hidden_size")
    mixer = Mamba(
        width=width,
        inner=config.optional_integer("intermediate_size") or config.integer("expand", default=2) * width,
        state=config.integer("state_size"),
        rank=step_rank(config, "time_step_rank", width),
        kernel=config.integer("conv_kernel", default=4),
        conv_bias=config.switch("use_conv_bias", default=True),
        bias=config.switch("use_bias", default=False),
    )
    tied = config.switch("tie_word_embeddings", default=True)
    stem = {"mamba": "Mamba", "falcon_mamba": "FalconMamba"}[kind]
    return _stack(config, stem, mixer, tied=tied, inner=mixer.inner)


def mamba2(config: Config) -> Architecture:
    """mamba2: expand x width has to be heads x head size. Source: transformers 5.23, configuration_mamba2.py."""
    width = config.integer("hidden_size")
    mixer = Mamba2(
        width=width,
        heads=config.integer("num_heads"),
        head_dim=config.integer("head_dim"),
        groups=config.integer("n_groups", default=8),
        state=config.integer("state_size"),
        kernel=config.integer("conv_kernel", default=4),
        conv_bias=config.switch("use_conv_bias", default=True),
        bias=config.switch("use_bias", default=False),
    )
    inner = config.integer("expand", default=2) * width
    if mixer.heads * mixer.head_dim != inner:
        raise WeighError(
            f"`num_heads` x `head_dim` is {mixer.heads * mixer.head_dim:,}, `expand` x `hidden_size` is {inner:,}",
            rule="CONFIG-RANGE",
            path=config.source or None,
            where="key num_heads",
        )
    tied = config.switch("tie_word_embeddings", default=False)
    return _stack(config, "Mamba2", mixer, tied=tied, inner=inner)


def mixer_names(path: str, stem: str) -> dict[str, str]:
    """What transformers calls the tensors of a state-space layer that stands at `stem`."""
    return {
        f"{path}.in": f"{stem}.in_proj",
        f"{path}.conv": f"{stem}.conv1d",
        f"{path}.x": f"{stem}.x_proj",
        f"{path}.dt": f"{stem}.dt_proj",
        f"{path}.a.weight": f"{stem}.A_log",
        f"{path}.d.weight": f"{stem}.D",
        f"{path}.dt_norm": f"{stem}.dt_layernorm",
        f"{path}.b_norm": f"{stem}.b_layernorm",
        f"{path}.c_norm": f"{stem}.c_layernorm",
        f"{path}.norm": f"{stem}.norm",
        f"{path}.out": f"{stem}.out_proj",
    }


def mixer2_names(path: str, stem: str) -> dict[str, str]:
    """The same of Mamba-2, whose time steps have a bias and no matrix."""
    return {**mixer_names(path, stem), f"{path}.dt.bias": f"{stem}.dt_bias"}


MIXER_GGML = {
    "mamba_norm": "blk.{layer}.attn_norm",
    "mamba.in": "blk.{layer}.ssm_in",
    "mamba.conv": "blk.{layer}.ssm_conv1d",
    "mamba.x": "blk.{layer}.ssm_x",
    "mamba.dt": "blk.{layer}.ssm_dt",
    "mamba.a.weight": "blk.{layer}.ssm_a",
    "mamba.d.weight": "blk.{layer}.ssm_d",
    "mamba.dt_norm": "blk.{layer}.ssm_dt_norm",
    "mamba.b_norm": "blk.{layer}.ssm_b_norm",
    "mamba.c_norm": "blk.{layer}.ssm_c_norm",
    "mamba.norm": "blk.{layer}.ssm_norm",
    "mamba.out": "blk.{layer}.ssm_out",
}
"""Source: github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py, TENSOR_NAMES, and src/llama-model.cpp for the two
names that end without a word."""

_HF = {
    "embedding": "backbone.embeddings",
    "mamba_norm": "backbone.layers.{layer}.norm",
    "final_norm": "backbone.norm_f",
    "head": "lm_head",
}
_GGML = {"embedding": "token_embd", **MIXER_GGML, "final_norm": "output_norm", "head": "output"}
_MIXER = "backbone.layers.{layer}.mixer"
_CLASS = "https://github.com/huggingface/transformers/blob/main/src/transformers/models/mamba2/modeling_mamba2.py"

MAMBA_FAMILY = Family(
    id="mamba",
    model_types=("mamba", "falcon_mamba"),
    build=mamba,
    names={"hf": {**_HF, **mixer_names("mamba", _MIXER)}, "ggml": _GGML},
    prefixes=("backbone.",),
    sources=("https://arxiv.org/abs/2312.00752", "https://arxiv.org/abs/2410.05355"),
)

MAMBA2_FAMILY = Family(
    id="mamba2",
    model_types=("mamba2",),
    build=mamba2,
    names={"hf": {**_HF, **mixer2_names("mamba", _MIXER)}, "ggml": _GGML},
    prefixes=("backbone.",),
    sources=("https://arxiv.org/abs/2405.21060",),
    ignored={"mamba2.intermediate_size": _CLASS, "mamba2.time_step_rank": _CLASS},
)
