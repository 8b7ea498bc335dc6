"""What encoder families share: the class named in `architectures`, attention to both sides, sizes, sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weigh.families.config import Config
from weigh.parts import Attention, Embedding, Linear, Norm, part
from weigh.types import Part, WeighError


def class_of(config: Config, classes: Sequence[str], *, default: str, what: str) -> str:
    """The class named first in `architectures`, out of those understood; `default`, described by `what`, if none is."""
    name = config.architecture()
    if name is None:
        config.warnings.append(f"the configuration names no `architectures`: taken as {what}")
        return default
    if name not in classes:
        raise WeighError(
            f"the class `{name}` is not understood for the model type `{config.values.get('model_type')}`",
            rule="CONFIG-VARIANT",
            path=config.source or None,
            where="key architectures",
            hint="understood are " + ", ".join(classes),
        )
    return name


def both_ways(width: int, heads: int, head_dim: int, **options: bool | int | None) -> Attention:
    """Attention of an encoder: as many KV heads as heads, biases everywhere unless told otherwise."""
    biases = {"q_bias": True, "k_bias": True, "v_bias": True, "o_bias": True, "causal": False}
    return Attention(width, heads, heads, head_dim, head_dim, **{**biases, **options})  # type: ignore[arg-type]


def section(config: Config, key: str, default: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a part of the model (`text_config`), whose warnings and assumptions join the whole's.

    `default` is what the class documents for a section that is left out; without it that is an error.
    """
    value = config.values.get(key)
    if value is None:
        if default is None:
            raise WeighError(
                f"the configuration has no `{key}`",
                rule="CONFIG-MISSING",
                path=config.source or None,
                where=f"key {key}",
                hint="the sizes of this part of the model are not guessed",
            )
        config.assumed.append(f"{key} = the class's default")
        value = default
    if not isinstance(value, Mapping):
        raise WeighError(
            f"the configuration's `{key}` should be a section of keys, found {type(value).__name__}",
            rule="CONFIG-TYPE",
            path=config.source or None,
            where=f"key {key}",
        )
    inner = Config(value, config.source, limits=config.limits)
    inner.assumed = config.assumed
    inner.warnings = config.warnings
    return inner


def sizes_of(
    layers: int, width: int, heads: int, head_dim: int, hidden: int, vocabulary: int = 0, context: int = 0
) -> dict[str, int]:
    """Dimensions under our own names, without those that are not there."""
    found = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": head_dim,
        "hidden": hidden,
        "vocabulary": vocabulary,
        "context": context,
    }
    return {name: value for name, value in found.items() if value}


def masked_head(config: Config, width: int, inner: int, vocabulary: int, *, twice: bool = True) -> list[Part]:
    """BERT's head for masked words: a square matrix, a norm, and the token table again with a bias of its own.

    With `twice` the class holds the bias under two names (`bias`, and `decoder.bias`, which some writers store and
    some do not), tied like the table; with `tie_word_embeddings` off both are trained apart.
    """
    tied = config.switch("tie_word_embeddings", default=True)
    linear = Linear(
        inner,
        vocabulary,
        bias=True,
        role="head",
        tied="embedding.weight" if tied else "",
        bias_tied="head_bias.bias" if tied and twice else "",
        positions="outputs",
    )
    bias = [part("head_bias", Embedding(1, vocabulary, role="head", bias=True))] if twice else []
    return [
        part("transform", Linear(width, inner, bias=True, positions="outputs")),
        part("transform_norm", Norm(inner, bias=True)),
        *bias,
        part("head", linear),
    ]


def number(config: Config, key: str, default: float) -> float:
    """A finite number that is not negative: a probability, a ratio, a scale."""
    value = config.values.get(key)
    if value is None:
        config.assumed.append(f"{key} = {default!r}")
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise WeighError(
            f"the configuration's `{key}` should be a number that is not negative, found {str(value)[:60]}",
            rule="CONFIG-TYPE",
            path=config.source or None,
            where=f"key {key}",
        )
    return value
