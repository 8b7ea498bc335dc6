"""Graphics processors as the vendors' own tools list them: nvidia-smi, amd-smi, rocm-smi.

A new vendor is a pure parser of its tool's text and a function that runs it, called by `read_adapters`.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weigh.devices.tools import run_tool

NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
AMD = ("amd-smi", "static", "--asic", "--vram", "--json")
AMD_USE = ("amd-smi", "metric", "--mem-usage", "--json")
ROCM = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")

_MIB = 2**20
_UNSAID = re.compile(
    r"\[?(n/?a|not supported|unknown error|insufficient permissions|unknown|none)?\]?|0x[0-9a-f]+",
    re.IGNORECASE,
)
_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
"""amd-smi writes MB and means 2^20 bytes."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A graphics processor as a tool describes it."""

    name: str
    vendor: str
    memory_bytes: int | None
    free_bytes: int | None
    tool: str


def parse_nvidia(text: str) -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    """Rows of `name, memory.total, memory.free`, sizes in MiB; `[N/A]` where the memory is the host's."""
    adapters = []
    warnings = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 3 or _said(row[0]) is None:
            if row:
                warnings.append(f"nvidia-smi printed a line that is not understood: {','.join(row)[:80]!r}")
            continue
        total, free = (None if size is None else _MIB * size for size in (_whole(row[1]), _whole(row[2])))
        adapters.append(Adapter(row[0].strip(), "NVIDIA", total, free, "nvidia-smi"))
    return tuple(adapters), tuple(warnings)


def parse_rocm(text: str) -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    """Cards of rocm-smi's JSON. Its keys changed their capitals between versions."""
    document, warnings = _json(text, "rocm-smi")
    adapters = []
    for key, card in document.items() if isinstance(document, dict) else ():
        if not key.startswith("card") or not isinstance(card, dict):
            continue
        fields = {str(name).lower(): value for name, value in card.items()}
        names = (_said(fields.get(name)) for name in ("card series", "device name", "card model", "market name"))
        total = _whole(fields.get("vram total memory (b)"))
        used = _whole(fields.get("vram total used memory (b)"))
        free = None if total is None or used is None else max(0, total - used)
        name = next((name for name in names if name), "AMD graphics")
        adapters.append(Adapter(name, "AMD", total, free, "rocm-smi"))
    return tuple(adapters), warnings


def parse_amd(static: str, use: str = "") -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    """amd-smi's JSON: a list of cards, since ROCm 7 below `gpu_data`. `use` is that of `metric --mem-usage`."""
    document, warnings = _json(static, "amd-smi")
    metrics = _json(use, "amd-smi")[0] if use else None
    free = {card.get("gpu"): _size(_inside(card, "mem_usage", "free_vram")) for card in _cards(metrics)}
    adapters = []
    for card in _cards(document):
        name = _said(_inside(card, "asic", "market_name")) or "AMD graphics"
        vram = _inside(card, "vram")
        size = _size(vram.get("size", vram.get("vram_size_mb")) if isinstance(vram, dict) else None)
        adapters.append(Adapter(name, "AMD", size, free.get(card.get("gpu")), "amd-smi"))
    return tuple(adapters), warnings


def read_adapters(environment: Mapping[str, str] = os.environ) -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    """Every graphics processor that an installed tool lists, and warnings."""
    found: list[Adapter] = []
    warnings: list[str] = []
    for read in (_nvidia, _amd):
        adapters, said = read()
        found += adapters
        warnings += said
    for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        if found and variable in environment:
            warnings.append(f"{variable} is set: a program may see fewer graphics processors than are listed")
    return tuple(found), tuple(warnings)


def _nvidia() -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    text, warnings = run_tool(NVIDIA)
    if text is None:
        return (), warnings
    if "has failed" in text or "couldn't communicate" in text or "No devices were found" in text:
        return (), (f"nvidia-smi: {' '.join(text.split())[:120]}",)
    adapters, said = parse_nvidia(text)
    return adapters, (*warnings, *said)


def _amd() -> tuple[tuple[Adapter, ...], tuple[str, ...]]:
    static, warnings = run_tool(AMD)
    if static is not None:
        adapters, said = parse_amd(static)
        if adapters:
            # Its own run: what is in use needs rights that the list does not.
            use, also = run_tool(AMD_USE)
            return parse_amd(static, use or "")[0], (*warnings, *said, *also)
        warnings = (*warnings, *said)
    text, said = run_tool(ROCM)
    if text is None:
        return (), (*warnings, *said)
    adapters, also = parse_rocm(text)
    return adapters, (*warnings, *said, *also)


def _json(text: str, tool: str) -> tuple[Any, tuple[str, ...]]:
    """The document, from its first bracket on: warnings of the tool may stand before it."""
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    try:
        return json.loads(text[min(starts) :] if starts else text), ()
    except (json.JSONDecodeError, RecursionError):
        return None, (f"{tool} printed no JSON: {' '.join(text.split())[:80]!r}",)


def _cards(document: Any) -> Iterable[dict[str, Any]]:
    cards = document.get("gpu_data") if isinstance(document, dict) else document
    return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []


def _inside(card: Mapping[str, Any], *keys: str) -> Any:
    value: Any = card
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _size(entry: Any) -> int | None:
    """`{"value": 196592, "unit": "MB"}`, or in older versions the bare number of MB."""
    value, unit = (entry.get("value"), entry.get("unit")) if isinstance(entry, dict) else (entry, "MB")
    size = _whole(value)
    scale = _UNITS.get(str(unit).lower())
    return None if size is None or scale is None else size * scale


def _whole(value: Any) -> int | None:
    """A whole number greater than 0 or the 0 itself; None for `[N/A]` and whatever else is none."""
    word = str(value).strip()
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 18 else None


def _said(value: Any) -> str | None:
    """A name, or None for the many ways in which tools say that they have none."""
    word = value.strip() if isinstance(value, str) else ""
    return None if _UNSAID.fullmatch(word) else word
