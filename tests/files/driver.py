"""Processes that write and are stopped: by a signal, at a chosen call, by a limit of size, by a full disk.

Run as a program of its own (`python -m tests.files.driver MODE KIND FOLDER NUMBER`), because forking, limits and kills
are no business of the process that runs the tests. Prints one line of what was seen; any state that must not be ends it
with a traceback.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.files import failing
from weigh import formats, writing
from weigh.formats import gguf_write, safetensors_write
from weigh.types import NewTensor, WeighError

SHAPES = {"wide": (3, 400), "long": (700,), "one": (1,), "none": (0, 4)}
INCOMPLETE = {"MANIFEST-UNFINISHED", "INDEX-MISSING", "GGUF-MISSING"}


def tensors(letter: str) -> list[NewTensor]:
    """A model whose every byte is one letter, so that a mixture of two shows."""

    def content(count: int) -> Callable[[], list[bytes]]:
        return lambda: [letter.encode() * (count // 2), letter.encode() * (count - count // 2)]

    sizes = {name: shape[0] * (shape[1] if len(shape) > 1 else 1) for name, shape in SHAPES.items()}
    return [NewTensor(name, shape, "f32", content(4 * sizes[name])) for name, shape in SHAPES.items()]


def write_text(folder: Path, letter: str) -> None:
    writing.write_text(folder / "m.txt", letter * 5000)


def write_safetensors(folder: Path, letter: str) -> None:
    safetensors_write.write(folder / "m.safetensors", tensors(letter), {"format": "pt"})


def write_gguf(folder: Path, letter: str) -> None:
    gguf_write.write(folder / "m.gguf", tensors(letter), {"general.name": "m"})


def write_shards(folder: Path, letter: str) -> None:
    safetensors_write.write(folder / "m.safetensors", tensors(letter), {"format": "pt"}, 2800)


def write_parts(folder: Path, letter: str) -> None:
    gguf_write.write(folder / "m.gguf", tensors(letter), {"general.name": "m"}, 2800)


WRITERS = {
    "text": write_text,
    "safetensors": write_safetensors,
    "gguf": write_gguf,
    "shards": write_shards,
    "parts": write_parts,
}


def letter_in(folder: Path, kind: str) -> str:
    """The one letter that the model in the folder is made of, or the rule by which it is refused."""
    if kind == "text":
        found = (folder / "m.txt").read_text()
        assert found in ("a" * 5000, "b" * 5000), found[:100]
        return found[0]
    try:
        inventory = formats.read(folder)
    except WeighError as error:
        assert kind in ("shards", "parts"), error
        assert error.rule in INCOMPLETE, (error.rule, error.message)
        return error.rule
    letters: set[bytes] = set()
    assert {tensor.name: tensor.shape for tensor in inventory.tensors} == SHAPES
    for tensor in inventory.tensors:
        (piece,) = tensor.pieces
        raw = (folder / piece.file).read_bytes()[piece.offset : piece.offset + piece.nbytes]
        letters |= {raw[at : at + 1] for at in range(len(raw))}
    assert letters in ({b"a"}, {b"b"}), letters
    if kind in ("shards", "parts"):
        assert formats.verify(inventory)
    return letters.pop().decode()


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything but what a killed writer left for a later one to clear."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith(writing.TEMPORARY)
    }


def forked(run: Callable[[], None]) -> int:
    """Exit status of a child that runs something: 0, 1 after an error that was told, else how it was stopped."""
    child = os.fork()
    if child == 0:
        status = 0
        try:
            run()
        except WeighError as error:
            print(error.rule, error.message, file=sys.stderr)
            status = 1 if error.rule == "WRITE-SPACE" else 2
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# ------------------------------------------------------------------------------------------------------- modes


def exits(kind: str, folder: Path) -> None:
    """End the process at its k-th call, k = 1, 2, ... until it gets to its end; then write again."""
    seen: Counter[str] = Counter()
    WRITERS[kind](folder, "b")
    whole = files_in(folder)
    for limit in range(1, 1000):
        shutil.rmtree(folder)
        folder.mkdir()
        WRITERS[kind](folder, "a")

        def run(limit: int = limit) -> None:
            writing.SYSTEM = failing.system(limit, lambda: os._exit(9), [])
            WRITERS[kind](folder, "b")

        status = forked(run)
        assert status in (0, 9), status
        seen[letter_in(folder, kind)] += 1
        WRITERS[kind](folder, "b")
        assert files_in(folder) == whole
        if status == 0:
            break
    print(kind, limit, dict(seen))
    assert seen["a"] and seen["b"] and status == 0


def kills(kind: str, folder: Path, rounds: int) -> None:
    """Kill a process that writes one model after the other, at random moments."""
    WRITERS[kind](folder, "a")
    seen: Counter[str] = Counter()
    started = time.perf_counter()
    WRITERS[kind](folder, "b")
    lasts = time.perf_counter() - started
    temporaries = 0
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            while True:
                WRITERS[kind](folder, "a")
                WRITERS[kind](folder, "b")
        time.sleep(random.uniform(0, 3 * lasts))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen[letter_in(folder, kind)] += 1
        for path in folder.glob(".*" + writing.TEMPORARY):
            temporaries += 1
            path.unlink()
    WRITERS[kind](folder, "b")
    assert letter_in(folder, kind) == "b"
    print(kind, rounds, dict(seen), f"temporaries left: {temporaries}")


def limits(kind: str, folder: Path) -> None:
    """Let the file not grow beyond N bytes, for every N up to its size."""
    WRITERS[kind](folder, "a")
    before = files_in(folder)
    largest = max(map(len, before.values()))
    writing.BUFFER_BYTES = 0
    refused = 0
    # Headers are shorter than 400 bytes; a change between two tensors is met wherever the limit lies between them.
    stride = {"text": 50, "safetensors": 1, "gguf": 1}.get(kind, 41)
    steps = [*range(0, 400, stride), *range(0, largest, 331), largest - 1]
    for allocate in (None, writing.SYSTEM.allocate):
        for limit in sorted(set(steps if allocate is None else steps[:20])):

            def run(limit: int = limit, allocate: Any = allocate) -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                writing.SYSTEM = replace(writing.SYSTEM, allocate=allocate)
                WRITERS[kind](folder, "b")

            assert forked(run) == 1, limit
            assert files_in(folder) == before, limit
            assert len(list(folder.iterdir())) == len(before), "a temporary file was left"
            refused += 1
    print(kind, refused)


def writers(kind: str, folder: Path, rounds: int) -> None:
    """Several processes write the same model until this one has read it often enough."""
    WRITERS[kind](folder, "a")
    (name,) = files_in(folder)
    probe, enough = folder / "probe", folder / "enough"
    probe.mkdir()
    children = []
    for letter in "abab":
        child = os.fork()
        if child == 0:
            while not enough.exists():
                WRITERS[kind](folder, letter)
            os._exit(0)
        children.append(child)
    reads: Counter[str] = Counter()
    while sum(reads.values()) < rounds or len(reads) < 2:
        if kind != "text":
            assert len(formats.read(folder / name).tensors) == len(SHAPES)
        (probe / name).write_bytes((folder / name).read_bytes())
        reads[letter_in(probe, kind)] += 1
    enough.touch()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert not list(folder.glob(".*" + writing.TEMPORARY))
    print(kind, dict(reads))


def full(kind: str, folder: Path) -> None:
    """On a disk of 2 MB: what does not fit leaves what was there, whether the size was told beforehand or not."""
    path = folder / "m.txt"
    path.write_text("old")
    for nbytes in (0, 3_000_000, 1):
        for allocate in (None, writing.SYSTEM.allocate):
            writing.SYSTEM = replace(writing.SYSTEM, allocate=allocate)
            try:
                with writing.replacing(path, nbytes) as output:
                    for _ in range(30):
                        output.write(bytes(100_000))
            except WeighError as error:
                assert error.rule == "WRITE-SPACE", error
            else:
                raise AssertionError("3 MB on a disk of 2 MB")
            assert path.read_text() == "old"
            assert [one.name for one in folder.iterdir()] == ["m.txt"]
    with contextlib.suppress(OSError):
        (folder / "ballast").write_bytes(bytes(2_080_000))
    held = files_in(folder)
    try:
        write_shards(folder, "a")
    except WeighError as error:
        assert error.rule == "WRITE-SPACE", error
    else:
        raise AssertionError("nothing was full")
    assert files_in(folder) == held
    print(kind, "full")


if __name__ == "__main__":
    mode, kind, where, number = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    if mode == "once":
        WRITERS[kind](where, "b")
    elif mode in ("kills", "writers"):
        {"kills": kills, "writers": writers}[mode](kind, where, number)
    else:
        {"exits": exits, "limits": limits, "full": full}[mode](kind, where)
