"""Text that came from a file, made harmless: names are attacker text and never reach a terminal raw."""

from __future__ import annotations

import unicodedata
from typing import Any

_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Control, format (bidirectional overrides), surrogate, private and unassigned characters as `\\uXXXX`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell(value: Any) -> str:
    """A CSV cell: harmless to a terminal, and to a spreadsheet that would take `=` at the start for a formula."""
    text = "" if value is None else printable(str(value))
    risky = text[:1] in ("=", "+", "@") or (text[:1] == "-" and not _is_number(text))
    return f"'{text}" if risky else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
