"""Tables of measured speeds into efficiencies: which device and model a line is about, and what it had to read.

Decode is bytes read a token x tokens a second / stated bandwidth; prefill is FLOPs x tokens a second / stated peak.
A new table is a reader and its name in READERS.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from weigh import catalogue, parts
from weigh.codecs import by_id, nbytes
from weigh.commands.source import load
from weigh.devices import devices
from weigh.devices.match import match
from weigh.engines.curves import curve_class
from weigh.recipes.llama_cpp import plan
from weigh.recipes.tensors import Stored, tensors
from weigh.types import Device, Model, Pass, WeighError

ENGINE = "llama.cpp"
GIB = 2**30
LEAST_BYTES = 5e8
"""Read a token. Below, a token is mostly fixed cost (launches, sampling) that no share of a bandwidth can express."""
LEAST_PROMPT = 256
"""Tokens: shorter prompts measure the start and not the rate."""
UNSURE = 0.1
"""Most that the keys and values may add: tables do not say whether the prompt lay before the generated tokens."""
FITS = 0.95
"""Share of the memory that a file may take: what does not fit runs partly on the host, whatever the line says."""


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


class Group(NamedTuple):
    """What lines must share to count as one."""

    file: str
    device: str
    kind: str
    """Class of the device."""
    curve: str
    model: str
    codec: str


@dataclass(frozen=True, slots=True)
class Point:
    """The efficiency that the lines of a group stand for."""

    group: Group
    efficiency: float


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
        # With Metal every layer is on the processor unless told otherwise; elsewhere the line must say so.
        told = bool(line["gpu_layers"]) or line["backend"] == "metal"
        if not single or drafted or not told or line["hw_class"] == "CPU_ONLY":
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
            int(line["gpu_layers"]) if line["gpu_layers"] else None,
        )


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "llamacpp_llama3_gpus.csv": read_gpus,
    "llmfit_community_runs.csv": read_community,
    "llmfit_user_benchmarks.csv": read_users,
}


# ------------------------------------------------------------------------------------------------ counting


NAMES: Mapping[str, str] = {
    "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-r1-distill-qwen-7b": "qwen2.5-7b",
    "allenai_sera-8b": "qwen3-8b",
    "allenai_sera-8b-ga": "qwen3-8b",
    "meta-llama-3-8b": "llama-3-8b",
    "meta-llama-3.1-8b": "llama-3.1-8b",
    "nousresearch_nouscoder-14b": "qwen3-14b",
    "qwen2.5-coder-14b": "qwen2.5-14b",
    "qwen2.5-coder-1.5b": "qwen2.5-1.5b",
    "qwen2.5-coder-32b": "qwen2.5-32b",
    "qwen2.5-coder-3b": "qwen2.5-3b",
    "qwen2.5-coder-7b": "qwen2.5-7b",
    "mistral-7b-instruct": "mistral-7b",
}
"""Names under which models of the catalogue's dimensions were measured: later training changes no size."""
_TAIL = re.compile(r"(\.gguf|[-.](q\d\w*|iq\d\w*|f16|bf16|fp16)|-gguf|-instruct|-it|-chat|-hf|-2507|-v0\.3)$")


def catalogue_name(written: str) -> str | None:
    """Id of the catalogue's entry with the dimensions of the model of that name; None where there is none."""
    name = written.rpartition("/")[2].lower()
    shorter = _TAIL.sub("", name)
    while shorter != name:
        name, shorter = shorter, _TAIL.sub("", shorter)
    name = NAMES.get(name, name.removeprefix("qwen_").removeprefix("google_"))
    return name if name in catalogue.names() else None


@cache
def _loaded(name: str) -> Model:
    return load(name)


@cache
def _stored(name: str, codec: str) -> tuple[tuple[Stored, str], ...]:
    """Tensors with the codec that the mix of that name gives each; none where the mix is not known."""
    model = _loaded(name)
    try:
        codecs = plan(model, codec.upper()).tensors
    except (WeighError, KeyError):
        return ()
    return tuple((tensor, codecs[tensor.name].codec) for tensor in tensors(model, "ggml"))


def file_bytes(name: str, codec: str) -> int:
    """Bytes of all tensors."""
    return sum(nbytes(by_id(own), tensor.shape) for tensor, own in _stored(name, codec))


