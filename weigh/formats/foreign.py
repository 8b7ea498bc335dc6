"""Recognises files that weigh does not read, so that their owner is told what they are and what to do.

To recognise another: a line in `KNOWN`. Nothing here is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from weigh.types import WeighError

FIRST_BYTES = 64
"""What is looked at to tell what a file is."""

SAFER = "save the model as safetensors, which holds no code: save_file or save_pretrained(safe_serialization=True)"


class Foreign(NamedTuple):
    """A recognised kind of file."""

    what: str
    hint: str
    sniff: Callable[[bytes], bool]


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda first: first.startswith(marks)


KNOWN: tuple[Foreign, ...] = (
    Foreign("an empty ZIP archive", "", _begins(b"PK\x05\x06")),
    Foreign(
        "a GGML file of the time before GGUF",
        "convert the original model with a current llama.cpp",
        _begins(b"lmgg", b"fmgg", b"tjgg", b"algg"),
    ),
    Foreign("a gzip archive", "unpack it first", _begins(b"\x1f\x8b")),
    Foreign("a Zstandard archive", "unpack it first", _begins(b"\x28\xb5\x2f\xfd")),
    Foreign("an xz archive", "unpack it first", _begins(b"\xfd7zXZ\0")),
    Foreign(
        "a web page: the download brought a page instead of the file",
        "get the file itself; it may need a login",
        lambda first: first.lstrip().lower().startswith((b"<!doctype", b"<html")),
    ),
    Foreign("a program", "", _begins(b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe")),
    Foreign("a picture", "", _begins(b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    Foreign("a PDF", "", _begins(b"%PDF")),
)


def refuse(first: bytes, path: Path) -> None:
    """Say what this file is, if it is a kind that weigh does not read. Error: FORMAT-UNREAD."""
    known = recognise(first)
    if known is not None:
        message = f"this is {known.what}: recognised, but not read by weigh yet"
        raise WeighError(message, rule="FORMAT-UNREAD", path=path, hint=known.hint)


def recognise(first: bytes) -> Foreign | None:
    """What a file is that begins with these bytes, None where nothing fits."""
    return next((kind for kind in KNOWN if kind.sniff(first)), None)
