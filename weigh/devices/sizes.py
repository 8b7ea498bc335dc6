"""Sizes as people write them (`8GB`, `1.5GiB`, `512MB`) into exact bytes. A new unit is one entry in UNITS."""

import re
from fractions import Fraction

from weigh.types import WeighError

UNITS: dict[str, int] = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "pb": 10**15,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "pib": 2**50,
}
"""Bytes a unit, written in lower case: kB, MB, GB are powers of ten, KiB, MiB, GiB of two."""

_SIZE = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,18})?)\s?(?P<unit>[A-Za-z]{1,3})", re.ASCII)
_BITS = re.compile(r"[kKMGTP]i?b")
_HINT = "write a number and a unit, such as 8GB (powers of ten) or 8GiB (powers of two)"


def parse_size(text: str) -> int:
    """Bytes that `text` states, a fraction of a byte cut off so that a limit is never widened.

    Raises WeighError (rule SIZE, exit code 2) where there is no number, no unit, an unknown unit or nothing at all.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise _unreadable(f"`{text}` is not a size", _HINT)
    unit = match["unit"]
    if unit.lower() not in UNITS:
        raise _unreadable(f"`{text}` has the unknown unit `{unit}`", _HINT)
    if _BITS.fullmatch(unit) and unit not in ("kb", "kib"):
        # A lone small b after a capital means bits to many; an eightfold mistake is worth a question.
        raise _unreadable(f"`{text}` could be bits", f"write {match['number']}{unit[:-1]}B for bytes")
    size = int(Fraction(match["number"]) * UNITS[unit.lower()])
    if size == 0:
        raise _unreadable(f"`{text}` is less than a byte", _HINT)
    return size


def looks_like_size(text: str) -> bool:
    """Is `text` a number with a unit that we know? Then it means a size and not the name of a device."""
    match = _SIZE.fullmatch(text.strip())
    return match is not None and match["unit"].lower() in UNITS


def _unreadable(message: str, hint: str) -> WeighError:
    return WeighError(message, rule="SIZE", hint=hint, exit_code=2)
