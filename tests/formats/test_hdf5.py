"""The process that reads HDF5: what it may not do, what is said when it ends badly, and the values that it decodes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.hostile.craft_keras import FOUR, dense, h5, keras, one
from weigh import formats
from weigh.formats import hdf5
from weigh.types import Inventory, Limits, WeighError

linux = pytest.mark.skipif(sys.platform != "linux", reason="all of the limits are kept on Linux only")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def _written(folder: Path, content: bytes, name: str = "a.h5") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _refusal(path: Path, limits: Limits | None = None) -> WeighError:
    with pytest.raises(WeighError) as caught:
        formats.read(path, limits or Limits())
    return caught.value


# ------------------------------------------------------------------------------------------- when it ends badly


def _replaced(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Another program in the place of the reading one."""
    child = folder / "child.py"
    child.write_text(code)
    monkeypatch.setattr(hdf5, "CHILD", child)


@posix
@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import os; os.kill(os.getpid(), 11)", "H5-CRASH"),
        ("import os; os.kill(os.getpid(), 24)", "H5-STUCK"),
        ("raise SystemExit(7)", "H5-CRASH"),
        ("print('[1, 2')", "H5-CRASH"),
        ("print('{}')", "H5-CRASH"),
        ('print(\'{"error": ["EVIL", 1]}\')', "H5-CRASH"),
        ('print(\'{"error": ["H5-MEMORY", "much"]}\')', "H5-MEMORY"),
        ("print('{' + '[' * 10**6)", "H5-CRASH"),
    ],
)
def test_a_process_that_breaks_down_is_an_error(
    code: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replaced(monkeypatch, tmp_path, code)
    refusal = _refusal(_written(tmp_path, h5(one)))
    assert (refusal.rule, refusal.exit_code) == (rule, 3)


def _told(**changed: Any) -> dict[str, Any]:
    row = {
        "path": "/d", "shape": [4], "empty": False, "codec": "f32", "plain": True, "layout": "contiguous", "width": 4,
        "stored": 16, "runs": [[0, 16]], "filters": [], "absent": [],
    }  # fmt: skip
    return {"attributes": {"marks": []}, "names": {}, "soft": 0, "again": 0, "others": 0, "datasets": [row | changed]}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"runs": [[2000, 10**6]]}, "H5-RANGE"),
        ({"runs": [[2**63, 16]]}, "H5-RANGE"),
        ({"runs": [[-1, 16]]}, "H5-CRASH"),
        ({"runs": [[0]]}, "H5-CRASH"),
        ({"shape": [2.0]}, "H5-CRASH"),
        ({"shape": [2**62, 2**62]}, "H5-SHAPE"),
        ({"shape": [1] * 65}, "H5-SHAPE"),
        ({"shape": [5]}, "H5-SIZE"),
        ({"path": 5}, "H5-CRASH"),
        ({"plain": 1}, "H5-CRASH"),
        ({"codec": "evil"}, "CODEC-UNKNOWN"),
    ],
)
def test_nothing_that_it_tells_is_believed(
    changed: dict[str, Any], rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replaced(monkeypatch, tmp_path, f"print({json.dumps(json.dumps(_told(**changed)))})")
    assert _refusal(_written(tmp_path, h5(one))).rule == rule


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _replaced(monkeypatch, tmp_path, "import time; time.sleep(60)")
    refusal = _refusal(_written(tmp_path, h5(one)), Limits(seconds=0.2))
    assert (refusal.rule, refusal.exit_code) == ("H5-TIME", 5)
    assert "seconds" in refusal.hint


def test_an_answer_that_does_not_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _replaced(monkeypatch, tmp_path, "while True: print('x' * 4096)")
    refusal = _refusal(_written(tmp_path, h5(one)), Limits(header_bytes=100_000))
    assert (refusal.rule, refusal.exit_code) == ("H5-OBJECTS", 5)


def test_a_missing_package_is_named_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "find_spec", lambda name: None)
    refusal = _refusal(_written(tmp_path, h5(one)))
    assert (refusal.rule, refusal.exit_code, refusal.hint) == ("H5-LIBRARY", 2, "pip install 'weigh[keras]'")


