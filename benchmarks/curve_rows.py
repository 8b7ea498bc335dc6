"""Tables of measured speeds into samples: which device and model a line is about, and what its step had to do.

A sample is one step that was timed: the loads of its parts (`cost/run/load.py`) and its seconds. Lines are left out by
the rules below, never by their error. A new table is a reader and its name in READERS.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from statistics import median

from weigh import catalogue
from weigh.commands.setting import Place, Setting, setting
from weigh.commands.source import load
from weigh.cost.run.load import Group, Load, decode_loads, groups, prefill_loads, state_bytes
from weigh.devices import devices
from weigh.devices.match import match
from weigh.engines.curves import curve_class, stretch
from weigh.engines.rates import number_type
from weigh.types import Cluster, Device, Model, Pass, WeighError

ENGINE = "llama.cpp"
GIB = 2**30
LEAST_PROMPT = 256
"""Tokens: shorter prompts measure the start and not the rate."""
UNSURE = 1.0
"""Most that the keys and values may add: tables do not say whether the prompt lay before the generated tokens."""
BESIDE = 2 * GIB
"""What the driver, compute buffers, a screen and the margin of an automatic choice take beside weights and state."""
HELD_OUT = 4
"""One in so many pairs of device and model is held out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, as it was reported."""

    file: str
    device: str
    memory_bytes: int | None
    model: str
    codec: str
    state_codec: str
    before: int
    """Tokens before the first that is generated."""
    output: int
    prompt: int
    """Tokens of the prompt whose rate is given."""
    decode: float | None
    """Tokens a second."""
    prefill: float | None
    layers: int | None = None
    """How many the processor was told to take; None where it is known that it took all."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One step, and how long it took."""

    file: str
    engine: str
    device: Device
    kind: str
    """Class of the device."""
    phase: str
    model: str
    codec: str
    work: tuple[tuple[tuple[Load, ...], float, float, float], ...]
    """(loads, how many times a step, seconds of communication, passes) of what was worked on in the time."""
    seconds: float
    given: tuple[tuple[str, object], ...]
    """What a user would ask for to get the same."""

    @property
    def name(self) -> str:
        """The row as a fit lists it."""
        return f"{self.device.id} {self.model} {self.codec}"

    @property
    def type(self) -> str:
        """Number type of most of the weights."""
        sums: dict[str, float] = defaultdict(float)
        for one in self.work[0][0]:
            for codec, held in one.weight_bytes.items():
                sums[number_type(codec)] += one.count * held
        return max(sums, key=lambda name: sums[name])

    @property
    def held_out(self) -> bool:
        """Whether the row is kept from the fit.

        By the hash of device and model alone, decided before any fit: a new pair, never a second codec of a fitted one.
        """
        return is_held_out(self.device.id, self.model)


def is_held_out(device: str, model: str) -> bool:
    """One pair in HELD_OUT, by the first eight hexadecimal digits of the SHA-256 of `device|model`."""
    return int(sha256(f"{device}|{model}".encode()).hexdigest()[:8], 16) % HELD_OUT == 0


# ------------------------------------------------------------------------------------------------- reading


def _number(text: str) -> float | None:
    return float(text) if text else None


