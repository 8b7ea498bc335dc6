"""Exact counts: published ones, those that the reference classes gave, and those that they give where installed."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.families import draw, draw_diffusers
from weigh import catalogue
from weigh.commands import show
from weigh.cost.params import count
from weigh.families import BY_MODEL_TYPE
from weigh.families.audit import bare, promises
from weigh.families.identify import identify
from weigh.types import Inventory, Model

COUNTED = Path(__file__).parent / "counted.jsonl"
"""A configuration and its count a line, as `python -m tests.families.draw` writes them with transformers 5.23.0 and
torch 2.13: each class is built on the meta device, its tensors tied, and each parameter counted once.
"""

COMPARED = tuple(name for name in BY_MODEL_TYPE if name not in draw.REMOTE)
"""Types that have a reference class: its counts are in the facts."""

BUILT = tuple(name for name in COMPARED if name not in draw_diffusers.CLASSES or find_spec("diffusers"))
"""Those whose class can be built here."""

PUBLISHED = {
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-xl": 1_557_611_200,
    "bloom-176b": 176_247_271_424,
    "resnet-50": 25_557_032,
}
"""Keyed in apart from the catalogue, whose entries name the pages that state them."""


def understood(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def facts() -> list[dict[str, Any]]:
    return [json.loads(line) for line in COUNTED.read_text(encoding="utf-8").splitlines()]


def name_of(configuration: dict[str, Any]) -> str:
    return str(configuration["architectures"][0])


# ---------------------------------------------------------------------------------------------- published


@pytest.mark.parametrize(("name", "total"), PUBLISHED.items())
def test_published_counts_are_met_to_the_last_parameter(name: str, total: int) -> None:
    entry = catalogue.entry(name)
    assert count(understood(entry.configuration)).total == total


@pytest.mark.parametrize("entry", list(catalogue.entries()), ids=lambda entry: entry.id)
def test_what_the_catalogue_quotes_is_what_is_counted(entry: catalogue.Entry) -> None:
    total = count(understood(entry.configuration)).total
    for published in entry.published:
        if published.exact:
            assert total == published.parameters
        else:
            assert total == pytest.approx(published.parameters, rel=0.1)


def test_without_architectures_bert_is_the_encoder_with_pooler_and_says_so(tmp_path: Path) -> None:
    """The configuration of SciBERT, which names no class. 109,918,464: transformers 5.23, BertModel."""
    path = tmp_path / "config.json"
    sizes = {
        "model_type": "bert",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "type_vocab_size": 2,
        "vocab_size": 31090,
    }
    path.write_text(json.dumps(sizes), encoding="utf-8")
    answer = show.run(str(path))
    assert answer.result["parameters"]["total"] == 109_918_464
    assert any("architectures" in warning and "pooler" in warning for warning in answer.warnings)


# ------------------------------------------------------------------------------------- the reference classes


def test_the_facts_cover_every_class_of_every_model_type() -> None:
    assert {name_of(fact["config"]) for fact in facts()} == {
        name for model_type in COMPARED for name in draw.classes(model_type)
    }


@pytest.mark.parametrize("model_type", COMPARED)
def test_counts_are_those_of_the_reference_classes(model_type: str) -> None:
    for fact in facts():
        if fact["config"]["model_type"] == model_type:
            assert count(understood(fact["config"])).total == fact["total"], fact["config"]


def test_a_count_made_now_is_the_one_in_the_facts() -> None:
    assert [fact["config"] for fact in facts()] == [
        drawn for drawn in draw.configurations(seed=1) if drawn["model_type"] not in draw.REMOTE
    ]


@cache
def _reference() -> Any:
    """transformers, once for all tests; they are skipped where it is absent."""
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("model_type", BUILT)
def test_totals_names_and_shapes_are_those_of_the_classes_built_now(model_type: str) -> None:
    """Every class of the type, with sizes alone and with its switches drawn, as it would be saved."""
    _reference()
    for configuration in draw.configurations(seed=2):
        if configuration["model_type"] != model_type:
            continue
        built = draw.reference(configuration)
        model = understood(configuration)
        assert count(model).total == draw.total(built), configuration
        family = BY_MODEL_TYPE[model_type]
        promised = {bare(family, promise.name): promise.shape for promise in promises(model, family, "hf")}
        saved = {bare(family, name): shape for name, shape in draw.saved(built).items()}
        assert promised == saved, configuration


@pytest.mark.oracle
@pytest.mark.parametrize("model_type", BUILT)
def test_windows_and_context_are_those_that_the_class_reads(model_type: str) -> None:
    _reference()
    for configuration in draw.configurations(seed=3):
        if name_of(configuration) != draw.classes(model_type)[0]:
            continue
        built = draw.reference(configuration)
        model = understood(configuration)
        windows = [part.dimensions.window for part in model.parts if part.kind in ("attention", "shared_attention")]
        read = [
            module.sliding_window or None if getattr(module, "is_sliding", True) else None
            for module in built.modules()
            if "Attention" in type(module).__name__ and hasattr(module, "sliding_window")
        ]
        if model_type == "qwen2_moe":  # only the layers that slide have the attribute
            assert [window for window in windows if window] == [window for window in read if window]
        elif read:
            assert windows == read, configuration
        for key in ("max_position_embeddings", "n_positions", "max_seq_len"):
            if isinstance(getattr(built.config, key, None), int):
                assert model.dimensions["context"] == getattr(built.config, key)


@pytest.mark.oracle
def test_every_class_that_is_understood_exists() -> None:
    """The networks of diffusers, whose type is the class, are looked for there where it is installed."""
    _reference()
    for model_type in BUILT:
        assert set(draw.classes(model_type)) <= draw.existing(model_type)