def test_a_process_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5.sys, "executable", str(tmp_path / "no-python"))
    refusal = _refusal(_written(tmp_path, h5(one)))
    assert (refusal.rule, refusal.exit_code) == ("H5-PROCESS", 5)


def test_a_package_that_does_not_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError('no shared object')")
    monkeypatch.setattr(hdf5, "_packages", lambda source: [str(tmp_path)])
    refusal = _refusal(_written(tmp_path, h5(one)))
    assert (refusal.rule, refusal.exit_code) == ("H5-LIBRARY", 2)
    assert "no shared object" in refusal.message


@pytest.mark.parametrize("chunks", [None, (1, 1)], ids=["groups", "chunks"])
def test_many_objects_are_limited(chunks: tuple[int, int] | None, tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        if chunks:
            file.create_dataset("d", data=np.zeros((6, 5)), chunks=chunks)
        else:
            for number in range(25):
                file.create_group(f"g{number}")

    refusal = _refusal(_written(tmp_path, h5(fill)), Limits(tensors=20))
    assert (refusal.rule, refusal.exit_code) == ("H5-OBJECTS", 5)


# ---------------------------------------------------------------------------------------------- what it may not do

_CONFINED = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
import hdf5_child as child
child.confine(64 << 20)
child.Clock(1)
for what in (lambda: open("/etc/hostname"), lambda: open("made", "w"), lambda: bytearray(100 << 20)):
    try:
        what()
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], os.path.exists("made"))
sys.stdout.flush()
while True: pass
"""


@linux
def test_it_opens_no_file_and_takes_no_more_memory_and_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _CONFINED, str(hdf5.CHILD.parent)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30)
    assert done.stdout.split() == ["OSError", "OSError", "MemoryError", "0", "False"]
    assert done.returncode in (-24, -9)


def test_its_environment_holds_no_secret_and_no_place_for_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "h5py.py").write_text("raise SystemExit(9)")
    _replaced(
        monkeypatch,
        tmp_path,
        f"import os, json; open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(dict(os.environ)))",
    )
    _refusal(_written(tmp_path, h5(one)))
    seen = json.loads((tmp_path / "seen").read_text())
    assert "HF_TOKEN" not in seen
    assert "PYTHONPATH" not in seen
    assert seen["HDF5_PLUGIN_PATH"] == ""


def test_a_package_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert len(formats.read(_written(tmp_path, h5(one))).tensors) == 1


@posix
def test_storage_in_a_system_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    """The file named is a pipe: who opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    path = _written(
        tmp_path, h5(lambda file: file.create_dataset("d", shape=(4,), dtype="u1", external=[("pipe", 0, 4)]))
    )
    assert _refusal(path).rule == "H5-EXTERNAL"


# ------------------------------------------------------------------------------------------------------- values


def _inventory(folder: Path, content: bytes, name: str = "a.h5") -> Inventory:
    return formats.read(_written(folder, content, name))


def _array(shape: tuple[int, ...], kind: str) -> Any:
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("<f4", {}), (">f4", {}), ("<f2", {"chunks": (7, 6)}), (">i2", {"compression": "gzip", "shuffle": True}),
    ("u1", {"compression": "lzf"}), ("<f8", {"chunks": (1, 20), "compression": "gzip", "fletcher32": True}),
)  # fmt: skip


