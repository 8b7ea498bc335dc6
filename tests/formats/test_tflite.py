"""TensorFlow Lite: which constants are parameters, what shares bytes, quantized weights, buffers outside the tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile import craft_tflite as craft
from tests.hostile.craft_tflite import Number, Table, flatbuffer, graph, model, node, tensor, tflite
from weigh import formats
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.types import Inventory, Limits, Tensor, WeighError

MODELS = "WEIGH_TFLITE_MODELS"
"""Names a folder with real models."""


def _read(folder: Path, content: bytes, **limits: int) -> Inventory:
    (folder / "a.tflite").write_bytes(content)
    return formats.read(folder / "a.tflite", Limits(**limits))


def _by_name(inventory: Inventory) -> dict[str, Tensor]:
    return {found.name: found for found in inventory.tensors}


def _floats(count_of: int, fill: int = 0) -> bytes:
    return bytes([fill]) * (4 * count_of)


def _parameters(inventory: Inventory) -> set[str]:
    return {found.name for found in inventory.tensors if not found.buffer}


# ---------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("limits", "rule"),
    [({"tensors": 1}, "TFL-TENSORS"), ({"header_bytes": 200}, "FLAT-BUDGET"), ({"string_bytes": 3}, "FLAT-TEXT")],
)
def test_a_limit_is_not_passed(limits: dict[str, int], rule: str, tmp_path: Path) -> None:
    content = tflite([tensor("long name"), tensor("other", buffer=2)], [_floats(2), _floats(2)])
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, content, **limits)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 5)
    assert caught.value.hint


def _external(*names: str) -> bytes:
    groups = [Table({0: name}) for name in names]
    entries = [
        Table({0: Number("I", k + 1), 1: Number("I", k), 2: Number("Q", 4), 3: Number("Q", 8)})
        for k in range(len(names))
    ]
    tensors = [tensor(f"w{k}", buffer=0, extra={10: Number("I", k + 1)}) for k in range(len(names))]
    return tflite(tensors, extra={8: groups, 9: entries})


def test_files_beside_the_model_are_bounded_and_have_one_name(tmp_path: Path) -> None:
    for name in ("x.bin", "y.bin"):
        (tmp_path / name).write_bytes(b"\0" * 12)
    inventory = _read(tmp_path, _external("x.bin", "y.bin"))
    assert dict(inventory.files)["x.bin"] == 12
    assert [(piece.file, piece.offset) for found in inventory.tensors for piece in found.pieces] == [
        ("x.bin", 4), ("y.bin", 4),
    ]  # fmt: skip
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, _external("x.bin", "y.bin"), files=1)
    assert caught.value.rule == "TFL-FILES"
    os.link(tmp_path / "x.bin", tmp_path / "z.bin")
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, _external("z.bin"))
    assert caught.value.rule == "TFL-HARDLINK"


# -------------------------------------------------------------------------------------------------- parameters


def test_shapes_bounds_and_single_values_are_buffers(tmp_path: Path) -> None:
    tensors = [
        tensor("x", [1, 3], buffer=0),
        tensor("w", [4, 3], buffer=1),
        tensor("bias", [1], buffer=2),
        tensor("shape", [2], craft.INT32, 3),
        tensor("half", [], buffer=4),
        tensor("bound", [4], buffer=5),
        tensor("gain", [4], buffer=6),
        tensor("never used", [5], buffer=7),
    ]
    data = [_floats(12), _floats(1), b"\0" * 8, _floats(1), _floats(4), _floats(4), _floats(5)]
    nodes = [node(0, [0, 1, 2], [0]), node(1, [0, 3], [0]), node(2, [0, 4], [0]), node(3, [0, 5], [0]), node(2, [0, 6])]
    codes = (craft.FULLY_CONNECTED, craft.RESHAPE, craft.ADD, craft.MAXIMUM)
    inventory = _read(tmp_path, tflite(tensors, data, nodes, codes))
    assert _parameters(inventory) == {"w", "bias", "gain", "never used"}
    assert count(identify(inventory)).total == 12 + 1 + 4 + 5


def test_a_half_that_is_widened_before_it_is_used_is_the_weight(tmp_path: Path) -> None:
    tensors = [tensor("h", [1], craft.FLOAT16, 1), tensor("wide", [1], buffer=0), tensor("x", [1], buffer=0)]
    nodes = [node(0, [0], [1]), node(1, [2, 1], [2])]
    found = _read(tmp_path, tflite(tensors, [b"\0\0"], nodes, (craft.DEQUANTIZE, craft.FULLY_CONNECTED)))
    assert _parameters(found) == {"h"}


def test_a_quantized_weight_has_its_scales_as_pieces(tmp_path: Path) -> None:
    scales = (0.5, 0.25, 2.0)
    tensors = [tensor("w", [1, 2, 3], craft.INT8, 1, scales, 2, (0, 1, 2)), tensor("b", [3], craft.INT32, 2, (0.5,))]
    inventory = _read(tmp_path, tflite(tensors, [b"abcdef", b"\0" * 12]))
    weight, bias = inventory.tensors
    assert (weight.codec, weight.shape, weight.buffer, weight.nbytes) == ("i8", (1, 2, 3), False, 6 + 12 + 24)
    assert [(piece.kind, piece.shape, piece.codec) for piece in weight.pieces[1:]] == [
        ("scale", (1, 1, 3), "f32"), ("zero", (1, 1, 3), "i64"),
    ]  # fmt: skip
    assert (bias.codec, bias.buffer, bias.pieces[1].shape) == ("i32", False, (1,))


def test_scales_in_a_tensor_of_their_own_belong_to_their_weight(tmp_path: Path) -> None:
    details = Table({0: Number("i", 1), 1: Number("i", -1), 2: Number("i", 4)})
    quantized = Table({4: Number("B", 2), 5: details})
    tensors = [
        tensor("w", [2, 8], craft.INT4, 1, extra={4: quantized}),
        tensor("scales", [2, 2], craft.FLOAT16, 2),
    ]
    (found,) = _read(tmp_path, tflite(tensors, [b"\0" * 8, b"\0" * 8])).tensors
    assert (found.name, found.parameters, found.nbytes, found.layout) == ("w", 16, 16, "affine")
    assert [(piece.kind, piece.codec) for piece in found.pieces[1:]] == [("scale", "f16")]


def test_tensors_of_one_buffer_count_once(tmp_path: Path) -> None:
    graphs = [graph([tensor("w", [2, 2])]), graph([tensor("w", [2, 2]), tensor("v", [4])])]
    inventory = _read(tmp_path, flatbuffer(model(graphs, [_floats(4)])))
    assert [found.name for found in inventory.tensors] == ["w"]
    assert inventory.metadata["shared"] == {"main/w": "w", "v": "w"}
    assert count(identify(inventory)).total == 4


def test_what_a_loop_begins_with_is_no_parameter_and_what_goes_round_is(tmp_path: Path) -> None:
    outer = graph(
        [tensor("w", [2, 2], buffer=1), tensor("state", [2], buffer=2)],
        [node(0, [0, 1], [0, 1], {4: Table({0: Number("i", 1), 1: Number("i", 2)})})],
    )
    condition = graph([tensor("a", buffer=0), tensor("b", buffer=0)], inputs=[0, 1])
    inside = [tensor("a", buffer=0), tensor("b", buffer=0), tensor("c", buffer=0)]
    body = graph(inside, [node(1, [1, 0], [2])], [0, 1], [0, 2])
    content = flatbuffer(
        model([outer, condition, body], [_floats(4), _floats(2)], (craft.WHILE, craft.FULLY_CONNECTED))
    )
    assert _parameters(_read(tmp_path, content)) == {"w"}


@pytest.mark.parametrize("again", [False, True])
def test_a_variable_that_is_set_once_is_a_weight_and_otherwise_a_state(again: bool, tmp_path: Path) -> None:
    tensors = [tensor("init", [3], buffer=1), tensor("handle", buffer=0), tensor("y", [3], buffer=0)]
    name = {4: Table({1: "v"})}
    nodes = [node(0, [], [1], name), node(1, [1, 0]), node(2, [1], [2]), node(3, [2, 2], [2])]
    nodes += [node(1, [1, 2])] if again else []
    codes = (craft.VAR_HANDLE, craft.ASSIGN_VARIABLE, craft.READ_VARIABLE, craft.ADD)
    inventory = _read(tmp_path, tflite(tensors, [_floats(3)], nodes, codes))
    assert _parameters(inventory) == (set() if again else {"init"})
    assert inventory.metadata["variables"] == 1


def test_what_a_custom_operator_hides_is_told(tmp_path: Path) -> None:
    codes = {1: [Table({0: Number("b", craft.CUSTOM), 1: "accelerator"})]}
    nodes = [node(0, [0], [], {5: b"\0" * 5000})]
    inventory = _read(tmp_path, tflite([tensor()], nodes=nodes, extra=codes))
    assert inventory.metadata["custom_operators"] == ("accelerator",)
    assert any("5,000 bytes" in warning for warning in inventory.warnings)


def test_a_sparse_weight_counts_as_the_dense_one(tmp_path: Path) -> None:
    axis = Table({2: Number("B", 1), 3: Table({0: craft.Numbers("i", [0, 2])})})
    (found,) = _read(tmp_path, tflite([tensor("w", [4, 4], extra={6: Table({2: [axis]})})])).tensors
    assert (found.parameters, [piece.kind for piece in found.pieces]) == (16, ["data", "index"])


def test_what_a_model_says_of_itself_is_kept(tmp_path: Path) -> None:
    extra = {
        6: [Table({0: "min_runtime_version", 1: Number("I", 2)}), Table({0: "other", 1: Number("I", 3)})],
        7: [Table({3: "serving_default"})],
    }
    told = _read(tmp_path, tflite([tensor()], [_floats(2), b"2.6.0\0\0", b"x" * 99], extra=extra)).metadata
    assert told["description"] == "made"
    assert told["signatures"] == ("serving_default",)
    assert told["metadata.min_runtime_version"] == "2.6.0"
    assert told["metadata.other"] == "99 bytes"


def test_a_folder_with_one_model_is_that_model(tmp_path: Path) -> None:
    _read(tmp_path, tflite([tensor()]))
    assert formats.read(tmp_path).format == "tflite"


# ------------------------------------------------------------------------------------------------- real models


def _real() -> list[Path]:
    return sorted(Path(os.environ[MODELS]).rglob("*.tflite")) if MODELS in os.environ else []


@pytest.mark.oracle
@pytest.mark.parametrize("path", _real(), ids=lambda path: path.name)
def test_a_real_model_has_the_constants_that_its_schema_says(path: Path) -> None:
    """Against the classes that the FlatBuffers compiler makes of the schema."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    wanted = {}
    named = 0
    for subgraph in whole.subgraphs:
        for one in subgraph.tensors:
            data = whole.buffers[one.buffer].data
            if data is not None and len(data) and one.type != craft.STRING:
                named += 1
                wanted.setdefault(one.buffer, len(data))
    inventory = formats.read(path)
    assert sorted(found.pieces[0].nbytes for found in inventory.tensors) == sorted(wanted.values())
    assert len(inventory.tensors) + len(inventory.metadata.get("shared", {})) == named
