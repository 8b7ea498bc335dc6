"""Keras files: which arrays are parameters, what they are called, and the same network in all of its forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.hostile.craft_keras import h5, keras
from weigh import formats
from weigh.cost.params import Counts, count
from weigh.families.identify import identify
from weigh.formats import keras as reader
from weigh.formats import keras_names
from weigh.types import Inventory, Limits, Tensor, WeighError


def _read(folder: Path, content: bytes, name: str) -> Inventory:
    path = folder / name
    path.write_bytes(content)
    return formats.read(path)


def _layer(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **settings}}


def _model(*layers: dict[str, Any], kind: str = "Sequential", name: str = "net") -> dict[str, Any]:
    return _layer(kind, name, layers=list(layers))


def _put(file: h5py.File, path: str, *shapes: tuple[int, ...], name: str = "", kind: str = "<f4") -> None:
    group = file.create_group(f"{path}/vars")
    if name:
        group.attrs["name"] = name
    for number, shape in enumerate(shapes):
        group[str(number)] = np.zeros(shape, kind if not number else "<f4")


def _named(inventory: Inventory) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in inventory.tensors}


def _buffers(inventory: Inventory) -> set[str]:
    return {tensor.name for tensor in inventory.tensors if tensor.buffer}


def _counts(path: Path) -> Counts:
    return count(identify(formats.read(path)))


# ---------------------------------------------------------------------------------------- what is wrong or apart


def test_another_archive_is_not_taken_for_a_model(tmp_path: Path) -> None:
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, keras(h5(lambda file: _put(file, "layers/dense", (2,)))), "a.pt")
    assert caught.value.rule == "FORMAT-UNREAD"
    assert "Keras" in caught.value.message


def test_compressed_weights_are_unpacked_within_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "UNPACKED", 1000)
    content = keras(h5(lambda file: _put(file, "layers/dense", (2,))), packed=("model.weights.h5",))
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, content, "a.keras")
    assert (caught.value.rule, caught.value.exit_code) == ("KERAS-SIZE", 5)


def test_a_folder_holds_the_model(tmp_path: Path) -> None:
    content = h5(lambda file: _put(file, "layers/dense", (2,)))
    (tmp_path / "config.json").write_text("{}")
    _read(tmp_path, content, "model.weights.h5")
    assert formats.read(tmp_path).format == "keras"
    _read(tmp_path, keras(content), "model.keras")
    assert [name for name, _ in formats.read(tmp_path).files] == ["model.keras"]


def test_own_code_is_named_and_not_run(tmp_path: Path) -> None:
    bomb = {"class_name": "__lambda__", "config": {"value": "4wEAAAAA"}}
    config = _model(
        _layer("Lambda", "l", function=bomb),
        {"class_name": "Thing", "registered_name": "evil>Thing", "module": "evil", "config": {"name": "t"}},
    )
    inventory = _read(tmp_path, keras(h5(lambda file: _put(file, "layers/thing", (2,))), config), "a.keras")
    (warning,) = (word for word in inventory.warnings if "code" in word)
    assert all(name in warning for name in ("Lambda", "__lambda__", "evil>Thing"))
    assert inventory.metadata["model_config"] == config
    assert "evil" not in sys.modules


def test_what_belongs_to_the_optimizer_is_apart(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        _put(file, "layers/dense", (2, 3), (3,))
        _put(file, "optimizer", (), (2, 3), (2, 3), (3,), (3,))
        _put(file, "metrics/mean", (), ())

    inventory = _read(tmp_path, h5(fill), "a.weights.h5")
    assert list(_named(inventory)) == ["dense/kernel", "dense/bias"]
    assert inventory.metadata["apart"]["optimizer"] == {"tensors": 5, "bytes": 76}
    assert inventory.metadata["apart"]["metrics"]["tensors"] == 2
    assert any("optimizer (5 arrays, 76 bytes)" in warning for warning in inventory.warnings)


def test_an_optimizer_of_keras_2_is_apart(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["model_weights/dense/dense/kernel:0"] = np.zeros((2, 3), "f4")
        file["optimizer_weights/Adam/dense/kernel/m:0"] = np.zeros((2, 3), "f4")

    assert list(_named(_read(tmp_path, h5(fill), "a.h5"))) == ["dense/kernel:0"]


# ------------------------------------------------------------------------------------------- buffers and names


def test_statistics_are_told_by_the_class_that_the_path_names(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        _put(file, "layers/batch_normalization", (8,), (8,), (8,), (8,), name="first")
        _put(file, "layers/batch_normalization_1", (8,), (8,), (8,))
        _put(file, "layers/batch_normalization_2", *[(8,)] * 7)
        _put(file, "layers/normalization", (4,), (4,), (), name="n")
        _put(file, "layers/dropout/seed_generator", (2,), kind="<u4")
        _put(file, "layers/time_distributed/layer", (8,), (8,), (8,), (8,), name="batch_normalization_3")

    inventory = _read(tmp_path, h5(fill), "a.weights.h5")
    assert _buffers(inventory) == {
        "first/moving_mean", "first/moving_variance", "batch_normalization_1/moving_mean",
        "batch_normalization_1/moving_variance", "batch_normalization_2/moving_mean",
        "batch_normalization_2/moving_variance", "batch_normalization_2/moving_stddev",
        "batch_normalization_2/renorm_mean", "batch_normalization_2/renorm_stddev", "n/mean", "n/variance", "n/count",
        "dropout/seed_generator/seed_generator_state", "time_distributed/batch_normalization_3/moving_mean",
        "time_distributed/batch_normalization_3/moving_variance",
    }  # fmt: skip


def test_the_configuration_tells_names_classes_and_switches(tmp_path: Path) -> None:
    inner = _model(_layer("BatchNormalization", "bn", scale=False), kind="Functional", name="inner")
    config = _model(
        _layer("Conv2DTranspose", "up", use_bias=False),
        _layer("Dense", "first"),
        _layer("Dense", "second"),
        inner,
        _layer("TimeDistributed", "steps", layer=_layer("Normalization", "scaled")),
    )

    def fill(file: h5py.File) -> None:
        _put(file, "layers/conv2d_transpose", (3, 3, 2, 2))
        _put(file, "layers/dense", (2, 3), (3,))
        _put(file, "layers/dense_1", (3, 4), (4,))
        _put(file, "layers/functional/layers/batch_normalization", (5,), (5,), (5,))
        _put(file, "layers/time_distributed/layer", (2,), (2,), ())

    inventory = _read(tmp_path, keras(h5(fill), config), "a.keras")
    assert list(_named(inventory)) == [
        "up/kernel", "first/kernel", "first/bias", "second/kernel", "second/bias", "inner/bn/beta",
        "inner/bn/moving_mean", "inner/bn/moving_variance", "steps/scaled/mean", "steps/scaled/variance",
        "steps/scaled/count",
    ]  # fmt: skip
    assert sum(tensor.buffer for tensor in inventory.tensors) == 5


def test_a_class_that_nothing_tells_is_counted_and_said(tmp_path: Path) -> None:
    inventory = _read(tmp_path, h5(lambda file: _put(file, "bn1", *[(8,)] * 4)), "a.weights.h5")
    assert not _buffers(inventory)
    assert any("BatchNormalization" in warning and "bn1" in warning for warning in inventory.warnings)


def test_names_that_fall_together_keep_their_whole_path(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        _put(file, "layers/dense", (2,), name="same")
        _put(file, "layers/dense_1", (2,), name="same")

    assert list(_named(_read(tmp_path, h5(fill), "a.weights.h5"))) == ["layers/dense/vars/0", "layers/dense_1/vars/0"]


def test_statistics_of_keras_2_are_told_by_their_names(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for name in ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0"):
            file[f"bn/bn/{name}"] = np.zeros(4, "f4")
        for name in ("mean:0", "variance:0", "count:0"):
            file[f"normalization_1/normalization_1/{name}"] = np.zeros(4, "f4")
        file["inner/inner/normalization/mean:0"] = np.zeros(4, "f4")
        file["bn_1/bn_1_running_std"] = np.zeros(4, "f4")
        file["mine/mine/mean:0"] = np.zeros(4, "f4")

    buffers = _buffers(_read(tmp_path, h5(fill), "a.h5"))
    assert buffers == {
        "bn/moving_mean:0", "bn/moving_variance:0", "normalization_1/mean:0", "normalization_1/variance:0",
        "normalization_1/count:0", "inner/normalization/mean:0", "bn_1_running_std",
    }  # fmt: skip


def test_a_layer_of_keras_2_may_be_called_optimizer(tmp_path: Path) -> None:
    inventory = _read(tmp_path, h5(lambda file: file.create_dataset("optimizer/d/kernel:0", data=[1.0])), "a.h5")
    assert list(_named(inventory)) == ["d/kernel:0"]


def test_scales_of_quantized_layers_are_no_parameters(tmp_path: Path) -> None:
    def policy(mode: str) -> dict[str, Any]:
        return {"class_name": "QuantizedDTypePolicy", "config": {"mode": mode, "source_name": "float32"}}

    config = _model(_layer("Dense", "a", dtype=policy("int8")), _layer("Dense", "b", dtype=policy("int4/128")))

    def fill(file: h5py.File) -> None:
        _put(file, "layers/dense", (10, 4), (4,), (4,), kind="i1")
        _put(file, "layers/dense_1", (4, 3), (6,), (1, 6), kind="i1")

    found = _named(_read(tmp_path, keras(h5(fill), config), "a.keras"))
    assert (found["a/kernel"].codec, found["a/kernel"].buffer, found["a/2"].buffer) == ("i8", False, True)
    assert (found["b/kernel"].codec, found["b/kernel"].parameters) == ("unknown:int4", None)
    assert (found["b/bias"].codec, found["b/2"].buffer) == ("f32", True)


def test_bfloat16_is_told_by_its_mark(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        made = file.create_dataset("layers/dense/vars/0", data=np.frombuffer(b"\x80\x3f\0\xc0", "V2"))
        made.attrs["dtype"] = "bfloat16"

    inventory = _read(tmp_path, h5(fill), "a.weights.h5")
    assert inventory.tensors[0].codec == "bf16"
    assert formats.values(inventory, inventory.tensors[0]).tolist() == [1.0, -2.0]


# ---------------------------------------------------------------------------------------------------------- shards


def _sharded(folder: Path, index: Any) -> Path:
    first = h5(lambda file: _put(file, "layers/dense", (2, 3), (3,), name="a"))
    (folder / "m_00000.weights.h5").write_bytes(first)
    (folder / "m_00001.weights.h5").write_bytes(h5(lambda file: _put(file, "layers/dense_1", (3, 4), name="b")))
    (folder / "m.weights.json").write_text(json.dumps(index))
    return folder / "m.weights.json"


SHARDS = {"/layers/dense/vars": ["m_00000.weights.h5"], "/layers/dense_1/vars": "m_00001.weights.h5"}


def test_shards_are_one_model_however_named(tmp_path: Path) -> None:
    index = _sharded(tmp_path, {"metadata": {"total_size": 84}, "weight_map": SHARDS})
    for path in (index, tmp_path, tmp_path / "m_00001.weights.h5"):
        inventory = formats.read(path)
        assert list(_named(inventory)) == ["a/kernel", "a/bias", "b/kernel"]
        assert {tensor.pieces[0].file for tensor in inventory.tensors} == {"m_00000.weights.h5", "m_00001.weights.h5"}


@pytest.mark.parametrize(
    ("weight_map", "rule"),
    [
        ([], "INDEX-MAP"),
        ({"/layers/dense/vars": [5]}, "INDEX-MAP"),
        (SHARDS | {"/layers/conv2d/vars": ["m_00000.weights.h5"]}, "INDEX-ABSENT"),
        ({"/layers/dense/vars": ["m_00002.weights.h5"]}, "FILE-MISSING"),
        ({"/layers/dense/vars": ["../m_00000.weights.h5"]}, "FILE-OUTSIDE"),
        (SHARDS | {"/x": ["copy.weights.h5"]}, "INDEX-TWICE"),
    ],
)
def test_an_index_that_is_wrong_is_refused(weight_map: Any, rule: str, tmp_path: Path) -> None:
    index = _sharded(tmp_path, {"weight_map": weight_map})
    (tmp_path / "copy.weights.h5").write_bytes((tmp_path / "m_00000.weights.h5").read_bytes())
    with pytest.raises(WeighError) as caught:
        formats.read(index)
    assert caught.value.rule == rule


def test_many_shards_are_limited(tmp_path: Path) -> None:
    names = [f"m_{number:05d}.weights.h5" for number in range(3)]
    for number, name in enumerate(names):
        shapes = [(2,)] * 6
        content = h5(lambda file, path=f"layers/dense_{number}", shapes=shapes: _put(file, path, *shapes))
        (tmp_path / name).write_bytes(content)
    index = tmp_path / "m.weights.json"
    index.write_text(json.dumps({"weight_map": {f"/layers/dense_{n}/vars": names[n] for n in range(3)}}))
    for limits, rule in ((Limits(files=2), "INDEX-FILES"), (Limits(tensors=12), "H5-OBJECTS")):
        with pytest.raises(WeighError) as caught:
            formats.read(index, limits)
        assert (caught.value.rule, caught.value.exit_code) == (rule, 5)


# --------------------------------------------------------------------------------------- transformers' TensorFlow


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("tf_bert_model/bert/embeddings/word_embeddings/weight:0", "bert.embeddings.word_embeddings.weight"),
        ("tf_bert_model/bert/embeddings/token_types/embeddings:0", "bert.embeddings.token_types.weight"),
        ("tf_bert_model/bert/encoder/layer_._11/output/LayerNorm/gamma:0",
         "bert.encoder.layer.11.output.LayerNorm.weight"),
        ("tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0", "bert.encoder.layer.0.output.dense.weight"),
        ("tf_bert_model/bert/encoder/layer_._0/output/LayerNorm/beta:0", "bert.encoder.layer.0.output.LayerNorm.bias"),
        ("tf_bert_for_pre_training/mlm___cls/predictions/bias:0", "cls.predictions.bias"),
        ("tfgp_t2lm_head_model/transformer/h_._3/attn/c_attn/weight:0", "transformer.h.3.attn.c_attn.weight"),
    ],
)  # fmt: skip
def test_names_of_transformers_are_those_of_pytorch(stored: str, name: str) -> None:
    assert keras_names.name_of(stored) == name


BERT = {
    "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 20, "type_vocab_size": 2,
}  # fmt: skip


def _bert(file: h5py.File) -> None:
    """BertModel as `save_pretrained` of transformers 4 wrote it under TensorFlow."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings/word_embeddings/weight": (50, 16),
        "embeddings/position_embeddings/embeddings": (20, 16),
        "embeddings/token_type_embeddings/embeddings": (2, 16),
        "pooler/dense/kernel": (16, 16),
        "pooler/dense/bias": (16,),
    }
    norms = ["embeddings/LayerNorm"]
    for layer in range(2):
        stem = f"encoder/layer_._{layer}"
        norms += [f"{stem}/attention/output/LayerNorm", f"{stem}/output/LayerNorm"]
        squares = [f"{stem}/attention/self/{name}" for name in ("query", "key", "value")]
        for name in (*squares, f"{stem}/attention/output/dense"):
            shapes |= {f"{name}/kernel": (16, 16), f"{name}/bias": (16,)}
        shapes |= {f"{stem}/intermediate/dense/kernel": (16, 24), f"{stem}/intermediate/dense/bias": (24,)}
        shapes |= {f"{stem}/output/dense/kernel": (24, 16), f"{stem}/output/dense/bias": (16,)}
    for norm in norms:
        shapes |= {f"{norm}/gamma": (16,), f"{norm}/beta": (16,)}
    for number, (name, shape) in enumerate(shapes.items()):
        values = np.arange(np.prod(shape)).reshape(shape) + number
        file[f"bert/tf_bert_model/bert/{name}:0"] = values.astype("f4")


