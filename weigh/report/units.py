"""Numbers as people read them, to three significant digits. kB, MB, GB: powers of ten; KiB, MiB, GiB: of two."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10

from weigh.types import Basis, Figure

MARKS: dict[Basis, str] = {"counted": "=", "measured": "m", "derived": "~", "assumed": "?"}
"""The mark behind a number: counted exactly, measured, derived by a formula, assumed."""

LEGEND = "= counted   m measured   ~ derived (90 % interval)   ? assumed"
LEGEND_ZH = "= 计数   m 实测   ~ 推导（90 % 区间）   ? 假设"


def size(count: float) -> str:
    """Bytes in powers of ten: 98.4 MB."""
    return scaled(count, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def binary_size(count: float) -> str:
    """Bytes in powers of two: 92.1 MiB."""
    value = float(count)
    units = ("B", "KiB", "MiB", "GiB")
    index = 0
    while abs(value) >= 1024 and index < len(units) - 1:
        value /= 1024
        index += 1
    return f"{f'{value:.0f}' if value == int(value) else three(value)} {units[index]}"


def quantity(count: float) -> str:
    """A count: 135 M, 8.03 B."""
    return scaled(count, ("", " K", " M", " B", " T", " Q"), space="")


def operations(count: float) -> str:
    """FLOPs: 269 MFLOP, 3.20 TFLOP."""
    return scaled(count, tuple(f"{prefix}FLOP" for prefix in ("", "k", "M", "G", "T", "P", "E", "Z", "Y")))


def energy(joules: float) -> str:
    """Energy: 54.2 mJ, 2.32 J, 3.38 kJ."""
    return scaled(joules * 1e3, ("mJ", "J", "kJ", "MJ", "GJ"))


def mass(grams: float) -> str:
    """Mass: 82.0 mg, 1.20 g, 3.40 kg, 2.10 t."""
    return scaled(grams * 1e3, ("mg", "g", "kg", "t"))


def duration(seconds: float) -> str:
    """Time: 1.20 ms, 3.40 s, 2.10 h."""
    if seconds < 1e-3:
        return f"{three(seconds * 1e6)} us"
    if seconds < 1:
        return f"{three(seconds * 1e3)} ms"
    if seconds < 120:
        return f"{three(seconds)} s"
    if seconds < 7200:
        return f"{three(seconds / 60)} min"
    if seconds < 172_800:
        return f"{three(seconds / 3600)} h"
    return f"{three(seconds / 86400)} days"


def percent(part: float, whole: float) -> str:
    """Share of a whole: 21.0 %."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def scaled(value: float, units: tuple[str, ...], *, space: str = " ") -> str:
    """Three significant digits in the largest unit that leaves at least one before the point."""
    number = float(value)
    index = 0
    while abs(number) >= 999.5 and index < len(units) - 1:
        number /= 1000
        index += 1
    text = f"{number:.0f}" if index == 0 and number == int(number) else three(number)
    return f"{text}{space}{units[index]}".rstrip()


def three(number: float) -> str:
    """To three significant digits: 0.0139, 2.41, 36.0, 1,024."""
    magnitude = abs(number)
    if magnitude >= 99.95:
        return f"{number:,.0f}"
    if magnitude >= 9.995:
        return f"{number:.1f}"
    if magnitude >= 0.9995 or magnitude == 0:
        return f"{number:.2f}"
    # Below one, three digits need more places: a price of $0.0139 is not one of $0.01.
    return f"{number:.{2 - floor(log10(magnitude))}f}" if magnitude >= 1e-6 else f"{number:.2e}"


def shown(figure: Figure | None) -> str:
    """A Figure in its unit with its basis mark, and its interval where it has one: 1.20 GB [1.10, 1.31] ~.

    The ends name their unit where it is another: 906 us [644 us, 1.09 ms]; left out where they print as the value does.
    """
    if figure is None:
        return "-"
    mark = MARKS[figure.basis]
    if figure.low == figure.high:
        return f"{in_unit(figure.value, figure.unit)} {mark}"
    value, low, high = (in_unit(number, figure.unit) for number in (figure.value, figure.low, figure.high))
    if value == low == high:
        # An interval narrower than the digits shown would only look like a slip.
        return f"{value} {mark}"
    unit = value.partition(" ")[2]
    if unit and low.endswith(f" {unit}") and high.endswith(f" {unit}"):
        low, high = low.removesuffix(f" {unit}"), high.removesuffix(f" {unit}")
    return f"{value} [{low}, {high}] {mark}"


def brief(figure: Figure | None) -> str:
    """A Figure without its interval, for tables that show it elsewhere: 1.20 GB ~."""
    return "-" if figure is None else f"{in_unit(figure.value, figure.unit)} {MARKS[figure.basis]}"


def in_unit(value: float, unit: str) -> str:
    """A value in an SI unit as text."""
    formats: dict[str, Callable[[float], str]] = {
        "B": size,
        "s": duration,
        "FLOP": operations,
        "parameters": quantity,
        "tokens": lambda count: f"{count:,.0f}",
        "tokens/s": lambda rate: f"{three(rate)} tok/s",
        "USD": lambda price: f"${three(price)}",
        "USD/h": lambda price: f"${three(price)}/h",
        "J": energy,
        "g": mass,
        "bits": lambda bits: f"{bits:.2f} bits",
    }
    return formats[unit](value) if unit in formats else f"{three(value)} {unit}"
