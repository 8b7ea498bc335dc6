"""Puts the files of a launcher into a folder: all of them whole, the plan last (`weigh/writing.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from weigh.launchers import PLAN
from weigh.types import WeighError
from weigh.writing import Output, Part, Written, replacing_all


def put(files: Mapping[str, str], folder: Path) -> tuple[Path, ...]:
    """Write `emit`'s files; those of an earlier plan are replaced, others in the folder stay. Gives their paths.

    While they are written the plan says `unfinished`, and the script of torchrun refuses it; afterwards it also tells
    the SHA-256 of each other file. Errors: LAUNCH-FOLDER (exit code 2), those of `writing.replacing_all`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as cause:
        raise WeighError(
            "this is no folder", rule="LAUNCH-FOLDER", path=folder, hint="name a folder, or a new one", exit_code=2
        ) from cause
    except (OSError, ValueError) as cause:
        raise WeighError(f"no folder can be made here: {cause}", rule="LAUNCH-FOLDER", path=folder) from cause
    plan = json.loads(files[PLAN])

    def finished(written: Sequence[Written]) -> str:
        return json.dumps({**plan, "files": {one.name: one.sha256 for one in written}}, indent=2) + "\n"

    parts = [_part(folder / name, text) for name, text in files.items() if name != PLAN]
    replacing_all(parts, folder / PLAN, '{"unfinished": true}\n', finished)
    return (*(part.path for part in parts), folder / PLAN)


def _part(path: Path, text: str) -> Part:
    data = text.encode()

    def fill(output: Output) -> None:
        output.write(data)

    return Part(path, len(data), fill)
