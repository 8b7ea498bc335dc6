"""GPT-Neo and CodeGen: GPT-2 with a window in every other layer, and GPT-J with q, k, v in one matrix."""

from __future__ import annotations

from weigh.families.config import Config
from weigh.families.decoder import Sizes, assemble, grouped_attention, head
from weigh.families.gpt2 import gpt_sizes
from weigh.parts import Embedding, Mlp, Norm, part
from weigh.types import Architecture, Family, WeighError

KINDS_OF_ATTENTION = ("global", "local")


def _refusal(config: Config, message: str, rule: str) -> WeighError:
    return WeighError(message, rule=rule, path=config.source or None, where="key attention_types")


def _attention_types(config: Config, layers: int) -> list[str]:
    """A list of [kinds, repeats]; left out it is [[["global", "local"], 12]], which suits 24 layers alone."""
    listed = config.values.get("attention_types")
    if listed is None:
        config.assumed.append("attention_types = [[['global', 'local'], 12]]")
        listed = [[KINDS_OF_ATTENTION, 12]]
    kinds: list[str] = []
    for item in listed if isinstance(listed, list | tuple) else [listed]:
        if not (isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], list | tuple)):
            raise _refusal(config, "`attention_types` should be a list of [kinds, repeats]", "CONFIG-TYPE")
        group, repeats = item
        if isinstance(repeats, bool) or not isinstance(repeats, int):
            raise _refusal(config, "`attention_types` should repeat its kinds a whole number of times", "CONFIG-TYPE")
        for kind in group:
            if kind not in KINDS_OF_ATTENTION:
                raise _refusal(config, "`attention_types` should name only `global` and `local`", "CONFIG-VARIANT")
        if group and repeats * len(group) > layers:
            raise _refusal(config, f"`attention_types` names more than {layers} layers", "CONFIG-RANGE")
        kinds += [*group] * max(repeats, 0)
    if len(kinds) != layers:
        raise _refusal(
            config, f"`attention_types` names {len(kinds)} layers, `num_layers` says {layers}", "CONFIG-RANGE"
        )
    return kinds


def gpt_neo(config: Config) -> Architecture:
    """GPT-Neo: learned positions, biases everywhere but in q, k and v.

    A local layer sees the last `window_size` tokens, 256 unless written down; the MLP is four times the width unless
    written down. Source: transformers 5.23, {configuration,modeling}_gpt_neo.py.
    """
    width = config.integer("hidden_size")
    heads = config.integer("num_heads", "num_attention_heads")
    hidden = config.optional_integer("intermediate_size")
    sizes = Sizes(
        layers=config.layers("num_layers", "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=config.divide(width, heads, "hidden_size / num_heads"),
        hidden=4 * width if hidden is None else hidden,
        vocabulary=config.integer("vocab_size"),
        context=config.integer("max_position_embeddings"),
    )
    window = config.integer("window_size", default=256)
    norm = Norm(width, bias=True)
    mlp = Mlp(width, sizes.hidden, up_bias=True, down_bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", grouped_attention(sizes, window=window if kind == "local" else None, o_bias=True), i),
            part("mlp_norm", norm, i),
            part("mlp", mlp, i),
        ]
        for i, kind in enumerate(_attention_types(config, sizes.layers))
    ]
    tied = config.switch("tie_word_embeddings", default=True)
    return assemble(
        config,
        sizes,
        layers,
        before=[part("position", Embedding(sizes.context, width, role="position"))],
        head=head(config, "GPTNeo", width, sizes.vocabulary, tied=tied),
        final_norm=norm,
    )


def codegen(config: Config) -> Architecture:
    """CodeGen: no biases in attention, one norm a layer, a head of its own with a bias, rotary positions.

    Source: transformers 5.23, {configuration,modeling}_codegen.py.
    """
    sizes = gpt_sizes(config)
    norm = Norm(sizes.width, bias=True)
    layers = [
        [
            part("attention_norm", norm, i),
            part("attention", grouped_attention(sizes), i),
            part("mlp", Mlp(sizes.width, sizes.hidden, up_bias=True, down_bias=True), i),
        ]
        for i in range(sizes.layers)
    ]
    tied = config.switch("tie_word_embeddings", default=False)
    behind = head(config, "CodeGen", sizes.width, sizes.vocabulary, tied=tied, bias=True)
    return assemble(config, sizes, layers, head=behind, final_norm=norm)


_LAYER = "transformer.h.{layer}."
_SHARED = {
    "embedding": "transformer.wte",
    "attention_norm": _LAYER + "ln_1",
    "final_norm": "transformer.ln_f",
    "head": "lm_head",
    "score": "score",
    "classifier": "classifier",
    "qa_outputs": "qa_outputs",
}

GPT_NEO = Family(
    id="gpt_neo",
    model_types=("gpt_neo",),
    build=gpt_neo,
    names={
        "hf": {
            **_SHARED,
            "position": "transformer.wpe",
            "attention.q": _LAYER + "attn.attention.q_proj",
            "attention.k": _LAYER + "attn.attention.k_proj",
            "attention.v": _LAYER + "attn.attention.v_proj",
            "attention.o": _LAYER + "attn.attention.out_proj",
            "mlp_norm": _LAYER + "ln_2",
            "mlp.up": _LAYER + "mlp.c_fc",
            "mlp.down": _LAYER + "mlp.c_proj",
        },
    },
    prefixes=("transformer.",),
    sources=("https://github.com/EleutherAI/gpt-neo",),
)

CODEGEN = Family(
    id="codegen",
    model_types=("codegen",),
    build=codegen,
    names={
        "hf": {
            **_SHARED,
            **dict.fromkeys(("attention.q", "attention.k", "attention.v"), _LAYER + "attn.qkv_proj"),
            "attention.o": _LAYER + "attn.out_proj",
            "mlp.up": _LAYER + "mlp.fc_in",
            "mlp.down": _LAYER + "mlp.fc_out",
        },
    },
    prefixes=("transformer.",),
    sources=("https://arxiv.org/abs/2203.13474",),
)
