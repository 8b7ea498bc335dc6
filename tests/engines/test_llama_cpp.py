"""What llama.cpp reports, keyed in from its log, against the formulas; and one run where it is installed.

The lines were printed by llama.cpp as packed in xllamacpp 2026.10.11549 (built for AVX2) on an x86-64 machine, with
`benchmarks/llama_cpp_memory.py`; sizes in MiB as printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from weigh.commands.setting import locate, setting
from weigh.engines.llama_cpp import ARCHITECTURES, cannot_read
from weigh.engines.llama_cpp.allocator import Graph, apply, given, like, matmul, peak_bytes, view, weight
from weigh.engines.llama_cpp.buffers import (
    Settings,
    compute_buffer_bytes,
    in_one_file,
    is_repacked,
    output_buffer_bytes,
    state_bytes,
    weight_buffers,
)
from weigh.engines.llama_cpp.decoder import Decoder, Layer
from weigh.engines.llama_cpp.resident import (
    overhead_bytes,
    resident_bytes,
    touched_compute_bytes,
    windowed_states,
    work_bytes,
)
from weigh.engines.llama_cpp.unreplayed import UNREPLAYED
from weigh.types import Piece, State, Tensor

MIB = 2**20
AVX2 = frozenset({"avx2"})
ROOT = Path(__file__).parents[2]


def printed(size: float) -> float:
    return round(size / MIB, 2)


def attention(width: int, wide: int, narrow: int) -> dict[str, tuple[int, ...]]:
    return {
        "attn_norm.weight": (width,),
        "attn_q.weight": (wide, width),
        "attn_k.weight": (narrow, width),
        "attn_v.weight": (narrow, width),
        "attn_output.weight": (width, wide),
        "ffn_norm.weight": (width,),
    }


def gated(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {"ffn_gate.weight": (hidden, width), "ffn_up.weight": (hidden, width), "ffn_down.weight": (width, hidden)}


def decoder(
    architecture: str, layers: int, width: int, heads: int, kv_heads: int, head_dim: int, vocabulary: int, **tensors
) -> Decoder:
    one = Layer(heads, kv_heads, head_dim, head_dim, tensors)
    outer = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
    return Decoder(architecture, (one,) * layers, width, vocabulary, outer)


SMOLLM2 = decoder("llama", 30, 576, 9, 3, 64, 49152, **attention(576, 576, 192), **gated(576, 1536))
TINY = decoder("llama", 4, 256, 8, 4, 32, 2048, **attention(256, 256, 128), **gated(256, 704))
SMOLLM2_STATES = (State("kv", 64, 64, 3),) * 30
TINY_STATES = (State("kv", 32, 32, 4),) * 4

Q8 = {"key_codec": "q8_0", "value_codec": "q8_0"}
MEASURED = [
    # model, settings, KV cache, compute, output
    ("smollm2", {"context": 512}, 11.25, 15.14, 0.19),
    ("smollm2", {"context": 2048}, 45.00, 16.64, 0.19),
    ("smollm2", {"context": 8192}, 180.00, 22.64, 0.19),
    ("smollm2", {"context": 512, "flash": False}, 11.25, 17.51, 0.19),
    ("smollm2", {"context": 2048, "flash": False}, 45.00, 47.51, 0.19),
    ("smollm2", {"context": 8192, "flash": False}, 180.00, 167.51, 0.19),
    ("smollm2", {"context": 2048, **Q8}, 23.91, 16.67, 0.19),
    ("smollm2", {"context": 2048, "key_codec": "q8_0", "flash": False}, 34.45, 46.40, 0.19),
    ("smollm2", {"context": 2048, "micro_batch": 128}, 45.00, 4.16, 0.19),
    ("smollm2", {"context": 8192, "micro_batch": 128, "flash": False}, 180.00, 41.88, 0.19),
    ("smollm2", {"context": 2048, "sequences": 4}, 180.00, 16.64, 0.75),
    ("smollm2", {"context": 2048, "sequences": 4, "unified": True}, 180.00, 22.64, 0.75),
    ("tiny", {"context": 512}, 1.00, 7.14, 0.01),
    ("tiny", {"context": 8192, "flash": False}, 16.00, 147.51, 0.01),
    ("tiny", {"context": 8192, "key_codec": "q8_0", "value_codec": "q4_0"}, 6.50, 14.64, 0.01),
    ("tiny", {"context": 2048, "sequences": 4, "flash": False}, 16.00, 39.51, 0.03),
]


@pytest.mark.parametrize(("model", "settings", "state", "compute", "output"), MEASURED)
def test_buffers_print_as_llama_cpp_printed_them(model, settings, state, compute, output):
    shape, states = (SMOLLM2, SMOLLM2_STATES) if model == "smollm2" else (TINY, TINY_STATES)
    asked = Settings(**settings)
    assert abs(state_bytes(states, asked) / MIB - state) < 0.0051
    assert printed(compute_buffer_bytes(shape, asked)) == compute
    assert abs(output_buffer_bytes(shape.vocabulary, asked) / MIB - output) < 0.0051


EXPERTS = {
    "ffn_gate_inp.weight": (16, 256),
    "ffn_gate_exps.weight": (16, 256, 256),
    "ffn_up_exps.weight": (16, 256, 256),
    "ffn_down_exps.weight": (16, 256, 256),
}
HEAD_NORMS = {"attn_q_norm.weight": (64,), "attn_k_norm.weight": (64,)}
POST_NORMS = {"post_attention_norm.weight": (256,), "post_ffw_norm.weight": (256,)}
SMALL = attention(256, 256, 128)
FALCON = {
    "attn_norm.weight": (256,),
    "attn_norm.bias": (256,),
    "attn_qkv.weight": (384, 256),
    "attn_output.weight": (256, 256),
    "ffn_up.weight": (1024, 256),
    "ffn_down.weight": (256, 1024),
}
PHI3 = {
    "attn_norm.weight": (256,),
    "ffn_norm.weight": (256,),
    "attn_qkv.weight": (768, 256),
    "attn_output.weight": (256, 256),
    "ffn_up.weight": (2048, 256),
    "ffn_down.weight": (256, 1024),
}
OTHERS = [
    # architecture, kv heads, tensors of a layer, compute at 512, at 2048 without flash attention
    ("qwen3moe", 2, {**SMALL, **HEAD_NORMS, **EXPERTS}, 9.02, 23.51),
    ("gemma2", 2, {**SMALL, **POST_NORMS, **gated(256, 768)}, 8.03, 26.02),
    ("phi3", 4, PHI3, 9.02, 23.51),
]


@pytest.mark.parametrize(("architecture", "kv_heads", "tensors", "short", "long"), OTHERS)
def test_compute_buffers_of_other_architectures(architecture, kv_heads, tensors, short, long):
    shape = decoder(architecture, 4, 256, 4, kv_heads, 64, 4096, **tensors)
    window = None
    if architecture == "gemma2":
        window = 512
        shape = replace(shape, layers=tuple(replace(one, windowed=n % 2 == 0) for n, one in enumerate(shape.layers)))
    if architecture == "qwen3moe":
        shape = replace(shape, experts_used=4)
    assert printed(compute_buffer_bytes(shape, Settings(context=512), window)) == short
    assert printed(compute_buffer_bytes(shape, Settings(context=2048, flash=False), window)) == long


def test_a_window_keeps_itself_and_the_tokens_coming_in():
    """gemma2 with a window of 512 in layers 0 and 2, log: 2 x 1.00 (2048 cells) + 2 x 0.50 (1024 cells) MiB."""
    states = tuple(State("kv", 64, 64, 2, 512 if layer % 2 == 0 else None) for layer in range(4))
    assert state_bytes(states, Settings(context=2048)) == 3 * MIB
    assert state_bytes(states, Settings(context=2048, sequences=4, micro_batch=128)) == 11 * MIB
    assert state_bytes(windowed_states(states, "llama"), Settings(context=2048)) == 4 * MIB
    assert windowed_states(states, "gemma2") == states


def test_contexts_are_rounded_up_to_256_cells():
    assert Settings(context=1000, sequences=3, unified=True).cells == 3072
    assert Settings(context=1000, sequences=3).cells == 1024
    assert Settings(context=100).tokens == 100


def test_the_output_of_one_sequence_is_a_row_of_logits():
    assert output_buffer_bytes(49152, Settings(sequences=4)) == 49152 * 4 * 4


# ------------------------------------------------------------------------------------------------------ weights


def test_which_weights_are_repacked():
    assert is_repacked("blk.0.attn_q.weight", "q4_0", (576, 576), AVX2)
    assert is_repacked("blk.0.ffn_up_exps.weight", "q4_k", (8, 768, 256), AVX2)
    assert is_repacked("output.weight", "iq4_nl", (4096, 256), AVX2)
    assert not is_repacked("blk.0.attn_q.weight", "q4_0", (577, 576), AVX2), "rows must divide by 8"
    assert not is_repacked("blk.0.attn_q.weight", "q4_1", (576, 576), AVX2)
    assert not is_repacked("blk.0.attn_q.weight", "q8_0", (576, 576), AVX2)
    assert is_repacked("blk.0.attn_q.weight", "q8_0", (576, 576), frozenset({"neon", "dotprod"}))
    assert not is_repacked("token_embd.weight", "q4_0", (4096, 256), AVX2), "it is looked up"
    assert not is_repacked("blk.0.attn_q.weight", "q2_k", (256, 256), AVX2)
    assert is_repacked("blk.0.attn_q.weight", "q2_k", (256, 256), frozenset({"avx512f"}))


def test_a_tied_embedding_is_copied_for_the_head():
    """The model of zeros `llama q4_0`: 1.84 MiB mapped, 2.25 repacked, of which 0.5625 the embedding again."""
    layer = {**SMALL, **gated(256, 768)}
    tensors = [Tensor("token_embd.weight", (4096, 256), "q4_0", (Piece("x", 0, 4096 * 144),))]
    tensors.append(Tensor("output_norm.weight", (256,), "f32", (Piece("x", 0, 1024),)))
    for number in range(4):
        for name, shape in layer.items():
            codec, size = ("f32", 1024) if len(shape) == 1 else ("q4_0", shape[0] * shape[1] // 32 * 18)
            tensors.append(Tensor(f"blk.{number}.{name}", shape, codec, (Piece("x", 0, size),)))
    buffers = weight_buffers(in_one_file(tensors), AVX2)
    assert printed(buffers["repacked"]) == 2.25
    assert weight_buffers(in_one_file(tensors), frozenset())["repacked"] == 0
    untied = [*tensors, Tensor("output.weight", (4096, 256), "f16", (Piece("x", 0, 2 * MIB),))]
    assert weight_buffers(in_one_file(untied), AVX2)["repacked"] == buffers["repacked"] - 4096 * 144


def test_the_mapped_range_is_that_of_each_file():
    tensors = [
        Tensor("a.weight", (4,), "f32", (Piece("one", 64, 16),)),
        Tensor("b.weight", (4,), "f32", (Piece("one", 128, 16),)),
        Tensor("c.weight", (4,), "f32", (Piece("two", 32, 16),)),
    ]
    assert weight_buffers(tensors, AVX2) == {"mapped": (144 - 64) + 16, "repacked": 0}


# ---------------------------------------------------------------------------------------------------- allocator


def expanded(*outputs):
    graph = Graph()
    for output in outputs:
        graph.expand(output)
    return graph


def test_an_operation_takes_over_an_input_that_nothing_else_reads():
    rows = given(256)
    assert peak_bytes(expanded(like("scale", like("scale", rows)))) == 1024
    assert peak_bytes(expanded(like("glu", like("glu", rows)))) == 2048, "no such operation writes in place"


def test_an_input_that_is_read_later_is_kept():
    rows = given(256)
    product = matmul(weight(256, 256), rows)
    assert peak_bytes(expanded(like("add", product, rows))) == 2048


def test_a_view_keeps_what_it_shows():
    product = matmul(weight(256, 512), given(256))
    part = view(product, 256, packed=False)
    other = matmul(weight(256, 256), given(256))
    assert peak_bytes(expanded(like("add", other, part))) == 1024 * 5, "two inputs, product and other"


def test_outputs_are_never_written_over():
    rows = given(256)
    kept = like("scale", rows)
    kept.output = True
    assert peak_bytes(expanded(like("scale", kept))) == 2048


def test_the_smallest_free_run_that_fits_is_taken():
    big, wall, little, other_wall = given(256), given(8), given(64), given(8)
    frees_big = apply("sum", (8,), big)
    frees_little = apply("sum", (8,), little)
    fills_little = apply("new", (64,), wall)
    fills_big = apply("new", (256 - 8,), wall)
    last = apply("sum", (8,), wall, other_wall, frees_big, frees_little, fills_little, fills_big)
    leaves = 4 * (256 + 8 + 64 + 8)
    assert peak_bytes(expanded(big, wall, little, other_wall, frees_big, frees_little, last)) == leaves + 2 * 32


# ------------------------------------------------------------------------------------------------------ process


def test_overhead_grows_with_the_vocabulary_and_holds_its_value():
    small = overhead_bytes(2048, 38, Settings(context=512), 1791)
    large = overhead_bytes(151936, 38, Settings(context=512))
    assert small[1] < small[0] < small[2]
    assert large[0] > small[0] + 50e6
    assert (
        overhead_bytes(151936, 38, Settings(context=512))[1] < overhead_bytes(151936, 38, Settings(context=512), 0)[0]
    )


def test_scratch_is_the_widest_converted_input():
    tensors = [Tensor("blk.0.ffn_down.weight", (576, 1536), "q4_1", ()), Tensor("b", (576, 576), "f32", ())]
    assert work_bytes(tensors, 512) == 1536 * 36 // 32 * 512


def test_a_longer_prompt_touches_more_of_the_compute_buffer_and_never_more_than_there_is():
    asked = Settings(context=2048)
    touched = [touched_compute_bytes(SMOLLM2, asked, prompt) for prompt in (1, 64, 512, 2000)]
    assert touched == sorted(touched)
    assert touched[-1] <= compute_buffer_bytes(SMOLLM2, asked)


def tiny_tensors():
    found = [Tensor("token_embd.weight", (2048, 256), "f16", (Piece("x", 0, MIB),))]
    found.append(Tensor("output_norm.weight", (256,), "f32", (Piece("x", 0, 1024),)))
    for number in range(4):
        for name, shape in TINY.layers[0].tensors.items():
            codec, size = ("f32", 1024) if len(shape) == 1 else ("f16", shape[0] * shape[1] * 2)
            found.append(Tensor(f"blk.{number}.{name}", shape, codec, (Piece("x", 0, size),)))
    return in_one_file(found)


RESIDENT = [
    # settings, prompt, merges, MiB of the process after one token less those before loading
    ({"context": 512}, 1, 1791, 17.1),
    ({"context": 8192}, 1, 1791, 32.5),
    ({"context": 2048, **Q8}, 1, 1791, 18.4),
    ({"context": 2048, "sequences": 4}, 1, 1791, 32.7),
    ({"context": 2048}, 240, 1791, 23.4),
]


@pytest.mark.parametrize(("settings", "prompt", "merges", "measured"), RESIDENT)
def test_resident_memory_of_tiny_lm_is_predicted_within_five_per_cent(settings, prompt, merges, measured):
    value, low, high = resident_bytes(
        tiny_tensors(), TINY_STATES, TINY, Settings(**settings), AVX2, prompt=prompt, merges=merges
    )
    assert value / MIB == pytest.approx(measured, rel=0.05)
    assert low / MIB <= measured <= high / MIB


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_llama_cpp_still_reports_what_is_predicted(tmp_path):
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    command = [sys.executable, "-m", "benchmarks.llama_cpp_memory", "--only-shapes", "qwen3", "--json"]
    done = subprocess.run([*command, "--cache", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    rows = json.loads(done.stdout)
    assert len(rows) == 5
    for row in rows:
        low, high = row["interval"]
        assert low <= row["measured"]["resident"] <= high


def test_a_graph_that_is_not_replayed_has_an_assumed_buffer_and_counted_states() -> None:
    """gpt-oss keeps 12 layers whole and 12 with 128 tokens and room for a micro-batch of 512, padded to 768."""
    from tests.published.test_state import model

    one = setting(model=model("gpt-oss-20b"), place=locate("64GB"), weights="q8_0", context=4096, prompt=256)
    needed = one.needed()
    assert needed.state.basis == "counted"
    assert needed.state.value == 12 * 2048 * (4096 + 768)
    compute = needed.activation_buffers["compute"]
    assert compute.basis == "assumed"
    assert compute.low < 0.5 * compute.value < 2 * compute.value < compute.high


def test_the_names_of_graphs_that_are_not_replayed_are_llama_cpps() -> None:
    constants = pytest.importorskip("gguf.constants")
    assert set(UNREPLAYED.values()) <= set(constants.MODEL_ARCH_NAMES.values())
    assert not set(UNREPLAYED) & set(ARCHITECTURES)


def test_every_type_of_ggml_is_read_and_no_other() -> None:
    device = locate("8GB").cluster.device
    assert not any(cannot_read(codec, device) for codec in ("q4_k", "iq2_xxs", "mxfp4", "bf16"))
    assert cannot_read("awq_int4_g128", device)
