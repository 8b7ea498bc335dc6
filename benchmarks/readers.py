"""Reading a model's inventory and its values, by weigh and by each format's own package, side by side in one run.

    python -m benchmarks.readers [FILE ...] [--runs 3] [--markdown]

Files of 100, 10,000 and 100,000 tensors are made for it, one more for the values, and removed again; real ones are
added by name. Every measurement is a process of its own in which the reader is imported before the clock starts: best
of the runs. A package that is not installed is told. The readers do different work: weigh checks that the tensors lie
within the file and do not overlap, and keeps every one as a record; a GGUFReader maps the values too.

To add a reader: an entry in `INVENTORY` or `VALUES`, in which `path` is the file; a format: its `_write` as well.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from weigh.devices.detect import host

MEASURE = """
import resource, sys, time
path = sys.argv[1]
{prepare}

def spent():
    # HDF5 is read by a child of weigh's own, whose work and memory count.
    own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime
    return cpu, max(own.ru_maxrss, below.ru_maxrss)

before, wall = spent(), time.perf_counter()
kept = {read}
wall = time.perf_counter() - wall
after = spent()
print(after[0] - before[0], wall, after[1], after[1] - before[1])
"""
KIB = 1 if sys.platform == "darwin" else 1024
"""Bytes that `ru_maxrss` counts in."""
SIZES = (100, 10_000, 100_000)
EACH = 8
"""Values of a tensor where only the inventory is read."""
MOST = {".h5": 10_000}
"""HDF5 takes minutes to write more."""
BULK = (8, 4_000_000)
"""Tensors, and float32 values of each, where the values are read: 128 MB."""

Code = tuple[str, str]
"""What is done before the clock starts, and the expression that is timed."""
OURS: Code = ("from weigh import formats", "formats.read(path)")
OUR_SUM: Code = (
    "from weigh import formats; import numpy",
    "[float(formats.values(m, t).sum()) for m in [formats.read(path)] for t in m.tensors]",
)
_LOAD = "torch.load(path, weights_only=True, mmap=True)"

INVENTORY: Mapping[str, tuple[str, Code]] = {
    ".safetensors": (
        "safetensors",
        (
            "from safetensors import safe_open; import numpy",
            "[(k, s.get_dtype(), s.get_shape()) for f in [safe_open(path, 'np')] for k in f.keys() "
            "for s in [f.get_slice(k)]]",
        ),
    ),
    ".gguf": ("gguf", ("from gguf import GGUFReader", "[(t.name, t.shape) for t in GGUFReader(path).tensors]")),
    ".onnx": (
        "onnx",
        (
            "import onnx",
            "[(i.name, list(i.dims)) for i in onnx.load(path, load_external_data=False).graph.initializer]",
        ),
    ),
    ".pt": ("torch", ("import torch", f"[(k, tuple(t.shape), t.dtype) for k, t in {_LOAD}.items()]")),
    ".h5": (
        "h5py",
        (
            "import h5py; found = []; note = lambda k, d: found.append((k, d.shape)) if hasattr(d, 'shape') else None",
            "h5py.File(path).visititems(note)",
        ),
    ),
}
"""By suffix: the package, and how it tells names and shapes."""
VALUES: Mapping[str, tuple[str, Code]] = {
    ".safetensors": (
        "safetensors",
        (
            "from safetensors import safe_open; import numpy",
            "[float(f.get_tensor(k).sum()) for f in [safe_open(path, 'np')] for k in f.keys()]",
        ),
    ),
    ".gguf": (
        "gguf",
        (
            "from gguf import GGUFReader, dequantize",
            "[float(dequantize(t.data, t.tensor_type).sum()) for t in GGUFReader(path).tensors]",
        ),
    ),
    ".onnx": (
        "onnx",
        (
            "import onnx; from onnx import numpy_helper",
            "[float(numpy_helper.to_array(i).sum()) for i in onnx.load(path).graph.initializer]",
        ),
    ),
    ".pt": ("torch", ("import torch; torch.set_num_threads(1)", f"[float(t.sum()) for t in {_LOAD}.values()]")),
    ".h5": (
        "h5py",
        (
            "import h5py; found = []; note = lambda k, d: found.append(d[()].sum()) if hasattr(d, 'shape') else None",
            "h5py.File(path).visititems(note)",
        ),
    ),
}
"""The same for decoding every value and adding them up."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One reader on one file, best of the runs; bytes are of the process, and what the reading added."""

    cpu_s: float
    wall_s: float
    peak_bytes: float
    added_bytes: float


def measured(code: Code, path: Path, runs: int) -> Measured:
    """Errors: SystemExit where the reader fails."""
    script = MEASURE.format(prepare=code[0], read=code[1])
    results = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{path.name}: {code[1]} failed: {done.stderr.strip()[-500:]}")
        results.append([float(word) for word in done.stdout.split()])
    cpu, wall, peak, added = (min(column) for column in zip(*results, strict=True))
    return Measured(cpu, wall, peak * KIB, added * KIB)


# ------------------------------------------------------------------------------------------------ the files


def _names(tensors: int) -> list[str]:
    return [f"model.layers.{i // 9}.t{i % 9}.weight" for i in range(tensors)]


