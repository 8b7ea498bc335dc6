"""The mixes of llama.cpp against what `llama-quantize` did (llama_quantize.tsv), and what they say of themselves."""

from __future__ import annotations

import tomllib
import zlib
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from weigh import catalogue
from weigh.families.identify import identify
from weigh.recipes import planned, summary, wider
from weigh.recipes.llama_cpp import file_type_number, plan
from weigh.recipes.llama_cpp_rules import FILE_TYPES
from weigh.types import Inventory, Model, Piece, Tensor, WeighError

HERE = Path(__file__).parent
SHAPES = tomllib.loads((HERE / "shapes.toml").read_text())
FACTS = defaultdict(list)
for line in (HERE / "llama_quantize.tsv").read_text().splitlines():
    if not line.startswith("#"):
        FACTS[line.split("\t")[0]].append(line.split("\t")[1:])


@cache
def model(name: str, **changes: object) -> Model:
    configuration = {**SHAPES[name], **changes}
    return identify(Inventory(name, "config", "hf", configuration=configuration))


def codec_of(name: str, file_type: str, tensor: str) -> str:
    return plan(model(name), file_type).tensors[tensor].codec


def reason_of(name: str, file_type: str, tensor: str) -> str:
    return plan(model(name), file_type).tensors[tensor].reason


def test_every_model_and_file_type_has_a_fact():
    assert FACTS.keys() == SHAPES.keys()
    for rows in FACTS.values():
        assert {row[0] for row in rows} == FILE_TYPES.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_every_tensor_gets_the_type_that_llama_quantize_gave_it(name):
    for file_type, importance, size, replaced, digest, counts in FACTS[name]:
        if size == "refused":
            with pytest.raises(WeighError) as refusal:
                plan(model(name), file_type)
            assert refusal.value.rule == "RECIPE-WIDTH"
            continue
        made = plan(model(name), file_type, importance=importance == "yes")
        types = {tensor: allotment.codec for tensor, allotment in made.tensors.items()}
        found = " ".join(f"{codec}:{count}" for codec, count in sorted(Counter(types.values()).items()))
        where = f"{name} {file_type} {importance}"
        assert found == counts, where
        written = "\n".join(f"{tensor} {types[tensor]}" for tensor in sorted(types))
        assert f"{zlib.crc32(written.encode()):08x}" == digest, where
        assert sum(tensor.nbytes for tensor in planned(model(name), made)) == int(size), where
        assert sum("falls back" in allotment.reason for allotment in made.tensors.values()) == int(replaced), where


@pytest.mark.parametrize(
    ("file_type", "bits"),
    [("Q2_K", 5.14), ("IQ4_XS", 5.32), ("Q3_K_M", 5.46), ("Q4_K_M", 6.17), ("Q5_K_M", 6.56), ("Q6_K", 8.12)],
)
def test_a_width_of_576_costs_bits(file_type, bits):
    """What `llama-quantize` prints for SmolLM2-135M, where 180 of 272 tensors are replaced."""
    rows = planned(model("smollm2"), plan(model("smollm2"), file_type))
    assert round(8 * sum(row.nbytes for row in rows) / 134_515_008, 2) == bits
    assert len(rows) == 272
    assert sum("falls back" in row.reason for row in rows) == 180


PUBLISHED = {
    "Q4_0": 4.34,
    "Q4_1": 4.78,
    "Q5_0": 5.21,
    "Q5_1": 5.65,
    "Q2_K": 2.96,
    "Q3_K_S": 3.41,
    "Q3_K_M": 3.74,
    "Q3_K_L": 4.03,
    "Q4_K_S": 4.37,
    "Q4_K_M": 4.58,
    "Q5_K_S": 5.21,
    "Q5_K_M": 5.33,
    "Q6_K": 6.14,
    "Q8_0": 7.96,
}
"""GiB of Llama 3 8B files in the help of `llama-quantize` (QUANT_OPTIONS in tools/quantize/quantize.cpp).

Q2_K_S is left out: the table gives it the size of Q2_K, which its rules do not.
"""


@pytest.mark.parametrize("file_type", PUBLISHED)
def test_llama_3_8b_has_the_published_size(file_type):
    """Files hold a vocabulary too, 7.8 MB that the tensors do not explain; the table rounds up, down or to nearest."""
    inventory = catalogue.find("llama-3-8b")
    assert inventory is not None
    llama = identify(inventory)
    size = sum(row.nbytes for row in planned(llama, plan(llama, file_type)))
    assert (size + 7.8e6) / 2**30 == pytest.approx(PUBLISHED[file_type], abs=0.01)


