"""Dense decoders for `draw.py`: their classes, the sizes that no class may guess, and values for what may be left out.

Each function of `SIZES` draws the smallest configuration of a type; each of `SWITCHES` is given that and draws values
for the keys that it left out. To add a type: a row in each of the three tables.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Drawn = dict[str, Any]

CLASSES: dict[str, tuple[str, str]] = {
    "olmo3": ("Olmo3", "ForCausalLM Model ForSequenceClassification"),
    "starcoder2": ("Starcoder2", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "nemotron": (
        "Nemotron",
        "ForCausalLM Model ForSequenceClassification ForQuestionAnswering ForTokenClassification",
    ),
    "nemotron-nas": ("DeciLM", "ForCausalLM"),
    "stablelm": ("StableLm", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "persimmon": ("Persimmon", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "granite": ("Granite", "ForCausalLM Model"),
    "helium": ("Helium", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "seed_oss": (
        "SeedOss",
        "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    ),
    "cohere": ("Cohere", "ForCausalLM Model"),
    "cohere2": ("Cohere2", "ForCausalLM Model"),
    "glm": ("Glm", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "glm4": ("Glm4", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "exaone4": (
        "Exaone4",
        "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering",
    ),
    "mimo": ("MiMo", "ForCausalLM"),
    "gpt_neo": ("GPTNeo", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "codegen": ("CodeGen", "ForCausalLM Model"),
    "ctrl": ("CTRL", "LMHeadModel Model ForSequenceClassification"),
    "xglm": ("XGLM", "ForCausalLM Model"),
    "biogpt": ("BioGpt", "ForCausalLM Model ForTokenClassification ForSequenceClassification"),
}

REMOTE = frozenset({"mimo", "nemotron-nas"})
"""Types whose classes are published with the models: transformers has none to compare with."""

HEADS = 32
"""The documented numbers of KV heads have to divide them."""


def _llama(*more: str) -> Callable[[random.Random], Drawn]:
    """The sizes under Llama's keys, and others that the type insists on."""

    def drawn(rng: random.Random) -> Drawn:
        sizes = {
            "vocab_size": rng.randint(50, 400),
            "hidden_size": HEADS * rng.choice([2, 4]),
            "num_hidden_layers": rng.randint(1, 5),
            "num_attention_heads": HEADS,
            "intermediate_size": rng.randint(10, 90),
        }
        further = {"num_key_value_heads": rng.choice([1, 2, HEADS]), "max_position_embeddings": rng.randint(16, 64)}
        return {**sizes, **{key: further[key] for key in more}}

    return drawn


def _helium(rng: random.Random) -> Drawn:
    """Twenty heads of 128 values span the width, as documented."""
    return {**_llama()(rng), "num_attention_heads": 20, "hidden_size": 2560, "num_hidden_layers": rng.randint(1, 2)}


def _gpt_neo(rng: random.Random) -> Drawn:
    """The documented pattern of windows is one of 24 layers."""
    return {
        "vocab_size": rng.randint(50, 400),
        "hidden_size": rng.choice([8, 16]),
        "num_layers": 24,
        "num_heads": rng.choice([2, 4]),
        "max_position_embeddings": rng.randint(16, 64),
    }


def _gpt(rng: random.Random) -> Drawn:
    """The sizes under GPT-2's keys."""
    return {
        "vocab_size": rng.randint(50, 400),
        "n_embd": HEADS * rng.choice([2, 4]),
        "n_layer": rng.randint(1, 4),
        "n_head": HEADS,
    }


def _codegen(rng: random.Random) -> Drawn:
    """The width of q, k and v is split in four by the class, that of each head in two."""
    return {**_gpt(rng), "n_head": 4, "n_positions": rng.randint(16, 64)}


def _ctrl(rng: random.Random) -> Drawn:
    return {**_gpt(rng), "dff": rng.randint(10, 90)}


def _xglm(rng: random.Random) -> Drawn:
    return {
        "vocab_size": rng.randint(50, 400),
        "d_model": HEADS * rng.choice([2, 4]),
        "num_layers": rng.randint(1, 4),
        "attention_heads": HEADS,
        "ffn_dim": rng.randint(10, 90),
    }


def _block(rng: random.Random) -> Drawn:
    """One layer of a searched model; either half may be missing."""
    return {
        "attention": {"no_op": True, "n_heads_in_group": None}
        if rng.random() < 0.3
        else {"no_op": False, "n_heads_in_group": rng.choice([1, 4, HEADS]), "window_length": None},
        "ffn": {"no_op": True, "ffn_mult": None}
        if rng.random() < 0.3
        else {"ffn_mult": rng.choice([0.5, 1.3125, 5.25]), "sparsify": None},
    }


