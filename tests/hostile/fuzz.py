"""Coverage-guided fuzzing of one reader, from its seed: an inventory or a WeighError, under 256 MB and 2 seconds.

    python -m tests.hostile.fuzz                      the seeds that there are
    python -m tests.hostile.fuzz a.gguf CORPUS ...    fuzz one; what follows is libFuzzer's (-max_total_time=60)

`make fuzz` runs them one after another (FUZZ_SECONDS each). Needs `atheris`. What it finds is written to
`crash-*` beside the corpus; add the bytes as a row of `cases.py` with the mending.
"""

from __future__ import annotations

import sys
import tempfile
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weigh.types import Inventory

SECONDS = 2
MEGABYTES = 256
"""Beyond what the packages take that read values."""
TENSORS = 8
VALUES = 2**14


class EscapedError(Exception):
    """A reader ended in something that is neither an inventory nor a WeighError of its own."""


def fuzz(name: str, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    # The seeds import weigh, and only what is imported here for the first time is instrumented.
    with atheris.instrument_imports(include=["weigh"]):
        from tests.hostile import seeds, trees
        from weigh import formats
        from weigh.types import WeighError

    if name not in (*seeds.SEEDS, *trees.TREES):
        sys.exit(f"no seed {name!r}: one of {', '.join((*seeds.SEEDS, *trees.TREES))}")
    made = trees.TREES.get(name)
    seed = seeds.SEEDS[name] if made is None else seeds.Seed(made(b""))

    # Every run starts a new process, so the folder must not outlive it; memory disks keep the disk out of the timing.
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    path = Path(folder.name) / name
    opened = seeds.write(Path(folder.name), name, seed)

    def values_of(inventory: Inventory) -> None:
        """The values of a few small tensors too: what was accepted must be possible to decode, or refused."""
        for tensor in inventory.tensors[:TENSORS]:
            if prod(tensor.shape) <= VALUES:
                try:
                    formats.values(inventory, tensor)
                except WeighError as error:
                    if error.rule == "READ-UNEXPECTED":
                        raise EscapedError(f"{error.rule}: {error.message}") from error

    # What is imported when it is first needed counts neither as time nor as memory.
    values_of(formats.read(opened))

    def look(content: bytes) -> None:
        path.write_bytes(content if made is None else made(content))
        try:
            inventory = formats.read(opened)
        except WeighError as error:
            if error.rule in ("READ-UNEXPECTED", "READ-MEMORY") or error.exit_code not in (3, 5):
                raise EscapedError(f"{error.rule}: {error.message}") from error
            return
        values_of(inventory)

    corpus = [Path(word) for word in options if not word.startswith("-")]
    for place in corpus[:1]:
        place.mkdir(parents=True, exist_ok=True)
        (place / "seed").write_bytes(seed.content if made is None else bytes(range(64)))
    limits = [f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *limits, *options], look)
    atheris.Fuzz()


def main(words: list[str]) -> None:
    """List the seeds, or fuzz the one that is named."""
    if words:
        fuzz(words[0], words[1:])
        return
    from tests.hostile import seeds, trees

    print("\n".join((*seeds.SEEDS, *trees.TREES)))


if __name__ == "__main__":
    main(sys.argv[1:])
