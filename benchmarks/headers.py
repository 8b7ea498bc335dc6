"""Reading headers side by side: weigh, the `safetensors` and `gguf` packages, and the bare JSON parser, in one run.

usage: python -m benchmarks.headers [--tensors 200000] [--runs 5]

Each reader runs in a process of its own on the same file; the table gives the CPU time and the peak memory that the
read itself added, best of the runs, and the ratio to weigh. The readers do different work: weigh checks that the
tensors cover the file without overlap and keeps every one as a record.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import resource, sys, time
path = sys.argv[1]
{prepare}
before = resource.getrusage(resource.RUSAGE_SELF)
kept = {read}
after = resource.getrusage(resource.RUSAGE_SELF)
spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(spent, after.ru_maxrss - before.ru_maxrss)
"""

SAFETENSORS = {
    "weigh": ("from weigh import formats", "formats.read(path)"),
    "safetensors": ("from safetensors import safe_open", "list(safe_open(path, 'np').keys())"),
    "json.loads": ("import json", "json.loads(open(path, 'rb').read()[8:])"),
}
GGUF = {
    "weigh": ("from weigh import formats", "formats.read(path)"),
    "gguf": ("from gguf import GGUFReader", "GGUFReader(path)"),
}


def write_safetensors(path: Path, tensors: int) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"model.layers.{i // 9}.t{i % 9}.weight": entry for i in range(tensors)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def write_gguf(path: Path, tensors: int) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    infos = [text(f"blk.{i // 9}.t{i % 9}.weight") + struct.pack("<IQIQ", 1, 8, 0, 32 * i) for i in range(tensors)]
    key = text("general.architecture") + struct.pack("<I", 8) + text("none")
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, 1) + key + b"".join(infos)
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        file.truncate(file.tell() + 32 * tensors)


def measured(code: tuple[str, str], path: Path, runs: int) -> tuple[float, int]:
    """CPU seconds and KiB of one reader, best of the runs."""
    prepare, read = code
    script = MEASURE.format(prepare=prepare, read=read)
    results = []
    for _ in range(runs):
        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, memory = done.stdout.split()
        results.append((float(seconds), int(memory)))
    return min(seconds for seconds, _ in results), min(memory for _, memory in results)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--tensors", type=int, default=200_000)
    ask.add_argument("--runs", type=int, default=5)
    given = ask.parse_args()
    print("| file | reader | CPU s | memory MB | time / weigh |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, write, readers in (
            ("many.safetensors", write_safetensors, SAFETENSORS),
            ("many.gguf", write_gguf, GGUF),
        ):
            path = Path(folder) / name
            write(path, given.tensors)
            ours = 0.0
            for reader, code in readers.items():
                seconds, memory = measured(code, path, given.runs)
                ours = ours or seconds
                print(f"| {name} | {reader} | {seconds:.2f} | {memory / 1000:.0f} | {seconds / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
