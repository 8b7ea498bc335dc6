"""A user's own prices, from the file of `--prices`: they go before ours, name by name.

read = 2026-11-24
[devices]
h100 = 2.10                     # USD an hour for one: an id or an alias
[storage.our-nas]
usd_per_gb_month = 0.004
usd_per_gb_out = 0
[power]
usd_per_kwh = 0.12
pue = 1.3
g_per_kwh = 380
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from weigh.devices import find
from weigh.prices import StoragePrice
from weigh.prices.table import day, fault, known_keys, number, parsed
from weigh.types import Device, Quoted

RULE = "PRICES-FILE"
_POWER = ("usd_per_kwh", "pue", "g_per_kwh")


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """What the file says; everything that it leaves out is as without it."""

    devices: Mapping[str, Quoted] = field(default_factory=dict)
    """USD an hour of one device, by its id."""
    storage: tuple[StoragePrice, ...] = ()
    power: Mapping[str, Quoted] = field(default_factory=dict)
    """usd_per_kwh, pue, g_per_kwh."""

    def of(self, device: Device) -> Device:
        """The device with the rent that the file names."""
        own = self.devices.get(device.id)
        return device if own is None else replace(device, rental_usd_per_hour=own)

    def clouds(self, ours: tuple[StoragePrice, ...]) -> tuple[StoragePrice, ...]:
        """The file's storage first, then ours of other names."""
        named = {price.id for price in self.storage}
        return (*self.storage, *(price for price in ours if price.id not in named))


def own_prices(path: Path) -> OwnPrices:
    """Read the file. Errors: WeighError PRICES-FILE (exit code 3) with the key; DEVICE-UNKNOWN (4) for a device."""
    content = parsed(path, rule=RULE)
    known_keys(path, "", content, ("read", "devices", "storage", "power"), rule=RULE)
    read = day(path, "read", content.get("read"), rule=RULE)

    def quoted(where: str, value: Any) -> Quoted:
        stated = number(path, where, value, rule=RULE)
        return Quoted(stated, f"{where} = {value}", str(path), read)

    devices = {}
    for name, value in _table(path, "devices", content).items():
        cluster = find(name)
        if cluster.count != 1:
            raise fault(path, f"devices.{name}", "must name one device: the price is that of one", RULE)
        devices[cluster.device.id] = quoted(f"devices.{name}", value)
    storage = []
    for name, entry in _table(path, "storage", content).items():
        where = f"storage.{name}"
        if not isinstance(entry, dict):
            raise fault(path, where, "must be a table", RULE)
        known_keys(path, where, entry, ("usd_per_gb_month", "usd_per_gb_out"), rule=RULE)
        kept, out = (
            quoted(f"{where}.{key}", entry[key]) if key in entry else None
            for key in ("usd_per_gb_month", "usd_per_gb_out")
        )
        storage.append(StoragePrice(name, name, kept, out))
    power = _table(path, "power", content)
    known_keys(path, "power", power, _POWER, rule=RULE)
    stated = {key: quoted(f"power.{key}", value) for key, value in power.items()}
    if "pue" in stated and stated["pue"].value < 1:
        raise fault(path, "power.pue", "must be at least 1: a building takes what its machines take, and more", RULE)
    return OwnPrices(devices, tuple(storage), stated)


def _table(path: Path, key: str, content: Mapping[str, Any]) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise fault(path, key, "must be a table", RULE)
    return value
