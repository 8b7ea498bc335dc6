"""Decoders with experts and latent attention: what they remember, compute, and hold beside their last layer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.families import draw, draw_experts
from weigh import parts
from weigh.cost.params import count
from weigh.families.audit import audit
from weigh.families.identify import identify
from weigh.formats.gguf_config import translate
from weigh.parts import (
    Attention,
    Compressor,
    LatentAttention,
    SharedAttention,
    attention,
    compressor,
    latent_attention,
    shared_attention,
)
from weigh.types import Inventory, Model, Part, Pass, Piece, Tensor, WeighError

DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 129280,
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
}
DEEPSEEK_V4 = {
    "model_type": "deepseek_v4",
    "architectures": ["DeepseekV4ForCausalLM"],
    "vocab_size": 129280,
    "hidden_size": 4096,
    "num_hidden_layers": 43,
    "num_attention_heads": 64,
    "head_dim": 512,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 6,
    "num_hash_layers": 3,
    "q_lora_rank": 1024,
    "o_groups": 8,
    "o_lora_rank": 1024,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "index_topk": 512,
    "sliding_window": 128,
    "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0],
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
}


def understood(configuration: dict[str, Any], tensors: tuple[Tensor, ...] = ()) -> Model:
    return identify(Inventory("memory", "config", "hf", tensors=tensors, configuration=configuration))


def values_kept(model: Model, context: int) -> int:
    """Values that one sequence of `context` tokens leaves behind."""
    kept = 0
    for part in model.parts:
        kept += sum(state.values(context) for state in parts.remembers(part))
    return kept


def test_deepseek_v3_holds_671_billion_and_runs_37() -> None:
    """Published: 671 B and 37 B, github.com/deepseek-ai/DeepSeek-V3; exactly as its class in transformers 5.23."""
    counted = count(understood(DEEPSEEK_V3))
    assert counted.total == 671_026_404_352
    assert counted.active == 37_552_282_624
    assert counted.buffers == 58 * 256
    assert counted.active_without_embedding == 37_552_282_624 - 129280 * 7168


def test_deepseek_v3_keeps_one_row_of_576_values_a_layer_and_token() -> None:
    """512 + 64 values in each of 61 layers: 70,272 bytes a token in 16 bit, 68.6 KiB."""
    model = understood(DEEPSEEK_V3)
    assert values_kept(model, 1) == 61 * 576
    assert 2 * values_kept(model, 1) == 70_272
    assert values_kept(model, 8192) == 8192 * 61 * 576


def test_deepseek_v4_flash_holds_284_billion() -> None:
    """284.33 B, as llama.cpp prints it; exactly as its class in transformers 5.23."""
    counted = count(understood(DEEPSEEK_V4))
    assert counted.total == 284_332_230_231
    assert counted.active == 13_799_622_231
    assert counted.buffers == 40 * 256 + 3 * 129280 * 6


def test_deepseek_v4_keeps_a_window_and_compressed_rows() -> None:
    """43 windows of 128 rows of 512; 21 layers with (512 + 128) / 4, 20 layers with 512 / 128 values a token.

    The 21 also keep what their last four tokens gave, gates included, for the row that overlaps them; tokens in no
    whole stretch of 128 or 4 keep theirs until it is whole.
    """
    model = understood(DEEPSEEK_V4)
    whole = 43 * 128 * 512 + 4096 * (21 * 160 + 20 * 4) + 21 * 4 * 2 * 640
    assert values_kept(model, 4096) == whole
    assert values_kept(model, 4096 + 3) == whole + 3 * (21 * 4 * 640 + 20 * 2 * 512)


def test_an_unknown_ratio_of_compression_is_refused() -> None:
    with pytest.raises(WeighError) as caught:
        understood({**DEEPSEEK_V4, "compress_ratios": [0, 8, *[4, 128] * 21]})
    assert caught.value.rule == "CONFIG-VARIANT"


def test_a_layer_without_an_indexer_before_it_cannot_share_one() -> None:
    configuration = {
        **DEEPSEEK_V3,
        "model_type": "glm_moe_dsa",
        "architectures": ["GlmMoeDsaForCausalLM"],
        "index_n_heads": 32,
        "index_head_dim": 128,
        "index_topk": 2048,
    }
    indexed = understood({**configuration, "index_topk_pattern": "F" * 61})
    assert values_kept(indexed, 1) == 61 * (576 + 128)
    shared = understood({**configuration, "index_topk_pattern": "F" + "S" * 60})
    assert values_kept(shared, 1) == 61 * 576 + 128
    for pattern in ("S" * 61, "F" * 60, "X" * 61):
        with pytest.raises(WeighError) as caught:
            understood({**configuration, "index_topk_pattern": pattern})
        assert caught.value.rule == "CONFIG-VARIANT"


def test_latent_attention_decodes_without_expanding_the_past() -> None:
    """One token behind 8,191: 128 heads x (2 x 512 + 64) multiply-adds a pair, and every matrix once."""
    layer = next(part for part in understood(DEEPSEEK_V3).parts if part.kind == "latent_attention")
    held = sum(slot.parameters for slot in parts.slots(layer) if slot.role != "norm")
    assert parts.forward(layer, Pass(1, past=8191)) == 2 * (held + 8192 * 128 * (2 * 512 + 64))
    pairs = 4096 * 4097 // 2
    assert parts.forward(layer, Pass(4096)) == 2 * (4096 * held + pairs * 128 * (128 + 64 + 128))


def test_gpt_oss_20b_slides_in_every_other_layer_and_has_sinks() -> None:
    """20,914,757,184 as its class in transformers 5.23; 3.61 B run without the input table (stated: 3.6)."""
    model = understood(
        {
            "model_type": "gpt_oss",
            "architectures": ["GptOssForCausalLM"],
            "vocab_size": 201088,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "sliding_window": 128,
            "tie_word_embeddings": False,
        }
    )
    counted = count(model)
    assert counted.total == 20_914_757_184
    assert counted.active == 4_187_440_704
    assert counted.active_without_embedding == 3_608_307_264
    assert values_kept(model, 8192) == 12 * (8192 + 128) * 8 * (64 + 64)


def test_mimo_keeps_the_token_itself_beside_its_window() -> None:
    """`sliding_window_size` counts the tokens before; layers that slide have twice the KV heads."""
    model = understood(
        {
            "model_type": "mimo_v2_flash",
            "architectures": ["MiMoV2FlashForCausalLM"],
            "vocab_size": 100,
            "hidden_size": 64,
            "intermediate_size": 90,
            "moe_intermediate_size": 20,
            "n_routed_experts": 4,
            "num_hidden_layers": 3,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "sliding_window_size": 128,
        }
    )
    found = [part.dimensions for part in model.parts if part.kind == "attention"]
    assert [(each.window, each.kv_heads, each.sinks) for each in found] == [
        (None, 2, False),
        (129, 4, True),
        (129, 4, True),
    ]


def _tensor(name: str, *shape: int) -> Tensor:
    size = 2
    for length in shape:
        size *= length
    return Tensor(name, shape, "bf16", (Piece("model.safetensors", 0, size),))


@pytest.mark.parametrize(("ahead", "apart"), [(1, True), (0, False)])
def test_layers_behind_the_last_one_are_for_multi_token_prediction(ahead: int, apart: bool) -> None:
    """The class leaves them out: they are counted apart where the configuration announces them."""
    names = ("model.layers.61.eh_proj.weight", "model.layers.61.mlp.gate.weight", "model.layers.61.embed_tokens.weight")
    model = understood({**DEEPSEEK_V3, "num_nextn_predict_layers": ahead}, tuple(_tensor(name, 3, 4) for name in names))
    counted = count(model)
    assert counted.mtp == (36 if apart else 12)
    assert counted.total == (0 if apart else 24)
    assert counted.embedding == (0 if apart else 12)
    assert audit(model).extra == (() if apart else names[1:])


def test_heads_stored_apart_fit_in_ggml() -> None:
    """llama.cpp writes the expansion of keys and values by head, that of the keys turned."""
    model = identify(
        Inventory(
            "memory",
            "gguf",
            "ggml",
            tensors=(
                _tensor("blk.0.attn_k_b.weight", 128, 512, 128),
                _tensor("blk.0.attn_v_b.weight", 128, 128, 512),
                _tensor("blk.1.attn_v_b.weight", 128, 128, 511),
            ),
            configuration=DEEPSEEK_V3,
        )
    )
    assert [line.split(" ")[0] for line in audit(model).wrong_shape] == ["blk.1.attn_v_b.weight"]


_SHARED = {
    "embedding_length": 64,
    "block_count": 2,
    "feed_forward_length": 40,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 16,
    "attention.value_length": 16,
    "context_length": 512,
    "vocab_size": 100,
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": 24,
}
_ROUTED = {"expert_shared_count": 1, "leading_dense_block_count": 1}
_LATENT = {
    **_ROUTED,
    "attention.kv_lora_rank": 8,
    "attention.q_lora_rank": 6,
    "attention.head_count_kv": 1,
    "attention.key_length": 12,
    "attention.value_length": 8,
    "attention.key_length_mla": 10,
    "attention.value_length_mla": 7,
    "rope.dimension_count": 4,
}


@pytest.mark.parametrize(
    ("architecture", "more", "expected"),
    [
        ("olmoe", {}, "olmoe"),
        ("granitemoe", {}, "granitemoe"),
        ("phimoe", {}, "phimoe"),
        ("gpt-oss", {"attention.sliding_window": 5}, "gpt_oss"),
        ("minimax-m2", {}, "minimax_m2"),
        ("glm4moe", {**_ROUTED, "block_count": 3, "nextn_predict_layers": 1}, "glm4_moe"),
        ("deepseek2", _LATENT, "deepseek_v2"),
        ("deepseek2", {**_LATENT, "expert_gating_func": 2}, "deepseek_v3"),
    ],
)
def test_the_metadata_of_llama_cpp_is_enough(architecture: str, more: dict[str, Any], expected: str) -> None:
    """What the converter writes says all sizes, so that each tensor that the model promises can be looked for."""
    metadata = {f"{architecture}.{key}": value for key, value in {**_SHARED, **more}.items()}
    configuration = translate({"general.architecture": architecture, **metadata}, {"blk.0.attn_norm.weight": (64,)})
    assert configuration is not None
    model = understood(configuration)
    assert model.model_type == expected
    assert (model.dimensions["layers"], model.dimensions["experts"]) == (2, 4)
    latent = next((part.dimensions for part in model.parts if part.kind == "latent_attention"), None)
    if latent is not None:
        assert (latent.kv_rank, latent.q_rank, latent.nope_dim, latent.rope_dim, latent.value_dim) == (8, 6, 6, 4, 7)


def _masked(part: Part, n: int) -> int:
    """What eager attention multiplies in vain: pairs that the mask hides, in a pass of n tokens from the first on."""
    each, step = part.dimensions, Pass(n)
    if isinstance(each, Attention):
        return 2 * (n * n - attention.attended(each, step)) * each.heads * (each.key_dim + each.value_dim)
    if isinstance(each, LatentAttention):
        everything, attended = latent_attention.seen(each, step)
        pair = each.nope_dim + each.rope_dim + each.value_dim
        hidden = (n * n - attended) * each.heads * pair
        return 2 * (hidden + (n * n - everything) * each.index_heads * (each.index_dim + 1))
    if isinstance(each, SharedAttention):
        return 4 * (n * n - shared_attention.attended(each, step)) * each.heads * each.head_dim
    if isinstance(each, Compressor):
        seen, attended = compressor.pairs(each, step)
        every = n * (n // each.rate)
        return (
            4 * (every - attended) * each.heads * each.head_dim + 2 * (every - seen) * each.index_heads * each.index_dim
        )
    return 0


_GROUPS = {"num_key_value_heads": 32, "n_group": 1, "topk_group": 1}
_INDEXED = {**_GROUPS, "index_topk": 3, "qk_rope_head_dim": 4, "index_head_dim": 8}
_PASSABLE: dict[str, dict[str, Any]] = {
    "deepseek_v2": {**_GROUPS, "kv_lora_rank": 8, "qk_nope_head_dim": 4},
    "deepseek_v3": _GROUPS,
    "deepseek_v32": _INDEXED,
    "glm_moe_dsa": _INDEXED,
    "deepseek_v4": {
        "num_hidden_layers": 3,
        "compress_ratios": [0, 4, 128],
        "num_hash_layers": 1,
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
    },
    "llama4_text": {"num_experts_per_tok": 8, "num_local_experts": 8},
}
"""What a small model of the class needs to run; Llama 4 there multiplies experts that are not used by zero."""


COUNTED = sorted(set(draw_experts.CLASSES) - set(draw_experts.STANDS_FOR) - set(draw_experts.TEXT))
"""Types that are held against the counter here."""


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("model_type", COUNTED)
def test_a_counter_inside_the_class_sees_the_same_products(model_type: str) -> None:
    """torch's FlopCounterMode over a pass of the real class, less what the mask hides."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    drawn = draw.sizes(model_type, random.Random(model_type))
    configuration = {
        "model_type": model_type,
        "architectures": [draw.classes(model_type)[0]],
        **drawn,
        **{"moe_k" if model_type == "ernie4_5_moe" else "num_experts_per_tok": 2},
        **_PASSABLE.get(model_type, {}),
    }
    built = draw.reference(configuration, "cpu").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(input_ids=torch.ones(1, 7, dtype=torch.long), use_cache=False)
    model = understood(configuration)
    computed = sum(parts.forward(part, Pass(7, outputs=7)) + _masked(part, 7) for part in model.parts)
    assert computed == counter.get_total_flops()
