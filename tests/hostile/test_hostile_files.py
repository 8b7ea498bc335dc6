"""Every hostile file is refused by the rule that is meant for it; every odd but valid one is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hostile import cases, cases_ctranslate2, cases_keras, cases_onnx, cases_pytorch, cases_tflite
from tests.hostile.cases import Case
from weigh import formats
from weigh.types import Limits, WeighError

BOOKS = (cases, cases_pytorch, cases_onnx, cases_keras, cases_tflite, cases_ctranslate2)
REFUSED = tuple(case for book in BOOKS for case in book.REFUSED)
EXOTIC = tuple(case for book in BOOKS for case in book.EXOTIC)
ROOT = Path(formats.__file__).parents[1]
SOURCES = (ROOT / "formats", ROOT / "files.py", ROOT / "writing.py")
PREFIXES = (
    "COPY|MANIFEST|FILE|JSON|ST|GGUF|INDEX|CONFIG|FOLDER|FORMAT|READ|VALUES|WRITE|PT|PICKLE|ZIP|ONNX|NPY|H5|KERAS"
    "|FLAT|TFL|CT2"
)
NEEDS_MORE_THAN_A_FILE = {
    "CT2-MAGIC",
    "FILE-CHANGED", "FILE-DENIED", "FILE-FOLDER", "FILE-KIND", "FILE-LOOP", "FILE-MISSING", "FILE-NAME", "FILE-RANGE",
    "FILE-READ", "FOLDER-EMPTY", "FOLDER-FILES", "FOLDER-MANY", "FOLDER-NONE", "FOLDER-PIPELINE",
    "H5-CRASH", "H5-LIBRARY", "H5-MEMORY",
    "H5-PROCESS", "H5-RANGE", "H5-STUCK", "INDEX-ABSENT", "INDEX-TWICE",
    "ONNX-HARDLINK", "TFL-HARDLINK",
    "READ-MEMORY", "READ-UNEXPECTED", "VALUES-CODEC", "VALUES-MEMORY", "VALUES-ORDER", "VALUES-PACKED",
    "VALUES-PIECES", "VALUES-SIZE",
    "COPY-CHANGED", "COPY-FORMAT", "COPY-MEMORY", "COPY-NONE", "COPY-ORDER", "COPY-PIECES", "COPY-QUANTIZED",
    "COPY-VALUES", "GGUF-ORDER",
    "MANIFEST-FORM", "MANIFEST-HASH", "MANIFEST-PARTS", "MANIFEST-SIZE", "MANIFEST-UNFINISHED",
    "WRITE-BESIDE", "WRITE-BYTES", "WRITE-CODEC", "WRITE-DENIED", "WRITE-FAILED", "WRITE-FOLDER", "WRITE-HEADER",
    "WRITE-KEY", "WRITE-KIND", "WRITE-LOOP", "WRITE-METADATA", "WRITE-NAME", "WRITE-RACE", "WRITE-RANK", "WRITE-SHARD",
    "WRITE-SOURCE", "WRITE-SPACE", "WRITE-SUFFIX", "WRITE-TWICE", "WRITE-VALUE",
}  # fmt: skip
"""Rules about several files, the file system, writing, or a tensor's values; tests/formats holds them to it."""
NEEDS_LIMITS = {
    "CT2-BUDGET", "CT2-TENSORS", "FLAT-BUDGET", "FLAT-TEXT",
    "GGUF-BUDGET", "GGUF-HEADER", "GGUF-PARTS", "GGUF-STRING", "H5-OBJECTS", "H5-TIME", "INDEX-FILES", "INDEX-SIZE",
    "INDEX-TENSORS",
    "KERAS-SIZE", "ONNX-BUDGET", "ONNX-FILES", "ONNX-TENSORS", "ONNX-TEXT",
    "PICKLE-BUDGET", "ST-HEADER", "ST-SHARDS", "ST-TENSORS", "TFL-FILES", "TFL-TENSORS",
    "ZIP-ENTRIES", "ZIP-SIZE",
}  # fmt: skip
"""Rules that pass a limit; test_budgets.py lowers the limit instead of writing a gigabyte."""


def _write(folder: Path, case: Case) -> Path:
    path = folder / case.name
    path.write_bytes(case.content)
    return path


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_hostile_file_is_refused_by_its_rule(case: Case, tmp_path: Path) -> None:
    path = _write(tmp_path, case)
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    assert (caught.value.rule, caught.value.exit_code) == (case.rule, case.exit_code)
    assert caught.value.path is not None
    assert caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("case", EXOTIC, ids=lambda case: case.name)
def test_a_valid_but_odd_file_is_read(case: Case, tmp_path: Path) -> None:
    inventory = formats.read(_write(tmp_path, case))
    sizes = dict(inventory.files)
    for tensor in inventory.tensors:
        for piece in tensor.pieces:
            assert 0 <= piece.offset <= sizes[piece.file] - piece.nbytes


def test_every_rule_has_a_file_that_breaks_it() -> None:
    text = "\n".join(
        path.read_text() for source in SOURCES for path in (source.glob("*.py") if source.is_dir() else [source])
    )
    rules = set(re.findall(rf'"((?:{PREFIXES})-[A-Z0-9-]+)"', text))
    tested = {case.rule for case in REFUSED} | NEEDS_MORE_THAN_A_FILE | NEEDS_LIMITS
    assert rules == tested


def test_an_error_inside_a_large_header_says_where(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((19).to_bytes(8, "little") + b'{"a": \xc3\xa9 }' + b" " * 9)
    with pytest.raises(WeighError) as caught:
        formats.read(path)
    assert caught.value.offset == 14


def test_what_is_not_known_is_visible_with_its_bytes(tmp_path: Path) -> None:
    odd = {case.name: case for case in EXOTIC}
    new = formats.read(_write(tmp_path, odd["new_dtype.safetensors"])).tensors[0]
    assert (new.codec, new.nbytes, new.parameters) == ("unknown:F12_NEW", 5, None)
    new = formats.read(_write(tmp_path, odd["new_type.gguf"])).tensors[0]
    assert (new.codec, new.nbytes, new.parameters) == ("unknown:ggml-250", 32, None)


@pytest.mark.parametrize("name", ["truth_2.gguf", "value_not_utf8.gguf", "gap.gguf", "big_endian.gguf"])
def test_what_is_odd_is_told(name: str, tmp_path: Path) -> None:
    case = next(case for case in EXOTIC if case.name == name)
    assert formats.read(_write(tmp_path, case)).warnings


def test_a_template_is_kept_as_text(tmp_path: Path) -> None:
    case = next(case for case in EXOTIC if case.name == "template.gguf")
    inventory = formats.read(_write(tmp_path, case), Limits())
    assert inventory.metadata["tokenizer.chat_template"] == "{{ ''.__class__.__mro__ }}"
