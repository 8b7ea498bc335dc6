"""HDF5 files with bits flipped, bytes set, cut and spliced, read by the library in one process for many files.

Whatever the library makes of them, what is told passes the judgement of `hdf5.py` as contents or as a WeighError. A
file that ends the process counts as read: that is what the process is for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.hostile.craft_keras import dense, h5, keras
from weigh import formats
from weigh.files import OpenFile
from weigh.formats import hdf5
from weigh.types import Inventory, Limits, WeighError

FRESH = "WEIGH_FUZZ_SECONDS" in os.environ
COUNT = int(float(os.environ.get("WEIGH_FUZZ_SECONDS", "1")) * 300)
THROUGH_THE_COMMAND = 12
AT_ONCE = 500
"""Files named to one process: a command may not be of any length."""
posix = pytest.mark.skipif(os.name != "posix", reason="moves descriptors")


def _fill(file: h5py.File) -> None:
    dense(file)
    file.attrs["model_config"] = '{"class_name": "Sequential", "config": {"layers": []}}'
    file.create_dataset("p", data=np.arange(600.0).reshape(30, 20), chunks=(7, 6), compression="gzip")
    file["soft"] = h5py.SoftLink("/p")
    file.create_dataset("s", data=["a", "b"], dtype=h5py.string_dtype())


SEEDS = (h5(_fill), h5(_fill, libver="latest"))

_SERVER = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import h5py
import hdf5_child as child
for path in sys.argv[2:]:
    descriptor = os.open(path, os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    ask = {"start": 0, "size": os.path.getsize(path), "path": "", "depth": 64, "objects": 1000, "text": 1 << 24}
    told = child.answer(h5py, ask, child.Clock(600), None)
    print(json.dumps(told), flush=True)
"""


def _mutated(number: int) -> bytes:
    chance = random.Random(None if FRESH else number)
    content = bytearray(SEEDS[number % len(SEEDS)])
    # The structure lies in the first kilobytes; what is behind are mostly free bytes.
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(len(content), chance.choice((128, 2048, len(content)))))
        change = chance.random()
        if change < 0.5:
            content[at] ^= 1 << chance.randrange(8)
        elif change < 0.8:
            value = chance.choice((b"\0", b"\xff", b"\x7f", b"\xff" * 8, b"\0" * 8, (at & ~7).to_bytes(8, "little")))
            content[at : at + len(value)] = value
        elif change < 0.9:
            begin = chance.randrange(len(content))
            content[at : at + 8] = content[begin : begin + 8]
        else:
            del content[max(at, 96) :]
            break
    return bytes(content)


def _answers(paths: list[Path]) -> list[Any]:
    """What the library tells of each file; None where the process did not survive it."""
    found: list[Any] = []
    while len(found) < len(paths):
        left = [str(path) for path in paths[len(found) : len(found) + AT_ONCE]]
        command = [sys.executable, "-c", _SERVER, str(hdf5.CHILD.parent), *left]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        found += [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode == 0:
            continue
        assert done.returncode in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGXCPU), done.stderr[
            -500:
        ]
        found.append(None)
    return found


@pytest.mark.slow
@posix
def test_what_the_library_tells_of_broken_files_is_judged(tmp_path: Path) -> None:
    paths = []
    for number in range(COUNT):
        paths.append(tmp_path / f"{number}.h5")
        paths[-1].write_bytes(_mutated(number))
    whole = refused = 0
    for path, told in zip(paths, _answers(paths), strict=True):
        if told is None:
            continue
        source = hdf5.Source(OpenFile(path, path.name, path.stat().st_size, -1), 0, path.stat().st_size, Limits())
        if "error" in told:
            assert told["error"][0] in hdf5.REFUSALS
            refused += 1
            continue
        try:
            contents = hdf5._judged(told, source)
        except WeighError as error:
            assert error.rule.startswith("H5-")
            assert error.rule != "H5-CRASH", told
            refused += 1
            continue
        whole += 1
        for dataset in contents.datasets:
            for piece in dataset.pieces:
                assert 0 <= piece.nbytes <= source.size - piece.offset
    assert whole
    assert refused


@pytest.mark.slow
def test_a_mutated_file_is_read_or_refused(tmp_path: Path) -> None:
    """A few of them all the way: whole files, and archives around them."""
    for number in range(THROUGH_THE_COMMAND):
        archived = number % 3 == 2
        path = tmp_path / f"{number}.{'keras' if archived else 'h5'}"
        path.write_bytes(keras(_mutated(number)) if archived else _mutated(number))
        try:
            found: Inventory | WeighError = formats.read(path)
        except WeighError as error:
            found = error
        if isinstance(found, WeighError):
            assert found.rule not in ("READ-UNEXPECTED", "READ-MEMORY"), found.message
            assert found.exit_code in (3, 5)
