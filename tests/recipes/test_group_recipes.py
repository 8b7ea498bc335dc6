"""Recipes of serving runtimes: the bytes of a matrix as their packers store it, and which matrices they take."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from functools import cache
from math import prod
from pathlib import Path

import pytest

from weigh.codecs.group_int import LAYOUTS, nbytes, pieces
from weigh.families.identify import identify
from weigh.recipes import find, planned
from weigh.types import Inventory, Model, Piece, Tensor, WeighError

SHAPES = tomllib.loads((Path(__file__).parent / "shapes.toml").read_text())


@cache
def model(name: str, **changes: object) -> Model:
    return identify(Inventory(name, "config", "hf", configuration={**SHAPES[name], **changes}))


# What the packers themselves put into a state_dict, taken from running them: compressed-tensors 0.20.0 (its presets),
# auto-gptq 0.7.1 QuantLinear, AutoAWQ 88e4c76 WQLinear_GEMM, bitsandbytes 0.50.2 Linear8bitLt and Linear4bit.
STORED = [
    ("int4_g128", (192, 384), "bf16", {"weight_packed": 36864, "weight_scale": 1152, "weight_shape": 16}),
    ("int4_g128", (3, 128), "f32", {"weight_packed": 192, "weight_scale": 12, "weight_shape": 16}),
    (
        "int4_g128_asym",
        (100, 256),
        "bf16",
        {"weight_packed": 12800, "weight_scale": 400, "weight_shape": 16, "weight_zero_point": 104},
    ),
    ("int8_g128", (192, 384), "f16", {"weight_packed": 73728, "weight_scale": 1152, "weight_shape": 16}),
    ("int8_channel_packed", (5, 77), "bf16", {"weight_packed": 400, "weight_scale": 10, "weight_shape": 16}),
    ("int8_channel", (192, 384), "f32", {"weight": 73728, "weight_scale": 768}),
    ("fp8_tensor", (192, 384), "bf16", {"weight": 73728, "weight_scale": 2, "input_scale": 2}),
    ("fp8_channel", (100, 256), "bf16", {"weight": 25600, "weight_scale": 200}),
    ("fp8_block128", (192, 384), "bf16", {"weight": 73728, "weight_scale": 12}),
    ("gptq_int4_g128", (192, 384), "bf16", {"qweight": 36864, "qzeros": 288, "scales": 1152, "g_idx": 1536}),
    ("gptq_int8_g128", (96, 256), "f16", {"qweight": 24576, "qzeros": 192, "scales": 384, "g_idx": 1024}),
    ("awq_int4_g128", (8, 128), "bf16", {"qweight": 512, "qzeros": 4, "scales": 16}),
    ("bnb_int8", (100, 257), "bf16", {"weight": 25700, "SCB": 400, "weight_format": 1}),
    (
        "bnb_nf4",
        (100, 257),
        "bf16",
        {
            "weight": 12850,
            "weight.absmax": 1608,
            "weight.quant_map": 64,
            "weight.quant_state.bitsandbytes__nf4": 80,
        },
    ),
    (
        "bnb_nf4",
        (3, 128),
        "f16",
        {"weight": 192, "weight.absmax": 24, "weight.quant_map": 64, "weight.quant_state.bitsandbytes__nf4": 77},
    ),
]


@pytest.mark.parametrize(("codec", "shape", "dtype", "stored"), STORED, ids=lambda value: str(value)[:24])
def test_a_matrix_takes_what_its_packer_stores(codec, shape, dtype, stored):
    assert pieces(LAYOUTS[codec], shape, dtype) == stored
    assert nbytes(LAYOUTS[codec], shape, dtype) == sum(stored.values())


def test_every_layout_has_a_fact():
    assert {codec for codec, *_ in STORED} == LAYOUTS.keys()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_codec_is_what_remains_of_large_matrices(layout):
    size = 1 << 15
    assert 8 * nbytes(layout, (size, size)) / size**2 == pytest.approx(layout.codec.bits, rel=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_leading_axes_are_so_many_matrices(layout):
    assert nbytes(layout, (3, 256, 256)) == 3 * nbytes(layout, (256, 256))


def test_a_shape_that_the_layout_cannot_hold_is_refused():
    with pytest.raises(WeighError) as refusal:
        nbytes(LAYOUTS["int4_g128"], (64, 576))
    assert refusal.value.rule == "CODEC-BLOCK"
    with pytest.raises(WeighError):
        nbytes(LAYOUTS["awq_int4_g128"], (60, 128))


# ---------------------------------------------------------------------------------------------------- plans


def codecs_of(name: str, recipe: str, **changes: object) -> dict[str, str]:
    made = find(recipe).plan(model(name, **changes))
    return {tensor: allotment.codec for tensor, allotment in made.tensors.items()}


def test_linear_layers_only():
    found = codecs_of("grouped_by_8", "w4a16")
    assert Counter(found.values()) == {"int4_g128": 7 * 32, "bf16": 2 * 32 + 3}
    assert found["model.embed_tokens.weight"] == "bf16"
    assert found["lm_head.weight"] == "bf16"
    assert found["model.layers.0.mlp.down_proj.weight"] == "int4_g128"


def test_experts_are_linear_layers_and_routers_are_not():
    made = find("w4a16").plan(model("qwen2_moe"))
    layer = "model.layers.0.mlp"
    assert made.tensors[f"{layer}.experts.7.up_proj.weight"].codec == "int4_g128"
    assert made.tensors[f"{layer}.shared_expert.up_proj.weight"].codec == "int4_g128"
    assert made.tensors[f"{layer}.gate.weight"].reason == "router stays bf16"
    assert made.tensors[f"{layer}.shared_expert_gate.weight"].reason == "gate of the shared expert stays bf16"
    assert made.tensors[f"{layer}.experts.7.down_proj.weight"].reason == ("width 704 is no multiple of 128: stays bf16")


def test_the_rest_stays_in_the_type_of_the_configuration():
    assert codecs_of("grouped_by_8", "fp8", torch_dtype="float16")["lm_head.weight"] == "f16"
    assert codecs_of("grouped_by_8", "fp8", dtype="float32")["lm_head.weight"] == "f32"


def test_a_width_that_the_group_does_not_divide_stays():
    made = find("w4a16").plan(model("smollm2"))
    assert made.tensors["model.layers.0.self_attn.q_proj.weight"].codec == "bf16"
    assert made.tensors["model.layers.0.mlp.down_proj.weight"].codec == "int4_g128"
    assert codecs_of("smollm2", "w8a8")["model.layers.0.self_attn.q_proj.weight"] == "int8_channel"


def test_outputs_that_do_not_pack_stay():
    made = find("gptq_int4").plan(model("four_experts", intermediate_size=1800))
    expert = "model.layers.0.block_sparse_moe.experts.0"
    assert made.tensors[f"{expert}.w1.weight"].reason == "outputs 1800 is no multiple of 32: stays bf16"
    assert made.tensors[f"{expert}.w2.weight"].reason == "width 1800 is no multiple of 128: stays bf16"


def test_matrices_stored_inputs_first_are_packed_along_their_inputs():
    """GPT-2 keeps its matrices transposed: c_fc is (768, 3072) there, and has 768 inputs."""
    gpt2 = model("gpt2")
    made = find("w4a16").plan(gpt2)
    sizes = {row.name: row.nbytes for row in planned(gpt2, made)}
    up, down = "transformer.h.0.mlp.c_fc.weight", "transformer.h.0.mlp.c_proj.weight"
    assert sizes[up] == 3072 * 768 // 2 + 3072 * 6 * 2 + 16
    assert sizes[down] == 3072 * 768 // 2 + 768 * 24 * 2 + 16


def test_the_bytes_of_a_whole_model():
    """Written out: 32 layers of four attention and three MLP matrices, scales in bf16, the rest in bf16."""
    width, hidden, kv, vocabulary = 1024, 2816, 128, 512
    matrices = [
        *((width, width), (kv, width), (kv, width), (width, width)),
        *((hidden, width), (hidden, width), (width, hidden)),
    ]
    packed = sum(o * i // 2 + o * i // 128 * 2 + 16 for o, i in matrices)
    rest = 2 * (2 * vocabulary * width + width) + 32 * 2 * 2 * width
    found = model("grouped_by_8")
    assert sum(row.nbytes for row in planned(found, find("w4a16").plan(found))) == 32 * packed + rest


def test_a_file_keeps_its_own_types_and_tensors():
    """A checkpoint without the prefix, in fp16, with a tied head stored and a buffer."""
    promised = {
        name.removeprefix("transformer."): shape
        for name, shape in ((row.name, row.shape) for row in planned(model("gpt2"), find("w8a8").plan(model("gpt2"))))
    }
    shapes = {**promised, "lm_head.weight": (1000, 768), "h.0.attn.bias": (1, 1, 1024, 1024)}
    held = tuple(Tensor(name, shape, "f16", (Piece("m", 0, 2 * prod(shape)),)) for name, shape in shapes.items())
    inventory = Inventory("m", "safetensors", "hf", held, configuration=SHAPES["gpt2"])
    found = identify(inventory)
    rows = {row.name: row for row in planned(found, find("w8a8").plan(found))}
    assert rows.keys() == shapes.keys()
    assert rows["h.0.attn.bias"].codec == "f16"
    assert rows["lm_head.weight"].codec == "f16"
    assert rows["h.3.mlp.c_fc.weight"].nbytes == 3072 * 768 + 3072 * 2


def test_the_state_of_nf4_is_as_long_as_its_json():
    text = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4096, 14336]})
    assert pieces(LAYOUTS["bnb_nf4"], (4096, 14336))["weight.quant_state.bitsandbytes__nf4"] == len(text)
