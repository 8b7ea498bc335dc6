"""FLOPs against torch's counter in real classes that are given images, sound, two texts, or keep a recurrence.

The counter sees matrix products and convolutions. What it sees otherwise is stated beside each comparison: masked
pairs (every pair is computed by plain attention), recurrences that a class writes elementwise, and convolutions over
padding.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.families import draw
from tests.families.test_caches import configured, understood
from weigh.cost.compute import forward_flops
from weigh.parts import (
    Applied,
    Attention,
    GatedDeltaNet,
    KimiDelta,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mamba2,
    Mlstm,
    RgLru,
    ShortConv,
    attention,
    latent_attention,
)
from weigh.types import Model, Pass

BATCH, TOKENS, SOURCE = 2, 6, 9

TWO_TEXTS = (
    "t5", "mt5", "umt5", "bart", "mbart", "plbart", "blenderbot", "blenderbot-small", "pegasus", "marian", "m2m_100",
)  # fmt: skip
IMAGES = ("vit", "dinov2", "convnext", "swin")
ELEMENTWISE = ("gemma3n_text", "rwkv")
LATENT = ("glm4_moe_lite", "youtu", "minicpm3")
CONVOLVED = ("lfm2", "lfm2_moe")
STEPS: dict[str, type] = {
    **dict.fromkeys(("mamba", "falcon_mamba", "jamba"), Mamba),
    **dict.fromkeys(("mamba2", "nemotron_h", "bamba", "falcon_h1", "granitemoehybrid", "zamba2"), Mamba2),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), GatedDeltaNet),
    "minimax": LightningAttention,
    "xlstm": Mlstm,
    "kimi_linear": KimiDelta,
}
ALONE = ("whisper", "clip", "recurrent_gemma", "longformer", "diffllama")
"""Types with a comparison of their own."""

TEXT_ALONE = (
    "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "mistral3", "mllama", "paligemma",
    "smolvlm", "llama4", "clip_text_model",
)  # fmt: skip
"""Types that read text without an image too: their towers are never run, or once an image."""

COMPARED = frozenset({*TWO_TEXTS, *IMAGES, *ELEMENTWISE, *LATENT, *CONVOLVED, *STEPS, *ALONE, *TEXT_ALONE})
"""Types that are held against the counter in this file."""

UNCOMPARED = {
    **dict.fromkeys(("mimo", "nemotron-nas", "minimax_m3"), "transformers has no class of the type"),
    "kimi_k2": "the class is that of deepseek_v3",
    "deepseek_ref": "the class is that of deepseek_v4",
    "kimi_k25": "its text is deepseek_v3's",
    "siglip": "its towers are those of siglip_vision_model and of clip_text_model, but both ways",
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), "its text is qwen2's, rotated by sections that small heads lack"),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe"), "a recurrence, compared as qwen3_5_text and qwen3_5_moe_text"),
    "step3p7": "its class does not run over a prompt of sizes that small",
    **dict.fromkeys(("encodec", "dac"), "convolutions over a recording, padded by rules of their own"),
}
"""Types that no comparison covers, and why."""


def counted(built: Any, **inputs: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(**inputs)
    return int(counter.get_total_flops())


def every_pair(model: Model) -> Model:
    """The same where plain attention multiplies the masked pairs as well."""

    def wide(dimensions: Any) -> Any:
        if isinstance(dimensions, Attention):
            return replace(dimensions, causal=False, window=None)
        return replace(dimensions, inner=wide(dimensions.inner)) if isinstance(dimensions, Applied) else dimensions

    return replace(model, parts=tuple(replace(part, dimensions=wide(part.dimensions)) for part in model.parts))


def words(length: int) -> Any:
    import torch

    return torch.ones(BATCH, length, dtype=torch.long)


def drawn(model_type: str, seed: int, **options: Any) -> tuple[Model, Any]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sizes = draw.sizes(model_type, random.Random(f"{model_type}{seed}"))
    configuration = {**configured(model_type), **sizes, **options}
    return understood(configuration), draw.reference(configuration, "cpu").eval()


seeds = pytest.mark.parametrize("seed", [1, 2])


@pytest.mark.oracle
@seeds
@pytest.mark.parametrize("model_type", TWO_TEXTS)
def test_source_and_target_cost_apart(model_type: str, seed: int) -> None:
    model, built = drawn(model_type, seed)
    step = Pass(TOKENS, batch=BATCH, outputs=TOKENS, source=SOURCE)
    seen = counted(built, input_ids=words(SOURCE), decoder_input_ids=words(TOKENS))
    assert forward_flops(every_pair(model), step) == seen


@pytest.mark.oracle
def test_half_a_minute_of_sound_and_its_words() -> None:
    torch = pytest.importorskip("torch")
    model, built = drawn("whisper", 1, max_source_positions=20, num_mel_bins=4)
    seen = counted(built, input_features=torch.zeros(BATCH, 4, 40), decoder_input_ids=words(TOKENS))
    assert forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH, outputs=TOKENS)) == seen


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", IMAGES)
def test_images(model_type: str) -> None:
    torch = pytest.importorskip("torch")
    model, built = drawn(model_type, 1)
    side = getattr(built.config, "image_size", 224)
    image = torch.zeros(BATCH, built.config.num_channels, side, side)
    assert forward_flops(model, Pass(1, batch=BATCH)) == counted(built, pixel_values=image)


@pytest.mark.oracle
@seeds
def test_a_text_and_an_image(seed: int) -> None:
    """Every text is held against every image at the end: BATCH x BATCH products over the shared width."""
    torch = pytest.importorskip("torch")
    model, built = drawn("clip", seed)
    side = built.config.vision_config.image_size
    seen = counted(built, input_ids=words(TOKENS), pixel_values=torch.zeros(BATCH, 3, side, side))
    against = 2 * BATCH * BATCH * built.config.projection_dim
    assert forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH)) + against == seen


@pytest.mark.oracle
@seeds
@pytest.mark.parametrize("model_type", ELEMENTWISE)
def test_lanes_and_a_recurrence_without_products(model_type: str, seed: int) -> None:
    """RWKV-4's sums over the past are elementwise, and weigh counts them so."""
    model, built = drawn(model_type, seed)
    assert forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH, outputs=TOKENS)) == counted(
        built, input_ids=words(TOKENS)
    )


