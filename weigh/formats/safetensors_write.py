"""Writes safetensors: one file, or shards with their index, byte for byte as the `safetensors` package would.

That package puts the tensors in order of their type, widest first, and then of their names, and fills the header with
spaces to a multiple of 8 bytes; several metadata it writes in an order of chance, weigh in the order given. Shards are
divided as `huggingface_hub` divides them as long as no tensor is larger than a shard. Both are compared with the
packages in `tests/formats/test_writing_safetensors.py`. Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weigh.formats import manifest, new_files
from weigh.formats.new_files import Planned, Sized
from weigh.types import NewTensor, WeighError

SUFFIX = ".safetensors"
METADATA = "__metadata__"
ALIGNMENT = 8
HEADER_BYTES = 100_000_000
"""The `safetensors` package reads no longer header."""
ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E5M2FNUZ", "F8_E4M3FNUZ",
    "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "F6_E3M2", "F6_E2M3", "F4", "BOOL",
)  # fmt: skip
"""Types in the order in which their tensors lie in a file."""


def write(
    path: Path,
    tensors: Sequence[NewTensor],
    metadata: Mapping[str, Any],
    max_shard_bytes: int | None = None,
    sources: Iterable[Path] = (),
) -> tuple[Path, ...]:
    """Write tensors to `path`, or to shards beside it that hold at most `max_shard_bytes` of tensors each.

    `metadata` maps strings to strings (`{"format": "pt"}`) and stands in every shard. Returns the files written: one,
    or the shards and last the index, which is their manifest.

    Errors: WRITE-NAME, WRITE-METADATA, WRITE-CODEC, WRITE-HEADER, WRITE-SUFFIX and those of `new_files`.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeighError(f"the name does not end with {SUFFIX}", rule="WRITE-SUFFIX", path=path, exit_code=2)
    groups = new_files.divided(new_files.sized(tensors, path), max_shard_bytes)
    paths = new_files.numbered(path, len(groups))
    planned = [_planned(one, group, metadata) for one, group in zip(paths, groups, strict=True)]
    weight_map = {one.tensor.name: file.path.name for file in planned for one in file.tensors}
    total = sum(one.nbytes for file in planned for one in file.tensors)

    def index(entry: manifest.Entry) -> str:
        """No weight_map before all is done, so that no other reader takes the shards for a model."""
        document: dict[str, Any] = {"metadata": {"total_size": total, manifest.KEY: entry}}
        if entry["state"] == manifest.FINISHED:
            document["weight_map"] = weight_map
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    return new_files.put(planned, path.with_name(f"{path.name}.index.json"), index, sources)


def _planned(path: Path, group: list[Sized], metadata: Mapping[str, Any]) -> Planned:
    ordered = sorted(group, key=lambda one: (_rank(one, path), one.tensor.name))
    header: dict[str, Any] = {}
    if metadata:
        wrong = next((key for key, value in metadata.items() if type(key) is not str or type(value) is not str), None)
        if wrong is not None:
            message = f"metadata must map strings to strings, {str(wrong)[:100]!r} does not"
            raise WeighError(message, rule="WRITE-METADATA", path=path)
        header[METADATA] = dict(metadata)
    position = 0
    for one in ordered:
        if one.tensor.name == METADATA:
            raise new_files.wrong("the name is reserved", "WRITE-NAME", path, one.tensor)
        end = position + one.nbytes
        shape = list(one.tensor.shape)
        header[one.tensor.name] = {"dtype": one.codec.safetensors, "shape": shape, "data_offsets": [position, end]}
        position = end
    return Planned(path, _encoded(header, path), tuple(ordered))


def _rank(one: Sized, path: Path) -> int:
    if one.codec.safetensors not in ORDER:
        raise new_files.wrong(f"safetensors has no type for {one.codec.name}", "WRITE-CODEC", path, one.tensor)
    return ORDER.index(one.codec.safetensors)


def _encoded(header: Mapping[str, Any], path: Path) -> bytes:
    """The length, and the header filled with spaces."""
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as cause:
        message = "a name or a text of the metadata is not valid Unicode"
        raise WeighError(message, rule="WRITE-NAME", path=path, where=repr(cause.object[:200])) from cause
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > HEADER_BYTES:
        message = f"a header of {len(text):,} bytes is longer than the {HEADER_BYTES:,} that can be read"
        raise WeighError(message, rule="WRITE-HEADER", path=path, hint="write smaller shards", exit_code=5)
    return len(text).to_bytes(8, "little") + text
