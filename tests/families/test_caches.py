"""What the classes of transformers really keep after a prompt, against the states that the parts say they remember.

The engine's habits are in `kept` and nowhere else: they need a State alone and never the part that has it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.families import draw
from tests.families.test_experts import _PASSABLE
from weigh import parts
from weigh.families.identify import identify
from weigh.types import Inventory, Model, State

TOKENS, SOURCE = 11, 7

WINDOWED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 5},
    "gemma2": {"sliding_window": 4, "num_hidden_layers": 2},
    "gemma3_text": {"sliding_window": 6, "num_hidden_layers": 7},
    "gpt_oss": {"sliding_window": 5, "num_experts_per_tok": 2},
    "llama4_text": {"attention_chunk_size": 4, "num_experts_per_tok": 2},
}
ROTARY = {"phi": {"partial_rotary_factor": 1.0}}
EXPERTS = {f"deepseek_{version}": {"num_experts_per_tok": 2} for version in ("v2", "v3", "v32", "v4")}
TABLES = {name: {"vocab_size_per_layer_input": 50} for name in ("gemma3n_text", "gemma4_text")}
LAYERS = {
    "bamba": {"attn_layer_indices": [1], "num_hidden_layers": 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "num_hidden_layers": 2},
}
PLAIN = (
    "llama", "qwen3", "gpt2", "bloom", "phi", "deepseek_v2", "deepseek_v3", "deepseek_v32", "mamba", "mamba2",
    "falcon_mamba", "jamba", "bamba", "granitemoehybrid", "nemotron_h", "qwen3_next", "qwen3_5_text",
    "minimax", "rwkv", "gemma3n_text", "gemma4_text", *WINDOWED,
)  # fmt: skip


def kept(state: State, tokens: int, source: int) -> int:
    """Values of one sequence as a DynamicCache of transformers 5.23 keeps them.

    Of a window all but the place of the next token; of a convolution as many inputs as its kernel is long, the newest
    included. Source: transformers 5.23, cache_utils.py.
    """
    if state.shared_with:
        return 0
    if state.kind == "conv":
        return state.row * (state.rows + 1)
    if state.window is not None and state.kind != "cross":
        return state.row * min(tokens, state.window - 1)
    return state.values(tokens, source)


def configured(model_type: str) -> dict[str, Any]:
    drawn = draw.sizes(model_type, random.Random(model_type))
    named = {"model_type": model_type, "architectures": [draw.classes(model_type)[0]]}
    made = {**named, **drawn, **_PASSABLE.get(model_type, {})}
    for extra in (WINDOWED, ROTARY, EXPERTS, TABLES, LAYERS):
        made |= extra.get(model_type, {})
    return made


def understood(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def states(model: Model) -> list[State]:
    return [state for part in model.parts for state in parts.remembers(part)]


def held(cache: Any) -> int:
    """Values of one of two sequences in every array that hangs on a cache; counters and lengths are no arrays of it."""
    import torch

    found: dict[tuple[int, tuple[int, ...]], int] = {}

    def walk(thing: Any) -> None:
        if isinstance(thing, torch.Tensor):
            if thing.dim() > 1:
                found[thing.untyped_storage().data_ptr(), tuple(thing.shape)] = thing.numel()
        elif isinstance(thing, dict):
            for inner in thing.values():
                walk(inner)
        elif isinstance(thing, list | tuple):
            for inner in thing:
                walk(inner)
        elif type(thing).__module__.startswith("transformers"):
            walk(vars(thing))

    walk(cache)
    return sum(found.values()) // 2


def after(built: Any, **inputs: Any) -> Any:
    import torch

    with torch.no_grad():
        return built.eval()(**inputs, use_cache=True)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("model_type", PLAIN)
def test_a_prompt_leaves_behind_what_the_parts_remember(model_type: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = configured(model_type)
    output = after(draw.reference(configuration, "cpu"), input_ids=torch.ones(2, TOKENS, dtype=torch.long))
    cache = next(output[key] for key in ("past_key_values", "cache_params", "state") if key in output)
    ours = states(understood(configuration))
    assert ours
    assert held(cache) == sum(kept(state, TOKENS, 0) for state in ours)


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_an_encoder_decoder_keeps_its_words_and_the_source(model_type: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = configured(model_type)
    sides = {"input_ids": SOURCE, "decoder_input_ids": TOKENS}
    inputs = {name: torch.ones(2, length, dtype=torch.long) for name, length in sides.items()}
    output = after(draw.reference(configuration, "cpu"), **inputs)
    ours = states(understood(configuration))
    assert {state.kind for state in ours} == {"kv", "cross"}
    assert held(output.past_key_values) == sum(kept(state, TOKENS, SOURCE) for state in ours)


@pytest.mark.oracle
def test_whisper_keeps_its_words_and_half_a_minute_whatever_was_said() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = {**configured("whisper"), "max_source_positions": 20, "num_mel_bins": 4}
    sound = torch.zeros(2, 4, 40)
    words = torch.ones(2, TOKENS, dtype=torch.long)
    output = after(draw.reference(configuration, "cpu"), input_features=sound, decoder_input_ids=words)
    ours = states(understood(configuration))
    assert held(output.past_key_values) == sum(kept(state, TOKENS, 0) for state in ours)


@pytest.mark.oracle
def test_recurrent_gemma_keeps_its_recurrences_in_the_layers() -> None:
    """The class of transformers 5.23 hangs them on its modules, the convolution with one row less than elsewhere."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = configured("recurrent_gemma")
    built = draw.reference(configuration, "cpu")
    after(built, input_ids=torch.ones(2, TOKENS, dtype=torch.long))
    found = [m.conv1d_state for m in built.modules() if getattr(m, "conv1d_state", None) is not None]
    found += [m.recurrent_states for m in built.modules() if getattr(m, "recurrent_states", None) is not None]
    ours = [state for state in states(understood(configuration)) if state.kind != "kv"]
    assert sum(tensor.numel() for tensor in found) // 2 == sum(state.values(TOKENS) for state in ours) > 0


@pytest.mark.oracle
def test_deepseek_v4_keeps_a_row_twice_only_where_nothing_is_compressed() -> None:
    """Its caches of compressed layers hold one row for key and value; the plain window of the others holds both."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = configured("deepseek_v4")
    output = after(draw.reference(configuration, "cpu"), input_ids=torch.ones(2, TOKENS, dtype=torch.long))
    model = understood(configuration)
    compressed = {part.layer for part in model.parts if part.kind == "compressor"}
    plain = [part for part in model.parts if part.kind == "shared_attention" and part.layer not in compressed]
    twice = sum(kept(state, TOKENS, 0) for part in plain for state in parts.remembers(part))
    assert twice > 0
    assert held(output.past_key_values) == sum(kept(state, TOKENS, 0) for state in states(model)) + twice


@pytest.mark.oracle
def test_recurrences_stay_in_float32_where_the_model_is_in_16_bit() -> None:
    """The two halves of what such a layer keeps are of different types: that is why they are two states."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = configured("qwen3_next")
    built = draw.reference(configuration, "cpu").to(torch.bfloat16)
    cache = after(built, input_ids=torch.ones(2, TOKENS, dtype=torch.long)).past_key_values
    layer = next(layer for layer in cache.layers if hasattr(layer, "recurrent_states"))
    assert layer.conv_states[0].dtype == torch.bfloat16
    assert layer.recurrent_states[0].dtype == torch.float32
