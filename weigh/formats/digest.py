"""SHA-256 of a model's files, to compare with what the publisher states."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from weigh import files, volumes
from weigh.types import Inventory, WeighError

CHUNK = 4 * 2**20
FETCHED_BYTES = 16 * 2**20
"""A file elsewhere up to this size is fetched to be hashed; of a larger one the publisher's statement is told."""

Tell = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) now and then."""


def digests(inventory: Inventory, tell: Tell | None = None) -> dict[str, str]:
    """Hexadecimal SHA-256 of each file by its name; empty for a catalogue entry. Reads every byte once.

    Of a file on a hub it is what the hub states (`stated`). Errors: HASH-REMOTE, those of `files.opened`.
    """
    said = _statements(inventory)
    found = {}
    done, total = 0, sum(size for name, size in inventory.files if name not in said)
    for name, size in inventory.files:
        if name in said:
            found[name] = said[name]
            continue
        if size > FETCHED_BYTES and volumes.at(Path(inventory.folder)) is not None:
            message = f"{name} would have to be fetched whole, {size:,} bytes, to be hashed"
            raise WeighError(message, rule="HASH-REMOTE", path=inventory.folder, hint="download it first")
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


def stated(inventory: Inventory) -> list[str]:
    """What to tell where digests are not computed here."""
    count = len(_statements(inventory))
    return [f"stated by the hub and not computed here: the SHA-256 of {count} files"] if count else []


def _statements(inventory: Inventory) -> dict[str, str]:
    said = {name: volumes.stated_sha256(Path(inventory.folder), name) for name, _ in inventory.files}
    return {name: digest for name, digest in said.items() if digest is not None}
