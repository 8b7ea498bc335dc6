"""Reads Keras models: `.h5` of Keras 1 and 2 and of transformers, `.weights.h5` and `.keras` of Keras 3.

Nothing in them is turned into objects: a configuration is JSON that is kept and looked at, Lambda layers and other code
are named in a warning. `hdf5` reads the file in a process of its own, `keras_layers` tells the arrays apart,
`keras_names` turns the names that transformers' TensorFlow models use into those of the same model in PyTorch.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from weigh import files
from weigh.formats import foreign, hdf5, json_text, keras_layers, keras_names, sidecar
from weigh.formats.hdf5 import Contents, Source
from weigh.formats.keras_layers import Arranged, Variable
from weigh.formats.pytorch_zip import DEFLATED, LOCAL, STORED, Entry, content, entries, error
from weigh.types import Format, Inventory, Limits, Piece, Tensor, WeighError

CONFIGURATION = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
UNPACKED = 4 * 2**30
"""Bytes of weights that are unpacked where an archive holds them compressed, which Keras does not do."""
SMALL = 64 * 2**20
BOMB = 100
"""Weights shrink by a tenth; above SMALL, what shrinks to less than a hundredth is made to burst, as Keras has it."""
CHUNK = 2**20


INDEX_SUFFIX = ".weights.json"
SHARD = re.compile(r"(?P<stem>.+)_\d{5}\.weights\.h5")


def sniff(first: bytes) -> bool:
    """HDF5, or an archive; only its suffix tells that an archive is one of Keras."""
    return first.startswith((hdf5.MAGIC, LOCAL))


def read(path: Path, limits: Limits) -> Inventory:
    """An HDF5 file or an archive. Errors: those of `hdf5.contents` and `pytorch_zip.entries`; KERAS-MAGIC, KERAS-NONE,
    KERAS-PACKED, KERAS-SIZE (exit 5), KERAS-WEIGHTS. One shard of several stands for all of them.
    """
    shard = SHARD.fullmatch(path.name)
    if shard is not None and files.exists(path.parent, shard["stem"] + INDEX_SUFFIX):
        return read_index(path.with_name(shard["stem"] + INDEX_SUFFIX), limits)
    with files.opened(path.parent, path.name) as file:
        first = files.read_at(file, 0, min(file.size, foreign.FIRST_BYTES))
        if first.startswith(LOCAL):
            return _archive(file, limits)
        start = hdf5.begins(file)
        if start is None:
            foreign.refuse(first, path)
            raise _wrong("neither an HDF5 file nor an archive of Keras", "KERAS-MAGIC", file)
        return _plain(file, limits)


# -------------------------------------------------------------------------------------------------- HDF5 files


def _plain(file: files.OpenFile, limits: Limits) -> Inventory:
    contents = hdf5.contents(Source(file, 0, file.size, limits))
    text = contents.attributes.get("model_config")
    configuration = None if text is None else _parsed(text.encode(), file, limits)
    found = keras_layers.arrange(contents, configuration)
    if not found.variables and configuration is None and not contents.marks and not contents.names:
        raise _wrong("the file holds no weights and no model of Keras", "KERAS-NONE", file)
    beside = sidecar.configuration(file.path.parent, limits)
    translated = keras_names.translated(found.variables) if configuration is None else None
    packed = {one.name: one.dataset.path for one in found.variables if _is_packed(one)}
    return Inventory(
        source=str(file.path),
        format=FORMAT.id,
        dialect="other" if translated is None else "hf",
        tensors=tuple(map(_tensor, found.variables)) if translated is None else translated,
        configuration=beside.configuration,
        metadata=_metadata(contents, found, configuration) | {"packed": packed},
        files=((file.name, file.size), *beside.files),
        folder=str(file.path.parent),
        warnings=(*_warnings(contents, found, configuration), *beside.warnings),
    )


def _parsed(data: bytes, file: files.OpenFile, limits: Limits) -> dict[str, Any]:
    return json_text.parse(data, file.path, limits, json_text.CONFIGURATION_VALUES)


def _is_packed(variable: Variable) -> bool:
    return any(piece.kind == "packed" for piece in variable.dataset.pieces)


def _tensor(variable: Variable) -> Tensor:
    dataset = variable.dataset
    return Tensor(variable.name, dataset.shape, variable.codec, dataset.pieces, variable.buffer)


def _metadata(contents: Contents, found: Arranged, configuration: Mapping[str, Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = {key: text for key, text in contents.attributes.items() if key != "model_config"}
    if configuration is not None:
        told["model_config"] = configuration
    if found.apart:
        told["apart"] = {
            name: {"tensors": len(datasets), "bytes": _bytes(datasets)} for name, datasets in found.apart.items()
        }
    return told


def _bytes(datasets: list[hdf5.Dataset]) -> int:
    return sum(piece.nbytes for dataset in datasets for piece in dataset.pieces)


def _warnings(contents: Contents, found: Arranged, configuration: Mapping[str, Any] | None) -> Iterator[str]:
    yield from contents.warnings
    yield from found.warnings
    for name, datasets in found.apart.items():
        noun = "array" if len(datasets) == 1 else "arrays"
        yield f"not counted as the model's: {name} ({len(datasets):,} {noun}, {_bytes(datasets):,} bytes)"
    buffers = sum(variable.buffer for variable in found.variables)
    if buffers:
        told = "by its class or its name"
        yield f"statistics and counters that no optimizer trains, each told {told}, are buffers: {buffers:,} arrays"
    code = keras_layers.own_code(configuration) if configuration is not None else []
    if code:
        more = f" and {len(code) - 5:,} more" if len(code) > 5 else ""
        yield f"the model brings code or classes of its own, which weigh never runs: {', '.join(code[:5])}{more}"


def read_index(path: Path, limits: Limits) -> Inventory:
    """The shards that a `*.weights.json` of Keras names for each group of variables.

    Errors: INDEX-MAP, INDEX-FILES (exit 5), INDEX-TWICE, INDEX-ABSENT, and those of `hdf5.contents`.
    """
    folder = path.parent
    with files.opened(folder, path.name) as file:
        told: Any = json_text.configuration(file, limits).get("weight_map")
        size = file.size
    names = sorted(set(_shards(told, path)))
    if len(names) > limits.files:
        message = f"{len(names):,} shards are more than the {limits.files:,} that weigh opens"
        raise WeighError(message, rule="INDEX-FILES", path=path, hint=files.lift("files"), exit_code=5)
    parts: list[Contents] = []
    sizes = []
    for name in names:
        with files.opened(folder, name) as shard:
            parts.append(hdf5.contents(Source(shard, 0, shard.size, limits)))
            sizes.append((name, shard.size))
    whole = _joined(parts, path, limits)
    groups = {dataset.path.rpartition("/")[0] for dataset in whole.datasets}
    absent = next((group for group in told if group not in groups and group not in whole.names), None)
    if absent is not None:
        raise WeighError(f"no shard holds {absent[:200]!r}, which the index names", rule="INDEX-ABSENT", path=path)
    found = keras_layers.arrange(whole, None)
    packed = {one.name: one.dataset.path for one in found.variables if _is_packed(one)}
    return Inventory(
        source=str(path),
        format=FORMAT.id,
        dialect="other",
        tensors=tuple(map(_tensor, found.variables)),
        metadata=_metadata(whole, found, None) | {"packed": packed},
        files=(*sizes, (path.name, size)),
        folder=str(folder),
        warnings=tuple(_warnings(whole, found, None)),
    )


def _shards(told: Any, path: Path) -> Iterator[str]:
    """Names of the files in an index, each group's one or several."""
    wrong = WeighError("the index does not map groups of variables to files", rule="INDEX-MAP", path=path)
    if not isinstance(told, dict) or not told:
        raise wrong
    for listed in told.values():
        for name in listed if isinstance(listed, list) else [listed]:
            if not isinstance(name, str):
                raise wrong
            yield name


