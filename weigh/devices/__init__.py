"""The registry of devices: what a model can run on, each a TOML file beside this one, with sources and dates.

A new device is one new file here (see docs/add-a-device.md) and no line of code. Folders named in the environment
variable WEIGH_DEVICES (separated like PATH) hold a user's own; there an id of ours replaces ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

from weigh.devices.sheet import read_sheet
from weigh.devices.sizes import looks_like_size, parse_size
from weigh.types import Cluster, Device, Quoted, WeighError

__all__ = ["FOLDERS_VARIABLE", "devices", "find", "parse_size", "sheets"]

FOLDERS_VARIABLE = "WEIGH_DEVICES"
"""Environment variable with the folders of the user's own sheets."""

_HERE = Path(__file__).parent
_SEVERAL = re.compile(r"(?P<name>.*\S)[xX](?P<count>\d{1,7})", re.ASCII)


def devices() -> tuple[Device, ...]:
    """Every device known, sorted by id. Raises WeighError where a file is not a sheet."""
    return _all(_folders())


def find(name: str) -> Cluster:
    """What `name` means: an id or alias, with `xN` for N of them, `this` for this machine, or a size such as `8GB`.

    A size is a device of kind `size` of which nothing but the memory is known.
    Raises WeighError: DEVICE-UNKNOWN (exit code 4) with the nearest names, SIZE (2), DEVICE-FILE (3).
    """
    written = name.strip()
    device = _one(written)
    if device is not None:
        return Cluster(device)
    # The name as a whole goes first, since `rtx4090` ends like four thousand and ninety of `rt`.
    several = _SEVERAL.fullmatch(written)
    if several is not None:
        device = _one(several["name"])
        if device is not None:
            if int(several["count"]) < 1:
                raise WeighError(f"`{name}`: none of them", rule="DEVICE-COUNT", hint="write x1 or more", exit_code=2)
            return Cluster(device, int(several["count"]))
    raise _unknown(name, (written if several is None else several["name"]).lower())


def sheets(folders: tuple[Path, ...] | None = None) -> dict[str, Path]:
    """File of each device by id; the first folder that has an id gives it."""
    files: dict[str, Path] = {}
    for folder in (*(_folders() if folders is None else folders), _HERE):
        for path in sorted(folder.glob("*.toml")):
            files.setdefault(path.stem, path)
    return files


def _one(written: str) -> Device | None:
    """The one device of that name, or None. Capitals matter in a size only."""
    if looks_like_size(written):
        return _of_size(written)
    wanted = written.lower()
    if wanted == "this":
        from weigh.devices.detect import host  # reads the machine: only when it is asked for

        return host().device
    return _registered(_folders(), wanted)


@cache
def _registered(folders: tuple[Path, ...], wanted: str) -> Device | None:
    """The device with this id or alias.

    Parsing every sheet takes longer than anything else that a short command does, so the file named after the id
    goes first, and for an alias only the sheets whose text holds the quoted word are parsed.
    """
    files = sheets(folders)
    if wanted in files:
        return _read(files[wanted])
    quoted = (f'"{wanted}"', f"'{wanted}'")
    holders: list[Device] = []
    for path in files.values():
        text = _text(path)
        if any(word in text for word in quoted):
            device = _read(path)
            if wanted in device.aliases:
                holders.append(device)
    # A user's own alias comes before ours: files are in the order of the folders.
    nearest = [device for device in holders if files[device.id].parent == files[holders[0].id].parent]
    if len(nearest) > 1:
        ids = ", ".join(device.id for device in nearest)
        raise WeighError(
            f"`{wanted}` is an alias of several devices: {ids}",
            rule="DEVICE-AMBIGUOUS",
            path=files[nearest[1].id],
            hint="name the id, and take the alias out of one of the files",
        )
    return nearest[0] if nearest else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # A sheet that cannot be read must not stop the search for another; `devices()` names it.
        return ""


@cache
def _read(path: Path) -> Device:
    return read_sheet(path)


@cache
def _all(folders: tuple[Path, ...]) -> tuple[Device, ...]:
    files: Mapping[str, Path] = sheets(folders)
    return tuple(_read(files[id_]) for id_ in sorted(files))


def _folders() -> tuple[Path, ...]:
    """The user's own folders. Read at each call, since a program may set the variable after the import."""
    folders = tuple(Path(entry) for entry in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if entry)
    for folder in folders:
        if not folder.is_dir():
            raise WeighError(
                f"{FOLDERS_VARIABLE} names `{folder}`, which is no folder",
                rule="DEVICE-FOLDER",
                path=folder,
                hint=f"create it, or take it out of {FOLDERS_VARIABLE}",
                exit_code=2,
            )
    return folders


def _of_size(written: str) -> Device:
    memory = Quoted(value=parse_size(written), says=written, source="as asked for", read=date.today().isoformat())
    return Device(id=written, name=f"{written} of memory", vendor="", kind="size", memory_bytes=memory)


def _unknown(name: str, wanted: str) -> WeighError:
    import difflib  # takes longer to import than a lookup, and only a mistake needs it

    names = [word for device in devices() for word in (device.id, *device.aliases)]
    near = difflib.get_close_matches(wanted, ["this", *names], n=3, cutoff=0.6)
    if re.match(r"\d", wanted) and not near:
        hint = "a size is a number and a unit, such as 8GB or 8GiB"
    elif near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = "`weigh devices` lists them; a size such as 8GB and `this` also do"
    return WeighError(f"no device is called `{name}`", rule="DEVICE-UNKNOWN", hint=hint, exit_code=4)
