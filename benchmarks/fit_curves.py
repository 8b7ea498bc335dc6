"""Fit how near llama.cpp comes to a device's stated bandwidth and peak, per class of device, from measured rows.

`python -m benchmarks.fit_curves --data FOLDER` reads the tables of measured speeds in FOLDER (see READERS), prints what
it fits and writes it into `weigh/engines/curves/llama.cpp.toml`; classes that it does not fit are left as they are.
The rows stay in FOLDER: their licences differ, and only ranges, names and errors come into the project.
A new table is a reader and its name in READERS.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from statistics import median

from benchmarks.curve_file import Curve, write_curves
from weigh import catalogue, parts
from weigh.codecs import by_id, nbytes
from weigh.commands.source import load
from weigh.devices import devices
from weigh.devices.match import match
from weigh.engines.curves import Phase, is_processor, stated_limit
from weigh.recipes.llama_cpp import plan
from weigh.recipes.tensors import Stored, tensors
from weigh.types import Device, Model, Pass, WeighError

ENGINE = "llama.cpp"
PHASES: tuple[Phase, ...] = ("decode", "prefill")
LEAST_BYTES = 500_000_000
"""Below this a token is mostly fixed cost (kernel launches, sampling), which a share of the bandwidth cannot express."""
LEAST_PROMPT = 256
"""Tokens: shorter prompts measure the start rather than the rate."""
FEW_DEVICES = 3
"""Classes with fewer devices take the spread between devices from all discrete processors together."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, as it was reported."""

    file: str
    device: str
    memory_bytes: int | None
    model: str
    codec: str
    state_codec: str
    past: float
    """Mean number of tokens before the one that is generated."""
    prompt: int
    """Tokens of the prompt whose rate is given."""
    decode: float | None
    """Tokens a second."""
    prefill: float | None
    layers: int | None = None
    """How many the processor was told to take; None where it is known that it took all."""


@dataclass(frozen=True, slots=True)
class Point:
    """The efficiency that a row stands for."""

    file: str
    device: Device
    model: str
    codec: str
    phase: Phase
    efficiency: float
    bytes: int


# ------------------------------------------------------------------------------------------------- reading


def _number(text: str) -> float | None:
    return float(text) if text else None


def _lines(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def read_gpus(path: Path) -> Iterator[Row]:
    """llama-bench of one project on many processors: 1,024 tokens generated from nothing, or a prompt of 1,024."""
    for line in _lines(path):
        if line["n_devices"] != "1" or not line["tokens_per_s"]:
            continue
        # Apple's parts are told apart by their name; the number of graphics cores is not in the registry.
        name = re.sub(r" \d+-Core GPU", "", line["device"])
        size = re.search(r"(\d+)GB", name)
        memory = int(size[1]) * GIB if size else None
        rate = float(line["tokens_per_s"])
        decode, prefill = (rate, None) if line["test"] == "generate_1024" else (None, rate)
        yield Row(path.name, name, memory, line["model"], line["quant"], "f16", 512, 1024, decode, prefill)


def read_community(path: Path) -> Iterator[Row]:
    """Generation after a short prompt of unknown length; the rate may include the time to the first token."""
    for line in _lines(path):
        if line["provider"] != "llamacpp":
            continue
        codec = re.search(r"[-.]((?:U?I?Q\d\w*?)|BF16|F16)\.gguf$", line["model"], re.IGNORECASE)
        if codec is None:
            continue
        memory = _number(line["vram_GB"])
        past = (_number(line["avg_output_tokens"]) or 0.0) / 2
        yield Row(
            path.name,
            line["hardware"],
            None if memory is None else int(memory * GIB),
            line["model"],
            codec[1],
            "f16",
            past,
            0,
            _number(line["avg_tok_s"]),
            None,
        )


def read_users(path: Path) -> Iterator[Row]:
    """What users sent in, unverified: one sequence on one device, every layer on it, no drafted tokens."""
    for line in _lines(path):
        single = line["engine"] == ENGINE and line["batch"] == "1" and line["device_count"] == "1"
        drafted = line["spec_decoding"] == "True" or line["mtp"] == "True"
        if not single or drafted or not line["gpu_layers"] or line["hw_class"] == "CPU_ONLY":
            continue
        memory = _number(line["vram_GB"])
        prompt, output = int(line["prompt_tokens"] or 0), int(line["output_tokens"] or 0)
        if output == 0:
            continue
        yield Row(
            path.name,
            line["device"],
            None if memory is None else int(memory * GIB),
            line["model"],
            line["quant"],
            {"": "f16", "fp16": "f16"}.get(line["kv_dtype"], line["kv_dtype"]),
            prompt + output / 2,
            prompt,
            _number(line["decode_tok_s"]),
            _number(line["prefill_tok_s"]),
            int(line["gpu_layers"]),
        )


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "llamacpp_llama3_gpus.csv": read_gpus,
    "llmfit_community_runs.csv": read_community,
    "llmfit_user_benchmarks.csv": read_users,
}
