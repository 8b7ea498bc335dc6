"""Reads the shards of one model: through the index beside them, or by the numbers in their names.

An index is checked against what the shards hold. How one shard is read is the format's business (`read_one`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weigh import files, volumes
from weigh.formats import json_text, manifest
from weigh.types import Limits, Tensor, WeighError

VALUES_A_TENSOR = 16
"""Brackets and commas that a tensor's header entry may take on average; one of rank 4 takes 10."""


@dataclass(frozen=True, slots=True)
class Contents:
    """One file's header."""

    name: str
    size: int
    header_bytes: int
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, Any]
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that lie in another one of the file and are not counted again, by name."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """What an index leads to."""

    shards: tuple[Contents, ...]
    size: int
    """Bytes of the index itself."""
    warnings: tuple[str, ...]


Reader = Callable[[Path, str, Limits], Contents]


@dataclass(frozen=True, slots=True)
class Parsed:
    """An index as it stands in its file, nothing of it checked."""

    document: dict[str, Any]
    size: int

    def files(self) -> set[str]:
        """Names of the files that it speaks of."""
        weight_map = self.document.get("weight_map")
        named = weight_map.values() if isinstance(weight_map, dict) else manifest.parts(self.manifest)
        return {name for name in named if type(name) is str}

    @property
    def manifest(self) -> Any:
        """What weigh wrote into it about all the files."""
        return manifest.entry_of(self.document)


def parse_index(path: Path, limits: Limits) -> Parsed:
    """Parse an index. Errors: INDEX-SIZE (exit 5), and those of `json_text.parse`."""
    with files.opened(path.parent, path.name) as file:
        if file.size > limits.header_bytes:
            message = f"an index of {file.size:,} bytes is more than the {limits.header_bytes:,} that weigh reads"
            raise WeighError(message, rule="INDEX-SIZE", path=path, hint=files.lift("header_bytes"), exit_code=5)
        data = files.read_at(file, 0, file.size)
        return Parsed(json_text.parse(data, path, limits, VALUES_A_TENSOR * limits.tensors), file.size)


def read_index(path: Path, limits: Limits, read_one: Reader, parsed: Parsed | None = None) -> Index:
    """The shards that an index names, each read by `read_one`; `parsed` by whoever had to look into it before.

    Errors: those of `parse_index`; INDEX-TENSORS, INDEX-FILES (exit 5), INDEX-MAP, INDEX-MISSING, INDEX-TWICE,
    INDEX-ABSENT, and those of the manifest, where the index holds one.
    """
    folder = path.parent
    parsed = parsed or parse_index(path, limits)
    index, said = parsed.document, parsed.manifest
    if said is not None:
        manifest.require_finished(said, path)
    weight_map = _weight_map(index, path, limits)
    names = sorted(set(weight_map.values()))
    if len(names) > limits.files:
        message = f"{len(names):,} shards are more than the {limits.files:,} that weigh opens"
        raise WeighError(message, rule="INDEX-FILES", path=path, hint=files.lift("files"), exit_code=5)
    _require(folder, names, path)
    shards = read_all(folder, names, limits, read_one)
    if said is not None:
        manifest.require_sizes(said, {shard.name: shard.size for shard in shards}, path)
    return Index(shards, parsed.size, _check_index(index, weight_map, shards, path))


def numbered(folder: Path, stem: str, count: int, suffix: str, limits: Limits) -> list[str]:
    """The names of the shards `stem-00001-of-<count>`, which must all be there. Errors: INDEX-MISSING, ST-SHARDS."""
    if count > limits.files:
        message = f"{count:,} shards are more than {limits.files:,}"
        raise WeighError(message, rule="ST-SHARDS", path=folder / stem, hint=files.lift("files"), exit_code=5)
    names = [f"{stem}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)]
    _require(folder, names, folder)
    return names


def _require(folder: Path, names: list[str], path: Path) -> None:
    missing = [name for name in names if not files.exists(folder, name)]
    if missing:
        raise _missing_shards(path, missing, len(names))


def _weight_map(index: dict[str, Any], path: Path, limits: Limits) -> dict[str, str]:
    found = index.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise WeighError("the index has no weight_map of tensors to files", rule="INDEX-MAP", path=path)
    if len(found) > limits.tensors:
        message = f"{len(found):,} tensors are more than {limits.tensors:,}"
        raise WeighError(message, rule="INDEX-TENSORS", path=path, hint=files.lift("tensors"), exit_code=5)
    wrong = next((name for name, shard in found.items() if type(shard) is not str), None)
    if wrong is not None:
        message = "the index does not name a file for a tensor"
        raise WeighError(message, rule="INDEX-MAP", path=path, where=f"tensor {wrong[:200]!r}")
    return found


def _missing_shards(path: Path, missing: list[str], count: int) -> WeighError:
    others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    return WeighError(
        f"{len(missing):,} of {count:,} shards missing: {missing[0][:200]!r}{others}",
        rule="INDEX-MISSING",
        path=path,
        hint="get the missing files into the same folder",
    )


def read_all(folder: Path, names: list[str], limits: Limits, read_one: Reader) -> tuple[Contents, ...]:
    """Every shard's header, within one budget for all."""
    shards: list[Contents] = []
    tensors = header_bytes = 0
    for number, name in enumerate(names):
        shards.append(read_one(folder, name, limits))
        if number == 0:
            volumes.resemble(folder, name, names[1:])
        tensors += len(shards[-1].tensors)
        header_bytes += shards[-1].header_bytes
        if tensors > limits.tensors:
            message = f"the shards hold more than {limits.tensors:,} tensors"
            raise WeighError(message, rule="ST-TENSORS", path=folder, hint=files.lift("tensors"), exit_code=5)
        if header_bytes > limits.header_bytes:
            message = f"the headers of the shards are longer than {limits.header_bytes:,} bytes"
            raise WeighError(message, rule="ST-HEADER", path=folder, hint=files.lift("header_bytes"), exit_code=5)
    _refuse_twins(tuple(shards), folder)
    return tuple(shards)