@pytest.mark.oracle
@seeds
def test_a_gated_recurrence_behind_a_padded_convolution(seed: int) -> None:
    """RecurrentGemma convolves kernel - 1 places of padding as well."""
    model, built = drawn("recurrent_gemma", seed)
    padded = sum(
        2 * part.dimensions.kernel * (part.dimensions.kernel - 1) * part.dimensions.inner
        for part in model.parts
        if isinstance(part.dimensions, RgLru)
    )
    seen = counted(built, input_ids=words(TOKENS))
    ours = forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH, outputs=TOKENS))
    assert ours + BATCH * padded == seen


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", TEXT_ALONE)
def test_text_beside_a_tower_that_is_not_run(model_type: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    configuration = next(
        each
        for each in draw.configurations(seed=2)
        if each["model_type"] == model_type and (model_type == "clip_text_model" or "vision_config" in each)
    )
    model, built = understood(configuration), draw.reference(configuration, "cpu").eval()
    step = Pass(TOKENS, batch=BATCH, outputs=TOKENS)
    assert forward_flops(every_pair(model), step) == counted(built, input_ids=words(TOKENS))


@pytest.mark.oracle
@seeds
@pytest.mark.parametrize("model_type", CONVOLVED)
def test_a_short_convolution_over_its_padding(model_type: str, seed: int) -> None:
    """LFM2 convolves kernel - 1 places of padding as well."""
    mixers = ["conv", "full_attention", "conv"]
    model, built = drawn(model_type, seed, layer_types=mixers, num_hidden_layers=3)
    convolutions = [part.dimensions for part in model.parts if isinstance(part.dimensions, ShortConv)]
    assert len(convolutions) == 2
    padded = sum(2 * each.kernel * (each.kernel - 1) * each.width for each in convolutions)
    ours = forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH, outputs=TOKENS))
    assert ours + BATCH * padded == counted(built, input_ids=words(TOKENS))


@pytest.mark.oracle
@seeds
@pytest.mark.parametrize("model_type", LATENT)
def test_latent_rows_expanded_for_every_pair(model_type: str, seed: int) -> None:
    """The class expands keys and values and multiplies the masked pairs as well; weigh takes the cheaper order."""
    model, built = drawn(model_type, seed, num_key_value_heads=32)
    step = Pass(TOKENS, batch=BATCH, outputs=TOKENS)
    more = sum(expanded(part.dimensions, step, TOKENS**2) for part in model.parts)
    assert forward_flops(model, step) + more == counted(built, input_ids=words(TOKENS), use_cache=False)


def expanded(dimensions: Any, step: Pass, pairs: int) -> int:
    """FLOPs of latent attention with all keys and values expanded and `pairs` pairs, less those that weigh counts."""
    if not isinstance(dimensions, LatentAttention):
        return 0
    held = latent_attention.slots(dimensions)
    matrices = sum(slot.parameters for slot in held if slot.role != "norm" and len(slot.shape) > 1)
    again = step.past * dimensions.heads * (dimensions.nope_dim + dimensions.value_dim) * dimensions.kv_rank
    pair = dimensions.heads * (dimensions.nope_dim + dimensions.rope_dim + dimensions.value_dim)
    return 2 * step.batch * (step.tokens * matrices + again + pairs * pair) - latent_attention.forward(dimensions, step)


