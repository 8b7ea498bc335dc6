"""What decoder families share: reading the sizes, windows by layer, the head by class name, the assembly.

A family file says how one layer is composed and which keys its class reads; this file puts layers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weigh.families.config import Config
from weigh.parts import Attention, Embedding, Linear, Norm, part
from weigh.types import Architecture, Part, WeighError

LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that every decoder has."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    context: int


def rope_sizes(
    config: Config,
    *,
    context: int = 2048,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    reads_head_dim: bool = True,
    hidden_keys: Sequence[str] = ("intermediate_size",),
) -> Sizes:
    """Sizes under the keys that Llama introduced and most later classes took over.

    `context`, `kv_heads` and `head_dim` are the defaults that the model type documents; None = as many KV heads as
    heads, which is also what a null stands for, and width / heads. Some classes never read `head_dim`, and some
    call the hidden size otherwise (`hidden_keys`).
    Source: transformers 5.23, models/*/configuration_*.py of each type.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    every = kv_heads is None or config.is_null("num_key_value_heads")
    groups = config.integer("num_key_value_heads", default=heads if every else kv_heads)
    size = config.optional_integer("head_dim") if reads_head_dim else None
    if size is None:
        size = head_dim if head_dim is not None else config.divide(width, heads, "hidden_size / num_attention_heads")
    config.divide(heads, groups, "num_attention_heads / num_key_value_heads")
    return Sizes(
        layers=config.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=groups,
        head_dim=size,
        hidden=config.integer(*hidden_keys),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=context),
    )


def window_size(config: Config, default: int | None) -> int | None:
    """`sliding_window`: the documented default where the key is left out, no window where it is null."""
    if default is None or config.is_null("sliding_window"):
        return config.optional_integer("sliding_window")
    return config.integer("sliding_window", default=default)


def multi_head_sizes(config: Config, *, context: int | None = None) -> Sizes:
    """Sizes under the same keys where every head has keys and values of its own, of width / heads.

    `context` is the documented default; None = the class must be told.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    default = {} if context is None else {"default": context}
    return Sizes(
        layers=config.layers("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "hidden_size / num_attention_heads"),
        hidden=config.integer("intermediate_size"),
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", **default),
    )


def windows(config: Config, layers: int, sliding: Sequence[bool], default: int | None) -> list[int | None]:
    """The window of each layer: `layer_types` where the configuration has it, else the rule of the class.

    `sliding[i]` says whether the class, left to itself, gives layer i a window; `default` is the size of a window
    where the configuration names none.
    """
    types = config.words("layer_types", LAYER_TYPES)
    if types is not None and len(types) != layers:
        raise WeighError(
            f"`layer_types` names {len(types)} layers, `num_hidden_layers` says {layers}",
            rule="CONFIG-RANGE",
            path=config.source or None,
        )
    chosen = [kind == "sliding_attention" for kind in types] if types is not None else list(sliding)[:layers]
    if not any(chosen):
        return [None] * layers
    size = window_size(config, default)
    return [size if slides else None for slides in chosen]


def experts_used(
    config: Config, experts: int, *, default: int | None = None, key: str = "num_experts_per_tok", other: str = ""
) -> int:
    """`num_experts_per_tok`: a token runs through no more experts than there are, whatever the key says.

    `key` is what a class calls it instead, `other` a synonym.
    """
    keys = (key, other) if other else (key,)
    used = config.integer(*keys) if default is None else config.integer(*keys, default=default)
    if used > experts:
        config.warnings.append(f"`{key}` is {used:,} of only {experts:,} experts: taken as all of them")
    return min(used, experts)


def grouped_attention(sizes: Sizes, **options: int | bool | None) -> Attention:
    """Attention of these sizes; `options` are the other fields of `parts.attention.Attention`."""
    return Attention(
        width=sizes.width,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        key_dim=sizes.head_dim,
        value_dim=sizes.head_dim,
        **options,  # type: ignore[arg-type]
    )


def head(
    config: Config,
    stem: str,
    width: int,
    vocabulary: int,
    *,
    tied: bool,
    bias: bool = False,
    answers: int | None = 2,
) -> list[Part]:
    """The layers behind the final norm that the class named first in `architectures` adds.

    `stem` is what the classes' names begin with; `answers` the outputs of the one for questions, None = as many as
    there are labels. Source: transformers 5.23, modeling_layers.py (the Generic*
    classes) and the classes of each model's own file.
    """
    name = config.architecture()
    causal = Linear(
        width, vocabulary, bias=bias, role="head", tied="embedding.weight" if tied else "", positions="outputs"
    )
    if name is None:
        config.warnings.append("the configuration names no `architectures`: taken as the causal language model")
        return [part("head", causal)]
    suffix = name[len(stem) :] if name.lower().startswith(stem.lower()) else None
    if suffix in ("ForCausalLM", "LMHeadModel"):
        return [part("head", causal)]
    if suffix == "Model":
        return []
    if suffix == "ForSequenceClassification":
        return [part("score", Linear(width, config.labels(), role="head", positions="one"))]
    if suffix == "ForTokenClassification":
        return [part("classifier", Linear(width, config.labels(), bias=True, role="head"))]
    if suffix == "ForQuestionAnswering":
        return [part("qa_outputs", Linear(width, answers or config.labels(), bias=True, role="head"))]
    raise WeighError(
        f"the class `{name}` is not understood for the model type `{config.values.get('model_type')}`",
        rule="CONFIG-VARIANT",
        path=config.source or None,
        where="key architectures",
        hint=f"understood are {stem}ForCausalLM, {stem}Model and the classification heads",
    )


def assemble(
    config: Config,
    sizes: Sizes,
    layers: Iterable[Sequence[Part]],
    *,
    head: Sequence[Part],
    final_norm: Norm | None,
    before: Sequence[Part] = (),
    after: Sequence[Part] = (),
    embedding_width: int | None = None,
    **more: int,
) -> Architecture:
    """Token table, what else stands before the layers, the layers, final norm, what stands behind it, head."""
    parts = [part("embedding", Embedding(sizes.vocabulary, embedding_width or sizes.width)), *before]
    for layer in layers:
        parts.extend(layer)
    if final_norm is not None:
        parts.append(part("final_norm", final_norm))
    parts += [*after, *head]
    dimensions = {
        "layers": sizes.layers,
        "width": sizes.width,
        "heads": sizes.heads,
        "kv_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "hidden": sizes.hidden,
        "vocabulary": sizes.vocabulary,
        "context": sizes.context,
        **more,
    }
    return Architecture(tuple(parts), dimensions, tuple(config.warnings), tuple(config.assumed))