def _write_safetensors(path: Path, tensors: int, each: int) -> None:
    size = 4 * each
    header = {
        name: {"dtype": "F32", "shape": [each], "data_offsets": [i * size, (i + 1) * size]}
        for i, name in enumerate(_names(tensors))
    }
    text = json.dumps(header).encode()
    _write(path, struct.pack("<Q", len(text)) + text, tensors * size)


def _write_gguf(path: Path, tensors: int, each: int) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    size = 4 * each
    infos = [text(name) + struct.pack("<IQIQ", 1, each, 0, size * i) for i, name in enumerate(_names(tensors))]
    key = text("general.architecture") + struct.pack("<I", 8) + text("none")
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, 1) + key + b"".join(infos)
    _write(path, head + bytes(-len(head) % 32), tensors * size)


def _write(path: Path, head: bytes, data_bytes: int) -> None:
    """The head, and a hole for the data."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data_bytes)


def _write_onnx(path: Path, tensors: int, each: int) -> None:
    import numpy as np
    import onnx

    zeros = np.zeros(each, dtype=np.float32)
    held = [onnx.numpy_helper.from_array(zeros, name) for name in _names(tensors)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "net", [], [], held)), str(path))


def _write_pytorch(path: Path, tensors: int, each: int) -> None:
    import torch

    torch.save({name: torch.zeros(each) for name in _names(tensors)}, path)


def _write_h5(path: Path, tensors: int, each: int) -> None:
    import h5py
    import numpy as np

    zeros = np.zeros(each, dtype=np.float32)
    with h5py.File(path, "w") as file:
        for name in _names(tensors):
            file[name.replace(".", "/")] = zeros


WRITERS: Mapping[str, Callable[[Path, int, int], None]] = {
    ".safetensors": _write_safetensors,
    ".gguf": _write_gguf,
    ".onnx": _write_onnx,
    ".pt": _write_pytorch,
    ".h5": _write_h5,
}


# ------------------------------------------------------------------------------------------------ the table


def installed(package: str) -> str | None:
    """Its version, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def rows(path: Path, label: str, runs: int, *, values: bool) -> Iterator[str]:
    """A line for weigh and one for the format's package."""
    suffix = ".pt" if path.suffix in (".pth", ".bin") else path.suffix
    package, theirs = (VALUES if values else INVENTORY)[suffix]
    what = "values" if values else "inventory"
    ours = measured(OUR_SUM if values else OURS, path, runs)
    yield _row(label, what, "weigh", ours, ours)
    if installed(package) is None:
        yield f"| {label} | {what} | {package} | not installed | | | | |"
    else:
        yield _row(label, what, package, measured(theirs, path, runs), ours)


def _row(label: str, what: str, reader: str, found: Measured, ours: Measured) -> str:
    times = f"{found.cpu_s:.3f} | {found.wall_s:.3f}"
    memory = f"{found.peak_bytes / 1e6:.0f} | {found.added_bytes / 1e6:.0f}"
    return f"| {label} | {what} | {reader} | {times} | {memory} | {found.cpu_s / max(ours.cpu_s, 1e-4):.2f} |"


def _made(write: Callable[[Path, int, int], None], path: Path, tensors: int, each: int) -> None:
    """Write in a process of its own: the peak that Linux tells of a child is never less than its parent's."""
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(path, tensors, each))
    writer.start()
    writer.join()
    if writer.exitcode:
        raise SystemExit(f"{path.name} could not be written")


def table(files: Sequence[Path], runs: int) -> Iterator[str]:
    """The lines of the table; each file that is made for it is removed before the next."""
    yield "| file | read | reader | CPU s | s | peak MB | added MB | CPU / weigh |"
    yield "|---|---|---|---:|---:|---:|---:|---:|"
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in WRITERS.items():
            package = INVENTORY[suffix][0]
            if suffix not in (".safetensors", ".gguf") and installed(package) is None:
                yield f"| {suffix} | | {package} | not installed | | | | |"
                continue
            path = Path(folder) / f"made{suffix}"
            for tensors in (size for size in SIZES if size <= MOST.get(suffix, size)):
                _made(write, path, tensors, EACH)
                yield from rows(path, f"{tensors:,} tensors, {suffix}", runs, values=False)
                path.unlink()
            _made(write, path, *BULK)
            yield from rows(path, f"{4 * BULK[0] * BULK[1] / 1e6:.0f} MB, {suffix}", runs, values=True)
            path.unlink()
    for path in files:
        for values in (False, True):
            yield from rows(path, path.name, runs, values=values)


def main(words: Sequence[str] | None = None) -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    ask.add_argument("files", nargs="*", type=Path, help="real ones, beside those that are made")
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--markdown", action="store_true", help="a page with machine and versions above the table")
    given: Any = ask.parse_args(words)
    unread = [path.name for path in given.files if path.suffix not in (*INVENTORY, ".pth", ".bin")]
    if unread:
        ask.error(f"no package to compare with: {', '.join(unread)}")
    if given.markdown:
        packages = ", ".join(f"{name} {installed(name) or 'missing'}" for name, _ in INVENTORY.values())
        print("# Readers side by side\n\nMade by `python -m benchmarks.readers --markdown`. ", end="")
        print(" ".join((__doc__ or "").split("\n\n")[2].split()))
        print(f"\nMeasured on {date.today().isoformat()}, {host().device.name} ({platform.machine()}), Python ", end="")
        print(f"{platform.python_version()}, {packages}; runs of each: {given.runs}.\n")
    for line in table(given.files, given.runs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
