"""What is kept for the backward pass: the published formulas, and the tensors that autograd saves in real modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh import catalogue, parts
from weigh.cost.activations import Activations, Step, activations, kept_bytes
from weigh.families.identify import identify
from weigh.parts import Applied, Attention, Conv, CrossAttention, LatentAttention, Linear, Mamba, Mamba2, Mlp, Moe, Norm
from weigh.types import Inventory, Kept, Model, Pass

BATCH, TOKENS, WIDTH = 2, 7, 24
PASS = Pass(TOKENS, batch=BATCH, outputs=TOKENS)


def known(name: str) -> Model:
    return identify(Inventory("memory", "catalogue", "hf", configuration=catalogue.entry(name).configuration))


def kept(dimensions: Any, work: Pass = PASS) -> tuple[Kept, ...]:
    found = parts.keeps(parts.part("somewhere", dimensions), work)
    assert found is not None
    return found


# -------------------------------------------------------------------------------------------- published

GPT = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_embd": 96,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 64,
    "vocab_size": 100,
}
S, B, H, A = 40, 3, 96, 6


def classic(step: Step) -> dict[str, int]:
    """A layer of GPT-2, statistics apart: the paper leaves those of the norms out."""
    model = identify(Inventory("memory", "config", "hf", configuration=GPT))
    found = activations(model, Pass(S, batch=B, outputs=S), step)
    assert found.unknown == ()
    return {kind: size for kind, size in found.by_layer[1].items() if kind != "statistic"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step(attention="scores", dropout=True), S * B * H * (34 + 5 * A * S / H)),
        (Step(attention="recomputed", dropout=True), S * B * H * 34),
        (Step(attention="flash", dropout=True), S * B * H * 34),
        (Step(attention="scores", dropout=True, tensor=2), S * B * H * (10 + 24 / 2 + 5 * A * S / (H * 2))),
        (Step(attention="scores", dropout=True, tensor=2, sequence=True), S * B * H * (34 + 5 * A * S / H) / 2),
        (Step(attention="recomputed", dropout=True, tensor=3, sequence=True), S * B * H * 34 / 3),
    ],
)
def test_the_classic_layer_keeps_what_the_paper_says(step: Step, expected: float) -> None:
    """arXiv 2205.05198: s b h (34 + 5 a s / h); over t devices 10 + 24 / t + 5 a s / (h t), with sequences all / t."""
    assert sum(classic(step).values()) == expected
    assert ("mask" in classic(step)) is step.dropout


def test_without_dropout_three_fifths_of_the_scores_and_the_masks_go() -> None:
    whole, bare = (classic(Step(attention="scores", dropout=dropout)) for dropout in (True, False))
    assert sum(whole.values()) - sum(bare.values()) == S * B * (2 * H + 3 * A * S)


def test_gpt_3_keeps_114_bytes_a_value_of_the_stream_in_each_layer() -> None:
    """s = 2048, h = 12288, a = 96: 34 + 5 a s / h = 114 bytes a value of the stream (formula of arXiv 2205.05198)."""
    model = known("gpt-3-175b")
    found = activations(model, Pass(2048, outputs=2048), Step(attention="scores", dropout=True))
    layer = {kind: size for kind, size in found.by_layer[50].items() if kind != "statistic"}
    assert sum(layer.values()) / (2048 * 12288) == 34 + 5 * 96 * 2048 / 12288 == 114


def test_the_loss_keeps_its_logits_in_float32() -> None:
    """4 s b v for the loss and 2 s b h for the head's input, in bytes."""
    head = kept(Linear(WIDTH, 50, role="head", positions="outputs"))
    assert sum(kept_bytes(entry, Step()) or 0 for entry in head) == TOKENS * BATCH * (2 * WIDTH + 4 * 50)


