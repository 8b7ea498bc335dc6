"""Nemotron-H and Nemotron 3: each layer is one block, Mamba-2, attention, feed-forward or experts, by a pattern."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, experts_used, grouped_attention, head
from weigh.families.mamba import mixer2_names
from weigh.parts import Applied, Attention, Linear, Mamba2, Mlp, Moe, Norm, part
from weigh.types import Architecture, Family, Part, WeighError

KINDS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
"""Letters of a pattern. Source: transformers 5.23, configuration_nemotron_h.py."""

_OLD = {"mamba": "linear_attention", "attention": "full_attention"}
_WORDS = (*KINDS.values(), *_OLD)
_PATHS = {"linear_attention": "mamba", "full_attention": "attention", "mlp": "mlp", "moe": "moe"}


def _pattern(config: Config, key: str) -> list[str]:
    letters = config.values.get(key)
    if not isinstance(letters, str) or not letters or len(letters) > config.limits.layers or set(letters) - set(KINDS):
        shown = repr(letters)
        raise WeighError(
            f"the configuration's `{key}` should be letters out of {' '.join(KINDS)}, found {shown[:80]}",
            rule="CONFIG-VARIANT" if isinstance(letters, str) and letters else "CONFIG-TYPE",
            path=config.source or None,
            where=f"key {key}",
        )
    return [KINDS[letter] for letter in letters]


def _blocks(config: Config) -> list[str]:
    """The kind of each layer: the list before the pattern of letters; `num_hidden_layers` is not read."""
    for key in ("layers_block_type", "layer_types"):
        listed = config.words(key, _WORDS)
        if listed is not None:
            if not 1 <= len(listed) <= config.limits.layers:
                raise WeighError(f"`{key}` names {len(listed):,} layers", rule="CONFIG-RANGE", where=f"key {key}")
            return [_OLD.get(kind, kind) for kind in listed]
    if config.values.get("hybrid_override_pattern") is None:
        raise WeighError(
            "the configuration has no `layers_block_type` or `hybrid_override_pattern`",
            rule="CONFIG-MISSING",
            path=config.source or None,
            where="key layers_block_type",
            hint="the order of the layers is not guessed: add the key, or name the model's own file",
        )
    return _pattern(config, "hybrid_override_pattern")


def _mamba(config: Config, width: int) -> Mamba2:
    """The inner width is heads x head size: `expand` is not read."""
    return Mamba2(
        width=width,
        heads=config.integer("mamba_num_heads"),
        head_dim=config.integer("mamba_head_dim", default=64),
        groups=config.integer("mamba_n_groups", "n_groups", default=8),
        state=config.integer("ssm_state_size", default=128),
        kernel=config.integer("mamba_d_conv", "conv_kernel", default=4),
        conv_bias=config.switch("mamba_conv_bias", "use_conv_bias", default=True),
        bias=config.switch("use_bias", default=False),
    )


def _moe(config: Config, width: int) -> Moe:
    """Experts without a gate, beside a shared one; on a narrower width where `moe_latent_size` says so."""
    experts = config.integer("n_routed_experts", "num_local_experts")
    biased = config.switch("mlp_bias", default=False)
    return Moe(
        width=width,
        hidden=config.integer("moe_intermediate_size"),
        experts=experts,
        used=experts_used(config, experts),
        gated=False,
        shared_hidden=config.integer("moe_shared_expert_intermediate_size"),
        shared_bias=biased,
        correction="buffer",
        latent=config.optional_integer("moe_latent_size") or 0,
        latent_bias=biased,
    )


def _block(config: Config, kind: str, width: int, attention: Attention | None) -> Any:
    """Dimensions of a layer of this kind."""
    if kind == "linear_attention":
        return _mamba(config, width)
    if kind == "moe":
        return _moe(config, width)
    if kind == "full_attention":
        return attention
    biased = config.switch("mlp_bias", default=False)
    return Mlp(width, config.integer("intermediate_size"), up_bias=biased, down_bias=biased)


def _ahead(config: Config, width: int, attention: Attention) -> list[Part]:
    """Multi-token prediction: the layers of `mtp_layers_block_type` behind a fusion of token and hidden state.

    Source: vllm, model_executor/models/nemotron_h_mtp.py, whose checkpoints have one such group.
    """
    groups = config.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=config.limits.layers)
    if not groups:
        return []
    listed = config.words("mtp_layers_block_type", _WORDS) or ("attention", "moe")
    kinds = [_OLD.get(kind, kind) for kind in listed]
    if kinds == ["full_attention", "moe"] and config.values.get("mtp_hybrid_override_pattern") is not None:
        kinds = _pattern(config, "mtp_hybrid_override_pattern")
    if set(kinds) - {"full_attention", "moe"} or groups * len(kinds) > config.limits.layers:
        raise WeighError(
            "layers for multi-token prediction that are neither attention nor experts are not understood",
            rule="CONFIG-VARIANT",
            path=config.source or None,
            where="key mtp_layers_block_type",
        )
    parts: list[Part] = []
    for i, kind in enumerate(kinds * groups):
        place = f"mtp.layers.{i}"
        if i % len(kinds) == 0:
            parts += [_aside(f"{place}.{name}", Norm(width)) for name in ("enorm", "hnorm")]
            parts.append(_aside(f"{place}.eh_proj", Linear(2 * width, width)))
        parts.append(_aside(f"{place}.norm", Norm(width)))
        parts.append(_aside(f"{place}.{_PATHS[kind]}", _block(config, kind, width, attention)))
        if i % len(kinds) == len(kinds) - 1:
            parts.append(_aside(f"{place}.final_layernorm", Norm(width)))
    return parts


def _aside(path: str, dimensions: Any) -> Part:
    """A layer that a pass without speculation does not run."""
    return part(path, Applied(dimensions, "never", role="mtp"))


def nemotron_h(config: Config) -> Architecture:
    """nemotron_h. The class reads no `attention_bias`, and never ties the head.

    Source: transformers 5.23, configuration_nemotron_h.py, modeling_nemotron_h.py.
    """
    blocks = _blocks(config)
    width = config.integer("hidden_size")
    heads = config.integer("num_attention_heads")
    every = config.is_null("num_key_value_heads")
    groups = config.integer("num_key_value_heads", default=heads if every else 8)
    config.divide(heads, groups, "num_attention_heads / num_key_value_heads")
    sizes = Sizes(
        layers=len(blocks),
        width=width,
        heads=heads,
        kv_heads=groups,
        head_dim=config.integer("head_dim", default=128),
        hidden=config.integer("intermediate_size") if "mlp" in blocks else 0,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings", default=4096),
    )
    attention = grouped_attention(sizes)
    made = {kind: _block(config, kind, width, attention) for kind in KINDS.values() if kind in blocks}
    layers = [[part("block_norm", Norm(width), i), part(_PATHS[kind], made[kind], i)] for i, kind in enumerate(blocks)]
    if config.switch("tie_word_embeddings", default=False):
        config.warnings.append("`tie_word_embeddings` is true, but this class does not tie its head")
    behind = head(config, "NemotronH", width, sizes.vocabulary, tied=False)
    after = _ahead(config, width, attention)
    more: dict[str, int] = {}
    if isinstance(moe := made.get("moe"), Moe):
        more |= {"experts": moe.experts, "experts_used": moe.used, "expert_hidden": moe.hidden}
    if isinstance(mamba := made.get("linear_attention"), Mamba2):
        more["state"] = mamba.state
    whole = assemble(config, sizes, layers, head=[*behind, *after], final_norm=Norm(width))
    return replace(whole, dimensions={**whole.dimensions, **more})


def _names(prefix: str, stem: str) -> dict[str, str]:
    """A block's tensors: all kinds are called mixer."""
    mixer = f"{stem}.mixer"
    return {
        **mixer2_names(f"{prefix}mamba", mixer),
        **{f"{prefix}attention.{name}": f"{mixer}.{name}_proj" for name in "qkvo"},
        f"{prefix}mlp.up": f"{mixer}.up_proj",
        f"{prefix}mlp.down": f"{mixer}.down_proj",
        f"{prefix}moe.router": f"{mixer}.gate",
        f"{prefix}moe.correction.bias": f"{mixer}.gate.e_score_correction_bias",
        f"{prefix}moe.experts.up": f"{mixer}.experts.{{expert}}.up_proj",
        f"{prefix}moe.experts.down": f"{mixer}.experts.{{expert}}.down_proj",
        f"{prefix}moe.shared.up": f"{mixer}.shared_experts.up_proj",
        f"{prefix}moe.shared.down": f"{mixer}.shared_experts.down_proj",
        f"{prefix}moe.latent_down": f"{mixer}.fc1_latent_proj",
        f"{prefix}moe.latent_up": f"{mixer}.fc2_latent_proj",
    }


