"""SECURITY.md names every module that reads bytes, and no test or module that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line][1:]
READS = re.compile(
    r"files\.(?:opened|read_at|read_into)\b|\bread_at\(|\bos\.pread\b|\biter_raw\b|\.read_bytes\(|\bopen\("
)
FOLDERS = ("weigh/formats", "weigh/places")


def _named(word: str) -> str:
    """The first column of every row: what it says which modules it is about."""
    return word.split("|")[1]


def test_every_module_that_reads_bytes_is_named_in_a_row() -> None:
    subjects = "\n".join(map(_named, ROWS))
    reading = [path for folder in FOLDERS for path in (ROOT / folder).glob("*.py") if READS.search(path.read_text())]
    assert len(reading) > 20
    named = {Path(word).name for word in re.findall(r"`([\w/*]+\.py)`", subjects)}
    missing = {path.name for path in reading} - named - {"__init__.py"}
    families = tuple(word.removesuffix("*.py") for word in named if word.endswith("*.py"))
    assert [name for name in missing if not (families and name.startswith(families))] == []


def test_every_module_that_is_named_exists() -> None:
    for word in re.findall(r"`([\w/]+\.py)`", "\n".join(map(_named, ROWS))):
        places = (ROOT / word, *(ROOT / folder / Path(word).name for folder in FOLDERS))
        assert any(place.is_file() for place in places), word


def test_every_row_names_tests_that_exist() -> None:
    for row in ROWS:
        folder = Path()
        proofs = row.split("|")[4]
        named = re.findall(r"`([\w/]+\.py)`", proofs)
        assert named or proofs.strip() == "the same", row
        for word in named:
            # A bare name lies in the folder of the one before it, or in one of those that the row names.
            folder = ROOT / Path(word).parent if "/" in word else folder
            others = [ROOT / Path(other).parent for other in named if "/" in other]
            assert any((place / Path(word).name).is_file() for place in (folder, *others)), word


def test_every_row_has_four_columns() -> None:
    assert ROWS
    for row in ROWS:
        assert row.count("|") == 5, row
        assert all(column.strip() for column in row.split("|")[1:5]), row