def _nas(rng: random.Random) -> Drawn:
    sizes = _llama()(rng)
    del sizes["intermediate_size"]
    return {**sizes, "block_configs": [_block(rng) for _ in range(sizes["num_hidden_layers"])]}


SIZES: dict[str, Callable[[random.Random], Drawn]] = {
    **dict.fromkeys(("olmo3", "starcoder2", "stablelm", "persimmon", "granite", "seed_oss", "cohere"), _llama()),
    **dict.fromkeys(("cohere2", "glm", "glm4", "exaone4"), _llama()),
    **dict.fromkeys(("nemotron", "mimo"), _llama("num_key_value_heads")),
    "biogpt": _llama("max_position_embeddings"),
    "helium": _helium,
    "nemotron-nas": _nas,
    "gpt_neo": _gpt_neo,
    "codegen": _codegen,
    "ctrl": _ctrl,
    "xglm": _xglm,
}

_SWITCHES = {
    "olmo3": "attention_bias kv_heads_or_null sliding_window_or_null layer_types",
    "starcoder2": "use_bias num_key_value_heads head_dim sliding_window",
    "nemotron": "attention_bias mlp_bias head_dim",
    "nemotron-nas": "attention_bias mlp_bias",
    "stablelm": "use_qkv_bias qk_layernorm use_parallel_residual num_key_value_heads",
    "persimmon": "qk_layernorm",
    "granite": "attention_bias mlp_bias kv_heads_or_null head_dim",
    "helium": "attention_bias mlp_bias",
    "seed_oss": "attention_bias attention_out_bias mlp_bias kv_heads_or_null head_dim_or_null",
    "cohere": "attention_bias use_qk_norm kv_heads_or_null head_dim",
    "cohere2": "attention_bias kv_heads_or_null head_dim sliding_window_or_null sliding_window_pattern",
    "glm": "attention_bias num_key_value_heads head_dim",
    "glm4": "attention_bias num_key_value_heads head_dim",
    "exaone4": "num_key_value_heads head_dim sliding_window layer_types sliding_window_pattern",
    "mimo": "num_nextn_predict_layers",
    "gpt_neo": "gpt_neo_inner window_size attention_types",
    "codegen": "n_inner",
    "ctrl": "n_positions",
    "xglm": "max_position_embeddings",
    "biogpt": "",
}
"""Keys by type; some stand for a key with other values than it has elsewhere, as `_ALIASES` says."""

_ALIASES = {
    "kv_heads_or_null": "num_key_value_heads",
    "head_dim_or_null": "head_dim",
    "sliding_window_or_null": "sliding_window",
    "gpt_neo_inner": "intermediate_size",
}


def _switches(words: str, rng: random.Random, given: Drawn) -> Drawn:
    layers = given.get("num_hidden_layers", 2)
    flip = rng.choice
    on_off = {
        key: flip([True, False])
        for key in (
            "use_bias",
            "attention_bias",
            "attention_out_bias",
            "mlp_bias",
            "use_qkv_bias",
            "qk_layernorm",
            "use_parallel_residual",
            "use_qk_norm",
        )
    }
    every = {
        **on_off,
        "num_key_value_heads": flip([1, 2, HEADS]),
        "kv_heads_or_null": flip([1, HEADS, None]),
        "head_dim": flip([8, 20]),
        "head_dim_or_null": flip([8, 20, None]),
        "sliding_window": flip([3, 7]),
        "sliding_window_or_null": flip([3, 7, None]),
        "sliding_window_pattern": flip([1, 2, 3]),
        "layer_types": [flip(["full_attention", "sliding_attention"]) for _ in range(layers)],
        "num_nextn_predict_layers": rng.randint(0, 2),
        "gpt_neo_inner": flip([None, 30]),
        "window_size": flip([1, 5]),
        "attention_types": flip([[[["global"], 24]], [[["global", "local"], 11], [["local"], 2]]]),
        "n_inner": flip([None, 30]),
        "n_positions": rng.randint(16, 64),
        "max_position_embeddings": rng.randint(16, 64),
    }
    return {_ALIASES.get(word, word): every[word] for word in words.split()}


def _of(words: str) -> Callable[[random.Random, Drawn], Drawn]:
    def drawn(rng: random.Random, given: Drawn) -> Drawn:
        return _switches(words, rng, given)

    return drawn


SWITCHES: dict[str, Callable[[random.Random, Drawn], Drawn]] = {
    model_type: _of(words) for model_type, words in _SWITCHES.items()
}