def lines(path: Path) -> Iterator[Mapping[str, str]]:
    """The lines of a table by the names of its columns."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def read_gpus(path: Path) -> Iterator[Row]:
    """llama-bench of one project on many processors: 1,024 tokens generated from nothing, or a prompt of 1,024."""
    for line in lines(path):
        if line["n_devices"] != "1" or not line["tokens_per_s"]:
            continue
        # Apple's parts are told apart by their name; the number of graphics cores is not in the registry.
        name = re.sub(r" \d+-Core GPU", "", line["device"])
        size = re.search(r"(\d+)GB", name)
        memory = int(size[1]) * GIB if size else None
        rate = float(line["tokens_per_s"])
        decode, prefill = (rate, None) if line["test"] == "generate_1024" else (None, rate)
        yield Row(path.name, name, memory, line["model"], line["quant"], "f16", 1, 1023, 1024, decode, prefill)


def read_community(path: Path) -> Iterator[Row]:
    """Generation after a short prompt of unknown length; the rate may include the time to the first token."""
    for line in lines(path):
        if line["provider"] != "llamacpp":
            continue
        codec = re.search(r"[-.]((?:U?I?Q\d\w*?)|BF16|F16|MXFP4)\.gguf$", line["model"], re.IGNORECASE)
        if codec is None:
            continue
        memory = _number(line["vram_GB"])
        output = int(_number(line["avg_output_tokens"]) or 2)
        yield Row(
            path.name,
            line["hardware"],
            None if memory is None else int(memory * GIB),
            line["model"],
            codec[1],
            "f16",
            1,
            max(2, output),
            0,
            _number(line["avg_tok_s"]),
            None,
        )


def read_users(path: Path) -> Iterator[Row]:
    """What users sent in, unverified: one sequence on one device, every layer on it, no drafted tokens."""
    for line in lines(path):
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
            max(1, prompt),
            output,
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


# ------------------------------------------------------------------------------------------------- models


NAMES: Mapping[str, str] = {
    "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-r1-distill-qwen-1.5b": "qwen2.5-1.5b",
    "deepseek-r1-distill-qwen-7b": "qwen2.5-7b",
    "deepseek-r1-distill-qwen-14b": "qwen2.5-14b",
    "hermes-3-llama-3.1-8b": "llama-3.1-8b",
    "llama-3.1-tulu-3-8b": "llama-3.1-8b",
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
    "qwen3-coder-30b-a3b": "qwen3-30b-a3b",
    "mistral-7b-instruct": "mistral-7b",
    "deepseek-coder-v2-lite": "DeepSeek-V2-Lite",
    "gemma-3-4b": "gemma-3-4b-it__text",
    "gemma-3-12b": "gemma-3-12b-it__text",
    "gemma-3-27b": "gemma-3-27b-it__text",
    "falcon3-1b": "Falcon3-1B-Base",
    "falcon3-3b": "Falcon3-3B-Base",
    "falcon3-7b": "Falcon3-7B-Base",
    "falcon3-10b": "Falcon3-10B-Base",
    "phi-3-medium-4k": "Phi-3-medium-4k-instruct",
    "phi-4-mini": "Phi-4-mini-instruct",
    "microsoft_phi-4-mini": "Phi-4-mini-instruct",
    "microsoft_phi-4-mini-reasoning": "Phi-4-mini-reasoning",
    "huggingfacetb_smollm3-3b": "SmolLM3-3B",
    "baidu_ernie-4.5-21b-a3b-pt": "ERNIE-4.5-21B-A3B",
}
"""Names under which models of known dimensions were measured: later training changes no size."""
_TAIL = re.compile(
    r"(\.gguf|[-.](q\d\w*|iq\d\w*|f16|bf16|fp16|mxfp4)|-gguf|-instruct|-it|-chat|-hf|-2507|-thinking|-v0\.3)$"
)


@cache
def known_models(folder: Path | None) -> dict[str, str]:
    """Lower-case name to what `load` takes: the catalogue, and configurations `<owner>__<name>.json` in the folder."""
    held = {name: name for name in catalogue.names()}
    for path in sorted(folder.glob("*.json")) if folder else ():
        held.setdefault(path.stem.partition("__")[2].lower(), str(path))
    return held


def model_name(written: str, folder: Path | None) -> str | None:
    """What `load` takes for the model of that name; None where its dimensions are not at hand."""
    name = written.rpartition("/")[2].lower()
    shorter = _TAIL.sub("", name)
    while shorter != name:
        name, shorter = shorter, _TAIL.sub("", shorter)
    name = NAMES.get(name, name.removeprefix("qwen_").removeprefix("google_"))
    return known_models(folder).get(name.lower())


@cache
def _loaded(name: str) -> Model:
    return load(name)


@cache
def grouped(name: str, weights: str, engine: str) -> tuple[Group, ...]:
    """The parts of the model in that form; none where the form or the architecture is not known."""
    try:
        one = job(name, weights, engine, next(device for device in devices() if device.id == "h200-sxm-141gb"))
    except (WeighError, KeyError):
        return ()
    return groups(one.model, one.loaded.holdings)


def job(name: str, weights: str, engine: str, device: Device, **asked: object) -> Setting:
    """The setting that a user would ask for."""
    place = Place(Cluster(device), None, "")
    return setting(model=_loaded(name), place=place, engine=engine, weights=weights.lower(), **asked)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------- samples


def samples(folder: Path, configs: Path | None) -> list[Sample]:
    """What the tables in the folder say of devices and models that are known; prints what became of their lines."""
    known = devices()
    raw: dict[tuple[object, ...], list[Sample]] = defaultdict(list)
    for name, read in READERS.items():
        counts: dict[str, int] = defaultdict(int)
        for row in read(folder / name):
            device = match(row.device, row.memory_bytes, known)
            model = model_name(row.model, configs)
            if device is None or model is None:
                counts["of devices or models that are not known here"] += 1
                continue
            reason = _unusable(row, device, model)
            counts[reason or "used"] += 1
            for one in () if reason else _samples(row, device, model):
                raw[name, one.phase, device.id, one.model, one.codec, one.given].append(one)
        print(f"{name}: " + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())))
    found = [replace(some[0], seconds=median(one.seconds for one in some)) for some in raw.values()]
    return [one for one in found if one.file != UNVERIFIED or _confirmed(one, found)]


UNVERIFIED = "llmfit_user_benchmarks.csv"


def _confirmed(one: Sample, found: Sequence[Sample]) -> bool:
    """What users sent in counts only where another model was measured on the same device: one line proves no set-up."""
    return any(other.device.id == one.device.id and other.model != one.model for other in found)


def _unusable(row: Row, device: Device, model: str) -> str:
    """Why a line is left out; empty where it is used."""
    if not grouped(model, row.codec, ENGINE):
        return "of unknown mixes"
    if row.layers is not None and row.layers < _loaded(model).dimensions["layers"]:
        return "partly on the host"
    gathered = grouped(model, row.codec, ENGINE)
    held = sum(group.count * array.nbytes for group in gathered for array in group.weights)
    state = sum(group.count * state_bytes(group, row.before + row.output, 0, row.state_codec) for group in gathered)
    # What does not fit runs partly on the host, whatever the line says.
    if device.memory_bytes is not None and held + state + BESIDE > device.memory_bytes.value:
        return "too large for the memory"
    return ""


def short(model: str) -> str:
    """Name of a model: of a configuration's file its owner and name."""
    return Path(model).stem.replace("__text", "").replace("__", "/") if model.endswith(".json") else model


