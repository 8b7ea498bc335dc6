"""A copy has every byte of the source: divided, merged, and from checkpoints and arrays."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hostile import craft
from weigh import formats
from weigh.formats import copying, gguf_write, safetensors_write
from weigh.formats.gguf_write import Typed
from weigh.types import Inventory, NewTensor, WeighError

RANDOM = np.random.default_rng(3)


def _bytes(inventory: Inventory) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    found = {}
    for tensor in inventory.tensors:
        (piece,) = tensor.pieces
        raw = (Path(inventory.folder) / piece.file).read_bytes()
        found[tensor.name] = tensor.shape, tensor.codec, raw[piece.offset : piece.offset + piece.nbytes]
    return found


def _tensors(count: int, codec: str = "f32") -> list[NewTensor]:
    def new(number: int) -> NewTensor:
        raw = RANDOM.bytes(4 * 6 * (number + 1))
        return NewTensor(f"t.{number}", (number + 1, 6), codec, lambda: [raw])

    return [new(number) for number in range(count)]


def _refused(source: Path | Inventory, target: Path, **options: Any) -> str:
    inventory = source if isinstance(source, Inventory) else formats.read(source)
    before = sorted(target.parent.iterdir())
    with pytest.raises(WeighError) as caught:
        formats.copy(inventory, target, **options)
    assert sorted(target.parent.iterdir()) == before
    return caught.value.rule


# ------------------------------------------------------------------------------------------------------ refused


def test_formats_that_are_not_written_or_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    safetensors_write.write(tmp_path / "in" / "a.safetensors", _tensors(2), {})
    gguf_write.write(tmp_path / "in" / "a.gguf", _tensors(2), {"general.architecture": "llama"})
    first, second = tmp_path / "in" / "a.safetensors", tmp_path / "in" / "a.gguf"
    for target in ("b.pt", "b", "b.onnx"):
        assert _refused(first, tmp_path / target) == "COPY-FORMAT"
    assert _refused(first, tmp_path / "b.gguf") == "COPY-FORMAT"
    assert _refused(second, tmp_path / "b.safetensors") == "COPY-FORMAT"
    assert _refused(first, tmp_path / "b.safetensors", format_id="gguf") == "COPY-FORMAT"
    assert _refused(first, tmp_path / "b.bin", format_id="safetensors") == "WRITE-SUFFIX"
    assert _refused(Inventory("x", "config", "hf"), tmp_path / "b.safetensors") == "COPY-NONE"


def test_a_model_is_not_copied_onto_itself(tmp_path: Path) -> None:
    *_, index = safetensors_write.write(tmp_path / "a.safetensors", _tensors(3), {}, 60)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert _refused(index, tmp_path / "a.safetensors", max_shard_bytes=60) == "WRITE-SOURCE"
    assert _refused(index, tmp_path / "a.safetensors") == "WRITE-BESIDE"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    single = tmp_path / "one"
    single.mkdir()
    (path,) = gguf_write.write(single / "a.gguf", _tensors(1), {"general.architecture": "llama"})
    (single / "link.gguf").symlink_to("a.gguf")
    assert _refused(path, path) == "WRITE-SOURCE"
    assert _refused(path, single / "link.gguf") == "WRITE-SOURCE"


def test_a_source_that_changed_since_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = safetensors_write.write(tmp_path / "a.safetensors", _tensors(3), {})
    inventory = formats.read(path)
    monkeypatch.setattr(formats, "_stored", lambda *_: inventory)
    path.write_bytes(path.read_bytes()[:-5])
    assert _refused(inventory, tmp_path / "b.safetensors") == "COPY-CHANGED"


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("most", [None, 50])
def test_a_source_that_changes_while_it_is_copied(
    cut: bool, most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file that is cut nor one whose bytes are changed in place is copied half old, half new."""
    (path,) = safetensors_write.write(tmp_path / "a.safetensors", _tensors(3), {})
    inventory = formats.read(path)
    calls: list[int] = []
    fill = formats.new_files.writing.Output.write

    def disturbed(output: Any, data: Any) -> None:
        calls.append(len(data))
        if len(calls) == 3:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size - 5) if cut else file.write(b"x")
            os.utime(path, ns=(1, 1))
        fill(output, data)

    monkeypatch.setattr(formats.new_files.writing.Output, "write", disturbed)
    assert _refused(inventory, tmp_path / "b.safetensors", max_shard_bytes=most) in ("COPY-CHANGED", "FILE-CHANGED")


def test_a_source_that_is_replaced_while_it_is_copied_is_copied_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = safetensors_write.write(tmp_path / "a.safetensors", _tensors(3), {})
    raw = path.read_bytes()
    inventory = formats.read(path)
    other = tmp_path / "other"
    other.write_bytes(raw[:-8] + bytes(8))
    stored = copying.metadata

    def replaced(*given: Any) -> Any:
        other.replace(path)
        return stored(*given)

    monkeypatch.setattr(copying, "metadata", replaced)
    (copied,) = formats.copy(inventory, tmp_path / "b.safetensors")
    assert copied.read_bytes() == raw


