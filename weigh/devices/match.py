"""The registry's device for the name that a driver gives: by the words of the name, and by its memory.

Drivers and datasheets write the same product in many ways (`NVIDIA A100-SXM4-80GB`, `NVIDIA H100 80GB HBM3`).
A word that tells no two products apart goes into NOISE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from weigh.types import Device

NOISE = frozenset({
    "nvidia", "amd", "ati", "apple", "intel", "google", "corporation", "geforce", "tesla", "radeon", "instinct",
    "graphics", "gpu", "accelerator", "generation", "edition", "series", "oam", "ac", "chip",
    "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr5", "gddr6", "gddr6x", "gddr7", "lpddr5x",
})  # fmt: skip
_SIZE = re.compile(r"\d+(g|gb|gib)")
_FORM = re.compile(r"(sxm|pcie)\d*")
_LEAST_SHARE = 0.85
_MOST_SHARE = 1.08
"""Memory that a driver reports, as a share of the datasheet's: error correction and firmware keep some."""


def match(name: str, memory_bytes: int | None, devices: Iterable[Device]) -> Device | None:
    """The device of that name and memory; None where none or more than one fits, since a guess looks like a fact."""
    wanted = words(name)
    if not wanted:
        return None
    fitting = [device for device in devices if _memory_fits(device, memory_bytes)]
    for forms in (wanted, wanted | {"sxm"}):
        # H100 and H200 name only the other form factors: without one, the module is meant.
        named = [device for device in fitting if forms in _names(device)]
        if len(named) == 1:
            return named[0]
        if named:
            return _closest(named, memory_bytes)
    return None


def words(name: str) -> frozenset[str]:
    """The words of a product's name that tell it from others."""
    plain = re.sub(r"\((tm|r|c)\)", " ", name.lower())
    kept = set()
    for word in re.split(r"[^a-z0-9.]+", plain):
        form = _FORM.fullmatch(word)
        if form is not None:
            kept.add(form[1])
        elif word and word not in NOISE and not _SIZE.fullmatch(word) and word != "gb":
            kept.add(word)
    # `80 GB` leaves its number behind when the unit stands apart.
    apart = {match[1] for match in re.finditer(r"\b(\d+) (?:gb|gib)\b", plain)}
    return frozenset(kept - apart)


def _names(device: Device) -> set[frozenset[str]]:
    return {words(device.name), words(device.id), *(words(alias) for alias in device.aliases)}


def _memory_fits(device: Device, memory_bytes: int | None) -> bool:
    # Where memory is shared with the host, its size is a matter of what was bought, not of the product.
    if memory_bytes is None or device.memory_bytes is None or device.unified_memory:
        return True
    return _LEAST_SHARE <= memory_bytes / device.memory_bytes.value <= _MOST_SHARE


def _closest(devices: list[Device], memory_bytes: int | None) -> Device | None:
    """Of several of one name, the one whose memory is nearest; None where that does not decide."""
    if memory_bytes is None:
        return None
    known = [(abs(device.memory_bytes.value - memory_bytes), device) for device in devices if device.memory_bytes]
    known.sort(key=lambda pair: pair[0])
    if not known or (len(known) > 1 and known[0][0] == known[1][0]):
        return None
    return known[0][1]