def _joined(parts: list[Contents], path: Path, limits: Limits) -> Contents:
    """All shards as one file. Errors: INDEX-TWICE, H5-OBJECTS."""
    datasets = tuple(dataset for part in parts for dataset in part.datasets)
    if len(datasets) > limits.tensors:
        message = f"the shards hold more than {limits.tensors:,} datasets"
        raise WeighError(message, rule="H5-OBJECTS", path=path, hint=files.lift("tensors"), exit_code=5)
    if len({dataset.path for dataset in datasets}) < len(datasets):
        raise WeighError("a dataset is in two shards", rule="INDEX-TWICE", path=path)
    names = {group: name for part in parts for group, name in part.names.items()}
    warnings = tuple(dict.fromkeys(warning for part in parts for warning in part.warnings))
    return Contents(datasets, {}, (), names, warnings)


# ---------------------------------------------------------------------------------------------------- archives


def _archive(file: files.OpenFile, limits: Limits) -> Inventory:
    members = entries(file, limits)
    if CONFIGURATION not in members or METADATA not in members:
        raise _wrong("the archive is no model of Keras: no config.json and metadata.json in it", "KERAS-NONE", file)
    weights = members.get(WEIGHTS)
    if weights is None:
        others = ", ".join(name[:60] for name in list(members)[:5])
        raise _wrong(f"the archive holds no {WEIGHTS}, but {others}", "KERAS-WEIGHTS", file)
    configuration = _parsed(content(file, members[CONFIGURATION], limits, checked=True), file, limits)
    about = _parsed(content(file, members[METADATA], limits, checked=True), file, limits)
    if weights.method == STORED:
        if weights.size != weights.packed:
            raise error(f"{WEIGHTS} has two sizes", "KERAS-PACKED", file, weights.offset)
        contents = hdf5.contents(Source(file, weights.offset, weights.size, limits))
    else:
        with _unpacked(file, weights) as unpacked:
            source = Source(file, 0, weights.size, limits, unpacked.fileno())
            contents = _within(hdf5.contents(source), weights, file)
    found = keras_layers.arrange(contents, configuration)
    told: dict[str, Any] = {
        key: about[key] for key in ("keras_version", "date_saved") if isinstance(about.get(key), str)
    }
    told |= _metadata(contents, found, configuration)
    if weights.method == STORED:
        told |= {"window": (weights.offset, weights.size)}
        told |= {"packed": {one.name: one.dataset.path for one in found.variables if _is_packed(one)}}
    extra = [f"{WEIGHTS} lies compressed in the archive: bytes of arrays are their share of it"]
    return Inventory(
        source=str(file.path),
        format=FORMAT.id,
        dialect="other",
        tensors=tuple(map(_tensor, found.variables)),
        metadata=told,
        files=((file.name, file.size),),
        folder=str(file.path.parent),
        warnings=(*_warnings(contents, found, configuration), *(extra if weights.method == DEFLATED else ())),
    )