def test_a_large_tensor_is_never_whole_in_memory(tmp_path: Path) -> None:
    header = craft.safetensors({"a": craft.entry("U8", [48_000_000], 0, 48_000_000)})
    (tmp_path / "a.safetensors").write_bytes(header)
    os.truncate(tmp_path / "a.safetensors", len(header) + 48_000_000)
    inventory = formats.read(tmp_path / "a.safetensors")
    tracemalloc.start()
    try:
        formats.copy(inventory, tmp_path / "b.safetensors")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 3 * copying.CHUNK


def test_what_would_not_be_the_same_model(tmp_path: Path) -> None:
    big = tmp_path / "big.gguf"
    big.write_bytes(craft.llama(order=">"))
    assert _refused(big, tmp_path / "b.gguf") == "COPY-ORDER"
    unknown = tmp_path / "unknown.safetensors"
    unknown.write_bytes(craft.safetensors({"a": craft.entry("F99", [2], 0, 8)}, bytes(8)))
    assert _refused(unknown, tmp_path / "b.safetensors") == "WRITE-CODEC"


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_what_torch_quantized_would_lose_its_scale(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}, tmp_path / "a.pt")
    assert _refused(tmp_path / "a.pt", tmp_path / "b.safetensors") == "COPY-QUANTIZED"


# ------------------------------------------------------------------------------------------------ the same again


def test_safetensors_divided_and_merged(tmp_path: Path) -> None:
    (path,) = safetensors_write.write(tmp_path / "a.safetensors", _tensors(9), {"format": "pt", "a": "b"})
    source = formats.read(path)
    made = formats.copy(source, tmp_path / "parts.safetensors", max_shard_bytes=300)
    divided = formats.read(made[-1])
    assert len(made) > 4
    assert _bytes(divided) == _bytes(source)
    assert divided.metadata == source.metadata
    again = formats.copy(divided, tmp_path / "more.safetensors", max_shard_bytes=500)
    assert 3 < len(again) < len(made)
    (merged,) = formats.copy(formats.read(again[0]), tmp_path / "whole.safetensors")
    assert merged.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("alignment", [32, 64])
def test_gguf_divided_and_merged(alignment: int, tmp_path: Path) -> None:
    values = {
        "general.architecture": "llama", "general.alignment": Typed("u32", alignment),
        "tokenizer.ggml.tokens": Typed("string", [f"t{number}" for number in range(9999)]),
    }  # fmt: skip
    (path,) = gguf_write.write(tmp_path / "a.gguf", _tensors(9), values)
    source = formats.read(path)
    made = formats.copy(source, tmp_path / "parts.gguf", max_shard_bytes=300)
    divided = formats.read(made[1])
    assert len(made) > 4
    assert _bytes(divided) == _bytes(source)
    (merged,) = formats.copy(divided, tmp_path / "whole.gguf")
    assert merged.read_bytes() == path.read_bytes()


def test_gguf_of_version_2_becomes_version_3(tmp_path: Path) -> None:
    (path,) = gguf_write.write(tmp_path / "a.gguf", _tensors(2), {"general.architecture": "llama"})
    raw = path.read_bytes()
    path.write_bytes(raw[:4] + (2).to_bytes(4, "little") + raw[8:])
    (copied,) = formats.copy(formats.read(path), tmp_path / "b.gguf")
    assert copied.read_bytes() == raw


def test_what_is_packed_stays_packed(tmp_path: Path) -> None:
    """The inventory folds packed weights into logical ones; the copy has the stored ones."""

    def plain(name: str, shape: tuple[int, ...], codec: str, width: int) -> NewTensor:
        raw = RANDOM.bytes(width * int(np.prod(shape)))
        return NewTensor(name, shape, codec, lambda: [raw])

    tensors = [
        plain("a.qweight", (16, 64), "i32", 4), plain("a.qzeros", (1, 8), "i32", 4),
        plain("a.scales", (1, 64), "f16", 2), plain("a.g_idx", (128,), "i32", 4),
    ]  # fmt: skip
    (path,) = safetensors_write.write(tmp_path / "a.safetensors", tensors, {"format": "pt"})
    inventory = formats.read(path)
    assert len(inventory.tensors) == 1
    with pytest.raises(WeighError) as caught, copying.tensors(inventory):
        pass
    assert caught.value.rule == "COPY-PIECES"
    (copied,) = formats.copy(inventory, tmp_path / "b.safetensors")
    assert copied.read_bytes() == path.read_bytes()


def test_arrays_of_numpy(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    arrays = {
        "a": RANDOM.random((3, 4)), "f": np.asfortranarray(RANDOM.random((3, 4, 5)).astype("<f4")),
        "none": np.zeros((0, 3), order="F"), "one": np.array(3, dtype="<i8"),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    (copied,) = formats.copy(formats.read(tmp_path / "a.npz"), tmp_path / "a.safetensors")
    back = package.load_file(copied)
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], array) for name, array in arrays.items())
    assert formats.read(copied).metadata == {"format": "np"}


