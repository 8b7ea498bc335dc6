"""What every architecture family must keep, whoever adds it: names, refusals, and keys that change nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.families import (
    draw,
    draw_composites,
    draw_decoder_kin,
    draw_diffusers,
    draw_encoders,
    draw_images,
    draw_kin,
)
from weigh import parts
from weigh.cost.params import count
from weigh.families import BY_MODEL_TYPE, FAMILIES
from weigh.families.audit import promises, stacked_promises
from weigh.families.identify import identify
from weigh.families.names import stored
from weigh.families.roles import role_of
from weigh.formats.gguf_config import ARCHITECTURES
from weigh.types import ROLES, Family, Inventory, Model, WeighError

MODEL_TYPES = tuple(BY_MODEL_TYPE)

KIN = {
    "mistral": "llama",
    "mixtral": "llama",
    "falcon_mamba": "mamba",
    "olmo3": "olmo2",
    "deepseek_v3": "deepseek_v2",
    "kimi_k2": "deepseek_v2",
}
"""Types that llama.cpp runs as another's architecture."""

NUMBERED = {
    "ctrl": ".ffn.",
    **dict.fromkeys(("t5", "mt5", "umt5"), ".wi_"),
    **dict.fromkeys(("convnext", "convnextv2"), ".downsampling_layer."),
    "AutoencoderTiny": ".layers.",
    "nomic_bert": ".fc12.",
    "audio-spectrogram-transformer": "classifier.dense.",
}
"""Types with matrices that have numbers for names, which tell nothing without a configuration."""

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
every_type = pytest.mark.parametrize("model_type", MODEL_TYPES)


def understood(configuration: dict[str, Any]) -> Model:
    return identify(Inventory("memory", "config", "hf", configuration=configuration))


def plain(model_type: str) -> dict[str, Any]:
    """Sizes only, and the class of the whole model."""
    first = draw.classes(model_type)[0]
    return {"model_type": model_type, "architectures": [first], **draw.sizes(model_type, random.Random(model_type))}


def refused(configuration: dict[str, Any]) -> WeighError:
    with pytest.raises(WeighError) as caught:
        understood(configuration)
    return caught.value


def _drawn() -> Iterator[Any]:
    for position, configuration in enumerate(draw.configurations(seed=7)):
        yield pytest.param(configuration, id=f"{configuration['architectures'][0]}-{position % 3}")


every_class = pytest.mark.parametrize("configuration", list(_drawn()))


# ------------------------------------------------------------------------------------------------ refusals


@every_type
def test_a_class_that_is_not_known_is_refused(model_type: str) -> None:
    told = refused({**plain(model_type), "architectures": ["NobodysModel"]})
    assert told.rule == "CONFIG-VARIANT"
    assert "NobodysModel" in told.message


@every_type
def test_each_missing_size_is_named(model_type: str) -> None:
    whole = plain(model_type)
    for key in whole.keys() - {"model_type", "architectures"}:
        told = refused({name: value for name, value in whole.items() if name != key})
        assert (told.rule, told.exit_code) == ("CONFIG-MISSING", 3)
        assert f"`{key}`" in told.message


@pytest.mark.parametrize(
    "value", [0, -1, 2.5, 32.0, "32", True, [32], {"value": 32}, 10**18, 2**63, 10**400, float("nan")], ids=repr
)
@every_type
def test_a_size_that_is_none_is_refused(model_type: str, value: Any) -> None:
    whole = plain(model_type)
    for key in whole.keys() - {"model_type", "architectures"}:
        if isinstance(value, dict) and isinstance(whole[key], dict):
            continue  # a configuration inside this one, which lacks its sizes
        if (model_type, key, value) == ("granitemoehybrid", "num_local_experts", 0):
            continue  # dense, as its class documents
        told = refused({**whole, key: value})
        assert told.rule in ("CONFIG-TYPE", "CONFIG-RANGE"), key
        assert len(told.message) < 300


