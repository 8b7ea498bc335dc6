"""ONNX: which tensors are parameters, how quantized ones are folded, and what neighbouring files may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile import craft_onnx as craft
from tests.hostile.craft_onnx import constant, node, onnx, run, tensor, whole
from weigh import formats
from weigh.cost.params import count
from weigh.families.identify import identify
from weigh.types import Inventory, Limits, Tensor, WeighError


def _read(folder: Path, content: bytes, **limits: int) -> Inventory:
    (folder / "a.onnx").write_bytes(content)
    return formats.read(folder / "a.onnx", Limits(**limits))


def _by_name(inventory: Inventory) -> dict[str, Tensor]:
    return {found.name: found for found in inventory.tensors}


def _floats(name: str, *shape: int) -> bytes:
    values = 1
    for extent in shape:
        values *= extent
    return tensor(name, shape, raw=b"\0" * 4 * values)


def _bytes(name: str, *shape: int, kind: int = craft.INT8) -> bytes:
    values = 1
    for extent in shape:
        values *= extent
    return tensor(name, shape, kind, raw=b"\0" * values)


def _shape(name: str, *values: int) -> bytes:
    return tensor(name, [len(values)], craft.INT64, raw=b"".join(v.to_bytes(8, "little") for v in values))


# ------------------------------------------------------------------------------------------------ parameters


def test_shapes_scalars_of_formulas_and_statistics_are_buffers(tmp_path: Path) -> None:
    content = onnx(
        [_floats("w", 4, 3), _floats("mean", 4), _floats("var", 4), _floats("gain", 4), _shape("shape", 2, 6)],
        [
            constant("half", _floats("", )),
            constant("bias", _floats("", )),
            node("BatchNormalization", ["x", "gain", "b", "mean", "var"], ["y"]),
            node("Reshape", ["y", "shape"], ["z"]),
            node("Mul", ["z", "half"], ["u"]),
            node("Conv", ["u", "w", "bias"], ["v"]),
        ],
    )  # fmt: skip
    found = _by_name(_read(tmp_path, content))
    assert {name for name, held in found.items() if not held.buffer} == {"w", "gain", "bias"}


def test_weights_in_constants_inside_branches_loops_and_functions_count(tmp_path: Path) -> None:
    def inner(size: int) -> bytes:
        return craft.graph(nodes=[constant("w", _floats("", size))])

    branches = [craft.branch("then_branch", inner(3)), craft.branch("else_branch", inner(5))]
    function = run(1, "f") + run(7, constant("k", _floats("", 11)))
    content = onnx(
        nodes=[node("If", ["c"], ["o"], branches), node("Loop", ["n"], ["p"], [craft.branch("body", inner(7))])]
    ) + run(25, function)
    inventory = _read(tmp_path, content)
    assert count(identify(inventory)).total == 3 + 5 + 7 + 11
    assert sorted(_by_name(inventory)) == ["If.else_branch/w", "If.then_branch/w", "Loop.body/w", "k"]
    assert any("branches of If" in warning for warning in inventory.warnings)


def test_an_inner_name_hides_the_outer_one(tmp_path: Path) -> None:
    body = craft.graph([_bytes("w", 4, 4)], [node("MatMulInteger", ["x", "w"], ["y"])])
    content = onnx([_bytes("w", 2, 2)], [node("Loop", ["n"], ["o"], [craft.branch("body", body)])])
    found = _by_name(_read(tmp_path, content))
    assert {name: held.buffer for name, held in found.items()} == {"w": True, "Loop.body/w": False}


def test_a_sparse_tensor_has_its_dense_shape(tmp_path: Path) -> None:
    sparse = run(1, _floats("s", 2)) + run(2, _shape("", 0, 3)) + craft.number(3, 8) + craft.number(3, 2)
    (found,) = _read(tmp_path, onnx(extra=run(15, sparse))).tensors
    assert (found.name, found.shape, found.nbytes) == ("s", (8, 2), 8 + 16)


# -------------------------------------------------------------------------------------------------- quantized


def test_scales_and_zero_points_belong_to_the_weight(tmp_path: Path) -> None:
    content = onnx(
        [_bytes("w", 4, 3), _floats("s", 4), _bytes("z", 4), _floats("xs"), _bytes("xz")],
        [
            node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            node("DequantizeLinear", ["xq", "xs", "xz"], ["xf"]),
            node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
            node("MatMul", ["xf", "wf"], ["y"]),
        ],
    )
    inventory = _read(tmp_path, content)
    found = _by_name(inventory)
    assert [piece.kind for piece in found["w"].pieces] == ["data", "scale", "zero"]
    assert found["w"].nbytes == 12 + 16 + 4
    assert {name for name, held in found.items() if held.buffer} == {"xs", "xz"}
    assert count(identify(inventory)).total == 12


def test_the_scale_of_a_dynamic_product_is_found_by_name(tmp_path: Path) -> None:
    content = onnx(
        [_bytes("w_quantized", 4, 3), _floats("w_scale"), _bytes("w_zero_point"), _floats("other", 3)],
        [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "w_quantized", "xz", "w_zero_point"], ["i"]),
            node("Mul", ["xs", "w_scale"], ["scale"]),
            node("Mul", ["xs", "other"], ["more"]),
        ],
    )
    found = _by_name(_read(tmp_path, content))
    assert {piece.kind for piece in found["w_quantized"].pieces} == {"data", "scale", "zero"}
    assert found["other"].buffer


def test_a_table_is_dequantized_behind_its_gather(tmp_path: Path) -> None:
    content = onnx(
        [_bytes("table", 8, 4), _floats("s")],
        [node("Gather", ["table", "ids"], ["rows"]), node("DequantizeLinear", ["rows", "s"], ["y"])],
    )
    assert count(identify(_read(tmp_path, content))).total == 32


@pytest.mark.parametrize(("bits", "stored", "codec"), [(4, 16, "u4"), (8, 32, "u8"), (2, 8, "u2")])
def test_weights_in_blocks_of_bits_have_their_logical_shape(bits: int, stored: int, codec: str, tmp_path: Path) -> None:
    attributes = [whole("K", 60), whole("N", 3), whole("bits", bits), whole("block_size", 32)]
    content = onnx(
        [_bytes("b", 3, 2, stored, kind=craft.UINT8), _floats("s", 6)],
        [node("MatMulNBits", ["x", "b", "s"], ["y"], attributes)],
    )
    (found,) = _read(tmp_path, content).tensors
    assert (found.shape, found.codec, found.parameters) == ((3, 60), codec, 180)


def test_attributes_that_do_not_fit_are_told(tmp_path: Path) -> None:
    attributes = [whole("K", 2**40), whole("N", 2**20), whole("bits", 4)]
    content = onnx([_bytes("b", 8, kind=craft.UINT8)], [node("MatMulNBits", ["x", "b"], ["y"], attributes)])
    inventory = _read(tmp_path, content)
    assert inventory.tensors[0].shape == (8,)
    assert inventory.warnings


# ------------------------------------------------------------------------------------- files beside, budgets


def _with_data(folder: Path, name: str = "data.bin") -> bytes:
    (folder / "data.bin").write_bytes(b"\0" * 64)
    return onnx([tensor(external={"location": name, "offset": "8", "length": "8"})])


def test_external_data_are_read_from_the_folder(tmp_path: Path) -> None:
    inventory = _read(tmp_path, _with_data(tmp_path))
    assert [(piece.file, piece.offset) for piece in inventory.tensors[0].pieces] == [("data.bin", 8)]
    assert formats.values(inventory, inventory.tensors[0]).tolist() == [0, 0]
    assert ("data.bin", 64) in inventory.files


def test_external_data_behind_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 64)
    (folder / "link.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(WeighError) as caught:
        _read(folder, _with_data(folder, "link.bin"))
    assert caught.value.rule == "FILE-OUTSIDE"


def test_external_data_with_a_second_name_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    content = _with_data(folder)
    os.link(folder / "data.bin", tmp_path / "elsewhere")
    with pytest.raises(WeighError) as caught:
        _read(folder, content)
    assert caught.value.rule == "ONNX-HARDLINK"


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"header_bytes": 40}, "ONNX-BUDGET"),
        ({"keys": 3}, "ONNX-BUDGET"),
        ({"tensors": 1}, "ONNX-TENSORS"),
        ({"string_bytes": 3}, "ONNX-TEXT"),
        ({"files": 0}, "ONNX-FILES"),
    ],
)
def test_a_budget_is_kept(limits: dict[str, int], rule: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0" * 64)
    beside = tensor("beside", external={"location": "data.bin"})
    with pytest.raises(WeighError) as caught:
        _read(tmp_path, onnx([beside, _floats("long name", 3), _floats("b", 3)]), **limits)
    assert (caught.value.rule, caught.value.exit_code) == (rule, 5)
    assert caught.value.hint


def test_a_folder_with_a_graph_is_a_model(tmp_path: Path) -> None:
    _read(tmp_path, onnx([_floats("w", 3)]))
    assert formats.read(tmp_path).format == "onnx"


# --------------------------------------------------------------------------------------------------- oracle


def test_the_package_sees_the_same_tensors(tmp_path: Path) -> None:
    """Each number type through each field that may hold it."""
    package = pytest.importorskip("onnx")
    numpy = pytest.importorskip("numpy")
    kinds = [kind for kind in range(1, 27) if kind not in (8, 15)]
    tensors = []
    for kind in kinds:
        plain = numpy.ones(5, dtype=package.helper.tensor_dtype_to_np_dtype(kind))
        tensors.append(package.numpy_helper.from_array(plain, f"raw{kind}"))
        tensors.append(package.helper.make_tensor(f"typed{kind}", kind, [5], plain))
    made = package.helper.make_model(package.helper.make_graph([], "g", [], [], initializer=tensors))
    found = _by_name(_read(tmp_path, made.SerializeToString()))
    for kind in kinds:
        raw, typed = found[f"raw{kind}"], found[f"typed{kind}"]
        assert raw.shape == typed.shape == (5,)
        assert raw.codec == typed.codec
        assert not raw.codec.startswith("unknown")