def test_values_in_steps_that_do_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", a=np.asfortranarray(RANDOM.random((3, 4))))
    inventory = formats.read(tmp_path / "a.npz")

    def full(*_: object) -> bytes:
        raise MemoryError

    with copying.tensors(inventory) as (new,):
        monkeypatch.setattr(copying.files, "read_at", full)
        with pytest.raises(WeighError) as caught:
            list(new.content())
    assert (caught.value.rule, caught.value.exit_code) == ("COPY-MEMORY", 5)


# ---------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.oracle
def test_a_checkpoint_with_strides_slices_and_tied_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("safetensors.torch")
    monkeypatch.setattr("weigh.formats.copying.CHUNK", 64)
    base = torch.arange(60, dtype=torch.float32).reshape(6, 10)
    half = torch.randn(5, 3).to(torch.bfloat16)
    state = {
        "plain": torch.randn(4, 5), "tied.a": base, "tied.b": base, "turned": base.t(), "slice": base[2:4, 1:9:2],
        "alone": torch.randn(7, 3)[:, 1:].t(), "half": half.t(), "wide": torch.ones(1).expand(3, 4),
        "int": torch.tensor(5), "none": torch.zeros(0, 3), "complex": torch.randn(3, dtype=torch.complex64),
        "bool": torch.tensor([True, False]),
    }  # fmt: skip
    for name, old in (("zip.pt", False), ("legacy.pt", True)):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=not old)
        inventory = formats.read(tmp_path / name)
        (path,) = formats.copy(inventory, tmp_path / f"{name}.safetensors")
        back = package.load_file(path)
        metadata = formats.read(path).metadata
        tied = {key: value for key, value in metadata.items() if key != "format"}
        assert metadata["format"] == "pt"
        assert len(tied) == 1
        assert set(back) | set(tied) == set(state)
        for key, tensor in state.items():
            found = back[tied.get(key, key)]
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor), key


@pytest.mark.oracle
def test_tied_weights_are_noted_as_the_package_notes_them(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("safetensors.torch")

    class Model(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(8, 4)
            self.head = torch.nn.Linear(4, 8, bias=False)
            self.head.weight = self.embed.weight

    model, other = Model(), Model()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    (path,) = formats.copy(formats.read(tmp_path / "m.pt"), tmp_path / "m.safetensors")
    assert package.load_model(other, path) == (set(), [])
    assert torch.equal(other.head.weight, model.embed.weight)


@pytest.mark.oracle
def test_a_checkpoint_in_shards(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import json

    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    states = [{"a": torch.randn(3, 4).t()}, {"b": torch.randn(5)}]
    for name, state in zip(names, states, strict=True):
        torch.save(state, tmp_path / name)
    index = {"metadata": {"total_size": 68}, "weight_map": {"a": names[0], "b": names[1]}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    made = formats.copy(formats.read(tmp_path), tmp_path / "model.safetensors", max_shard_bytes=20)
    found = formats.read(made[-1])
    for tensor in found.tensors:
        expected = {**states[0], **states[1]}[tensor.name]
        assert np.array_equal(formats.values(found, tensor), expected.numpy())


@pytest.mark.oracle
def test_a_checkpoint_of_shapes_only_has_nothing_to_copy(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.empty(3, device="meta")}, tmp_path / "a.pt")
    assert _refused(tmp_path / "a.pt", tmp_path / "b.safetensors") == "COPY-VALUES"


# ------------------------------------------------------------------------------------------------------ llama.cpp

SAYS = """
import sys, xllamacpp
asked = xllamacpp.CommonParams()
asked.model.path, asked.n_ctx, asked.cpuparams.n_threads = sys.argv[1], 128, 1
words = {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}
print(repr(xllamacpp.Server(asked).handle_completions(words)["choices"][0]["text"]))
"""


@pytest.mark.slow
def test_llama_cpp_says_the_same_with_the_copy(tmp_path: Path) -> None:
    """`WEIGH_GGUF` names a language model."""
    pytest.importorskip("xllamacpp")
    named = os.environ.get("WEIGH_GGUF", "")
    if not named:
        pytest.skip("WEIGH_GGUF names no model")
    source = formats.read(named)
    size = sum(tensor.nbytes for tensor in source.tensors)
    (whole,) = formats.copy(source, tmp_path / "whole.gguf")
    parts = formats.copy(source, tmp_path / "parts.gguf", max_shard_bytes=size // 3)
    said = [
        subprocess.run([sys.executable, "-c", SAYS, path], capture_output=True, text=True, check=True).stdout
        for path in (named, str(whole), str(parts[0]))
    ]
    assert len(said[0]) > 4
    assert said[0] == said[1] == said[2]