def test_a_kind_that_does_not_say_what_it_keeps_makes_the_sum_unknown() -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2}
    configuration = {"model_type": "rwkv", "architectures": ["RwkvForCausalLM"], **sizes}
    found = activations(identify(Inventory("memory", "config", "hf", configuration=configuration)), PASS, Step())
    assert "layers.0.attention" in found.unknown or found.unknown
    assert found.total_bytes is None
    assert found.known_bytes > 0


def test_a_fused_scan_is_known_and_a_plain_one_is_not() -> None:
    """Of 2 x 8 tokens: 24 in, 2 x 32 + 2 x 2 x 5 + 4 projected, 32 out; and a factor for each of two groups."""
    layer = parts.part("mixer", Mamba2(width=24, heads=4, head_dim=8, groups=2, state=5, kernel=4))
    model = Model(Inventory("memory", "config", "hf"), "none", "none", (layer,), {"vocabulary": 1})
    fused = activations(model, Pass(8, batch=2), Step())
    assert fused.total_bytes == 16 * (2 * (24 + 64 + 20 + 4 + 32) + 4 * 2)
    assert activations(model, Pass(8, batch=2), Step(fused=False)).unknown == ("mixer",)


@pytest.mark.parametrize(("tokens", "chunks"), [(2048, 1), (2049, 2), (4096, 2)])
def test_a_scan_keeps_its_states_every_2048_tokens(tokens: int, chunks: int) -> None:
    entries = {entry.name: entry for entry in kept(Mamba(16, 32, 4, 2, 4), Pass(tokens, batch=3))}
    assert entries["states between chunks"].values == 3 * chunks * 32 * 2 * 4
    assert parts.keeps(parts.part("mixer", Mamba(16, 32, 4, 2, 4, norms=True)), PASS) is None


def test_of_a_model_of_images_nothing_is_claimed() -> None:
    assert activations(known("resnet-50"), Pass(1), Step()).total_bytes is None


def test_a_tower_that_sees_no_image_keeps_nothing() -> None:
    tower = parts.part("vision.patches", Applied(Conv(3, 8, 4, 4), "image", 1, role="vision"))
    assert parts.keeps(tower, PASS) == ()
    assert parts.keeps(tower, replace(PASS, images=1)) is None


def test_what_the_encoder_gave_counts_once() -> None:
    cross = [entry for entry in kept(CrossAttention(WIDTH, 20, 4, 6, 6, source=5)) if entry.shared]
    assert [(entry.name, entry.values) for entry in cross] == [("source", BATCH * 5 * 20)]


sizes = st.integers(1, 5)


@given(heads=sizes, tokens=sizes, tensor=st.integers(1, 4))
def test_no_way_of_training_keeps_more_than_the_plain_one(heads: int, tokens: int, tensor: int) -> None:
    entries = kept(Attention(WIDTH, heads, heads, 4, 4), Pass(tokens, batch=2))
    plain = sum(kept_bytes(entry, Step(attention="scores", fused=False, dropout=True)) or 0 for entry in entries)
    for step in (
        Step(),
        Step(attention="recomputed", dropout=True),
        Step(tensor=tensor),
        Step(tensor=tensor, sequence=True),
    ):
        spared = sum(kept_bytes(entry, step) or 0 for entry in entries)
        # A flash kernel adds a logarithm a head and token, and dividing rounds up.
        assert spared <= plain + 2 * tokens * heads * 4 + len(entries)


def test_flash_attention_grows_with_the_tokens_and_scores_with_their_square() -> None:
    model = known("llama-3.1-8b")

    def size(tokens: int, attention: Any) -> int:
        total = activations(model, Pass(tokens, outputs=tokens), Step(attention=attention)).total_bytes
        assert total is not None
        return total

    tokens, repeated = 4096, 2 * 4096 * 24 * 256
    assert size(tokens, "flash") == 2 * size(tokens // 2, "flash")
    extra = 2 * 32 * tokens**2 + repeated - 4 * 32 * tokens
    assert size(tokens, "scores") - size(tokens, "flash") == 32 * extra


# ------------------------------------------------------------------------------------- saved by autograd


def saved(module: Any, call: Callable[[], Any], *given: Any) -> int:
    """Bytes of every storage that autograd keeps, once each, without parameters, buffers and what was given."""
    from torch.autograd.graph import saved_tensors_hooks

    known = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers(), *given)}
    held: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        # The storage is kept alive, so that no other takes its address.
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = call()
    assert result is not None
    return sum(storage.nbytes() for address, storage in held.items() if address not in known)