@contextmanager
def _unpacked(file: files.OpenFile, entry: Entry) -> Iterator[IO[bytes]]:
    """The compressed weights, in a file without a name that is gone afterwards."""
    import shutil
    import tempfile

    if entry.size > SMALL and entry.size > BOMB * entry.packed:
        message = f"{WEIGHTS} swells from {entry.packed:,} bytes to {entry.size:,}"
        raise error(message, "KERAS-PACKED", file, entry.offset)
    room = shutil.disk_usage(tempfile.gettempdir()).free
    if entry.size > min(UNPACKED, room):
        message = f"{entry.size:,} bytes of compressed weights are more than the {min(UNPACKED, room):,} to be unpacked"
        hint = "unpack the archive and zip it again without compression, as Keras writes it"
        raise error(message, "KERAS-SIZE", file, entry.offset, hint=hint, exit_code=5)
    with tempfile.TemporaryFile() as unpacked:
        with files.told(file.path):
            _inflate(file, entry, unpacked)
            unpacked.flush()
        yield unpacked


def _inflate(file: files.OpenFile, entry: Entry, into: IO[bytes]) -> None:
    """Unpack exactly what the archive announces."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    broken = error(f"{WEIGHTS} cannot be unpacked to its {entry.size:,} bytes", "KERAS-PACKED", file, entry.offset)
    written = crc = 0
    for begin in range(0, entry.packed, CHUNK):
        data = files.read_at(file, entry.offset + begin, min(CHUNK, entry.packed - begin))
        while data and not machine.eof:
            try:
                piece = machine.decompress(data, CHUNK)
            except zlib.error as cause:
                raise broken from cause
            data = machine.unconsumed_tail
            written += len(piece)
            if written > entry.size:
                raise broken
            crc = zlib.crc32(piece, crc)
            into.write(piece)
    if written != entry.size or not machine.eof or crc != entry.crc:
        raise broken


def _within(contents: Contents, entry: Entry, file: files.OpenFile) -> Contents:
    """The datasets with their share of the compressed bytes, since their own places are not in the file."""
    whole = entry.size
    datasets = []
    for dataset in contents.datasets:
        pieces = []
        for piece in dataset.pieces:
            begin = piece.offset * entry.packed // whole
            end = (piece.offset + piece.nbytes) * entry.packed // whole
            pieces.append(Piece(file.name, entry.offset + begin, end - begin, "packed"))
        datasets.append(replace(dataset, pieces=tuple(pieces)))
    return replace(contents, datasets=tuple(datasets))


def _wrong(message: str, rule: str, file: files.OpenFile) -> WeighError:
    return WeighError(message, rule=rule, path=file.path)


FORMAT = Format(
    id="keras",
    name="Keras",
    suffixes=(".keras", ".h5", ".hdf5"),
    sniff=sniff,
    read=read,
    source="https://keras.io/guides/serialization_and_saving/",
)
