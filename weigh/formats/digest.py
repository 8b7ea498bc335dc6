"""SHA-256 of a model's files, to compare with what the publisher states."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from weigh import files
from weigh.types import Inventory

CHUNK = 4 * 2**20


def digests(inventory: Inventory) -> dict[str, str]:
    """Hexadecimal SHA-256 of each file by its name; empty for a catalogue entry. Reads every byte once.

    Errors: those of `files.opened`.
    """
    found = {}
    for name, _ in inventory.files:
        with files.opened(Path(inventory.folder), name) as file:
            digest = sha256()
            for offset in range(0, file.size, CHUNK):
                digest.update(files.read_at(file, offset, min(CHUNK, file.size - offset)))
            found[name] = digest.hexdigest()
    return found
