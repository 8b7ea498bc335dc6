"""What every recipe must keep, whoever adds it: run over the registry, on models that differ in all that rules ask."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import tomllib
from functools import cache
from math import prod
from pathlib import Path

import pytest

from weigh import codecs
from weigh.codecs.group_int import LAYOUTS
from weigh.families.identify import identify
from weigh.recipes import RECIPES, find, planned, summary
from weigh.recipes.tensors import tensors
from weigh.types import Inventory, Model, Recipe, WeighError

SHAPES = tomllib.loads((Path(__file__).parents[1] / "recipes" / "shapes.toml").read_text())
MODELS = ("smollm2", "eight_experts", "qwen2_moe", "gpt2", "falcon_40b", "phi3", "bert", "width_48")
PAIRS = [(recipe, name) for recipe in RECIPES for name in MODELS]
REFUSES = {("q1_0", "smollm2"), ("q1_0", "qwen2_moe"), ("q1_0", "width_48")}
"""llama.cpp has nothing to put in the place of Q1_0 where 128 does not divide the width."""


@cache
def model(name: str) -> Model:
    return identify(Inventory(name, "config", "hf", configuration=SHAPES[name]))


def ids(value: object) -> str:
    return value.id if isinstance(value, Recipe) else str(value)


@pytest.mark.parametrize("key", ["id", "name"])
def test_no_two_recipes_share(key):
    values = [getattr(recipe, key) for recipe in RECIPES]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("recipe", RECIPES, ids=ids)
def test_the_record_is_complete(recipe):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", recipe.id)
    assert re.fullmatch(r"[a-z][a-z0-9_.]*", recipe.engine)
    assert "https://" in recipe.source
    assert find(recipe.id) is recipe
    assert find(recipe.id.upper()) is recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=ids)
def test_a_recipe_can_be_sent_to_another_process(recipe):
    assert pickle.loads(pickle.dumps(recipe)).plan(model("bert")) == recipe.plan(model("bert"))


@pytest.mark.parametrize(("recipe", "name"), PAIRS, ids=ids)
def test_every_tensor_gets_a_codec_that_holds_it_and_a_reason(recipe, name):
    if (recipe.id, name) in REFUSES:
        with pytest.raises(WeighError):
            recipe.plan(model(name))
        return
    plan = recipe.plan(model(name))
    assert plan.recipe == recipe.id
    rows = planned(model(name), plan)
    names = {row.name for row in rows}
    assert names in [{tensor.name for tensor in tensors(model(name), dialect)} for dialect in ("hf", "ggml")]
    for row in rows:
        codec = codecs.by_id(row.codec)
        assert row.nbytes > 0
        assert row.reason == row.reason.strip()
        assert 4 <= len(row.reason) <= 160
        if row.codec in LAYOUTS:
            assert row.nbytes >= prod(row.shape) * codec.block_bytes // codec.block
        else:
            assert row.nbytes == codecs.nbytes(codec, row.shape)
            assert codec.ggml_type is None or row.shape[-1] % codec.block == 0
        if row.role == "norm" or len(row.shape) == 1:
            assert row.codec in ("f32", "bf16", "f16"), "norms and biases are not quantized"
    assert sum(row.nbytes for row in summary(model(name), plan)) == sum(row.nbytes for row in rows)


@pytest.mark.parametrize("recipe", RECIPES, ids=ids)
def test_a_plan_is_the_same_each_time_and_leaves_the_model_alone(recipe):
    before = model("phi3")
    copy = pickle.loads(pickle.dumps(before))
    assert recipe.plan(before) == recipe.plan(before)
    assert before == copy


def test_the_registry_does_not_load_numpy():
    code = "import sys, weigh.recipes; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