def test_values_are_those_that_were_written(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        for number, (kind, settings) in enumerate(WAYS):
            file.create_dataset(str(number), data=_array((30, 20), kind), **settings)

    inventory = _inventory(tmp_path, h5(fill))
    for tensor, (kind, _) in zip(inventory.tensors, WAYS, strict=True):
        assert tensor.parameters == 600
        assert formats.values(inventory, tensor).tolist() == _array((30, 20), kind).astype("f4").tolist()


def test_a_plain_dataset_lies_where_the_piece_says(tmp_path: Path) -> None:
    content = h5(lambda file: file.create_dataset("g/d", data=FOUR), userblock_size=512)
    (tensor,) = _inventory(tmp_path, content).tensors
    (piece,) = tensor.pieces
    assert content[piece.offset : piece.offset + piece.nbytes] == FOUR.tobytes()


def test_values_come_in_chunks_and_a_broken_off_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    array = _array((3000, 20), "<f4")
    inventory = _inventory(tmp_path, h5(lambda file: file.create_dataset("d", data=array, compression="gzip")))
    flat = [list(chunk) for chunk in formats.chunks(inventory, inventory.tensors[0], 7000)]
    assert [len(chunk) for chunk in flat] == [7000] * 8 + [4000]
    assert [value for chunk in flat for value in chunk] == array.ravel().tolist()
    reading = formats.chunks(inventory, inventory.tensors[0], 7000)
    next(reading)
    reading.close()


def test_large_datasets_are_unpacked_in_slabs() -> None:
    code = (
        "import sys, numpy; sys.path.insert(0, sys.argv[1]); import hdf5_walk as child; child.SLAB = 100\n"
        "shapes = [(), (3,), (30,), (7, 11), (2, 3, 30), (40, 2), (1, 1, 200)]\n"
        "for shape in shapes:\n"
        "    array = numpy.arange(numpy.prod(shape, dtype=int)).reshape(shape); found = []\n"
        "    for start, extent in child.slabs(shape, 4, 3):\n"
        "        part = array[tuple(slice(b, b + n) for b, n in zip(start, extent))]\n"
        "        assert part.shape == tuple(extent) and part.size * 4 <= 100; found += part.ravel().tolist()\n"
        "    assert found == array.ravel().tolist(), shape\n"
    )
    subprocess.run([sys.executable, "-c", code, str(hdf5.CHILD.parent)], check=True)


def test_values_behind_an_unknown_filter_are_refused(tmp_path: Path) -> None:
    from tests.hostile.cases_keras import EXOTIC

    content = next(case.content for case in EXOTIC if case.name == "unknown_filter.h5")
    inventory = _inventory(tmp_path, content)
    assert "filter" in inventory.warnings[0]
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, inventory.tensors[0])
    assert caught.value.rule == "VALUES-PACKED"


def test_values_in_an_archive(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        dense(file, kernel=_array((2, 3), "<f4"))
        file.create_dataset("layers/dense_1/vars/0", data=_array((30, 20), "<f4"), compression="gzip")

    inventory = _inventory(tmp_path, keras(h5(fill)), "a.keras")
    for tensor in inventory.tensors[:1] + inventory.tensors[2:]:
        assert formats.values(inventory, tensor).tolist() == _array(tensor.shape, "<f4").tolist()
    packed = _inventory(tmp_path, keras(h5(fill), packed=("model.weights.h5",)), "b.keras")
    assert "compressed in the archive" in packed.warnings[-1]
    assert sum(tensor.nbytes for tensor in packed.tensors) < dict(packed.files)["b.keras"]
    with pytest.raises(WeighError) as caught:
        formats.values(packed, packed.tensors[0])
    assert caught.value.rule == "VALUES-PACKED"


def test_what_was_never_written_has_no_values(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, h5(lambda file: file.create_dataset("d", shape=(7,), dtype="f4")))
    assert inventory.tensors[0].parameters == 7
    assert "never written" in inventory.warnings[0]
    with pytest.raises(WeighError) as caught:
        formats.values(inventory, inventory.tensors[0])
    assert caught.value.rule == "VALUES-PIECES"


def test_types_are_told_or_left_unknown(tmp_path: Path) -> None:
    from tests.hostile.cases_keras import EXOTIC

    content = next(case.content for case in EXOTIC if case.name == "all_types.h5")
    inventory = _inventory(tmp_path, content)
    found = {tensor.name: (tensor.codec, tensor.parameters) for tensor in inventory.tensors}
    assert found["kind f2"] == ("f16", 3)
    assert found["kind f4"] == ("f32", 3)
    assert found["kind u8"] == ("u64", 3)
    assert found["kind ?"] == ("bool", 3)
    assert found["kind c8"] == ("c64", 3)
    assert found["kind 16"] == ("unknown:compound", None)
    assert found["kind V3"] == ("unknown:opaque", None)
    assert found["records"] == ("unknown:compound", None)
    assert found["nothing"] == ("f32", 0)
    assert found["no rows"] == ("f32", 0)
    assert found["one"] == ("f32", 1)
    with h5py.File(io.BytesIO(content)) as file:
        assert set(found) == set(file)
