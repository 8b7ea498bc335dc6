"""Llama-Nemotron (Super, Ultra): a Llama whose layers were each chosen by a search, some without attention or MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.names import LLAMA_HF
from weigh.parts import Mlp, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

NOT_UNDERSTOOD = (
    "replace_with_linear",
    "sparsify",
    "window_length",
    "num_sink_tokens",
    "unshifted_sink",
    "use_prefill_window_in_sink_attention",
)
"""Variants of a block that the search could have chosen, and that no published model has."""

ROUNDING = 256
"""Hidden sizes are rounded up to a multiple of this."""


def _refusal(config: Config, layer: int, message: str, rule: str) -> WeighError:
    return WeighError(
        f"`block_configs` of layer {layer}: {message}",
        rule=rule,
        path=config.source or None,
        where="key block_configs",
    )


def _blocks(config: Config, layers: int) -> list[Mapping[str, Any]]:
    """`block_configs`: for each layer what its attention and its MLP are."""
    if config.values.get("block_configs") is None:
        raise WeighError(
            "the configuration has no `block_configs`",
            rule="CONFIG-MISSING",
            path=config.source or None,
            where="key block_configs",
            hint="each layer has its own number of KV heads and hidden size",
        )
    listed = config.values["block_configs"]
    if not isinstance(listed, list | tuple) or not all(isinstance(block, Mapping) for block in listed):
        raise _refusal(config, 0, "should be a list of objects", "CONFIG-TYPE")
    if len(listed) != layers:
        raise _refusal(config, len(listed), f"`num_hidden_layers` says {layers} layers", "CONFIG-RANGE")
    return list(listed)


def _half(config: Config, layer: int, block: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The attention or the `ffn` of a block; None where the layer has none."""
    found = block.get(name)
    if not isinstance(found, Mapping):
        raise _refusal(config, layer, f"`{name}` should be an object", "CONFIG-TYPE")
    for key in NOT_UNDERSTOOD:
        if found.get(key) not in (None, False):
            raise _refusal(config, layer, f"`{name}.{key}` is not understood", "CONFIG-VARIANT")
    absent = found.get("no_op", False)
    if not isinstance(absent, bool):
        raise _refusal(config, layer, f"`{name}.no_op` should be true or false", "CONFIG-TYPE")
    return None if absent else found


def _kv_heads(config: Config, layer: int, attention: Mapping[str, Any], heads: int) -> int:
    """Heads that share one KV head are written down, as `n_heads_in_group`."""
    shared = attention.get("n_heads_in_group")
    if isinstance(shared, bool) or not isinstance(shared, int):
        raise _refusal(config, layer, "`attention.n_heads_in_group` should be a whole number", "CONFIG-TYPE")
    if not 1 <= shared <= heads:
        raise _refusal(config, layer, f"`attention.n_heads_in_group` is {shared:,}", "CONFIG-RANGE")
    return config.divide(heads, shared, "num_attention_heads / n_heads_in_group")


def _hidden(config: Config, layer: int, ffn: Mapping[str, Any], width: int) -> int:
    """Two thirds of `ffn_mult` x width, cut to a whole number and rounded up to a multiple of 256."""
    factor = ffn.get("ffn_mult")
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise _refusal(config, layer, "`ffn.ffn_mult` should be a number", "CONFIG-TYPE")
    if not 0 < factor <= 1000:
        raise _refusal(config, layer, f"`ffn.ffn_mult` is {factor:g}, not from 0 to 1000", "CONFIG-RANGE")
    whole = int(2 * factor * width / 3)
    if not whole:
        raise _refusal(config, layer, f"`ffn.ffn_mult` {factor:g} leaves the MLP no values", "CONFIG-RANGE")
    return -(-whole // ROUNDING) * ROUNDING


def nemotron_nas(config: Config) -> Architecture:
    """The class is published with the model, as DeciLMForCausalLM: its configuration says what each layer holds.

    A layer without attention or MLP lacks the norm before it too. `dimensions` names the largest layer's KV heads and
    hidden size. Source: github.com/vllm-project/vllm, vllm/model_executor/models/nemotron_nas.py.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    count = config.layers("num_hidden_layers")
    size = config.divide(width, heads, "hidden_size / num_attention_heads")
    vocabulary = config.integer("vocab_size")
    context = config.integer("max_position_embeddings", default=2048)
    biased = config.switch("attention_bias", default=False)
    mlp_biased = config.switch("mlp_bias", default=False)
    blocks = _blocks(config, count)
    layers: list[list[Part]] = []
    groups, hidden = [1], [1]
    for i, block in enumerate(blocks):
        layer: list[Part] = []
        attention = _half(config, i, block, "attention")
        if attention is not None:
            groups.append(_kv_heads(config, i, attention, heads))
            sizes = Sizes(count, width, heads, groups[-1], size, 1, vocabulary, context)
            made = grouped_attention(sizes, q_bias=biased, k_bias=biased, v_bias=biased, o_bias=biased)
            layer += [part("attention_norm", Norm(width), i), part("attention", made, i)]
        ffn = _half(config, i, block, "ffn")
        if ffn is not None:
            hidden.append(_hidden(config, i, ffn, width))
            mlp = Mlp(width, hidden[-1], gated=True, up_bias=mlp_biased, down_bias=mlp_biased)
            layer += [part("mlp_norm", Norm(width), i), part("mlp", mlp, i)]
        layers.append(layer)
    tied = config.switch("tie_word_embeddings", default=False)
    largest = Sizes(count, width, heads, max(groups), size, max(hidden), vocabulary, context)
    behind = head(config, "DeciLM", width, vocabulary, tied=tied)
    return assemble(config, largest, layers, head=behind, final_norm=Norm(width))


NEMOTRON_NAS = Family(
    id="nemotron_nas",
    model_types=("nemotron-nas",),
    build=nemotron_nas,
    names={"hf": LLAMA_HF},
    prefixes=("model.",),
    sources=("https://arxiv.org/abs/2411.19146",),
)
