"""Names of recipes, and the recipes that are one codec for every matrix."""

from __future__ import annotations

import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from weigh.codecs import CODECS
from weigh.families.identify import identify
from weigh.recipes import ALIASES, RECIPES, find, planned
from weigh.types import Inventory, Model, Piece, Tensor, WeighError

SHAPES = tomllib.loads((Path(__file__).parent / "shapes.toml").read_text())


@cache
def model(name: str) -> Model:
    return identify(Inventory(name, "config", "hf", configuration=SHAPES[name]))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Q4_K_M", "q4_k_m"),
        ("q4-k-m", "q4_k_m"),
        (" q4_k ", "q4_k_m"),
        ("W4A16", "w4a16"),
        ("awq", "awq_int4"),
        ("NF4", "bnb_nf4"),
        ("bfloat16", "bf16"),
        ("int4_g128", "w4a16"),
        ("nvfp4", "nvfp4"),
        ("F8_E5M2", "f8_e5m2"),
    ],
)
def test_a_name_in_any_spelling_finds_its_recipe(said, meant):
    assert find(said).id == meant


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(WeighError) as refusal:
        find("q4_k_n")
    assert refusal.value.rule == "RECIPE-UNKNOWN"
    assert refusal.value.exit_code == 2
    assert "q4_k_m" in refusal.value.hint


def test_nothing_near_points_to_the_list():
    with pytest.raises(WeighError) as refusal:
        find("zzzzzzzzz")
    assert "weigh recipes" in refusal.value.hint


@pytest.mark.parametrize("name", ["i64", "bool", "q8_k", "f8_e8m0"])
def test_what_weights_are_never_stored_as_is_no_recipe(name):
    with pytest.raises(WeighError) as refusal:
        find(name)
    assert refusal.value.rule == "RECIPE-UNKNOWN"


def test_aliases_lead_somewhere_and_hide_no_recipe():
    ids = {recipe.id for recipe in RECIPES}
    assert set(ALIASES.values()) <= ids
    assert not ids & ALIASES.keys()


def test_every_codec_id_is_a_recipe_or_refused_as_one():
    for codec in CODECS:
        try:
            assert find(codec.id).id
        except WeighError as refusal:
            assert refusal.rule == "RECIPE-UNKNOWN"


def test_one_codec_for_every_matrix():
    found = model("grouped_by_8")
    made = find("f8_e4m3").plan(found)
    assert Counter(a.codec for a in made.tensors.values()) == {"f8_e4m3": 7 * 32 + 2, "bf16": 2 * 32 + 1}
    sizes = {row.name: row.nbytes for row in planned(found, made)}
    assert sizes["lm_head.weight"] == 512 * 1024
    assert sizes["model.norm.weight"] == 2 * 1024


def test_a_codec_that_only_gguf_knows_goes_by_its_names():
    made = find("nvfp4").plan(model("smollm2"))
    assert made.tensors["blk.0.attn_q.weight"].codec == "nvfp4"
    assert made.tensors["blk.0.attn_norm.weight"].codec == "f32"


def test_a_width_that_the_codec_does_not_divide_stays():
    made = find("nvfp4").plan(model("width_48"))
    assert made.tensors["blk.0.attn_q.weight"].reason == "width 48 is no multiple of 64: stays f16"


def test_a_gguf_file_stays_a_gguf_file_unless_the_codec_is_foreign():
    held = (
        Tensor("token_embd.weight", (512, 512), "q8_0", (Piece("m", 0, 1),)),
        Tensor("output_norm.weight", (512,), "f32", (Piece("m", 0, 1),)),
    )
    configuration = SHAPES["ungrouped"]
    found = identify(Inventory("m", "gguf", "ggml", held, configuration=configuration))
    assert {name: a.codec for name, a in find("bf16").plan(found).tensors.items()} == {
        "token_embd.weight": "bf16",
        "output_norm.weight": "f32",
    }
    assert "model.embed_tokens.weight" in find("f8_e4m3").plan(found).tensors


def test_vision_models_have_plain_recipes_too():
    """Convolutions are matrices to a plain recipe, and running statistics are not parameters."""
    resnet = identify(
        Inventory(
            "resnet",
            "config",
            "hf",
            configuration={
                "model_type": "resnet",
                "architectures": ["ResNetForImageClassification"],
                "depths": [1, 1],
                "hidden_sizes": [16, 32],
                "embedding_size": 8,
                "layer_type": "basic",
            },
        )
    )
    made = find("f16").plan(resnet)
    reasons = Counter(allotment.reason for allotment in made.tensors.values())
    assert reasons["every matrix gets f16"]
    assert {a.codec for a in made.tensors.values() if a.reason.startswith("buffer")} == {"f32", "i64"}
    assert all(row.nbytes > 0 for row in planned(resnet, made))
