"""SHA-256 of a model's files, to compare with what the publisher states."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from weigh import files
from weigh.types import Inventory

CHUNK = 4 * 2**20

Tell = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) now and then."""


def digests(inventory: Inventory, tell: Tell | None = None) -> dict[str, str]:
    """Hexadecimal SHA-256 of each file by its name; empty for a catalogue entry. Reads every byte once.

    Errors: those of `files.opened`.
    """
    found = {}
    done, total = 0, sum(size for _, size in inventory.files)
    for name, _ in inventory.files:
        with files.opened(Path(inventory.folder), name) as file:
            digest = sha256()
            for offset in range(0, file.size, CHUNK):
                chunk = files.read_at(file, offset, min(CHUNK, file.size - offset))
                digest.update(chunk)
                done += len(chunk)
                if tell is not None:
                    tell(done, total)
            found[name] = digest.hexdigest()
    return found
