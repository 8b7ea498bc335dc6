"""Parses JSON of a stranger: size, nesting and digits are bounded before the parser sees it.

Nothing here is about models; what an object must hold is checked where it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weigh import files
from weigh.types import Limits, WeighError

DIGITS = 308
"""Digits of the largest double: no size, count or setting of a model needs more."""
CONFIGURATION_BYTES = 16 * 2**20
CONFIGURATION_VALUES = 1_000_000

Pairs = list[tuple[str, Any]]

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"\\[]{}'))
_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


def configuration(file: files.OpenFile, limits: Limits) -> dict[str, Any]:
    """A JSON object of settings, as `config.json` is one."""
    if file.size > CONFIGURATION_BYTES:
        raise WeighError(
            f"{file.size:,} bytes of settings are more than the {CONFIGURATION_BYTES:,} that weigh reads",
            rule="JSON-SIZE",
            path=file.path,
            hint="a configuration takes kilobytes: is this another kind of file?",
            exit_code=5,
        )
    return parse(files.read_at(file, 0, file.size), file.path, limits, CONFIGURATION_VALUES)


def parse(
    data: bytes,
    path: Path,
    limits: Limits,
    values: int,
    made: Callable[[Pairs], Any] | None = None,
    start: int = 0,
) -> dict[str, Any]:
    """Parse a JSON object of at most `values` values, nested at most `limits.json_nesting` deep.

    Size, depth and digits are checked before anything is parsed. NaN and Infinity are accepted, because configurations
    written by Python hold them (Mamba's `time_step_limit`). `made` turns the pairs of each object into what stands for
    it, as soon as they are complete; without it that is a dictionary (`unique`). `start` is where the text lies in its
    file.

    Errors: JSON-DEPTH, JSON-DIGITS, JSON-VALUES (exit 5), JSON-TEXT, JSON-SYNTAX, JSON-DUPLICATE, JSON-OBJECT.
    """
    found = data.count(b",") + data.count(b"[") + data.count(b"{")
    if found > values:
        raise WeighError(
            f"about {found:,} values are more than the {values:,} that weigh reads",
            rule="JSON-VALUES",
            path=path,
            hint=files.lift("tensors"),
            exit_code=5,
        )
    if _deeper_than(data, limits.json_nesting):
        raise WeighError(
            f"brackets are nested deeper than {limits.json_nesting}", rule="JSON-DEPTH", path=path, offset=start
        )
    if b"0" * (DIGITS + 1) in data.translate(_TO_ZERO):
        _refuse_long_numbers(data, path)
    if b"\\u" in data:
        _refuse_half_characters(data, path)

    try:
        parsed = json.loads(data.decode(), object_pairs_hook=made or unique)
    except KeyTwiceError as cause:
        raise WeighError(f"the key {cause.args[0]!r} appears twice", rule="JSON-DUPLICATE", path=path) from cause
    except json.JSONDecodeError as cause:
        message = f"not JSON: {cause.msg}"
        at = start + len(cause.doc[: cause.pos].encode())
        raise WeighError(message, rule="JSON-SYNTAX", path=path, offset=at) from cause
    except UnicodeDecodeError as cause:
        raise WeighError("not UTF-8 text", rule="JSON-TEXT", path=path, offset=start + cause.start) from cause
    if not isinstance(parsed, dict):
        raise WeighError(f"a JSON object is expected, not a {_kind(parsed)}", rule="JSON-OBJECT", path=path)
    return parsed


def _deeper_than(data: bytes, limit: int) -> bool:
    """Whether brackets outside strings are nested deeper than `limit`.

    All work is done by byte-string methods, so that a header of 200,000 tensors takes a tenth of a second. With
    everything but quotes and brackets gone, each pass takes the innermost pairs away: what is left after `limit`
    passes is too deep. Where no pair is left but brackets are, they do not match, which the parser will tell.
    """
    bones = data.translate(None, _NOT_STRUCTURE)
    if b"\\" not in bones:
        bones = bones.replace(b'""', b"")
    if b'"' in bones:
        bones = _STRINGS.sub(b"", data).translate(None, _NOT_STRUCTURE)
    bones = bones.translate(_BRACKETS)
    for depth in range(limit):
        fewer = bones.replace(b"[]", b"")
        if len(fewer) == len(bones):
            return bones.count(b"[") > limit - depth
        bones = fewer
    return bool(bones)


class KeyTwiceError(ValueError):
    """A JSON object names one key twice: readers differ in which of the two they believe."""


def unique(pairs: Pairs) -> dict[str, Any]:
    """The pairs as a dictionary, if no key comes twice."""
    whole = dict(pairs)
    if len(whole) != len(pairs):
        for key, _ in pairs:
            if key not in whole:
                raise KeyTwiceError(key[:200])
            del whole[key]
    return whole


def _refuse_half_characters(data: bytes, path: Path) -> None:
    """Half of a surrogate pair is no character: such a string could not be written out again."""
    half = next((match for match in _ESCAPES.finditer(data) if match[1]), None)
    if half is not None:
        raise WeighError("an escape stands for half a character", rule="JSON-TEXT", path=path, offset=half.start())


def _refuse_long_numbers(data: bytes, path: Path) -> None:
    outside = _STRINGS.sub(b'""', data)
    at = outside.translate(_TO_ZERO).find(b"0" * (DIGITS + 1))
    if at >= 0:
        raise WeighError(f"a number has more than {DIGITS} digits", rule="JSON-DIGITS", path=path)


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "truth value", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
