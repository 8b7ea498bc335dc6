"""`weigh show --stats` against reading and summing the same bytes, in one run.

usage: python -m benchmarks.stats [--megabytes 1000] [--folder build] [--runs 3] [--threads N]

Three peers, none of which makes any statistics but the sum. `plain` is what one writes: a tensor after the other by
`np.fromfile`, to float32 with NumPy where it is not, then `sum`, on one thread; the promise of 60 % refers to it.
`spread` is the same a stretch of 1 MiB at a time on as many threads as weigh has. `strongest` reads those stretches
with `preadv` into a buffer that it uses again. Files are of normal numbers, in the page cache, and removed afterwards.
A ratio is peer time / our time, of the best of the runs, wall and CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from weigh import formats, kernels
from weigh.measure import weights
from weigh.types import Inventory

WIDTH = 4096
TENSOR_ROWS = 4096
STEP = 2**20
CODECS = ("F32", "BF16", "F16", "Q8_0")
HEAD = 4096


def write(path: Path, codec: str, nbytes: int) -> None:
    """A file of matrices of 4,096 x 4,096 normal numbers; one matrix is drawn and rolled, so that all differ."""
    drawn = np.random.default_rng(0).standard_normal(WIDTH * TENSOR_ROWS, dtype=np.float32) * np.float32(0.02)
    if codec == "Q8_0":
        blocks = drawn.reshape(-1, 32)
        scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
        raw = np.concatenate(
            [scale.astype("<f2").view(np.uint8), np.rint(blocks / scale).astype(np.int8).view(np.uint8)], axis=1
        ).reshape(-1)
    elif codec == "BF16":
        raw = (drawn.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
    else:
        raw = drawn.astype("<f4" if codec == "F32" else "<f2").view(np.uint8)
    count = max(nbytes // raw.size, 1)
    with path.open("wb") as file:
        file.write(_gguf_head(count) if codec == "Q8_0" else _safetensors_head(codec, count, raw.size))
        for number in range(count):
            file.write(np.roll(raw.reshape(TENSOR_ROWS, -1), number, axis=0).tobytes())


def _safetensors_head(codec: str, count: int, size: int) -> bytes:
    entries = {
        f"t{i}": {"dtype": codec, "shape": [TENSOR_ROWS, WIDTH], "data_offsets": [i * size, (i + 1) * size]}
        for i in range(count)
    }
    text = json.dumps(entries).encode().ljust(HEAD * (1 + 100 * count // HEAD) - 8)
    return struct.pack("<Q", len(text)) + text


def _gguf_head(count: int) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    size = WIDTH * TENSOR_ROWS // 32 * 34
    infos = b"".join(text(f"t{i}") + struct.pack("<IQQIQ", 2, WIDTH, TENSOR_ROWS, 8, i * size) for i in range(count))
    key = text("general.architecture") + struct.pack("<I", 8) + text("none")
    head = b"GGUF" + struct.pack("<IQQ", 3, count, 1) + key + infos
    return head + bytes(-len(head) % 32)


def _values(codec: str, raw: np.ndarray) -> np.ndarray:
    if codec == "F32":
        return raw.view(np.float32)
    if codec == "F16":
        return raw.view(np.float16).astype(np.float32)
    if codec == "BF16":
        bits = raw.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    # The decoder in NumPy: the one in C is weigh's own.
    rows = raw.reshape(-1, 34)
    scale = rows[:, :2].copy().view(np.float16).astype(np.float32)
    return scale * rows[:, 2:].view(np.int8)


def peer(path: Path, codec: str, threads: int, *, fromfile: bool) -> None:
    """Read and sum on so many threads."""
    step = STEP // 34 * 34 if codec == "Q8_0" else STEP
    size = path.stat().st_size - HEAD
    places = iter(range(0, size // step * step, step))
    lock = threading.Lock()

    def work() -> None:
        total = 0.0
        buffer = np.empty(step, np.uint8)
        descriptor = os.open(path, os.O_RDONLY)
        while True:
            with lock:
                place = next(places, None)
            if place is None:
                break
            if fromfile:
                raw = np.fromfile(path, np.uint8, step, offset=HEAD + place)
            else:
                os.preadv(descriptor, [memoryview(buffer)], HEAD + place)
                raw = buffer
            with np.errstate(all="ignore"):
                total += float(_values(codec, raw).sum())
        os.close(descriptor)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def plain(path: Path, codec: str, inventory: Inventory) -> None:
    """A tensor after the other, each whole."""
    for tensor in inventory.tensors:
        (piece,) = tensor.pieces
        raw = np.fromfile(path, np.uint8, piece.nbytes, offset=piece.offset)
        with np.errstate(all="ignore"):
            _values(codec, raw).sum()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(path: Path, codec: str, threads: int, runs: int) -> None:
    inventory = formats.read(path)
    jobs: tuple[Callable[[], object], ...] = (
        lambda: plain(path, codec, inventory),
        lambda: peer(path, codec, threads, fromfile=True),
        lambda: peer(path, codec, threads, fromfile=False),
        lambda: weights.measure(inventory, inventory.tensors, threads=threads),
    )
    best = [(float("inf"), float("inf"))] * len(jobs)
    for _ in range(runs):
        for place, job in enumerate(jobs):
            wall, cpu = timed(job)
            best[place] = min(best[place][0], wall), min(best[place][1], cpu)
    *peers, (our_wall, our_cpu) = best
    gb = sum(tensor.nbytes for tensor in inventory.tensors) / 1e9
    speeds = " | ".join(f"{gb / wall:.2f}" for wall, _ in best)
    ratios = " | ".join(f"{wall / our_wall:.2f} | {cpu / our_cpu:.2f}" for wall, cpu in peers)
    print(f"| {codec} | {gb:.2f} | {speeds} | {ratios} |", flush=True)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--megabytes", type=int, default=1000)
    ask.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "build")
    ask.add_argument("--runs", type=int, default=3)
    ask.add_argument("--threads", type=int, default=weights.cores())
    ask.add_argument("--codec", choices=CODECS, action="append")
    given = ask.parse_args()
    given.folder.mkdir(exist_ok=True)
    print(f"kernels: {kernels.implementation()}, threads: {given.threads}, load: {os.getloadavg()[0]:.1f}\n")
    print(
        "| codec | GB | plain GB/s | spread | strongest | weigh | : plain | CPU | : spread | CPU | : strongest | CPU |"
    )
    print("|---" + "|---:" * 11 + "|")
    for codec in given.codec or CODECS:
        path = given.folder / f"stats.{'gguf' if codec == 'Q8_0' else 'safetensors'}"
        try:
            write(path, codec, given.megabytes * 10**6)
            compare(path, codec, given.threads, given.runs)
        finally:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
