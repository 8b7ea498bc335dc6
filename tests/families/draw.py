"""Random configurations of every model type, and what the reference classes make of them.

`python -m tests.families.draw > tests/families/counted.jsonl`, where torch 2.13 and transformers 5.23.0 are installed,
writes the facts that `test_counts.py` compares with where they are not.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

from tests.families import (
    draw_composites,
    draw_decoder_kin,
    draw_dense,
    draw_diffusers,
    draw_encoders,
    draw_experts,
    draw_images,
    draw_kin,
    draw_recurrent,
)
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import modern

_GENERIC = "ForCausalLM Model ForSequenceClassification ForQuestionAnswering ForTokenClassification"

MORE = (
    draw_encoders, draw_images, draw_kin, draw_diffusers, draw_dense, draw_experts, draw_recurrent, draw_decoder_kin,
    draw_composites,
)  # fmt: skip
"""Modules that draw for further types: each has CLASSES, SIZES and SWITCHES."""

REMOTE = draw_dense.REMOTE | {"minimax_m3"}
"""Types whose classes are not in transformers: nothing to compare with."""

CLASSES: dict[str, tuple[str, str]] = {
    "llama": ("Llama", _GENERIC),
    "mistral": ("Mistral", _GENERIC),
    "smollm3": ("SmolLM3", _GENERIC),
    "olmo": ("Olmo", "ForCausalLM Model ForSequenceClassification"),
    "olmo2": ("Olmo2", "ForCausalLM Model ForSequenceClassification"),
    "phi3": ("Phi3", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "qwen2": ("Qwen2", _GENERIC),
    "qwen3": ("Qwen3", _GENERIC),
    "qwen2_moe": ("Qwen2Moe", _GENERIC),
    "qwen3_moe": ("Qwen3Moe", _GENERIC),
    "mixtral": ("Mixtral", _GENERIC),
    "gemma": ("Gemma", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "gemma2": ("Gemma2", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "gemma3_text": ("Gemma3", "ForCausalLM TextModel TextForSequenceClassification"),
    "openai-gpt": ("OpenAIGPT", "LMHeadModel Model ForSequenceClassification"),
    "gpt2": ("GPT2", "LMHeadModel Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "gptj": ("GPTJ", "ForCausalLM Model ForSequenceClassification ForQuestionAnswering"),
    "gpt_neox": ("GPTNeoX", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "phi": ("Phi", "ForCausalLM Model ForSequenceClassification ForTokenClassification"),
    "opt": ("OPT", "ForCausalLM Model ForSequenceClassification ForQuestionAnswering"),
    "bloom": ("Bloom", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "mpt": ("Mpt", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "falcon": ("Falcon", "ForCausalLM Model ForSequenceClassification ForTokenClassification ForQuestionAnswering"),
    "bert": (
        "Bert",
        "Model ForPreTraining LMHeadModel ForMaskedLM ForNextSentencePrediction ForSequenceClassification "
        "ForMultipleChoice ForTokenClassification ForQuestionAnswering",
    ),
    "roberta": (
        "Roberta",
        "Model ForCausalLM ForMaskedLM ForSequenceClassification ForMultipleChoice ForTokenClassification "
        "ForQuestionAnswering",
    ),
    "distilbert": (
        "DistilBert",
        "Model ForMaskedLM ForSequenceClassification ForQuestionAnswering ForTokenClassification ForMultipleChoice",
    ),
    "resnet": ("ResNet", "Model ForImageClassification Backbone"),
    **draw_encoders.CLASSES,
    **draw_diffusers.CLASSES,
    **draw_kin.CLASSES,
    **draw_images.CLASSES,
    **draw_dense.CLASSES,
    **draw_experts.CLASSES,
    **draw_recurrent.CLASSES,
    **draw_decoder_kin.CLASSES,
    **draw_composites.CLASSES,
}
"""Stem of the class names, and their endings: every class of transformers 5.23 that weigh understands."""


def classes(model_type: str) -> list[str]:
    """Names of the classes of a model type."""
    stem, endings = CLASSES[model_type]
    return [stem + ending for ending in endings.split() or [""]]


def sizes(model_type: str, rng: random.Random) -> dict[str, Any]:
    """The smallest configuration that says everything: only the sizes that no class may guess, drawn at random."""
    for more in MORE:
        if model_type in more.SIZES:
            return more.SIZES[model_type](rng)
    if model_type == "resnet":
        return {
            "embedding_size": rng.choice([8, 16]),
            "hidden_sizes": [8 * rng.randint(1, 4) * 2**i for i in range(4)],
            "depths": [rng.randint(1, 3) for _ in range(4)],
        }
    # 32 heads, since the documented numbers of KV heads have to divide them.
    heads, size = 32, rng.choice([2, 4])
    width = heads * size
    layers = rng.randint(1, 4)
    drawn = {
        "vocab_size": rng.randint(50, 400),
        **_spread(layers, "num_hidden_layers", "n_layer", "n_layers"),
        **_spread(width, "hidden_size", "n_embd", "d_model", "dim"),
        **_spread(heads, "num_attention_heads", "n_head", "n_heads"),
        **_spread(rng.randint(10, 90), "intermediate_size", "ffn_dim", "hidden_dim"),
        **_spread(rng.randint(16, 64), "max_position_embeddings", "n_positions"),
        **_spread(rng.randint(3, 6), "num_experts", "num_local_experts"),
        "num_experts_per_tok": rng.randint(1, 3),
        "moe_intermediate_size": rng.randint(5, 20),
        "shared_expert_intermediate_size": rng.randint(5, 20),
    }
    return {key: drawn[key] for key in _KEYS[model_type].split()}


def _spread(value: int, *keys: str) -> dict[str, int]:
    return dict.fromkeys(keys, value)


_LLAMA = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size"
_BERT = _LLAMA + " max_position_embeddings"
_GPT = "vocab_size n_embd n_layer n_head n_positions"

_KEYS = {
    **dict.fromkeys(("llama", "mistral", "smollm3", "olmo", "olmo2", "phi3", "qwen2", "qwen3"), _LLAMA),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text", "gpt_neox", "phi"), _LLAMA),
    "qwen2_moe": _LLAMA + " num_experts num_experts_per_tok moe_intermediate_size shared_expert_intermediate_size",
    "qwen3_moe": _LLAMA + " num_experts num_experts_per_tok moe_intermediate_size",
    "mixtral": _LLAMA + " num_local_experts",
    **dict.fromkeys(("openai-gpt", "gpt2", "gptj"), _GPT),
    "opt": "vocab_size hidden_size num_hidden_layers num_attention_heads ffn_dim max_position_embeddings",
    "bloom": "vocab_size hidden_size n_layer n_head",
    "mpt": "vocab_size d_model n_layers n_heads",
    "falcon": "vocab_size hidden_size num_hidden_layers num_attention_heads",
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": "vocab_size dim n_layers n_heads hidden_dim max_position_embeddings",
}
"""The sizes of each model type: those without which weigh refuses to count."""


def switches(model_type: str, rng: random.Random, given: dict[str, Any]) -> dict[str, Any]:
    """Random values for the keys that a configuration of the type may leave out."""
    for more in MORE:
        if model_type in more.SWITCHES:
            chosen = more.SWITCHES[model_type](rng, given)
            common = {"id2label": {str(i): f"LABEL_{i}" for i in range(rng.randint(2, 5))}}
            return {"tie_word_embeddings": rng.choice([True, False]), **common, **chosen}
    heads = given.get("num_attention_heads", 32)
    layers = given.get("num_hidden_layers", 2)
    flip = rng.choice
    every = {
        "tie_word_embeddings": flip([True, False]),
        "attention_bias": flip([True, False]),
        "mlp_bias": flip([True, False]),
        "qkv_bias": flip([True, False]),
        "qk_layernorm": flip([True, False]),
        "head_dim": flip([8, 16, 20]),
        "num_key_value_heads": flip([1, 2, heads, *([None] if model_type in _NULLABLE else [])]),
        "use_sliding_window": flip([True, False]),
        "sliding_window": flip([3, 7, None]),
        "max_window_layers": rng.randint(0, layers),
        "decoder_sparse_step": flip([1, 2]),
        "mlp_only_layers": sorted(rng.sample(range(layers), rng.randint(0, layers))),
        "n_inner": flip([None, 30]),
        "enable_bias": flip([True, False]),
        "layer_norm_elementwise_affine": flip([True, False]),
        "do_layer_norm_before": flip([True, False]),
        "_remove_final_layer_norm": flip([True, False]),
        "word_embed_proj_dim": flip([given.get("hidden_size"), 10]),
        "new_decoder_architecture": flip([True, False]),
        "multi_query": flip([True, False]),
        "parallel_attn": flip([True, False]),
        "bias": flip([True, False]),
        "alibi": flip([True, False]),
        "num_kv_heads": flip([1, 2, heads]),
        "num_ln_in_parallel_attn": flip([None, 1, 2]),
        "ffn_hidden_size": flip([None, 30]),
        "learned_pos_emb": flip([True, False]),
        "type_vocab_size": flip([1, 2, 3]),
        "sinusoidal_pos_embds": flip([True, False]),
        "layer_type": flip(["basic", "bottleneck"]),
        "downsample_in_first_stage": flip([True, False]),
        "downsample_in_bottleneck": flip([True, False]),
        "num_channels": flip([1, 3]),
        "id2label": {str(i): f"LABEL_{i}" for i in range(rng.randint(2, 5))},
    }
    return {key: every[key] for key in f"tie_word_embeddings id2label {_SWITCHES[model_type]}".split()}


_NULLABLE = ("llama", "smollm3", "olmo", "olmo2", "phi3", "phi", "qwen2", "qwen3")
"""Types that may have null KV heads, which stands for as many as heads."""

_SWITCHES = {
    "llama": "attention_bias mlp_bias head_dim num_key_value_heads",
    "mistral": "head_dim num_key_value_heads sliding_window",
    "smollm3": "num_key_value_heads attention_bias mlp_bias use_sliding_window sliding_window",
    "olmo": "attention_bias num_key_value_heads",
    "olmo2": "attention_bias num_key_value_heads",
    "phi3": "num_key_value_heads sliding_window",
    "qwen2": "num_key_value_heads use_sliding_window sliding_window max_window_layers",
    "qwen3": "num_key_value_heads attention_bias head_dim use_sliding_window sliding_window max_window_layers",
    "qwen2_moe": "num_key_value_heads qkv_bias decoder_sparse_step mlp_only_layers use_sliding_window sliding_window "
    "max_window_layers",
    "qwen3_moe": "num_key_value_heads attention_bias head_dim decoder_sparse_step mlp_only_layers use_sliding_window "
    "sliding_window",
    "mixtral": "num_key_value_heads head_dim sliding_window",
    "gemma": "num_key_value_heads attention_bias head_dim",
    "gemma2": "num_key_value_heads attention_bias head_dim sliding_window",
    "gemma3_text": "num_key_value_heads attention_bias head_dim sliding_window",
    "openai-gpt": "",
    "gpt2": "n_inner",
    "gptj": "n_inner",
    "gpt_neox": "attention_bias",
    "phi": "qk_layernorm num_key_value_heads",
    "opt": "enable_bias layer_norm_elementwise_affine do_layer_norm_before _remove_final_layer_norm "
    "word_embed_proj_dim",
    "bloom": "",
    "mpt": "learned_pos_emb",
    "falcon": "new_decoder_architecture multi_query parallel_attn bias alibi num_kv_heads num_ln_in_parallel_attn "
    "ffn_hidden_size",
    "bert": "type_vocab_size",
    "roberta": "type_vocab_size",
    "distilbert": "sinusoidal_pos_embds",
    "resnet": "layer_type downsample_in_first_stage downsample_in_bottleneck num_channels",
}


def configurations(seed: int) -> Iterator[dict[str, Any]]:
    """For each class of each model type one configuration of sizes alone and two with every switch drawn."""
    for model_type in BY_MODEL_TYPE:
        for name in classes(model_type):
            rng = random.Random(f"{seed}-{name}")
            plain = {"model_type": model_type, "architectures": [name], **sizes(model_type, rng)}
            yield plain
            for _ in range(2):
                chosen = {**plain, **switches(model_type, rng, plain)}
                if name == "DistilBertForQuestionAnswering":  # the class insists on a start and an end
                    del chosen["id2label"]
                yield chosen


@contextmanager
def _quiet() -> Iterator[None]:
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _class_type(model_type: str) -> str:
    return draw_experts.STANDS_FOR.get(model_type, model_type)


def reference(configuration: dict[str, Any], device: str = "meta") -> Any:
    """The class that the configuration names, with its tied tensors tied; on the meta device without values."""
    import torch
    import transformers

    values = deepcopy(configuration)  # some classes write into the lists that they are given
    name = values.pop("architectures")[0]
    model_type = values.pop("model_type")
    if name in draw_diffusers.CLASSES:
        with _quiet(), torch.device(device):
            return draw_diffusers.reference(name, values)
    # Tokens of the class's default vocabulary lie outside a small one.
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} if "vocab_size" in values else {}
    with _quiet(), torch.device(device):
        settings = transformers.CONFIG_MAPPING[_class_type(model_type)](**values, **tokens)
        settings._attn_implementation = "eager"  # plain products, one by one
        settings._experts_implementation = "eager"
        model = getattr(transformers, name, None)
        if model is None:  # not every class is exported
            module = type(settings).__module__.replace("configuration", "modeling")
            model = getattr(importlib.import_module(module), name)
        built = model(settings)
        built.tie_weights()
    return built


def saved(model: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a checkpoint of the model holds, tied ones included.

    transformers 5 stacks the experts in memory and takes them apart again when it writes them.
    """
    from transformers.core_model_loading import revert_weight_conversion

    if type(model).__name__ in draw_diffusers.CLASSES:
        return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

    with _quiet():
        tensors = revert_weight_conversion(model, model.state_dict())
    kind = model.config.model_type
    # Writing undoes the renaming of old checkpoints for all norms, also for those that never were called so.
    # And it gives the one table of frequencies of ESM the pattern of what was one a layer for its name.
    tensors = {name.replace("encoder.layer.*.attention.self.", ""): tensor for name, tensor in tensors.items()}
    tensors = {modern(name): tensor for name, tensor in tensors.items()}
    return {
        draw_composites.released(kind, draw_experts.released(kind, name)): tuple(tensor.shape)
        for name, tensor in tensors.items()
    }


def existing(model_type: str) -> set[str]:
    """Names of the classes that the reference has for a model type."""
    import transformers

    if model_type in draw_diffusers.CLASSES:
        return set(dir(importlib.import_module("diffusers")))
    module = transformers.CONFIG_MAPPING[_class_type(model_type)].__module__.replace("configuration", "modeling")
    if find_spec(module) is None:  # a configuration of its own for the classes of another type
        return set(dir(transformers))
    return {name for name, value in vars(importlib.import_module(module)).items() if isinstance(value, type)}


def total(model: Any) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in {id(p): p for p in model.parameters()}.values())


if __name__ == "__main__":
    for configuration in configurations(seed=1):
        if configuration["model_type"] in REMOTE:
            continue
        fact = {"total": total(reference(configuration)), "config": configuration}
        sys.stdout.write(json.dumps(fact, separators=(",", ":")) + "\n")