def _refuse_twins(shards: tuple[Contents, ...], path: Path) -> None:
    holder: dict[str, str] = {}
    for shard in shards:
        for tensor in shard.tensors:
            other = holder.setdefault(tensor.name, shard.name)
            if other != shard.name:
                message = f"a tensor is in two shards: {other!r} and {shard.name!r}"
                raise WeighError(message, rule="INDEX-TWICE", path=path, where=f"tensor {tensor.name[:200]!r}")


def _check_index(
    index: dict[str, Any], weight_map: Mapping[str, str], shards: tuple[Contents, ...], path: Path
) -> tuple[str, ...]:
    """Refuse an index whose tensors are not there; warn where it merely counts wrong."""
    warnings: list[str] = []
    unlisted = 0
    listed = 0
    for shard in shards:
        for tensor in shard.tensors:
            place = weight_map.get(tensor.name)
            listed += place == shard.name
            unlisted += place is None
        listed += sum(weight_map.get(name) == shard.name for name in shard.shared)
    if listed != len(weight_map):
        holders = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
        holders |= {name: shard.name for shard in shards for name in shard.shared}
        name = next(name for name, shard_name in weight_map.items() if holders.get(name) != shard_name)
        message = f"the index puts a tensor in {weight_map[name][:200]!r}, which does not hold it"
        raise WeighError(message, rule="INDEX-ABSENT", path=path, where=f"tensor {name[:200]!r}")
    if unlisted:
        warnings.append(f"{unlisted:,} tensors of the shards are not in {path.name}; they are counted")
    metadata = index.get("metadata")
    said = metadata.get("total_size") if isinstance(metadata, dict) else None
    held = sum(tensor.nbytes for shard in shards for tensor in shard.tensors)
    # Some writers count a tied tensor once, some twice.
    twice = held + sum(tensor.nbytes for shard in shards for tensor in shard.shared.values())
    if said is not None and said not in (held, twice):
        warnings.append(f"{path.name} says total_size {said!s:.40}, the tensors take {held:,} bytes")
    if len({shard.name.casefold() for shard in shards}) < len(shards):
        warnings.append("names of shards differ only in upper and lower case; some file systems hold one of them only")
    return tuple(warnings)