def weight_bytes(name: str, codec: str) -> int | None:
    """Bytes of weights that one token reads: every matrix, of experts those used, of the embedding only a tied head."""
    stored = _stored(name, codec)
    tied = all(tensor.name != "output.weight" for tensor, _ in stored)
    return sum(_read_of(tensor, own, _loaded(name), tied=tied) for tensor, own in stored) or None


def _read_of(tensor: Stored, codec: str, model: Model, *, tied: bool) -> int:
    held = nbytes(by_id(codec), tensor.shape)
    if tensor.role == "position" or (tensor.role == "embedding" and not tied):
        return 0
    if tensor.role == "expert":
        return held * model.dimensions["experts_used"] // model.dimensions["experts"]
    return held


def state_bytes(model: Model, codec: str, past: float) -> float:
    """Bytes of keys and values that one token reads, `past` tokens into the sequence."""
    bits = by_id(codec).bits
    held = 0.0
    for part in model.parts:
        state = parts.remembers(part)
        if state is not None:
            kept = past if state.window is None else min(past, state.window)
            held += kept * state.heads * (state.key_width + state.value_width) * bits / 8
    return held


def prompt_flops(model: Model, tokens: int) -> int:
    """FLOPs of a prompt of so many tokens, the head on its last position only."""
    return sum(parts.forward(part, Pass(tokens)) for part in model.parts)


# -------------------------------------------------------------------------------------------------- points


def points(folder: Path) -> list[Point]:
    """What the tables in the folder say of devices and models that weigh knows; prints what became of their lines."""
    known = devices()
    raw: dict[Group, list[float]] = defaultdict(list)
    for name, read in READERS.items():
        counts: dict[str, int] = defaultdict(int)
        for row in read(folder / name):
            device = match(row.device, row.memory_bytes, known)
            model = catalogue_name(row.model)
            if device is None or model is None:
                counts["of devices or models that are not known here"] += 1
                continue
            reason = _unusable(row, device, model)
            counts[reason or "used"] += 1
            for curve, value in () if reason else _efficiencies(row, device, model):
                raw[Group(name, device.id, curve_class(device), curve, model, row.codec.upper())].append(value)
        print(f"{name}: " + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())))
    for group, value in _phones(folder):
        raw[group].append(value)
    return [Point(group, median(values)) for group, values in sorted(raw.items())]


def _unusable(row: Row, device: Device, model: str) -> str:
    """Why a line is left out; empty where it is used."""
    if weight_bytes(model, row.codec) is None:
        return "of unknown mixes"
    if row.layers is not None and row.layers < _loaded(model).dimensions["layers"]:
        return "partly on the host"
    memory = device.memory_bytes
    if memory is not None and file_bytes(model, row.codec) > FITS * memory.value:
        return "too large for the memory"
    return ""


def _efficiencies(row: Row, device: Device, model: str) -> Iterator[tuple[str, float]]:
    weights = weight_bytes(model, row.codec) or 0
    if row.decode and device.memory_bandwidth is not None:
        state = state_bytes(_loaded(model), row.state_codec, row.past)
        if weights >= LEAST_BYTES and state <= UNSURE * weights:
            yield "decode", (weights + state) * row.decode / device.memory_bandwidth.value
    if row.prefill and row.prompt >= LEAST_PROMPT and weights >= LEAST_BYTES:
        rate = prompt_flops(_loaded(model), row.prompt) / row.prompt * row.prefill
        half = device.peak.get("f16", device.peak.get("bf16"))
        if half is not None:
            yield "prefill", rate / half.value
        if "f32" in device.peak:
            yield "prefill_f32", rate / device.peak["f32"].value


PHONE_FILE = "llama32_ondevice.csv"
PHONE = "snapdragon-8-gen-3"
"""The processor of the phone in that table, a OnePlus 12."""


def _phones(folder: Path) -> Iterator[tuple[Group, float]]:
    """ExecuTorch on a phone. Its 4-bit files hold embedding and head in mixes of their own, so bf16 alone is used."""
    bandwidth = next(device.memory_bandwidth for device in devices() if device.id == PHONE)
    for line in _lines(folder / PHONE_FILE):
        size, _, codec = line["model"].partition(" ")
        if codec == "BF16" and bandwidth is not None:
            model = f"llama-3.2-{size.lower()}"
            read = weight_bytes(model, codec) or 0
            rate = read * float(line["decode_tokens_per_s"]) / bandwidth.value
            yield Group(PHONE_FILE, PHONE, "phone", "decode", model, codec), rate