def promised(dimensions: Any, attention: Any = "scores", *, dropout: bool = False, work: Pass = PASS) -> int:
    """In float32, one elementwise step after the other; the dropout of the output is the layer's, not the module's."""
    step = Step(value_bytes=4, attention=attention, fused=False, dropout=dropout)
    sizes = [kept_bytes(entry, step) for entry in kept(dimensions, work) if entry.name != "mask"]
    assert None not in sizes
    return sum(size or 0 for size in sizes)


def filled(module: Any) -> Any:
    import torch

    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return module.train()


@pytest.fixture
def stream() -> Any:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return torch.randn(BATCH, TOKENS, WIDTH, requires_grad=True)


def rotations(stream: Any, config: Any) -> tuple[Any, Any]:
    import torch
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    return LlamaRotaryEmbedding(config)(stream, torch.arange(TOKENS)[None])


def grouped(kind: str, attention: str, **options: Any) -> Any:
    """A configuration with six heads of four values, two of keys and values unless told otherwise."""
    import transformers

    sizes = {"hidden_size": WIDTH, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4}
    config = getattr(transformers, kind)(**{**sizes, "num_hidden_layers": 1, **options})
    config._attn_implementation = attention
    config._experts_implementation = "grouped_mm"
    return config


oracle = pytest.mark.oracle


@oracle
def test_a_gated_block_and_two_norms(stream: Any) -> None:
    import torch
    from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

    block = filled(LlamaMLP(grouped("LlamaConfig", "eager", intermediate_size=40)))
    assert saved(block, lambda: block(stream)) == promised(Mlp(WIDTH, 40, gated=True))
    norm = LlamaRMSNorm(WIDTH)
    assert saved(norm, lambda: norm(stream)) == promised(Norm(WIDTH))
    layer = torch.nn.LayerNorm(WIDTH)
    assert saved(layer, lambda: layer(stream)) == promised(Norm(WIDTH, bias=True))


@oracle
def test_a_block_with_a_smooth_activation_keeps_both_sides_of_it(stream: Any) -> None:
    import torch

    block = torch.nn.Sequential(torch.nn.Linear(WIDTH, 40), torch.nn.GELU(), torch.nn.Linear(40, WIDTH))
    assert saved(block, lambda: block(stream)) == promised(Mlp(WIDTH, 40, up_bias=True, down_bias=True))


@oracle
@pytest.mark.parametrize("kv_heads", [2, 6])
@pytest.mark.parametrize(("implementation", "attention"), [("eager", "scores"), ("sdpa", "flash")])
def test_attention_of_llama(stream: Any, implementation: str, attention: str, kv_heads: int) -> None:
    import torch
    from transformers.models.llama.modeling_llama import LlamaAttention

    config = grouped("LlamaConfig", implementation, num_key_value_heads=kv_heads)
    module, tables = filled(LlamaAttention(config, 0)), rotations(stream, config)
    mask = torch.zeros(1, 1, TOKENS, TOKENS) if implementation == "eager" else None
    measured = saved(module, lambda: module(stream, position_embeddings=tables, attention_mask=mask), *tables)
    assert measured == promised(Attention(WIDTH, 6, kv_heads, 4, 4), attention)


