"""What others ask, emit and deliver: prices of cloud storage, carbon of grids, rates of disks, starts of engines.

All of it is data with a source and the day on which it was read: `storage.toml`, `grids.toml`, `disks.toml` and
`starts.toml` beside this file. A new price is one table there and no code (docs/add-a-price.md). The rent of a device
stands with the device. What a user pays instead is in a file of theirs: `own.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from weigh.prices.table import Range, quoted_of, range_of, tables, words_of
from weigh.types import Quoted, WeighError

__all__ = ["Grid", "Range", "StoragePrice", "Store", "grid", "grids", "start", "starts", "storage", "stores"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class StoragePrice:
    """What a cloud asks for keeping bytes, and for letting them out. A GB is 10^9 bytes. None = not known."""

    id: str
    name: str
    usd_per_gb_month: Quoted | None
    usd_per_gb_out: Quoted | None


@dataclass(frozen=True, slots=True)
class Grid:
    """An electricity grid."""

    id: str
    g_per_kwh: Quoted
    """Grams of CO2 equivalent a kilowatt-hour."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where weights are read from."""

    id: str
    name: str
    bytes_per_s: Range


@cache
def storage() -> tuple[StoragePrice, ...]:
    """Clouds in the order of the file."""
    path = _HERE / "storage.toml"
    entries, sources = tables(path, ("name", "usd_per_gb_month", "usd_per_gb_out"))
    return tuple(
        StoragePrice(
            name,
            words_of(path, name, entry, "name"),
            quoted_of(path, name, entry, "usd_per_gb_month", sources),
            quoted_of(path, name, entry, "usd_per_gb_out", sources),
        )
        for name, entry in entries.items()
    )


@cache
def grids() -> tuple[Grid, ...]:
    """Grids in the order of the file."""
    path = _HERE / "grids.toml"
    entries, sources = tables(path, ("g_per_kwh",))
    found = ((name, quoted_of(path, name, entry, "g_per_kwh", sources)) for name, entry in entries.items())
    return tuple(Grid(name, stated) for name, stated in found if stated is not None)


@cache
def stores() -> tuple[Store, ...]:
    """Kinds of disk and network, fastest first as in the file."""
    path = _HERE / "disks.toml"
    entries, _ = tables(path, ("name", "bytes_per_s"))
    return tuple(
        Store(name, words_of(path, name, entry, "name"), range_of(path, name, entry, "bytes_per_s"))
        for name, entry in entries.items()
    )


@cache
def starts() -> dict[str, Range]:
    """Seconds of the start of an engine beside reading weights, by the engine's id."""
    path = _HERE / "starts.toml"
    entries, _ = tables(path, ("seconds",))
    return {name: range_of(path, name, entry, "seconds") for name, entry in entries.items()}


def start(engine_id: str) -> Range | None:
    """Of one engine; None where nothing is known of it."""
    return starts().get(engine_id)


def grid(name: str) -> Grid:
    """The grid of that name. Error: WeighError GRID-UNKNOWN (exit code 2) with the nearest."""
    wanted = name.strip().lower().replace(" ", "-")
    found = next((entry for entry in grids() if entry.id == wanted), None)
    if found is not None:
        return found
    known = [entry.id for entry in grids()]
    near = get_close_matches(wanted, known, n=2, cutoff=0.6)
    raise WeighError(
        f"no grid is called `{name}`",
        rule="GRID-UNKNOWN",
        hint=f"did you mean {' or '.join(near)}?" if near else f"a number of g/kWh, or {', '.join(known)}",
        exit_code=2,
    )
