"""Ask every calculator that is installed, and print the answers beside those of the class itself.

`python -m benchmarks.peers --venvs FOLDER [MODEL ...]`: FOLDER holds an environment for each peer, since they need
versions that exclude each other: `python -m venv FOLDER/NAME && FOLDER/NAME/bin/pip install PACKAGE` for
vramcalc, fitcheck-llm, hf-vram-calc, hf-mem, llm-analysis, and `transformers` (torch, transformers, accelerate).
LLM-Viewer is no package: a checkout at FOLDER/llm-viewer. A peer that is not there is told. MODEL is a name of the
catalogue or a configuration; a peer's refusal is an answer too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.hub import cached, safetensors_header, serving
from weigh.commands.source import load
from weigh.families import family_of
from weigh.families.audit import promises

MODELS = ("llama-3.1-8b", "qwen3-0.6b", "qwen3-30b-a3b", "mixtral-8x7b", "gemma-2-9b", "mistral-7b")
TOKENS = 8192
HERE = Path(__file__).parent
SECONDS = 240
ASKED = ("weights", "state", "total")


@dataclass(frozen=True)
class Question:
    """A model as a folder with its configuration, and where the hub and the cache are that hold it too."""

    folder: Path
    hub: str
    cache: Path


@dataclass(frozen=True)
class Peer:
    """A calculator: the environment that it lives in, its command, and what its output says."""

    name: str
    environment: str
    command: Callable[[Question, Path], list[str]]
    read: Callable[[str], Mapping[str, Any]] = json.loads
    checkout: str = ""


def _vramcalc(text: str) -> Mapping[str, Any]:
    told = json.loads(text)["estimate"]
    return {
        "parameters": told["weights"] // 2,
        "weights": told["weights"],
        "state": told["kv_cache"],
        "total": told["total"],
    }


def _fitcheck(text: str) -> Mapping[str, Any]:
    told = json.loads(text)
    mib = {name: value * 2**20 for name, value in told["memory_mib"].items()}
    held = {"parameters": told["model"]["num_params"], "weights": mib["weights"]}
    return {**held, "state": mib["kv_cache"], "total": mib["total"]}


def _hf_vram_calc(_: str) -> Mapping[str, Any]:
    told = json.loads(Path(os.environ["PEERS_OUT"]).read_text())
    row, gib = told["memory_requirements"][0], 2**30
    return {
        "parameters": told["model"]["parameters"],
        "weights": row["model_size_gib"] * gib,
        "state": row["kv_cache_size_gib"] * gib,
        "total": row["inference_total_gib"] * gib,
    }


def _weigh(text: str) -> Mapping[str, Any]:
    told = json.loads(text)["result"]
    memory = told["cost"]["memory"]
    return {"parameters": told["inventory"]["parameters"]["total"], **{key: memory[key]["value"] for key in ASKED}}


def _script(name: str) -> Callable[[Question, Path], list[str]]:
    return lambda asked, python: [str(python), str(HERE / f"ask_{name}.py"), str(asked.folder), str(TOKENS)]


def _tool(*words: str) -> Callable[[Question, Path], list[str]]:
    def command(asked: Question, python: Path) -> list[str]:
        fields = {"folder": asked.folder, "tokens": TOKENS, "out": os.environ["PEERS_OUT"]}
        first, *others = (word.format(**fields) for word in words)
        return [str(python.parent / first), *others]

    return command


def _ourselves(asked: Question, _: Path) -> list[str]:
    words = [f"{asked.folder}/config.json", "--on", "8GB", "--engine", "transformers", "--weights", "bf16"]
    ask = "import sys; sys.argv[0] = 'weigh'; from weigh.cli import main; main()"
    return [sys.executable, "-c", ask, *words, "--kv", "bf16", "--context", str(TOKENS), "--json"]


REFERENCE = Peer("transformers (meta)", "transformers", _script("transformers"))
PEERS = (
    Peer("weigh", "", _ourselves, _weigh),
    Peer("vramcalc", "vramcalc", _tool("vramcalc", "estimate", "{folder}", "--seq", "{tokens}", "--json"), _vramcalc),
    Peer(
        "fitcheck-llm",
        "fitcheck-llm",
        _tool("fitcheck", "infer", "org/model", "--seq-len", "{tokens}", "--json"),
        _fitcheck,
    ),
    Peer(
        "hf-vram-calc",
        "hf-vram-calc",
        _tool(
            "hf-vram-calc", "--model", "{folder}", "--model_path", "{folder}/config.json", "--max_seq_len", "{tokens}",
            "--dtype", "bf16", "--output_json", "{out}",
        ),
        _hf_vram_calc,
    ),
    Peer("accelerate", "transformers", _script("accelerate")),
    Peer("hf-mem", "hf-mem", _script("hf_mem")),
    Peer("llm-analysis", "llm-analysis", _script("llm_analysis")),
    Peer("LLM-Viewer", "transformers", _script("llm_viewer"), checkout="llm-viewer"),
)  # fmt: skip


def asked(peer: Peer, question: Question, venvs: Path) -> dict[str, Any]:
    """The peer's answer with its wall seconds, CPU seconds and peak memory; `error` where it gave none."""
    python = Path(sys.executable) if not peer.environment else venvs / peer.environment / "bin" / "python"
    folder = venvs / peer.checkout if peer.checkout else question.folder
    if not python.exists() or not folder.exists():
        return {"error": "not installed"}
    online = peer.name in ("accelerate", "hf-mem")
    environment = {**os.environ, "HF_HOME": str(question.cache), "HF_ENDPOINT": question.hub, "COLUMNS": "200"}
    environment |= {"HF_HUB_OFFLINE": "0" if online else "1", "NO_COLOR": "1", "TOKENIZERS_PARALLELISM": "false"}
    if online:
        environment["HF_HOME"] = str(question.cache / "empty")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    try:
        done = subprocess.run(
            peer.command(question, python), capture_output=True, text=True, timeout=SECONDS, cwd=folder,
            env=environment, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"over {SECONDS} s"}
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        told = dict(peer.read(done.stdout))
    except (ValueError, KeyError, TypeError, OSError):
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        told = {"error": lines[-1][:160]}
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**told, "seconds": seconds, "cpu": cpu}