@oracle
def test_normed_queries_and_keys_and_dropout(stream: Any) -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

    config = grouped("Qwen3Config", "eager", attention_dropout=0.1)
    module, tables = filled(Qwen3Attention(config, 0)), rotations(stream, config)
    measured = saved(module, lambda: module(stream, position_embeddings=tables, attention_mask=None), *tables)
    # On a processor torch keeps the mask in the type of the values; on a graphics processor it is a byte.
    wider = 3 * BATCH * 6 * TOKENS**2
    assert measured == promised(Attention(WIDTH, 6, 2, 4, 4, q_norm=4, k_norm=4), dropout=True) + wider


@oracle
def test_a_gate_on_the_output(stream: Any) -> None:
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention

    config = grouped("Qwen3NextConfig", "eager")
    module = filled(Qwen3NextAttention(config, 0))
    tables = rotations(stream, grouped("LlamaConfig", "eager"))
    measured = saved(module, lambda: module(stream, position_embeddings=tables, attention_mask=None), *tables)
    # The gains of its norms are one and a parameter, added anew in each pass.
    gains = 2 * 4 * 4
    assert measured == promised(Attention(WIDTH, 6, 2, 4, 4, q_norm=4, k_norm=4, gate=True)) + gains


@oracle
def test_sinks(stream: Any) -> None:
    import torch
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssRotaryEmbedding

    config = grouped("GptOssConfig", "eager")
    module = filled(GptOssAttention(config, 0))
    tables = GptOssRotaryEmbedding(config)(stream, torch.arange(TOKENS)[None])
    measured = saved(module, lambda: module(stream, position_embeddings=tables, attention_mask=None), *tables)
    assert measured == promised(Attention(WIDTH, 6, 2, 4, 4, o_bias=True, sinks=True))


@oracle
@pytest.mark.parametrize("source", [TOKENS - 2, TOKENS + 3])
def test_attention_to_another_sequence(stream: Any, source: int) -> None:
    import torch
    import transformers
    from transformers.models.bart.modeling_bart import BartAttention

    config = transformers.BartConfig(d_model=WIDTH)
    config._attn_implementation = "eager"
    module = filled(BartAttention(WIDTH, 4, is_decoder=True, config=config, layer_idx=0))
    other = torch.randn(BATCH, source, WIDTH, requires_grad=True)
    measured = saved(module, lambda: module(stream, key_value_states=other))
    assert measured == promised(CrossAttention(WIDTH, WIDTH, 4, 6, 6, source=source))


LATENT = {"kv_lora_rank": 8, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "num_key_value_heads": 4}


@oracle
@pytest.mark.parametrize(("implementation", "attention"), [("eager", "scores"), ("sdpa", "flash")])
@pytest.mark.parametrize("query_rank", [0, 10])
def test_latent_attention(stream: Any, implementation: str, attention: str, query_rank: int) -> None:
    import torch
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding

    sizes = {**LATENT, "num_attention_heads": 4, "v_head_dim": 10, "q_lora_rank": query_rank or None}
    config = grouped("DeepseekV3Config", implementation, **sizes)
    module = filled(DeepseekV3Attention(config, 0))
    tables = DeepseekV3RotaryEmbedding(config)(stream, torch.arange(TOKENS)[None])
    measured = saved(module, lambda: module(stream, position_embeddings=tables, attention_mask=None), *tables)
    # The kernel of a processor lays its result out by heads as these queries lie: the output's matrix reads a copy.
    copied = BATCH * TOKENS * 4 * 10 * 4 if attention == "flash" else 0
    assert measured == promised(LatentAttention(WIDTH, 4, 6, 4, 10, 8, query_rank), attention) + copied


