"""Reads PyTorch checkpoints: ZIP archives (TorchScript too), the older plain form, shards with `*.bin.index.json`.

Nothing in a checkpoint is executed. Its pickle is interpreted by `pytorch_pickle` under the allow-list of
`pytorch_imports`; `pytorch_zip` and `pytorch_legacy` know the two containers, `pytorch_tensors` which of the tensors
are the model's. To support another way in which torch rebuilds a tensor: a line in `pytorch_imports`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weigh import files
from weigh.formats import foreign, pytorch_legacy, pytorch_zip, shards, sidecar
from weigh.formats.pytorch_pickle import Machine
from weigh.formats.pytorch_stream import Stream
from weigh.formats.pytorch_tensors import Place, arrange
from weigh.formats.pytorch_values import Asked, Budget, DType
from weigh.formats.shards import Contents, Parsed
from weigh.types import Format, Inventory, Limits, WeighError

INDEX_SUFFIX = ".bin.index.json"
NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.bin")
PICKLE = "data.pkl"
CONSTANTS = "constants.pkl"
ORDER = "byteorder"


@dataclass(frozen=True, slots=True)
class Archive:
    """A ZIP checkpoint: its entries, and the folder in it that holds everything."""

    entries: Mapping[str, pytorch_zip.Entry]
    root: str
    checked: bool
    """The writer stored checksums."""

    @property
    def script(self) -> bool:
        """Whether it is a TorchScript program, whose pickle names classes of its own code."""
        return f"{self.root}/{CONSTANTS}" in self.entries


@dataclass(frozen=True, slots=True)
class Imports:
    """Every import that the pickles of a file would make."""

    asked: tuple[tuple[str, Asked], ...]
    """Name of the pickle in the archive (empty where the file is the pickle), and the import."""
    stopped: WeighError | None
    """Why the interpretation ended before the end."""


def sniff(first: bytes) -> bool:
    """A ZIP archive, or a pickle of protocol 2 to 5; protocols 0 and 1 have no mark."""
    return first.startswith(pytorch_zip.LOCAL) or (first[:1] == b"\x80" and first[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def read(path: Path, limits: Limits) -> Inventory:
    """A file on its own, or all shards where it is one of several."""
    shard = NUMBERED.fullmatch(path.name)
    if shard is None or int(shard["count"]) < 2:
        return _inventory(path, (_contents(path.parent, path.name, limits),), limits)
    index = path.parent / (shard["stem"] + INDEX_SUFFIX)
    if files.exists(path.parent, index.name):
        return read_index(index, limits)
    names = shards.numbered(path.parent, shard["stem"], int(shard["count"]), ".bin", limits)
    parts = shards.read_all(path.parent, names, limits, _contents)
    return _inventory(path.parent / names[0], parts, limits, (f"no index {index.name} beside the shards",))


def read_index(path: Path, limits: Limits, parsed: Parsed | None = None) -> Inventory:
    """The shards that a `*.bin.index.json` names."""
    index = shards.read_index(path, limits, _contents, parsed)
    return _inventory(path, index.shards, limits, index.warnings, ((path.name, index.size),))


def _contents(folder: Path, name: str, limits: Limits) -> Contents:
    """One file. Errors: those of pytorch_zip, _pickle, _legacy and _tensors; PT-NONE, PT-MANY, PT-PACKED."""
    with files.opened(folder, name) as file:
        budget = Budget(file, limits)
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if first.startswith(pytorch_zip.LOCAL):
            root, places, length, big, idle = _from_zip(file, budget)
        else:
            _refuse_others(first, file, budget)
            root, places, length, big = _from_pickles(first, file, budget)
            idle = ()
        found = arrange(root, places, budget)
    metadata: dict[str, Any] = {}
    if big:
        metadata["byteorder"] = "big"
    if found.shared:
        metadata["shared"] = dict(found.shared)
    if found.apart:
        metadata["apart"] = {key: {"tensors": a.tensors, "bytes": a.bytes} for key, a in found.apart.items()}
    if found.quantized:
        metadata["quantized"] = dict.fromkeys(found.quantized, True)
    return Contents(name, file.size, length, found.tensors, metadata, found.shared_tensors, (*idle, *found.warnings))


def _from_pickles(first: bytes, file: files.OpenFile, budget: Budget) -> tuple[Any, dict[str, Place], int, bool]:
    """As `pytorch_legacy.read`. Where neither the first bytes nor what follows is a pickle, its suffix was wrong."""
    try:
        return pytorch_legacy.read(file, budget)
    except WeighError as cause:
        if sniff(first) or cause.exit_code != 3 or cause.rule == "PICKLE-UNSAFE":
            raise
        message = "nothing in the first bytes tells what this file is; it is no checkpoint of PyTorch"
        raise WeighError(message, rule="FORMAT-UNKNOWN", path=file.path) from cause


def _refuse_others(first: bytes, file: files.OpenFile, budget: Budget) -> None:
    """What is no pickle is told as what it is, if that can be seen. A pickle of protocol 0 is tried in any case."""
    if not sniff(first):
        pytorch_legacy.refuse_tar(file, budget)
        foreign.refuse(first, file.path)


# -------------------------------------------------------------------------------------------------- the archive


def _from_zip(file: files.OpenFile, budget: Budget) -> tuple[Any, dict[str, Place], int, bool, tuple[str, ...]]:
    """The objects, where each storage lies, bytes of the pickle, big-endian or not, and warnings."""
    archive = _archive(file, budget)
    types: dict[str, DType] = {}
    pickle = archive.entries[f"{archive.root}/{PICKLE}"]
    stream = _stream(file, archive, pickle, budget)
    root = Machine(stream, budget, storages=types, script=archive.script).run()
    if stream.left:
        raise budget.wrong(f"{stream.left:,} bytes follow the end of the pickle", "PICKLE-REST", stream.position)
    places: dict[str, Place] = {}
    for key in types:
        entry = archive.entries.get(f"{archive.root}/data/{key}")
        if entry is None:
            continue
        if entry.method != pytorch_zip.STORED:
            message = f"the storage {key[:100]!r} is compressed, which torch never does: its bytes cannot be pointed at"
            raise budget.wrong(message, "PT-PACKED", entry.offset)
        places[key] = Place(entry.offset, entry.size)
    order = archive.entries.get(f"{archive.root}/{ORDER}")
    big = order is not None and pytorch_zip.content(file, order, budget.limits, checked=False) == b"big"
    warnings: tuple[str, ...] = () if archive.checked else ("the archive was written without checksums",)
    data = f"{archive.root}/data/"
    idle = sum(name.startswith(data) for name in archive.entries) - len(places)
    if idle > 0:
        warnings += (f"storages of the archive that belong to no tensor: {idle:,}",)
    return root, places, pickle.size, big, warnings


def _archive(file: files.OpenFile, budget: Budget) -> Archive:
    entries = pytorch_zip.entries(file, budget.limits)
    roots = [
        name.removesuffix(f"/{PICKLE}") for name in entries if name.endswith(f"/{PICKLE}") and name.count("/") == 1
    ]
    if len(roots) > 1:
        raise budget.wrong(f"the archive holds {len(roots)} checkpoints, not one", "PT-MANY")
    if not roots:
        raise _no_checkpoint(entries, budget)
    return Archive(entries, roots[0], any(entry.crc for entry in entries.values() if entry.size))


def _no_checkpoint(entries: Mapping[str, pytorch_zip.Entry], budget: Budget) -> WeighError:
    what = ""
    if entries and all(name.endswith(".npy") for name in entries):
        what = "a set of NumPy arrays under another name than .npz"
    elif "config.json" in entries and "metadata.json" in entries:
        what = "a model of Keras under another name than .keras"
    if what:
        error = budget.wrong(f"this is {what}: recognised, but not read as PyTorch", "FORMAT-UNREAD")
        error.hint = foreign.SAFER
        return error
    error = budget.wrong("the archive holds no data.pkl: it is no PyTorch checkpoint", "PT-NONE")
    if any(name.endswith("model.json") for name in entries):
        error.hint = "TorchScript of before torch 1.4 is not read: load it with torch.jit.load and save it anew"
    return error


def _stream(file: files.OpenFile, archive: Archive, entry: pytorch_zip.Entry, budget: Budget) -> Stream:
    data = pytorch_zip.content(file, entry, budget.limits, checked=archive.checked)
    return Stream(file, entry.offset, entry.offset + len(data), data)


# ------------------------------------------------------------------------------------------------------ imports


def imports(path: Path, limits: Limits) -> Imports:
    """What loading the file with Python's unpickler would import, allowed or not. Nothing is imported here.

    Where a pickle is broken, the imports before the break; a storage's bytes are not looked at.
    """
    asked: list[tuple[str, Asked]] = []
    stopped: WeighError | None = None
    with files.opened(path.parent, path.name) as file:
        budget = Budget(file, limits)
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if not first.startswith(pytorch_zip.LOCAL):
            _refuse_others(first, file, budget)
            stream = Stream(file, 0, file.size)
            found, stopped = _listed(stream, budget, pytorch_legacy.STREAMS, script=False)
            return Imports(tuple(("", one) for one in found), stopped)
        entries = pytorch_zip.entries(file, limits)
        script = any(name.endswith(f"/{CONSTANTS}") for name in entries)
        checked = any(entry.crc for entry in entries.values() if entry.size)
        for name, entry in entries.items():
            if not name.endswith((".pkl", ".pickle")):
                continue
            data = pytorch_zip.content(file, entry, limits, checked=checked)
            stream = Stream(file, entry.offset, entry.offset + len(data), data)
            found, trouble = _listed(stream, budget, len(data), script=script)
            asked += [(name, one) for one in found]
            stopped = stopped or trouble
    return Imports(tuple(asked), stopped)


def _listed(stream: Stream, budget: Budget, streams: int, *, script: bool) -> tuple[list[Asked], WeighError | None]:
    """The imports of pickles that lie one behind the other."""
    found: list[Asked] = []
    try:
        for _ in range(streams):
            if not stream.left:
                break
            last = Machine(stream, budget, script=script, asked=found).run()
            if streams == pytorch_legacy.STREAMS and stream.position < 64 and last != pytorch_legacy.MAGIC:
                streams = budget.limits.opcodes
    except WeighError as error:
        return found, error
    return found, None


def _inventory(
    path: Path,
    parts: tuple[Contents, ...],
    limits: Limits,
    warnings: tuple[str, ...] = (),
    extra: tuple[tuple[str, int], ...] = (),
) -> Inventory:
    beside = sidecar.configuration(path.parent, limits)
    metadata: dict[str, Any] = {}
    for part in parts:
        for key, value in part.metadata.items():
            if isinstance(value, dict):
                metadata[key] = {**metadata.get(key, {}), **value}
            else:
                metadata.setdefault(key, value)
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="hf",
        tensors=tuple(tensor for part in parts for tensor in part.tensors),
        configuration=beside.configuration,
        metadata=metadata,
        files=(*((part.name, part.size) for part in parts), *extra, *beside.files),
        folder=str(path.parent),
        warnings=(*warnings, *dict.fromkeys(word for part in parts for word in part.warnings), *beside.warnings),
        shared=tuple(tensor for part in parts for tensor in part.shared.values()),
    )


FORMAT = Format(
    id="pytorch",
    name="PyTorch",
    suffixes=(".pt", ".pth", ".bin", ".ckpt", ".th", ".pkl"),
    sniff=sniff,
    read=read,
    source="https://docs.pytorch.org/docs/stable/notes/serialization.html",
)
