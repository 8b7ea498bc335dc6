"""Values of packed tensors: exactly those of the packages that pack them, or of a formula written out apart."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.hostile import craft, craft_ctranslate2, craft_tflite
from weigh import formats
from weigh.formats.packed_pieces import codes
from weigh.formats.packed_values import LAYOUTS
from weigh.types import Inventory, Piece, Tensor, WeighError

Arrays = Mapping[str, tuple[str, Any]]
"""Name to dtype of safetensors and array."""
RANDOM = np.random.default_rng(0)
OUTPUTS, INPUTS = 64, 256


def _inventory(folder: Path, arrays: Arrays, settings: Mapping[str, Any] | None = None) -> Inventory:
    header, data = {}, b""
    for name, (dtype, array) in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = craft.entry(dtype, list(array.shape), len(data), len(data) + len(raw))
        data += raw
    (folder / "model.safetensors").write_bytes(craft.safetensors(header, data))
    configuration = {"model_type": "llama", "quantization_config": settings or {}}
    (folder / "config.json").write_text(json.dumps(configuration))
    return formats.read(folder / "model.safetensors")


def _values(inventory: Inventory, layout: str) -> NDArray[np.float32]:
    """Values of the first tensor, which must come out the same in small chunks."""
    tensor = inventory.tensors[0]
    assert (tensor.layout, inventory.warnings) == (layout, ())
    whole = formats.values(inventory, tensor)
    for size in (1, 1000):
        assert np.array_equal(np.concatenate([*formats.chunks(inventory, tensor, size)]), whole.ravel(), equal_nan=True)
    return whole


def _words(rows: int, columns: int) -> NDArray[np.int32]:
    return RANDOM.integers(-(2**31), 2**31, (rows, columns), dtype=np.int64).astype(np.int32)


def _scales(*shape: int) -> NDArray[np.float16]:
    return (RANDOM.random(shape) + 0.5).astype(np.float16)


def _field(words: NDArray[np.int32], bits: int, number: int) -> int:
    """Code `number` of a row of words, by the bits of one long number."""
    whole = int.from_bytes(words.astype("<i4").tobytes(), "little")
    return whole >> (bits * number) & (2**bits - 1)


# ----------------------------------------------------------------------------------------------------- failures


def _packed(folder: Path, **changed: tuple[str, Any]) -> Inventory:
    arrays = {
        "a.weight_packed": ("I32", _words(4, 16)),
        "a.weight_scale": ("F16", _scales(4, 1)),
        "a.weight_shape": ("I64", np.array([4, 128])),
    }
    return _inventory(folder, {**arrays, **{name.replace("__", "."): array for name, array in changed.items()}})


def _refused(inventory: Inventory, tensor: Tensor) -> bool:
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, tensor)
    return caught.value.rule == "VALUES-SIZE"


def test_pieces_that_do_not_fit_each_other_give_no_values(tmp_path: Path) -> None:
    inventory = _packed(tmp_path)
    tensor = inventory.tensors[0]
    data, scale, shape = tensor.pieces
    assert _refused(inventory, replace(tensor, pieces=(data, shape)))
    assert _refused(inventory, replace(tensor, pieces=(data, replace(scale, shape=(3, 1)), shape)))
    assert _refused(inventory, replace(tensor, pieces=(data, replace(scale, nbytes=2, shape=(1, 3)), shape)))
    assert _refused(inventory, replace(tensor, shape=(4, 99)))
    assert _refused(inventory, replace(tensor, shape=(5, 128)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_reads_beyond_its_pieces(layout: str, tmp_path: Path) -> None:
    inventory = _packed(tmp_path)
    tensor = inventory.tensors[0]
    odd = Piece("model.safetensors", tensor.pieces[0].offset, 3, "data", (3,), (), "u8")
    bad = replace(odd, kind="scale"), replace(odd, kind="zero"), replace(odd, kind="index")
    for shape in ((4, 128), (2, 4, 32), (7,), (0, 4), ()):
        tensor = Tensor("a.weight", shape, "u4", (odd, *bad), layout=layout)
        try:
            for chunk in formats.chunks(inventory, tensor):
                assert chunk.size <= prod(shape)
        except WeighError as error:
            assert error.rule in ("VALUES-SIZE", "FILE-RANGE")


def test_an_order_that_names_no_group_gives_no_values(tmp_path: Path) -> None:
    arrays = _gptq(4, 128)
    arrays["a.g_idx"] = ("I32", np.full(INPUTS, 7, dtype=np.int32))
    inventory = _inventory(tmp_path, arrays)
    assert _refused(inventory, inventory.tensors[0])


# ----------------------------------------------------------------------------- GPTQ and AWQ, by the formula alone


def _gptq(bits: int, group: int) -> dict[str, tuple[str, Any]]:
    groups = INPUTS // group
    return {
        "a.qweight": ("I32", _words(INPUTS * bits // 32, OUTPUTS)),
        "a.qzeros": ("I32", _words(groups, OUTPUTS * bits // 32)),
        "a.scales": ("F16", _scales(groups, OUTPUTS)),
        "a.g_idx": ("I32", (np.arange(INPUTS) // group).astype(np.int32)),
    }


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("settings", [{}, {"checkpoint_format": "gptq_v2"}])
def test_gptq(bits: int, settings: Mapping[str, Any], tmp_path: Path) -> None:
    """scales[g] * (q - (z + 1)), the second version without the one; the order of the inputs is their own."""
    arrays = _gptq(bits, 64)
    order = RANDOM.permutation(arrays["a.g_idx"][1])
    arrays["a.g_idx"] = ("I32", order)
    found = _values(_inventory(tmp_path, arrays, settings), "gptq")
    words, zeros, scales = (arrays[f"a.{name}"][1] for name in ("qweight", "qzeros", "scales"))
    one = 0 if settings else 1
    for output, place in [(0, 0), (5, 10), (17, 31), (40, 128), (63, 255), (3, 21), (9, 11)]:
        code = _field(words[:, output], bits, place)
        zero = _field(zeros[order[place]], bits, output) + one
        assert found[output, place] == np.float32(scales[order[place], output]) * np.float32(code - zero)


def test_awq(tmp_path: Path) -> None:
    """(q - z) * scale: eight outputs a word, which stand in it in the order 0 2 4 6 1 3 5 7."""
    arrays = {
        "a.qweight": ("I32", _words(INPUTS, OUTPUTS // 8)),
        "a.qzeros": ("I32", _words(2, OUTPUTS // 8)),
        "a.scales": ("F16", _scales(2, OUTPUTS)),
    }
    found = _values(_inventory(tmp_path, arrays), "awq")
    words, zeros, scales = (array for _, array in arrays.values())
    stands = {0: 0, 2: 1, 4: 2, 6: 3, 1: 4, 3: 5, 5: 6, 7: 7}
    for output, place in [(0, 0), (1, 1), (10, 127), (11, 128), (63, 255), (37, 99), (38, 4), (44, 200)]:
        field = 8 * (output // 8) + stands[output % 8]
        code, zero = _field(words[place], 4, field), _field(zeros[place // 128], 4, field)
        assert found[output, place] == np.float32(scales[place // 128, output]) * np.float32(code - zero)


def test_codes_of_three_bits_cross_words() -> None:
    words = _words(2, 3)
    found = codes(words.view(np.uint8).reshape(2, -1), 3, 32)
    assert [[_field(words[row], 3, number) for number in range(32)] for row in range(2)] == found.tolist()


# --------------------------------------------------------------------------------- against the packages themselves


def _bf16(torch: Any, array: NDArray[Any]) -> Any:
    return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(torch.bfloat16)


def _bits16(tensor: Any, torch: Any) -> Any:
    return tensor.contiguous().view(torch.int16).numpy()


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [64, 0])
def test_words_of_compressed_tensors(bits: int, symmetric: bool, group: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    compressors = pytest.importorskip("compressed_tensors.compressors.pack_quantized.base")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    groups = INPUTS // group if group else 1
    scale = _bf16(torch, _scales(OUTPUTS, groups))
    packed = _words(OUTPUTS, INPUTS * bits // 32)
    arrays = {
        "a.weight_packed": ("I32", packed),
        "a.weight_scale": ("BF16", _bits16(scale, torch)),
        "a.weight_shape": ("I64", np.array([OUTPUTS, INPUTS])),
    }
    state = {
        "weight_packed": torch.from_numpy(packed),
        "weight_scale": scale.float(),
        "weight_shape": torch.tensor([OUTPUTS, INPUTS]),
    }
    if not symmetric:
        zero = _words(OUTPUTS * bits // 32, groups)
        arrays["a.weight_zero_point"] = ("I32", zero)
        state["weight_zero_point"] = torch.from_numpy(zero)
    kind = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    weights = quantization.QuantizationArgs(num_bits=bits, symmetric=symmetric, **kind)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=weights)
    wanted = compressors.PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    assert np.array_equal(_values(_inventory(tmp_path, arrays), "packed"), wanted.numpy())


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nvfp4", "mxfp4"])
def test_four_bit_floats_of_compressed_tensors(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nvfp4 = pytest.importorskip("compressed_tensors.compressors.nvfp4.base")
    mxfp4 = pytest.importorskip("compressed_tensors.compressors.mxfp4.base")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    packed = RANDOM.integers(0, 256, (OUTPUTS, INPUTS // 2), dtype=np.uint8)
    if name == "nvfp4":
        scale = RANDOM.integers(1, 126, (OUTPUTS, INPUTS // 16), dtype=np.uint8)
        stored = torch.from_numpy(scale).view(torch.float8_e4m3fn)
        overall = {"a.weight_global_scale": ("F32", np.array([37.25], dtype=np.float32))}
    else:
        scale = RANDOM.integers(100, 140, (OUTPUTS, INPUTS // 32), dtype=np.uint8)
        stored, overall = torch.from_numpy(scale), {}
    arrays = {
        "a.weight_packed": ("U8", packed),
        "a.weight_scale": ("F8_E4M3" if name == "nvfp4" else "U8", scale),
        **overall,
    }
    state = {"weight_packed": torch.from_numpy(packed), "weight_scale": stored}
    state |= {"weight_global_scale": torch.tensor([37.25])} if overall else {}
    kind = {"strategy": "tensor_group", "group_size": 16} if overall else {"strategy": "group", "group_size": 32}
    weights = quantization.QuantizationArgs(num_bits=4, type="float", symmetric=True, **kind)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=weights)
    one = nvfp4.NVFP4PackedCompressor if overall else mxfp4.MXFP4PackedCompressor
    wanted = one.decompress(state, scheme)["weight"].to(torch.bfloat16)
    found = _values(_inventory(tmp_path, arrays), "nvfp4_over" if overall else "nvfp4_times")
    # The package computes in bfloat16: this is its result before that rounding.
    steps = wanted.float().numpy() - torch.from_numpy(found).to(torch.bfloat16).float().numpy()
    assert np.all(np.abs(steps) <= np.abs(found) * (2**-7 if overall else 0))
    tabled = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=np.float32)
    spread = np.stack([tabled[packed & 15], tabled[packed >> 4]], axis=-1).reshape(OUTPUTS, INPUTS)
    each = stored.float().numpy() / np.float32(37.25) if overall else np.exp2(scale.astype(np.float32) - 127)
    assert np.array_equal(found, spread * np.repeat(each, 16 if overall else 32, axis=1))


def test_four_bit_floats_of_modelopt(tmp_path: Path) -> None:
    """q * (scale * scale_2), as in vLLM's reading of such files."""
    packed = RANDOM.integers(0, 256, (OUTPUTS, INPUTS // 2), dtype=np.uint8)
    arrays = {
        "a.weight": ("U8", packed),
        "a.weight_scale": ("F8_E4M3", np.full((OUTPUTS, INPUTS // 16), 0x3C, dtype=np.uint8)),
        "a.weight_scale_2": ("F32", np.array(0.01, dtype=np.float32)),
    }
    found = _values(_inventory(tmp_path, arrays), "nvfp4_times")
    halves = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32) / 2
    assert np.array_equal(found[:, ::2], halves[packed & 15] * (np.float32(1.5) * np.float32(0.01)))
    assert np.array_equal(found[:, 1::2], halves[packed >> 4] * (np.float32(1.5) * np.float32(0.01)))


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(("shape", "block"), [((64, 128), 64), ((33, 50), 128)])
def test_tables_of_bitsandbytes(kind: str, nested: bool, shape: tuple[int, int], block: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    original = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    data, state = functional.quantize_4bit(original, blocksize=block, quant_type=kind, compress_statistics=nested)
    wanted = functional.dequantize_4bit(data, state)
    dtypes = {torch.uint8: "U8", torch.float32: "F32"}
    arrays = {"a.weight": ("U8", data.numpy())}
    for name, tensor in state.as_dict(packed=True).items():
        arrays[f"a.weight.{name}"] = (dtypes[tensor.dtype], tensor.numpy())
    assert np.array_equal(_values(_inventory(tmp_path, arrays), "bnb_4bit"), wanted.numpy())


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_blocks_of_bitsandbytes_go_on_from_row_to_row(tmp_path: Path) -> None:
    """Its formula in Python. Its compiled one for AVX-512 (0.50.2) takes the wrong block where rows end within one."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    default = pytest.importorskip("bitsandbytes.backends.default.ops")
    original = torch.randn((64, 96), generator=torch.Generator().manual_seed(0))
    data, state = functional.quantize_4bit(original, blocksize=64, quant_type="nf4")
    args = data.reshape(-1), state.absmax, state.code, 64, (64, 96), torch.float32
    wanted = default._dequantize_4bit_compute(*args)
    arrays = {"a.weight": ("U8", data.numpy())}
    for name, tensor in state.as_dict(packed=True).items():
        arrays[f"a.weight.{name}"] = ("U8" if tensor.dtype == torch.uint8 else "F32", tensor.numpy())
    assert np.array_equal(_values(_inventory(tmp_path, arrays), "bnb_4bit"), wanted.numpy())


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bytes_of_bitsandbytes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    data = torch.from_numpy(RANDOM.integers(-127, 128, (OUTPUTS, INPUTS)).astype(np.int8))
    largest = torch.rand(OUTPUTS, generator=torch.Generator().manual_seed(0)) + 0.1
    wanted = functional.int8_vectorwise_dequant(data, largest)
    arrays = {"a.weight": ("I8", data.numpy()), "a.SCB": ("F32", largest.numpy())}
    assert np.array_equal(_values(_inventory(tmp_path, arrays), "bnb_int8"), wanted.numpy())


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_experts_in_blocks_of_32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    blocks = RANDOM.integers(0, 256, (3, 20, 5, 16), dtype=np.uint8)
    scales = RANDOM.integers(90, 160, (3, 20, 5), dtype=np.uint8)
    wanted = mxfp4.convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scales), dtype=torch.float32)
    arrays = {"a.down_proj_blocks": ("U8", blocks), "a.down_proj_scales": ("U8", scales)}
    found = _values(_inventory(tmp_path, arrays), "mxfp4_experts")
    assert found.shape == (3, 160, 20)
    assert np.array_equal(found, wanted.numpy())


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (256, 1), (256, 12)])
def test_scales_of_eight_bit_floats(grid: tuple[int, int], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    fp8 = pytest.importorskip("transformers.integrations.finegrained_fp8")
    data = RANDOM.integers(0, 127, (256, 384), dtype=np.uint8)
    scale = RANDOM.random(grid, dtype=np.float32)
    wanted = fp8.Fp8Dequantize(None)._dequantize_one(
        torch.from_numpy(data).view(torch.float8_e4m3fn), torch.from_numpy(scale), torch.float32
    )
    arrays = {"a.weight": ("F8_E4M3", data), "a.weight_scale_inv": ("F32", scale)}
    assert np.array_equal(_values(_inventory(tmp_path, arrays), "affine"), wanted.numpy())


def test_a_last_block_of_eight_bit_floats_may_be_cut(tmp_path: Path) -> None:
    """One scale for 128 x 128 values, fewer at the edges, as DeepSeek-V3 stores them."""
    data = np.full((130, 200), 0x38, dtype=np.uint8)
    scale = np.arange(1, 5, dtype=np.float32).reshape(2, 2)
    inventory = _inventory(tmp_path, {"a.weight": ("F8_E4M3", data), "a.weight_scale_inv": ("F32", scale)})
    found = _values(inventory, "affine")
    assert (found[127, 127], found[127, 128], found[128, 127], found[129, 199]) == (1, 2, 3, 4)


def test_rows_of_bytes(tmp_path: Path) -> None:
    data = RANDOM.integers(-128, 128, (8, 6)).astype(np.int8)
    scale, zero = _scales(8, 1), RANDOM.integers(-9, 9, (8, 1)).astype(np.int8)
    arrays = {"a.weight": ("I8", data), "a.weight_scale": ("F16", scale), "a.weight_zero_point": ("I8", zero)}
    found = _values(_inventory(tmp_path, arrays), "affine")
    assert np.array_equal(found, (data.astype(np.float32) - zero) * scale.astype(np.float32))


# --------------------------------------------------------------------------------------------------- other formats


def test_scales_of_tensorflow_lite(tmp_path: Path) -> None:
    """scale * (q - zero_point) along the axis, and in blocks of a row; an odd number of 4-bit values."""
    details = craft_tflite.Table({0: craft_tflite.Number("i", 3), 1: craft_tflite.Number("i", -1)})
    tensors = [
        craft_tflite.tensor("w", (2, 3), craft_tflite.INT8, 1, (0.5, 0.25, 2), 1, (0, 1, -2)),
        craft_tflite.tensor("q", (3, 3), craft_tflite.INT4, 2, (0.5,)),
        craft_tflite.tensor(
            "blocks", (2, 4), craft_tflite.INT4, 3,
            extra={4: craft_tflite.Table({4: craft_tflite.Number("B", 2), 5: details})},
        ),
        craft_tflite.tensor("s", (2, 2), craft_tflite.FLOAT16, 4),
    ]  # fmt: skip
    halves = struct.pack("<4e", 1, 2, 4, 8)
    content = craft_tflite.tflite(
        tensors, [bytes([1, 2, 3, 0xFF, 5, 6]), b"\x21\x43\x65\x87\x09", b"\x11\xff\x22\xee", halves]
    )
    (tmp_path / "a.tflite").write_bytes(content)
    inventory = formats.read(tmp_path / "a.tflite")
    w, q, blocks = (formats.values(inventory, tensor) for tensor in inventory.tensors)
    assert w.tolist() == [[0.5, 0.25, 10], [-0.5, 1, 16]]
    assert q.ravel().tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, -4, -3.5]
    assert blocks.tolist() == [[1, 1, -2, -2], [8, 8, -16, -16]]
    assert np.array_equal(np.concatenate([*formats.chunks(inventory, inventory.tensors[1], 1)]), q.ravel())


@pytest.mark.oracle
@pytest.mark.parametrize("bits", [4, 8, 2])
@pytest.mark.parametrize("with_zeros", [True, False])
def test_blocks_of_onnx(bits: int, with_zeros: bool, tmp_path: Path) -> None:
    """MatMulNBits, against what onnxruntime makes of the identity; the last block is not full."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    outputs, inputs, block = 24, 80, 32
    blocks = -(-inputs // block)
    data = RANDOM.integers(0, 256, (outputs, blocks, block * bits // 8), dtype=np.uint8)
    stored = {"w": data, "s": RANDOM.random((outputs * blocks), dtype=np.float32)}
    if with_zeros:
        stored["z"] = RANDOM.integers(0, 256, outputs * -(-blocks * bits // 8), dtype=np.uint8)
    node = onnx.helper.make_node(
        "MatMulNBits", ["x", *stored], ["y"], domain="com.microsoft", K=inputs, N=outputs, bits=bits, block_size=block
    )
    value = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    initial = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    ends = value("x", kind, [inputs, inputs]), value("y", kind, [inputs, outputs])
    graph = onnx.helper.make_graph([node], "g", [ends[0]], [ends[1]], initial)
    sets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=8)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": np.eye(inputs, dtype=np.float32)})
    inventory = formats.read(tmp_path / "a.onnx")
    assert np.array_equal(_values(inventory, "onnx_nbits"), wanted.T)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("shape", "scales", "axis"), [((4, 6), (4,), 0), ((4, 6), (6,), 1), ((4, 6), (), 1), ((3, 2, 4), (2,), -2)]
)
def test_scales_of_onnx(shape: tuple[int, ...], scales: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    """DequantizeLinear, against onnxruntime."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    stored = {
        "w": RANDOM.integers(-128, 128, shape).astype(np.int8),
        "s": np.asarray(RANDOM.random(scales), dtype=np.float32),
        "z": np.asarray(RANDOM.integers(-5, 5, scales), dtype=np.int8),
    }
    node = onnx.helper.make_node("DequantizeLinear", [*stored], ["y"], axis=axis)
    initial = [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()]
    end = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
    graph = onnx.helper.make_graph([node], "g", [], [end], initial)
    sets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=8)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {})
    assert np.array_equal(_values(formats.read(tmp_path / "a.onnx"), "affine"), wanted)


def test_what_ctranslate2_multiplied_with_is_divided_by(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(craft_ctranslate2.model([
        craft_ctranslate2.variable("w", (2, 3), craft_ctranslate2.INT8, bytes([10, 20, 30, 0xFF, 0, 127])),
        craft_ctranslate2.variable("w_scale", (2,), data=struct.pack("<2f", 5, 127)),
    ]))  # fmt: skip
    inventory = formats.read(tmp_path / "model.bin")
    wanted = np.array([[10, 20, 30], [-1, 0, 127]], dtype=np.float32) / np.array([[5], [127]], dtype=np.float32)
    assert np.array_equal(formats.values(inventory, inventory.tensors[0]), wanted)