@oracle
@pytest.mark.parametrize("shared", [0, 10])
def test_experts_in_grouped_products(stream: Any, shared: int) -> None:
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
    from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

    experts = {"num_experts_per_tok": 2}
    if shared:
        named = {"num_experts": 6, "moe_intermediate_size": 12, "shared_expert_intermediate_size": shared}
        config = grouped("Qwen2MoeConfig", "eager", norm_topk_prob=True, **named, **experts)
        module = filled(Qwen2MoeSparseMoeBlock(config))
    else:
        named = {"num_local_experts": 6, "intermediate_size": 12}
        module = filled(MixtralSparseMoeBlock(grouped("MixtralConfig", "eager", **named, **experts)))
    # Where the rows of each expert end, 4 bytes an expert.
    ends = 6 * 4
    ours = Moe(WIDTH, 12, 6, 2, shared_hidden=shared, shared_gate=bool(shared))
    assert saved(module, lambda: module(stream)) == promised(ours) + ends


@oracle
def test_a_router_in_groups_keeps_its_choice_of_groups_too(stream: Any) -> None:
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    sizes = {"n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 12, "n_group": 2}
    config = grouped("DeepseekV3Config", "eager", topk_group=1, n_shared_experts=1, **sizes)
    module = filled(DeepseekV3MoE(config))
    groups = BATCH * TOKENS * (8 + 8 * 1 + 8 * 2 * 2) + 8 * 4
    assert saved(module, lambda: module(stream)) == promised(Moe(WIDTH, 12, 8, 3, shared_hidden=12)) + groups


@oracle
def test_patches_of_an_image() -> None:
    torch = pytest.importorskip("torch")
    patches = torch.nn.Conv2d(3, 8, 4, stride=4)
    image = torch.randn(BATCH, 3, 8, 8)
    assert saved(patches, lambda: patches(image)) == promised(Conv(3, 8, 4, 4, places=64), work=Pass(1, batch=BATCH))


@oracle
@pytest.mark.parametrize(("implementation", "attention"), [("eager", "scores"), ("sdpa", "flash")])
def test_a_whole_llama(implementation: str, attention: Any) -> None:
    """Tokens, layers, norms, head and loss: every storage, once. Tables of rotations are shared by all layers."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.families.draw import reference

    configuration = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 50,
        "hidden_size": WIDTH,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 4,
    }
    built = filled(reference(configuration, "cpu"))
    built.set_attn_implementation(implementation)
    tokens = torch.ones(BATCH, TOKENS, dtype=torch.long)
    measured = saved(built, lambda: built(input_ids=tokens, use_cache=False).logits.log_softmax(-1).sum())
    model = identify(Inventory("memory", "config", "hf", configuration=configuration))
    found: Activations = activations(model, PASS, Step(value_bytes=4, attention=attention, fused=False))
    tables = 2 * TOKENS * 4 * 4
    assert measured == found.known_bytes + tables


@oracle
@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["qwen3", "qwen2_moe", "olmo2", "granite", "deepseek_v3", "opt", "t5", "bart"])
def test_other_whole_models(model_type: str) -> None:
    """Within 0.5 %: the tables of rotations and the indices of positions, one for all layers, are no part's."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.families.draw import reference
    from tests.families.test_caches import configured

    configuration = configured(model_type)
    built = filled(reference(configuration, "cpu"))
    built.config._experts_implementation = "grouped_mm"
    for module in built.modules():
        for name in [name for name in vars(module) if "dropout" in name and isinstance(getattr(module, name), float)]:
            setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    tokens = torch.ones(BATCH, TOKENS, dtype=torch.long)
    inputs = {"input_ids": tokens}
    if model_type in ("t5", "bart"):
        inputs = {"input_ids": tokens[:, :5], "decoder_input_ids": tokens}
    measured = saved(built, lambda: built(**inputs, use_cache=False).logits.log_softmax(-1).sum())
    model = identify(Inventory("memory", "config", "hf", configuration=configuration))
    work = Pass(TOKENS, batch=BATCH, outputs=TOKENS, source=5)
    found = activations(model, work, Step(value_bytes=4, attention="scores", fused=False))
    assert found.unknown == ()
    assert found.known_bytes == pytest.approx(measured, rel=0.005)