_AHEAD = "mtp.layers.{}"
_CLASS = "https://github.com/huggingface/transformers/blob/main/src/transformers/models/nemotron_h/"

NEMOTRON_H = Family(
    id="nemotron_h",
    model_types=("nemotron_h",),
    build=nemotron_h,
    names={
        "hf": {
            "embedding": "backbone.embeddings",
            "block_norm": "backbone.layers.{layer}.norm",
            **_names("", "backbone.layers.{layer}"),
            "final_norm": "backbone.norm_f",
            "head": "lm_head",
            **{f"{_AHEAD}.{word}": f"{_AHEAD}.{word}" for word in ("enorm", "hnorm", "eh_proj", "norm")},
            f"{_AHEAD}.final_layernorm": f"{_AHEAD}.final_layernorm",
            **_names(f"{_AHEAD}.", _AHEAD),
        }
    },
    prefixes=("backbone.", "model."),
    sources=("https://arxiv.org/abs/2504.03624",),
    ignored={
        "nemotron_h.attention_bias": _CLASS + "modeling_nemotron_h.py",
        "nemotron_h.mamba_proj_bias": _CLASS + "modeling_nemotron_h.py",
        "nemotron_h.expand": _CLASS + "modeling_nemotron_h.py",
        "nemotron_h.num_hidden_layers": _CLASS + "configuration_nemotron_h.py",
    },
)
