"""What the writers of tensors share: checks, the division into files, and pouring bytes that come in chunks.

A format's writer makes the header of each file and calls `put`; `safetensors_write.py` and `gguf_write.py` show how.
Nothing here or there holds more than one chunk of a tensor in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weigh import codecs, writing
from weigh.formats import manifest
from weigh.types import Codec, NewTensor, WeighError

NUMBER_LIMIT = 99_999
"""Files that five digits can count."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A tensor to be written, with its codec and the bytes that it must bring."""

    tensor: NewTensor
    codec: Codec
    nbytes: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A file to be written: its header, then the tensors, each filled up with zeros to the alignment."""

    path: Path
    header: bytes
    tensors: tuple[Sized, ...]
    alignment: int = 1

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return len(self.header) + sum(one.nbytes + -one.nbytes % self.alignment for one in self.tensors)


def sized(tensors: Iterable[NewTensor], path: Path) -> list[Sized]:
    """The tensors with their sizes. Errors: WRITE-TWICE, WRITE-CODEC, and those of `codecs.by_id` and `.nbytes`."""
    found: list[Sized] = []
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise wrong("two tensors have this name", "WRITE-TWICE", path, tensor)
        names.add(tensor.name)
        if tensor.codec.startswith("unknown:"):
            kind = tensor.codec.removeprefix("unknown:")
            raise wrong(f"its type {kind} is not known, so it cannot be written", "WRITE-CODEC", path, tensor)
        codec = codecs.by_id(tensor.codec)
        found.append(Sized(tensor, codec, codecs.nbytes(codec, tensor.shape)))
    return found


def divided(tensors: Sequence[Sized], most: int | None) -> list[list[Sized]]:
    """Tensors in their order, in groups of at most `most` bytes; a larger tensor is a group of its own."""
    if most is not None and most < 1:
        raise WeighError(f"files of at most {most} bytes hold nothing", rule="WRITE-SHARD", exit_code=2)
    groups: list[list[Sized]] = [[]]
    room = most
    for one in tensors:
        if room is not None and most is not None:
            if groups[-1] and one.nbytes > room:
                groups.append([])
                room = most
            room -= one.nbytes
        groups[-1].append(one)
    if len(groups) > NUMBER_LIMIT:
        message = f"{len(groups):,} files are more than their names can number"
        raise WeighError(message, rule="WRITE-SHARD", hint="allow more bytes a file", exit_code=2)
    return groups


def numbered(path: Path, count: int) -> list[Path]:
    """`path` itself, or `stem-00001-of-<count>` and so on."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number:05d}-of-{count:05d}{path.suffix}") for number in range(1, count + 1)]


def put(
    planned: Sequence[Planned],
    beside: Path,
    document: Callable[[manifest.Entry], str],
    sources: Iterable[Path],
) -> tuple[Path, ...]:
    """Write one file, or several with their manifest `beside` them, whose text `document` makes.

    Errors: WRITE-BESIDE, WRITE-BYTES, and those of `writing.replacing_all`.
    """
    single = len(planned) == 1
    paths = tuple(one.path for one in planned)
    _require_alone(paths, beside, single=single)
    if single:
        with writing.replacing(paths[0], planned[0].nbytes, sources=sources) as output:
            _fill(planned[0], output)
        return paths
    parts = [writing.Part(one.path, one.nbytes, _filler(one)) for one in planned]
    unfinished = document(manifest.unfinished(path.name for path in paths))
    writing.replacing_all(parts, beside, unfinished, lambda done: document(manifest.finished(done)), sources)
    return (*paths, beside)


def _require_alone(paths: tuple[Path, ...], beside: Path, *, single: bool) -> None:
    """Refuse to leave a folder with two models under one name, of which a reader could not tell the right one."""
    folder = paths[0].parent
    stem = paths[0].stem if single else paths[0].name.rpartition("-of-")[0].removesuffix("-00001")
    suffix = paths[0].suffix
    own = {path.name for path in paths} | (set() if single else {beside.name})
    others = [f"{stem}{suffix}", beside.name]
    found = [folder / name for name in others if name not in own and (folder / name).exists()]
    found += [path for path in folder.glob("*-*-of-*") if path.name not in own and _part_of(path.name, stem, suffix)]
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise WeighError(
            f"the folder holds a model of this name in other files: {found[0].name!r}{more}",
            rule="WRITE-BESIDE",
            path=folder,
            hint="remove them, or write to another folder or under another name",
        )


def _part_of(name: str, stem: str, suffix: str) -> bool:
    number, _, count = name.removeprefix(f"{stem}-").removesuffix(suffix).partition("-of-")
    return name.startswith(f"{stem}-") and name.endswith(suffix) and _five(number) and _five(count)


def _five(text: str) -> bool:
    return len(text) == 5 and text.isascii() and text.isdigit()


def _filler(planned: Planned) -> Callable[[writing.Output], None]:
    return lambda output: _fill(planned, output)


def _fill(planned: Planned, output: writing.Output) -> None:
    output.write(planned.header)
    for one in planned.tensors:
        left = one.nbytes
        for chunk in one.tensor.content():
            left -= memoryview(chunk).nbytes
            if left < 0:
                break
            output.write(chunk)
        if left:
            had = f"more than {one.nbytes:,}" if left < 0 else f"{one.nbytes - left:,}"
            message = f"{had} bytes came; its shape in {one.codec.id} takes {one.nbytes:,}"
            raise wrong(message, "WRITE-BYTES", planned.path, one.tensor)
        output.write(bytes(-one.nbytes % planned.alignment))


def wrong(message: str, rule: str, path: Path, tensor: NewTensor) -> WeighError:
    """What is wrong with one of the tensors."""
    return WeighError(message, rule=rule, path=path, where=f"tensor {tensor.name[:200]!r}")
