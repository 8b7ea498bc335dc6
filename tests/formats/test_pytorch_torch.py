"""What torch saves is read as torch loads it: names, shapes, types and values, in all the forms that it writes.

These tests need torch, and are passed over without it.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weigh import formats
from weigh.types import Inventory, WeighError

torch = pytest.importorskip("torch")

PLAIN = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
NEWER = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
SIZE_ONLY = ("complex64", "complex128", "float8_e8m0fnu")


def _drawn(dtype: str) -> Any:
    generator = torch.Generator().manual_seed(7)
    return (torch.rand(3, 5, generator=generator) * 8).to(getattr(torch, dtype))


def _save(value: Any, path: Path, *, old: bool = False) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=not old)


def _same(inventory: Inventory, expected: dict[str, Any]) -> None:
    """Every tensor of the inventory has torch's shape, bytes and values."""
    assert [one.name for one in inventory.tensors] == list(expected)
    for one in inventory.tensors:
        theirs = expected[one.name]
        assert one.shape == tuple(theirs.shape)
        ours = formats.values(inventory, one)
        assert np.array_equal(ours, theirs.to(torch.float32).numpy(), equal_nan=True), one.name


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("dtype", PLAIN)
def test_every_type_of_numbers(dtype: str, old: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    state = OrderedDict(a=_drawn(dtype), b=_drawn(dtype)[0], c=_drawn(dtype).T, d=_drawn(dtype)[:, ::2])
    _save(state, path, old=old)
    _same(formats.read(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("dtype", NEWER)
def test_types_that_newer_torch_has(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    _save({"a": _drawn("float32").to(getattr(torch, dtype))}, path)
    _same(formats.read(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("dtype", SIZE_ONLY)
def test_types_of_which_the_size_is_known(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    value = torch.empty(3, 5, dtype=getattr(torch, dtype))
    _save({"a": value}, path)
    one = formats.read(path).tensors[0]
    assert one.shape == (3, 5)
    assert one.nbytes == value.nbytes


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_layouts_that_share_storages(old: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "whole": base,
        "row": base[2],
        "tied": base,
        "turned": base.T,
        "alone": torch.arange(10.0)[3:7],
        "steps": torch.arange(12.0).reshape(3, 4)[:, 1::2],
        "repeated": torch.tensor([1.0, 2.0]).expand(5, 2),
        "channels_last": torch.arange(48.0).reshape(2, 3, 2, 4).contiguous(memory_format=torch.channels_last),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3.5),
    }
    path = tmp_path / "a.pt"
    _save(state, path, old=old)
    inventory = formats.read(path)
    shared = inventory.metadata["shared"]
    assert shared == {"row": "whole", "tied": "whole", "turned": "whole"}
    loaded = torch.load(path, weights_only=True)
    _same(inventory, {name: value for name, value in loaded.items() if name not in shared})


def test_parameters_buffers_and_modules_state(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.GRU(4, 5, num_layers=2))
    path = tmp_path / "a.pt"
    _save({"model": model.state_dict(), "parameters": list(model.parameters())}, path)
    inventory = formats.read(path)
    _same(inventory, dict(model.state_dict()))
    assert inventory.metadata["apart"]["parameters"]["tensors"] == len(list(model.parameters()))


def test_a_training_checkpoint(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 3,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: entry for key, entry in schedule.state_dict().items() if not callable(entry)},
        "best": np.float64(0.25),
        "rng_state": torch.get_rng_state(),
        "betas": (0.9, 0.99),
        "names": {"a", "b"},
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
    }
    path = tmp_path / "a.pt"
    _save(value, path)
    inventory = formats.read(path)
    _same(inventory, dict(model.state_dict()))
    assert inventory.metadata["apart"]["optimizer"]["tensors"] == 6


def test_quantized_and_sparse_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(_drawn("float32"), 0.1, 3, torch.qint8)
        channels = torch.quantize_per_channel(
            _drawn("float32"), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2]), 0, torch.quint8
        )
        _save({"a": quantized, "b": channels, "c": torch.eye(3).to_sparse(), "d": torch.eye(4).to_sparse_csr()}, path)
    inventory = formats.read(path)
    held = {one.name: one for one in inventory.tensors}
    assert np.array_equal(formats.values(inventory, held["a"]), quantized.int_repr().float().numpy())
    assert np.array_equal(formats.values(inventory, held["b"]), channels.int_repr().float().numpy())
    assert held["c.indices"].buffer
    assert held["c.values"].parameters == 3
    assert held["d.values"].parameters == 4
    assert any("quantized" in word for word in inventory.warnings)


def test_a_model_saved_as_an_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    _save(torch.nn.Linear(2, 2), path)
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    assert caught.value.rule == "PICKLE-UNSAFE"
    assert "torch.nn.modules.linear.Linear" in caught.value.message


class _Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 4), torch.nn.Linear(4, 4)])
        self.register_buffer("scale", torch.ones(4))
        self.sizes = [1, 2, 3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x) * self.scale
        return x


def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    model = _Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 3)), str(path))
    inventory = formats.read(path)
    expected = dict(model.state_dict())
    assert {one.name for one in inventory.tensors} == set(expected)
    for one in inventory.tensors:
        assert np.array_equal(formats.values(inventory, one), expected[one.name].numpy())


def test_archives_without_checksums(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.serialization.set_crc32_options(False)
    try:
        _save({"a": torch.ones(3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    inventory = formats.read(path)
    _same(inventory, {"a": torch.ones(3)})
    assert "checksums" in inventory.warnings[0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_other_protocols_of_pickle(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    state = {"a": _drawn("float32"), "nested": [{"b": _drawn("int8")}], "c": frozenset({1}), "d": bytearray(b"x")}
    torch.save(state, path, pickle_protocol=protocol)
    _same(formats.read(path), {"a": state["a"], "nested.0.b": state["nested"][0]["b"]})


def test_many_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    state = {f"layers.{number}.weight": torch.full((2,), float(number)) for number in range(3000)}
    _save(state, path)
    inventory = formats.read(path)
    assert len(inventory.tensors) == 3000
    assert formats.values(inventory, inventory.tensors[-1]).tolist() == [2999, 2999]