def _samples(row: Row, device: Device, model: str) -> Iterator[Sample]:
    gathered = grouped(model, row.codec, ENGINE)
    who = (row.file, ENGINE, device, curve_class(device))
    if row.decode and device.memory_bandwidth is not None:
        asked = {"prompt": row.before, "output": row.output, "batch": 1, "codec": row.state_codec}
        found = decode_loads(gathered, source=0, **asked)  # type: ignore[arg-type]
        weights = sum(one.count * sum(one.weight_bytes.values()) for one in found)
        if sum(one.count * one.state_bytes for one in found) <= UNSURE * weights:
            given = (("prompt", row.before), ("output", row.output), ("kv", row.state_codec))
            yield Sample(*who, "decode", short(model), row.codec.upper(), ((found, 1, 0, 1),), 1 / row.decode, given)
    if row.prefill and row.prompt >= LEAST_PROMPT and device.peak:
        step = Pass(row.prompt)
        most = stretch(ENGINE)
        found = prefill_loads(gathered, step, codec=row.state_codec, most=most)
        steps = -(-row.prompt // min(most, row.prompt))
        given = (("prompt", row.prompt),)
        yield Sample(
            *who, "prefill", short(model), row.codec.upper(), ((found, 1, 0, steps),), row.prompt / row.prefill, given
        )


def parts_of(some: Sequence[Sample], *, held_out: bool) -> list[Sample]:
    """Those that are held out, or those that may be fitted."""
    return [one for one in some if one.held_out is held_out]