def test_reasons_say_which_rule_it_was():
    assert reason_of("grouped_by_8", "Q4_K_M", "blk.3.attn_q.weight") == "Q4_K_M's own type"
    assert reason_of("grouped_by_8", "Q4_K_M", "blk.0.attn_v.weight") == (
        "attn_v gets q6_k in the first eighth, the last eighth and every third layer between"
    )
    assert reason_of("grouped_by_8", "Q4_K_M", "blk.0.attn_norm.weight") == "norm stays f32"
    assert reason_of("eight_experts", "Q4_K_M", "blk.0.ffn_gate_inp.weight") == "router stays f32"
    assert reason_of("eight_experts", "Q4_K_M", "blk.0.attn_v.weight") == ("attn_v gets q8_0 in a model with 8 experts")
    assert reason_of("gpt2", "Q4_K_M", "blk.0.attn_qkv.bias") == "bias stays f32"
    assert reason_of("gpt2", "Q4_K_M", "position_embd.weight") == "position table stays f32"
    assert reason_of("gpt2", "Q4_K_M", "token_embd.weight") == "tied embedding takes the output's type q6_k"
    assert reason_of("falcon_7b", "Q4_K_M", "token_embd.weight").endswith("q8_0 in Falcon")
    assert reason_of("smollm2", "Q4_K_M", "blk.3.attn_q.weight") == (
        "width 576 is no multiple of 256: falls back from q4_k to q5_0"
    )
    assert reason_of("smollm2", "Q4_K_M", "blk.0.attn_v.weight").endswith("falls back from q6_k to q8_0")
    assert "70B" in reason_of("seventy_b", "Q3_K_S", "blk.0.attn_v.weight")


def test_a_width_that_not_even_the_replacement_divides_is_f16():
    assert codec_of("width_48", "Q4_K_M", "blk.0.attn_q.weight") == "f16"
    assert codec_of("width_48", "Q8_0", "blk.0.attn_q.weight") == "f16"


def test_a_fused_matrix_counts_as_value():
    assert codec_of("phi3", "Q4_K_M", "blk.0.attn_qkv.weight") == "q6_k"
    assert codec_of("phi3", "Q4_K_M", "blk.4.attn_qkv.weight") == "q4_k"


def test_a_file_is_read_as_it_is():
    """An F16 file whose head is stored although tied, of an architecture that no family knows."""
    shapes = {
        "token_embd.weight": (512, 256),
        "output.weight": (512, 256),
        "blk.0.attn_v.weight": (64, 256),
        "blk.0.ffn_down.weight": (256, 300),
        "blk.0.odd_norm.weight": (256,),
    }
    held = tuple(
        Tensor(name, shape, "bf16" if len(shape) == 1 else "f16", (Piece("m.gguf", 0, 1),))
        for name, shape in shapes.items()
    )
    metadata = {
        "general.architecture": "novel",
        "novel.block_count": 1,
        "novel.attention.head_count": [8],
        "novel.attention.head_count_kv": [2],
    }
    unknown = Model(Inventory("m.gguf", "gguf", "ggml", held, metadata=metadata), None, "novel")
    types = {name: allotment.codec for name, allotment in plan(unknown, "Q2_K").tensors.items()}
    assert types == {
        "token_embd.weight": "q2_k",
        "output.weight": "q6_k",
        "blk.0.attn_v.weight": "q4_k",
        "blk.0.ffn_down.weight": "f16",
        "blk.0.odd_norm.weight": "bf16",
    }


def test_an_architecture_with_rules_of_its_own_is_refused():
    there = Tensor("token_embd.weight", (512, 256), "f16", (Piece("m.gguf", 0, 1),))
    metadata = {"general.architecture": "glm5-next"}
    own = Model(Inventory("m.gguf", "gguf", "ggml", (there,), metadata=metadata), None, None)
    with pytest.raises(WeighError) as refusal:
        plan(own, "Q4_K_M")
    assert refusal.value.rule == "RECIPE-ARCHITECTURE"


def test_a_family_without_gguf_names_is_refused():
    changes = {"model_type": "openai-gpt", "architectures": ["OpenAIGPTLMHeadModel"]}
    gpt1 = identify(Inventory("gpt1", "config", "hf", configuration={**SHAPES["gpt2"], **changes}))
    with pytest.raises(WeighError) as refusal:
        plan(gpt1, "Q4_K_M")
    assert refusal.value.rule == "RECIPE-FAMILY"


def test_a_model_that_is_not_understood_says_why():
    reason = WeighError("no width", rule="CONFIG-MISSING")
    with pytest.raises(WeighError) as refusal:
        plan(Model(Inventory("m", "config", "hf"), "llama", "llama", refusal=reason), "Q4_K_M")
    assert refusal.value is reason


def test_the_summary_holds_every_tensor_once():
    made = plan(model("smollm2"), "Q4_K_M")
    rows = summary(model("smollm2"), made)
    assert sum(row.tensors for row in rows) == 272
    assert sum(row.parameters for row in rows) == 134_515_008
    assert [row.nbytes for row in rows] == sorted((row.nbytes for row in rows), reverse=True)
    assert {row.codec for row in wider(model("smollm2"), made)} == {"q5_0", "q6_k", "q8_0", "f32"}


def test_a_plan_for_another_model_is_refused():
    made = plan(model("smollm2"), "Q4_K_M")
    with pytest.raises(WeighError) as refusal:
        planned(model("gpt2"), made)
    assert refusal.value.rule == "RECIPE-PLAN"


def test_numbers_are_those_of_the_gguf_package():
    gguf = pytest.importorskip("gguf")
    for kind in gguf.LlamaFileType:
        name = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        if name in FILE_TYPES:
            assert file_type_number(name) == kind.value


def test_planned_follows_the_model_it_is_given():
    """The plan holds codecs only; a model with other shapes of the same names has other bytes."""
    made = plan(model("ungrouped"), "Q8_0")
    doubled = model("ungrouped", vocab_size=1024)
    before = sum(row.nbytes for row in planned(model("ungrouped"), made))
    after = sum(row.nbytes for row in planned(doubled, replace(made, recipe="again")))
    assert after - before == 2 * 512 * 512 // 32 * 34