@every_type
def test_more_layers_than_anyone_has_are_refused_at_once(model_type: str) -> None:
    whole = plain(model_type)
    many: dict[str, Any] = {key: 10**18 for key in whole if "layer" in key} or {
        "depths": [10**12] * 4,
        "layers_per_block": 10**12,
        "num_encoder_blocks": [10**12] * 4,
        "num_block_repeats": [10**12] * len(whole.get("strides", ())),
        "n_codebooks": 10**12,
    }
    if "text_config" in whole:
        many = {"text_config": {**whole["text_config"], "num_hidden_layers": 10**18}}
    if "text_config" in whole:
        many = {"text_config": {**whole["text_config"], "num_hidden_layers": 10**18}}
    assert refused({**whole, **many}).rule in ("CONFIG-RANGE", "CONFIG-TYPE")


@pytest.mark.parametrize("names", ["LlamaForCausalLM", [], [7], {"0": "x"}, [None]], ids=repr)
@every_type
def test_architectures_that_are_no_list_of_names_are_refused(model_type: str, names: Any) -> None:
    assert refused({**plain(model_type), "architectures": names}).rule == "CONFIG-TYPE"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.floats() | st.text(max_size=3) | st.just(2**70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@every_type
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_stands_behind_a_key_is_counted_or_refused(model_type: str, data: st.DataObject) -> None:
    rng = random.Random(model_type)
    whole = plain(model_type)
    whole |= draw.switches(model_type, rng, whole)
    if data.draw(st.booleans()):
        whole |= {"layer_types": data.draw(st.lists(st.sampled_from(["full_attention", "sliding_attention"])))}
    for key in data.draw(st.lists(st.sampled_from([*sorted(whole), "no_rope_layers"]), max_size=3)):
        whole[key] = data.draw(ANYTHING)
    try:
        model = identify(Inventory("memory", "config", "hf", configuration=whole))
    except WeighError as told:
        assert told.exit_code == 3
        return
    assert count(model).total > 0


@pytest.mark.parametrize("model_type", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_of_more_experts_than_there_are_all_run_and_it_is_said(model_type: str) -> None:
    model = understood({**plain(model_type), "num_experts_per_tok": 70})
    assert count(model).active == count(model).total
    assert any("num_experts_per_tok" in warning for warning in model.warnings)


def test_a_billion_experts_are_not_listed_one_by_one() -> None:
    model = understood({**plain("mixtral"), "num_local_experts": 10**9})
    assert count(model).total > 10**9
    with pytest.raises(WeighError) as caught:
        sum(1 for _ in promises(model, BY_MODEL_TYPE["mixtral"], "hf"))
    assert (caught.value.rule, caught.value.exit_code) == ("PROMISE-LIMIT", 5)


@pytest.mark.parametrize("listed", [[1], [0, 1, 1]], ids=repr)
def test_fewer_rotary_switches_than_layers_are_refused(listed: list[int]) -> None:
    told = refused(
        {
            **plain("smollm3"),
            "num_hidden_layers": 4,
            "use_sliding_window": True,
            "sliding_window": 4,
            "no_rope_layers": listed,
        }
    )
    assert told.rule == "CONFIG-RANGE"


# --------------------------------------------------------------------------------------------------- names


def test_each_model_type_belongs_to_one_family() -> None:
    assert len(MODEL_TYPES) == sum(len(family.model_types) for family in FAMILIES)
    assert len({family.id for family in FAMILIES}) == len(FAMILIES)
    assert set(draw.CLASSES) == set(MODEL_TYPES)


@every_family
def test_sources_are_addresses(family: Family) -> None:
    assert family.sources
    assert all(address.startswith("https://") for address in (*family.sources, *family.ignored.values()))


@every_family
def test_dialects_are_known_and_hugging_face_is_one(family: Family) -> None:
    assert {"hf"} <= set(family.names) <= {"hf", "ggml"}


@every_class
def test_every_slot_has_a_name_of_its_own(configuration: dict[str, Any]) -> None:
    model = understood(configuration)
    family = BY_MODEL_TYPE[configuration["model_type"]]
    holders: dict[str, list[tuple[int | None, tuple[int, ...]]]] = {}
    for part in model.parts:
        for slot in parts.slots(part):
            named = stored(family, "hf", part, slot)
            assert named is not None, f"{part.address}.{slot.key}"
            assert "{layer}" not in named[0]
            assert "{expert}" not in named[0] or len(slot.shape) > 1, "one tensor an expert, or a head"
            holders.setdefault(named[0], []).append((part.layer, slot.shape[1:]))
    for name, fused in holders.items():
        assert len(set(fused)) == 1, f"{name} holds what cannot lie in one tensor"


@every_class
def test_promises_hold_exactly_the_parameters_of_the_parts(configuration: dict[str, Any]) -> None:
    model = understood(configuration)
    family = BY_MODEL_TYPE[configuration["model_type"]]
    slots = [slot for part in model.parts for slot in parts.slots(part)]
    for listed in (promises(model, family, "hf"), stacked_promises(model, family, "hf")):
        held = 0
        for promise in listed:
            size = 1
            for length in promise.shape:
                size *= length
            held += 0 if promise.optional else size
        assert held == sum(slot.parameters for slot in slots)


@every_class
def test_roles_are_known_and_no_parameter_is_unknown(configuration: dict[str, Any]) -> None:
    for part in understood(configuration).parts:
        for slot in parts.slots(part):
            assert slot.role in ROLES
            assert slot.role != "unknown"


@every_class
def test_the_pattern_of_a_name_gives_the_role_that_the_family_gives(configuration: dict[str, Any]) -> None:
    """Where a file has no configuration, names are all there is: they must not tell another story."""
    model = understood(configuration)
    family = BY_MODEL_TYPE[configuration["model_type"]]
    for dialect in family.names:
        for promise in stacked_promises(model, family, dialect):
            roles = {slot.role for _, slot in promise.slots}
            if NUMBERED.get(configuration["model_type"], "no number") in promise.name:
                continue
            if promise.name.endswith(("attn_qkv.weight", "attn_gate.weight")):
                continue  # llama.cpp calls those of softmax and of linear attention the same
            if len(roles) == 1:
                assert {role_of(promise.name.replace("{expert}", "0"))} == roles, promise.name


@every_type
def test_names_in_ggml_are_those_that_llama_cpp_defines(model_type: str) -> None:
    family = BY_MODEL_TYPE[model_type]
    if "ggml" not in family.names:
        assert all(target.model_type != model_type for target in ARCHITECTURES.values())
        return
    kin = KIN.get(model_type, model_type)
    architecture = next(name for name, target in ARCHITECTURES.items() if target.model_type == kin)
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    defined = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[number]}
    model = understood({**plain(model_type), **({"add_pooling_layer": False} if model_type == "bert" else {})})
    for part in model.parts:
        for slot in parts.slots(part):
            named = stored(family, "ggml", part, slot)
            assert named is not None, f"{part.address}.{slot.key}"
            if slot.tied:
                continue
            stem = named[0].rpartition(".")[0]
            template = stem if part.layer is None else stem.replace(f"blk.{part.layer}.", "blk.{bid}.")
            # The decay and the skip of a state-space layer have no word behind their name.
            assert template in defined or named[0].replace(f"blk.{part.layer}.", "blk.{bid}.") in defined


# ----------------------------------------------------------------------------------------------- switches


def _ignored() -> Iterator[tuple[str, str]]:
    for family in FAMILIES:
        for entry in family.ignored:
            model_type, _, key = entry.partition(".")
            yield model_type, key


@pytest.mark.parametrize(("model_type", "key"), list(_ignored()))
@pytest.mark.parametrize("value", [None, True, False, 1, 5, "x"], ids=repr)
def test_a_key_that_the_class_does_not_read_changes_nothing(model_type: str, key: str, value: Any) -> None:
    assert model_type in BY_MODEL_TYPE
    without = understood(plain(model_type))
    outer, _, inner = key.partition(".")
    changed = understood({**plain(model_type), outer: {inner: value} if inner else value})
    assert changed.parts == without.parts


def test_falcon_reads_its_kv_heads_in_the_new_architecture_only() -> None:
    old = {**plain("falcon"), "num_kv_heads": 2}
    assert understood(old).dimensions["kv_heads"] == 1
    assert understood({**old, "multi_query": False}).dimensions["kv_heads"] == old["num_attention_heads"]
    assert understood({**old, "new_decoder_architecture": True}).dimensions["kv_heads"] == 2


@every_type
def test_what_was_left_out_is_told(model_type: str) -> None:
    sparse = understood(plain(model_type))
    whole = {**plain(model_type), "tie_word_embeddings": True}
    untied = {
        *draw_encoders.UNTIED, *draw_kin.UNTIED, *draw_decoder_kin.UNTIED, *draw_composites.UNTIED,
        *draw_images.UNTIED, *draw_diffusers.CLASSES,
    }  # fmt: skip
    if model_type in untied or model_type == "llama4":  # its text says so in a section of its own
        return
    if model_type != "resnet":
        assert any(line.startswith("tie_word_embeddings = ") for line in sparse.assumptions) or model_type == "bert"
        assert not any(line.startswith("tie_word_embeddings = ") for line in understood(whole).assumptions)
    else:
        assert "image_size = 224" in sparse.assumptions


@every_type
def test_without_architectures_the_documented_class_is_taken_with_a_warning(model_type: str) -> None:
    bare = {key: value for key, value in plain(model_type).items() if key != "architectures"}
    expected = {
        "bert": "BertModel",
        "roberta": "RobertaModel",
        "distilbert": "DistilBertModel",
        "resnet": "ResNetForImageClassification",
    }.get(model_type, draw.classes(model_type)[0])
    model = understood(bare)
    assert model.parts == understood({**bare, "architectures": [expected]}).parts
    assert any("architectures" in warning for warning in model.warnings)


@pytest.mark.parametrize(
    ("model_type", "given", "expected"),
    [
        ("mistral", {}, [4096, 4096]),
        ("mistral", {"sliding_window": None}, [None, None]),
        ("mistral", {"sliding_window": 9}, [9, 9]),
        ("mixtral", {}, [None, None]),
        ("phi3", {}, [None, None]),
        ("phi3", {"sliding_window": 9}, [9, 9]),
        ("qwen2", {"sliding_window": 9}, [None, None]),
        ("qwen2", {"sliding_window": 9, "use_sliding_window": True, "max_window_layers": 1}, [None, 9]),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": 1}, [None, 4096]),
        ("qwen2_moe", {"use_sliding_window": True}, [4096, None]),
        ("qwen3_moe", {"use_sliding_window": True}, [4096, 4096]),
        ("qwen3_moe", {"use_sliding_window": True, "sliding_window": None}, [None, None]),
        ("gemma", {}, [None, None]),
        ("gemma2", {}, [4096, None]),
        ("gemma2", {"sliding_window": None}, [None, None]),
        ("gemma3_text", {}, [4096, 4096]),
        ("gemma3_text", {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}, [None, 8]),
        ("gemma3_text", {"sliding_window": 8, "sliding_window_pattern": 2}, [8, None]),
        ("gemma3_text", {"sliding_window": 8, "use_bidirectional_attention": True}, [5, 5]),
        ("smollm3", {"sliding_window": 8}, [None, None]),
        ("smollm3", {"sliding_window": 8, "use_sliding_window": True, "no_rope_layers": [1, 0]}, [None, 8]),
        ("llama", {"sliding_window": 8}, [None, None]),
    ],
)
def test_windows_by_layer(model_type: str, given: dict[str, Any], expected: list[int | None]) -> None:
    """Each class's own rule: transformers 5.23, models/*/configuration_*.py."""
    model = understood({**plain(model_type), "num_hidden_layers": 2, **given})
    assert [part.dimensions.window for part in model.parts if part.kind == "attention"] == expected


def test_layer_types_of_another_length_are_refused() -> None:
    assert (
        refused({**plain("gemma2"), "num_hidden_layers": 2, "layer_types": ["full_attention"]}).rule == "CONFIG-RANGE"
    )


def test_a_bidirectional_gemma_3_remembers_nothing() -> None:
    model = understood({**plain("gemma3_text"), "use_bidirectional_attention": True})
    assert not any(parts.remembers(part) for part in model.parts)
    assert refused({**plain("gemma2"), "use_bidirectional_attention": True}).rule == "CONFIG-VARIANT"


@pytest.mark.parametrize(
    ("model_type", "absent"),
    [
        ("mistral", 8),
        ("mixtral", 8),
        ("smollm3", 4),
        ("qwen2", 32),
        ("qwen3", 32),
        ("qwen2_moe", 16),
        ("qwen3_moe", 4),
        ("gemma", 16),
        ("gemma2", 4),
        ("gemma3_text", 4),
        ("llama", 32),
        ("phi3", 32),
    ],
)
def test_kv_heads_left_out_are_the_documented_number_and_null_ones_as_many_as_heads(
    model_type: str, absent: int
) -> None:
    assert understood(plain(model_type)).dimensions["kv_heads"] == absent
    assert understood({**plain(model_type), "num_key_value_heads": None}).dimensions["kv_heads"] == 32