def test_a_model_of_transformers_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    (tmp_path / "tf_model.h5").write_bytes(h5(_bert))
    model = identify(formats.read(tmp_path))
    counts = count(model)
    # Embeddings; per layer 4 squares and 2 matrices with biases, 2 norms; pooler.
    assert counts.total == 72 * 16 + 32 + 2 * (4 * (256 + 16) + 2 * 16 * 24 + 24 + 16 + 64) + 256 + 16
    assert model.family == "bert"
    assert counts.audit is not None
    assert not (counts.audit.missing or counts.audit.extra or counts.audit.wrong_shape)
    assert set(counts.by_role) >= {"attention_q", "attention_k", "mlp_up", "mlp_down", "norm", "embedding"}


def test_kernels_of_transformers_are_turned(tmp_path: Path) -> None:
    inventory = _read(tmp_path, h5(_bert), "tf_model.h5")
    tensor = _named(inventory)["bert.encoder.layer.1.intermediate.dense.weight"]
    assert tensor.shape == (24, 16)
    values = formats.values(inventory, tensor)
    assert (values[1, 0] - values[0, 0], values[0, 1] - values[0, 0]) == (1, 24)


# ---------------------------------------------------------------------------------------------------- Keras itself

_MAKE = """
import json, os, sys
import keras, numpy
from keras import layers as L
keras.utils.set_random_seed(1)
seen = L.Input((12, 12, 3), name="picture")
x = L.Conv2D(8, 3, name="stem")(seen)
x = L.BatchNormalization(name="stem_norm")(x)
x = L.SeparableConv2D(4, 3, name="apart")(x)
x = L.Reshape((64, 4))(x)
x = L.Dropout(0.1)(x)
x = L.MultiHeadAttention(2, 4, name="attend")(x, x)
x = L.LayerNormalization(name="ln")(x)
x = L.Bidirectional(L.LSTM(6), name="remember")(x)
x = keras.Sequential([L.Dense(7), L.BatchNormalization(scale=False)], name="inner")(x)
x = L.Normalization(name="scaled")(x)
model = keras.Model(seen, L.Dense(3, name="answer", trainable=False)(x), name="net")
model.compile("adam", "mse")
model.save("net.keras"); model.save_weights("net.weights.h5"); model.save("net.h5")
statistics = ("moving_mean", "moving_variance", "mean", "variance", "count")
sizes = {v.path: int(numpy.prod(v.shape)) for v in model.weights}
kept = sum(n for path, n in sizes.items() if path.rpartition("/")[2] in statistics)
numpy.save("kernel.npy", keras.ops.convert_to_numpy(model.get_layer("stem").kernel))
print(json.dumps({"all": model.count_params(), "kept": kept}))
"""


@pytest.mark.slow
@pytest.mark.oracle
def test_the_same_network_in_every_form_counts_as_keras_counts(tmp_path: Path) -> None:
    if find_spec("keras") is None or find_spec("torch") is None:
        pytest.skip("needs keras and torch")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MAKE],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    kernel = np.load(tmp_path / "kernel.npy")
    for name in ("net.keras", "net.weights.h5", "net.h5"):
        inventory = formats.read(tmp_path / name)
        counts = _counts(tmp_path / name)
        assert counts.total == told["all"] - told["kept"], name
        assert counts.buffers == told["kept"], name
        assert counts.trainable == counts.total
        stem = _named(inventory)["stem/kernel"]
        assert formats.values(inventory, stem).tolist() == kernel.tolist()
        assert {"remember/forward_lstm/lstm_cell/recurrent_kernel", "answer/bias"} <= set(_named(inventory)), name
