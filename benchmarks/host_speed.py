"""Measure how near llama.cpp comes to what this machine's processor can do, against weigh's own probe of it.

`python -m benchmarks.host_speed [--model FILE.gguf ...]` runs models of zeros in several codecs, and the files given,
on one thread and on all, each in a process of its own; prints the ratios and writes class `host` into
`weigh/engines/curves/llama.cpp.toml`, and from it class `processor`, whose rates are stated and not probed.

Rounds of probe, generation and prompt follow each other closely. On one thread the time is that in which the thread had
a core, so other programs matter little. Several threads wait for each other after every matrix, and one that lost its
core holds up the rest: there a round counts only if other programs left the cores alone while it ran (Linux tells), and
a run without such a round is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

from benchmarks.curve_rows import ENGINE
from benchmarks.fit_curves import SLACK, Curves, ends, print_curves, quantile, stand_in, write_curves
from benchmarks.llama_cpp_models import Blueprint, write_zeros
from weigh import parts
from weigh.codecs import by_id
from weigh.commands.source import load
from weigh.cost.compute import forward_flops
from weigh.devices.detect import host
from weigh.types import Model, Pass

CODECS = ("f16", "q8_0", "q6_k", "q4_k", "q4_0", "q4_1")
ZEROS = {"architecture": "llama", "layers": 12, "width": 1024, "heads": 16, "kv_heads": 8, "head_dim": 64}
"""With the hidden size below 165 million parameters: every codec is well beyond a last cache of 32 MB."""
HIDDEN = 3584
OUTPUT = 9
"""Tokens a round: the first comes with the prompt, so eight are timed."""
SHORT, LONG = 8, 128
"""Tokens of the prompts before generating and for its own rate."""
ROUND_SECONDS = 0.05
ROUNDS = 10
"""Enough of them; then the next model."""
CALM = 0.1
"""Cores' worth of other programs that a round may lose."""
T = TypeVar("T")
REST: dict[str, Any] = {
    "context": 512,
    "sequences": 1,
    "batch": 512,
    "micro_batch": 512,
    "unified": False,
    "key_codec": "f16",
    "value_codec": "f16",
    "flash": "auto",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One model on so many threads. Rates are medians of its rounds, ratios those of single rounds."""

    rounds: int
    model: str
    threads: int
    megabytes: float
    tokens: float
    bandwidth: float
    decode: float
    prompt_tokens: float
    flops: float
    prefill: float


# --------------------------------------------------------------------------------------------- one process


def child(settings: dict[str, Any]) -> None:
    """Rounds of probe, generation and prompt until the time is over; one line of JSON for each."""
    import xllamacpp

    from benchmarks.llama_cpp_child import parameters

    asked = parameters(settings)
    asked.verbosity = 0
    server = xllamacpp.Server(asked)
    end = time.monotonic() + settings["seconds"]
    calm = 0
    while calm < ROUNDS and time.monotonic() < end:
        before, _ = _others(lambda: time.sleep(0.1))
        if settings["threads"] > 1 and before > CALM:
            time.sleep(0.4)
            continue
        others, line = _others(lambda: _round(server, settings["threads"]))
        if settings["threads"] == 1 or others <= CALM:
            calm += 1
            print(json.dumps(line), flush=True)
    # llama.cpp's own clean-up takes long and gives nothing here.
    os._exit(0)


def _round(server: Any, threads: int) -> dict[str, float]:
    from weigh.devices.probe import matrix_rate, read_bandwidth

    bandwidth = read_bandwidth(threads, seconds=ROUND_SECONDS).value
    generated = _asked(server, SHORT, OUTPUT, threads)
    rate = matrix_rate(threads, seconds=ROUND_SECONDS).value
    prompted = _asked(server, LONG, 1, threads)
    return {
        "bandwidth": bandwidth,
        "flops": rate,
        # The clock of a generation starts when its first token is there.
        "decode": 1000 * (generated["predicted_n"] - 1) / generated["predicted_ms"],
        "prefill": 1000 * prompted["prompt_n"] / prompted["prompt_ms"],
    }


def _asked(server: Any, prompt: int, output: int, threads: int) -> dict[str, float]:
    """llama.cpp's own timings of a request; on one thread without the time in which other programs had the core."""
    request = {
        "prompt": [1 + number % 200 for number in range(prompt)],
        "n_predict": output,
        "cache_prompt": False,
        "ignore_eos": True,
        "temperature": 0,
    }
    start, own = time.monotonic(), time.process_time()
    timings: dict[str, float] = server.handle_completions(request)["timings"]
    share = (time.process_time() - own) / (time.monotonic() - start)
    if threads == 1:
        for name in ("predicted_ms", "prompt_ms"):
            timings[name] *= min(1.0, share)
    return timings


def _others(work: Callable[[], T]) -> tuple[float, T]:
    """Cores that other programs kept busy while `work` ran, and what it gave; none where that is not told."""
    start, own, busy = time.monotonic(), time.process_time(), _busy_seconds()
    result = work()
    spent = time.monotonic() - start
    return max(0.0, (_busy_seconds() - busy) - (time.process_time() - own)) / spent, result


def _busy_seconds() -> float:
    """Seconds of all cores that were not idle since the machine started."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = (int(word) for word in line.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def rounds(gguf: Path, threads: int, seconds: float) -> Iterator[dict[str, float]]:
    """The lines that a child of its own prints."""
    settings = {**REST, "gguf": str(gguf), "threads": threads, "seconds": seconds}
    # Thread counts of numpy's libraries are read when they are loaded, so they must be in the environment before.
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.host_speed", "--child", json.dumps(settings)],
        capture_output=True,
        text=True,
        env={**os.environ, **limits},
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        raise SystemExit(f"{gguf.name} on {threads} threads failed: {done.stderr.strip()[-1000:]}")
    for line in done.stdout.splitlines():
        if line.startswith('{"bandwidth"'):
            yield json.loads(line)


# -------------------------------------------------------------------------------------------------- ratios


def bytes_read(model: Model) -> float:
    """Bytes that a token of these generations reads: every tensor but an untied embedding, and the state."""
    names = {tensor.name for tensor in model.inventory.tensors}
    left_out = {"token_embd.weight"} if "output.weight" in names else set()
    weights = sum(tensor.nbytes for tensor in model.inventory.tensors if tensor.name not in left_out)
    return weights + _state_bytes(model, REST["key_codec"], SHORT + OUTPUT // 2)


def measured(gguf: Path, name: str, threads: int, seconds: float) -> Run | None:
    """One model on so many threads, held against the probe; None where no round was left alone."""
    model = load(str(gguf))
    read, flops = bytes_read(model), forward_flops(model, Pass(LONG)) / LONG
    lines = list(rounds(gguf, threads, seconds))
    if not lines:
        return None
    middle = {key: median(line[key] for line in lines) for key in lines[0]}
    return Run(
        model=name,
        threads=threads,
        rounds=len(lines),
        megabytes=read / 1e6,
        tokens=middle["decode"],
        bandwidth=middle["bandwidth"],
        decode=median(read * line["decode"] / line["bandwidth"] for line in lines),
        prompt_tokens=middle["prefill"],
        flops=middle["flops"],
        prefill=median(flops * line["prefill"] / line["flops"] for line in lines),
    )


def print_runs(runs: Iterable[Run]) -> None:
    """The table: rates of llama.cpp and of the probe, and their ratios."""
    print(f"{'model':34}{'threads':>8}{'rounds':>7}{'MB':>6}{'tok/s':>8}{'GB/s':>7}{'decode':>8}", end="")
    print(f"{'tok/s':>8}{'GFLOP/s':>9}{'prefill':>9}")
    for run in runs:
        print(f"{run.model:34}{run.threads:8}{run.rounds:7}{run.megabytes:6.0f}{run.tokens:8.1f}", end="")
        print(f"{run.bandwidth / 1e9:7.1f}{run.decode:8.2f}{run.prompt_tokens:8.1f}", end="")
        print(f"{run.flops / 1e9:9.1f}{run.prefill:9.2f}")


def _state_bytes(model: Model, codec: str, past: int) -> float:
    """Bytes of keys and values that one token reads, `past` tokens into the sequence."""
    states = [state for part in model.parts for state in parts.remembers(part)]
    return sum(state.row * state.rows_after(past) for state in states) * by_id(codec).bits / 8


def curves(runs: Sequence[Run]) -> Curves:
    """Class `host` from the runs, and class `processor` from that."""
    own = {
        "decode": _curve(runs, "decode", "of the bandwidth probed"),
        "prefill": _curve(
            runs,
            "prefill",
            "of the float32 rate probed; kernels of quantized weights multiply 8-bit integers and may pass 1",
        ),
    }
    found: Curves = {"host": own, "processor": {}}
    for curve in own:
        reason = "a sheet's bandwidth is more than can be read, and how much more differs"
        entry = stand_in(found, ("host",), curve, reason)
        if entry is not None:
            found["processor"][curve] = entry
    return found


def _curve(runs: Sequence[Run], curve: Literal["decode", "prefill"], what: str) -> dict[str, Any]:
    low, value, high = (quantile([(getattr(run, curve), 1.0) for run in runs], share) for share in (0.05, 0.5, 0.95))
    threads = " and ".join(str(count) for count in sorted({run.threads for run in runs}))
    models = sorted({run.model for run in runs})
    return {
        **ends(low / SLACK, value, high * SLACK, curve),
        "basis": "derived",
        "why": f"median of {len(runs)} runs {what}; {threads} threads; 5th to 95th percentile, moved out {SLACK} times "
        "since it is one processor that was measured",
        "source": f"benchmarks/host_speed.py on {host().device.name} ({platform.machine()}), {ENGINE} in xllamacpp",
        "fitted": date.today(),
        "rows": len(runs),
        "devices": [host().device.name],
        "models": models,
    }


def main() -> None:
    """Write the models of zeros, run all on one thread and on all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="a GGUF file beside the models of zeros"
    )
    parser.add_argument("--seconds", type=float, default=60, help="at most, for each model and number of threads")
    parser.add_argument("--dry-run", action="store_true", help="print only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(json.loads(asked.child))
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        models = [(path, path.stem) for path in asked.model]
        for codec in CODECS:
            plan = Blueprint(codec=codec, embedding=codec, hidden=HIDDEN, **ZEROS)  # type: ignore[arg-type]
            models.append((write_zeros(plan, Path(folder) / f"{codec}.gguf"), f"zeros {codec}"))
        for path, name in models:
            for threads in sorted({1, host().usable_cores or 1}):
                run = measured(path, name, threads, asked.seconds)
                print(f"{name}, {threads} threads: {'other programs took the cores' if run is None else run}")
                runs += [] if run is None else [run]
    print_runs(runs)
    found = curves(runs)
    print()
    print_curves(found)
    if not asked.dry_run:
        write_curves(found)


if __name__ == "__main__":
    main()
