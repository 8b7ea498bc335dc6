"""The library's face: what `import weigh` brings, what it costs, and that it agrees with the command line."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import weigh
from weigh.types import Figure, Model, WeighError

TENSOR = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A safetensors file of one tensor, without a configuration."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    path = tmp_path / "one.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + TENSOR.tobytes())
    return path


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = weigh.lode


def test_an_unknown_model_says_what_is_near():
    with pytest.raises(weigh.WeighError, match="no file, folder or known model") as caught:
        weigh.load("gpt-3-175")
    assert caught.value.exit_code == 4
    assert "gpt-3-175b" in caught.value.hint


def test_an_architecture_that_is_not_understood_has_counts_and_no_estimate(stored: Path):
    model = weigh.load(stored)
    assert weigh.count(model).total == 6
    with pytest.raises(WeighError) as caught:
        weigh.estimate(model, on="8GB")
    assert caught.value.exit_code == 3


def test_a_tensor_that_is_not_stored_is_refused(stored: Path):
    for model in (weigh.load(stored), weigh.load("gpt2")):
        with pytest.raises(WeighError, match="no tensor `v`"):
            weigh.values(model, "v")


def test_values_come_decoded_in_their_shape(stored: Path):
    assert np.array_equal(weigh.values(weigh.load(stored), "w"), TENSOR)


def test_all_names_are_there_sorted_and_documented():
    assert sorted(weigh.__all__) == list(weigh.__all__) == dir(weigh)
    for name in weigh.__all__:
        found = getattr(weigh, name)
        assert name == "__version__" or inspect.getdoc(found)


def test_names_that_are_functions_are_not_shadowed_by_folders():
    """`import weigh.cost` binds `weigh.cost` to the folder: no function may have the name of a room."""
    rooms = {path.stem for path in Path(weigh.__file__).parent.iterdir()}
    assert not rooms & set(weigh.__all__)


def test_every_function_is_typed():
    types = {name: getattr(weigh, name) for name in weigh.__all__}
    known = {**types, "Path": Path, "Any": typing.Any, "NDArray": np.ndarray, "np": np}
    for name in ("count", "estimate", "load", "values"):
        hints = typing.get_type_hints(getattr(weigh, name), {**known, "NDArray": list})
        assert set(hints) == {*inspect.signature(getattr(weigh, name)).parameters, "return"}


def test_the_import_brings_in_nothing_else():
    code = "import sys, __future__; before = set(sys.modules); import weigh; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['weigh']"


def test_counting_a_configuration_loads_no_heavy_module():
    code = (
        "import sys, weigh; weigh.count(weigh.load('gpt2'));"
        "print(sorted({'numpy', 'rich', 'click', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_gives_a_model_and_count_its_parameters():
    model = weigh.load("llama-3.1-8b")
    assert isinstance(model, Model)
    assert weigh.count(model).total == 8_030_261_248


def test_an_estimate_is_the_result_of_the_command():
    from weigh.commands import cost

    words = {"on": "rtx-4090", "weights": "q4_k_m", "context": 8192}
    found = weigh.estimate(weigh.load("llama-3.1-8b"), **words)
    answer = cost.run("llama-3.1-8b", **words)
    assert found == {**answer.result, "warnings": answer.warnings}
    assert isinstance(found["memory"]["total"], Figure)


def test_an_estimate_has_the_defaults_of_the_command():
    from weigh.cli import cli

    defaults = {option.name: option.default for option in cli.commands["cost"].params}
    for name, parameter in inspect.signature(weigh.estimate).parameters.items():
        if name not in ("model", "context", "weights"):
            assert parameter.default == defaults[name], name