@pytest.mark.oracle
@seeds
def test_differential_attention_without_its_second_look(seed: int) -> None:
    """DiffLlama computes its scores twice, once for each half of the values: weigh counts them once."""
    model, built = drawn("diffllama", seed)
    layers = [part.dimensions for part in model.parts if isinstance(part.dimensions, Attention)]
    again = sum(2 * TOKENS**2 * each.heads * each.key_dim for each in layers)
    ours = forward_flops(every_pair(model), Pass(TOKENS, batch=BATCH, outputs=TOKENS))
    assert ours + BATCH * again == counted(built, input_ids=words(TOKENS))


@pytest.mark.oracle
@seeds
def test_a_window_in_overlapping_chunks(seed: int) -> None:
    """Longformer computes its window of `reach` tokens to each side in chunks that overlap, masked pairs included.

    Scores: tokens / reach - 1 chunks of 2 reach x 2 reach,. Values: every
    token by 3 reach. Without a token that attends to everything the matrices of those are not used.
    """
    reach, chunks = 4, 5
    tokens = 2 * reach * chunks
    model, built = drawn("longformer", seed, attention_window=2 * reach, max_position_embeddings=64)
    step = Pass(tokens, batch=BATCH, outputs=tokens)
    unused = [part for part in model.parts if "_global" in part.path]
    used = replace(model, parts=tuple(part for part in model.parts if part not in unused))
    layers = [part.dimensions for part in model.parts if isinstance(part.dimensions, Attention)]
    assert len(unused) == 3 * len(layers) > 0
    pairs = sum(2 * attention.attended(each, step) * each.heads * 2 * each.key_dim for each in layers)
    scores = (2 * chunks - 1) * (2 * reach) ** 2
    theirs = sum(
        2 * scores * each.heads * each.key_dim + 2 * tokens * 3 * reach * each.heads * each.key_dim for each in layers
    )
    assert forward_flops(used, step) + BATCH * (theirs - pairs) == counted(built, input_ids=words(tokens))


def unseen(dimensions: Any) -> int:
    """FLOPs of one token of one sequence that the class does elementwise, less the convolution that it does twice."""
    if isinstance(dimensions, Mamba):
        return 2 * dimensions.inner * (dimensions.state - dimensions.kernel)
    if isinstance(dimensions, Mamba2):
        inner = dimensions.heads * dimensions.head_dim
        channels = inner + 2 * dimensions.groups * dimensions.state
        return 2 * inner * dimensions.state - 2 * dimensions.kernel * channels
    if isinstance(dimensions, GatedDeltaNet):
        held = dimensions.value_heads * dimensions.key_dim * dimensions.value_dim
        channels = 2 * dimensions.key_heads * dimensions.key_dim + dimensions.value_heads * dimensions.value_dim
        return 6 * held - 2 * dimensions.kernel * channels
    if isinstance(dimensions, KimiDelta):
        inner = dimensions.heads * dimensions.head_dim
        return 6 * inner * dimensions.head_dim - 2 * dimensions.kernel * 3 * inner
    if isinstance(dimensions, Mlstm):
        return -2 * dimensions.queries
    return 0


MIXED: dict[str, dict[str, Any]] = {
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_hidden_layers": 2},
    "bamba": {"attn_layer_indices": [1], "num_hidden_layers": 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "num_hidden_layers": 2},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_hidden_layers": 3,
        "num_mem_blocks": 1,
    },
    "falcon_h1": {"mamba_d_state": 6, "num_hidden_layers": 2},
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"],
        "num_hidden_layers": 2,
        "num_key_value_heads": 32,
    },
}
"""Layers of both kinds, few."""


@pytest.mark.oracle
@seeds
@pytest.mark.parametrize(("model_type", "kind"), STEPS.items())
def test_one_more_token_of_a_recurrence(model_type: str, kind: type, seed: int) -> None:
    """A step, not a prompt: prompts run in chunks, whose products depend on the chunk and not on the layer.

    Of the products of the recurrence the counter sees one of two in Mamba (the other is written elementwise), none of
    three in the gated delta rule and in Kimi's, both in lightning attention and in mLSTM, and there the row of the
    normaliser as well. The convolution runs over two places.
    """
    import torch

    model, built = drawn(model_type, seed, **MIXED.get(model_type, {}))
    assert any(isinstance(part.dimensions, kind) for part in model.parts)
    with torch.no_grad():
        first = built(input_ids=words(TOKENS), use_cache=True)
    name = next(name for name in ("past_key_values", "cache_params") if name in first)
    seen = counted(built, input_ids=words(1), use_cache=True, **{name: first[name]})
    step = Pass(1, TOKENS, BATCH)
    more = sum(expanded(part.dimensions, step, TOKENS + 1) for part in model.parts)
    ours = forward_flops(model, step) + more
    assert ours - BATCH * sum(unseen(part.dimensions) for part in model.parts) == seen
