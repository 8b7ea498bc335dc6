"""The headers of a model of many shards, on the disk and from a hub on loopback, in one run.

usage: python -m benchmarks.shards [--shards 160] [--tensors 100000] [--latency 0.05] [--runs 3]

The shards are sparse files: real headers, and holes for the data. On the disk, `weigh.formats.read` and `weigh show`
each run in a process of their own; from the hub, every answer waits as long as `--latency` says. Best of the runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.places import shards
from tests.places.loopback import Loopback

MEASURE = """
import resource, sys, time
{prepare}
before, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
kept = {read}
wall = time.perf_counter() - wall
after = resource.getrusage(resource.RUSAGE_SELF)
print(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss)
"""
READ = ("from weigh import formats", "formats.read(sys.argv[1])")
LOAD = ("from weigh.commands import source", "source.load(sys.argv[1])")
SHOW = ("import weigh.cli, io; sys.argv = ['weigh', 'show', sys.argv[1], '--json']; sys.stdout, out = io.StringIO(), "
        "sys.stdout", "(weigh.cli.main(), setattr(sys, 'stdout', out))")  # fmt: skip


def measured(code: tuple[str, str], word: str, runs: int) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of CPU and KiB, best of the runs."""
    script = MEASURE.format(prepare=code[0], read=code[1])
    results = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", script, word], capture_output=True, text=True, check=True)
        wall, cpu, memory = done.stdout.split()
        results.append((float(wall), float(cpu), int(memory)))
    return min(r[0] for r in results), min(r[1] for r in results), min(r[2] for r in results)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--shards", type=int, default=160)
    ask.add_argument("--tensors", type=int, default=100_000)
    ask.add_argument("--latency", type=float, default=0.05)
    ask.add_argument("--runs", type=int, default=3)
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "served"
        folder.mkdir()
        total = shards.safetensors(folder, given.shards, given.tensors // given.shards, 5 * 10**9)
        print("| what | s | CPU s | memory MB | bytes fetched | of the model | requests |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name, code in (("formats.read of the folder", READ), ("weigh show of the folder", SHOW)):
            wall, cpu, memory = measured(code, str(folder), given.runs)
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory / 1000:.0f} | | | |", flush=True)
        with (
            Loopback(folder, latency_s=given.latency) as other,
            Loopback(folder, elsewhere=other, latency_s=given.latency) as hub,
        ):
            os.environ.update(HF_ENDPOINT=hub.endpoint, XDG_CACHE_HOME=str(Path(place) / "cache"))
            for name in ("load from the hub", "the same again"):
                fetched, asked = hub.sent + other.sent, len(hub.requests) + len(other.requests)
                wall, cpu, memory = measured(LOAD, "org/model", 1)
                fetched, asked = hub.sent + other.sent - fetched, len(hub.requests) + len(other.requests) - asked
                share = f"{100 * fetched / total:.4f} %"
                print(f"| {name} | {wall:.2f} | {cpu:.2f} | {memory / 1000:.0f} | {fetched:,} | {share} | {asked} |")


if __name__ == "__main__":
    main()