def questions(name: str, folder: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """What the loopback hub holds of the model."""
    model = load(name)
    configuration = {"architectures": ["LlamaForCausalLM"], **(model.inventory.configuration or {})}
    configuration["dtype"] = configuration["torch_dtype"] = "bfloat16"
    configuration.pop("quantization_config", None)
    text = json.dumps(configuration).encode()
    (folder / "config.json").write_bytes(text)
    tensors: dict[str, tuple[int, ...]] = {}
    for promise in promises(model, family_of(model), "hf"):
        many = promise.shape[0] if "{expert}" in promise.name else 1
        shape = promise.shape[1:] if "{expert}" in promise.name else promise.shape
        if not promise.optional:
            tensors |= {promise.name.replace("{expert}", str(i)): tuple(shape) for i in range(many)}
    return {"config.json": text, "model.safetensors": safetensors_header(tensors)}, {}


def compare(name: str, venvs: Path) -> list[dict[str, Any]]:
    """Answers of the reference and of every peer."""
    rows = []
    with TemporaryDirectory() as where:
        folder = Path(where) / "model"
        folder.mkdir()
        os.environ["PEERS_OUT"] = str(Path(where) / "out.json")
        files, sizes = questions(name, folder)
        with serving(files, sizes) as address:
            question = Question(folder, address, cached(Path(where) / "cache", files["config.json"]))
            for peer in (REFERENCE, *PEERS):
                Path(os.environ["PEERS_OUT"]).unlink(missing_ok=True)
                rows.append({"model": name, "peer": peer.name, **asked(peer, question, venvs)})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: each peer's difference from the class itself."""
    lines = [
        "| model | calculator | parameters | keys and values | in all, GB | wall s | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        truth = next(one for one in rows if one["model"] == row["model"] and one["peer"] == REFERENCE.name)
        cells = [row["model"], row["peer"]]
        if row.get("error"):
            lines.append(f"| {row['model']} | {row['peer']} | {row['error'].replace('|', '/')} | | | | |")
            continue
        for key in ("parameters", "state"):
            cells.append(_difference(row.get(key), truth.get(key), exact=row is truth))
        cells.append("-" if row.get("total") is None else f"{row['total'] / 1e9:.2f}")
        cells += [f"{row['seconds']:.2f}", f"{row['cpu']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _difference(value: float | None, truth: float | None, *, exact: bool) -> str:
    if value is None:
        return "-"
    if exact or not truth:
        return f"{value:,.0f}"
    return "exact" if value == truth else f"{100 * (value / truth - 1):+.3g} %"


def main() -> None:
    """Print the table; the answers go to standard error as JSON lines while they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--venvs", type=Path, required=True)
    given = parser.parse_args()
    rows = [row for name in given.models for row in compare(name, given.venvs.resolve())]
    print(table(rows))


if __name__ == "__main__":
    main()
