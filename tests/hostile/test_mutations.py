"""Valid files with bytes flipped, inserted, cut and spliced: an inventory or a WeighError, nothing else, and soon.

WEIGH_FUZZ_SECONDS sets how long each test looks (by default 3 s, always the same cases); where it is set, the cases
are new each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import seeds, trees
from tests.hostile.seeds import SAFETENSORS, SEEDS
from weigh import formats
from weigh.types import Inventory, WeighError

SECONDS = float(os.environ.get("WEIGH_FUZZ_SECONDS", "3"))
FRESH = "WEIGH_FUZZ_SECONDS" in os.environ
SLOW_SECONDS = 2.0

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b'"', b"{", b"[", b"\\", b"9" * 8, b"\xff" * 8, b"\0" * 8)


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """A seed with up to six changes."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        change = draw(st.sampled_from(("flip", "set", "insert", "remove", "cut", "splice")))
        if change == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            value = draw(st.sampled_from(INTERESTING))
            content[at : at + len(value)] = value
        elif change == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "remove":
            del content[at : at + draw(st.integers(1, 8))]
        elif change == "cut":
            del content[at:]
        else:
            other = draw(st.sampled_from(tuple(SEEDS.values()))).content
            begin = draw(st.integers(0, len(other) - 1))
            content[at : at + 8] = other[begin : begin + draw(st.integers(1, 64))]
    return bytes(content)


def _outcome(path: Path, content: bytes, opened: str = "") -> Inventory | WeighError:
    path.write_bytes(content)
    path = path.with_name(opened) if opened else path
    start = time.process_time()
    try:
        found: Inventory | WeighError = formats.read(path)
    except WeighError as error:
        found = error
    assert time.process_time() - start < SLOW_SECONDS
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_valid(name: str, tmp_path: Path) -> None:
    path = seeds.write(tmp_path, name, SEEDS[name])
    assert isinstance(_outcome(tmp_path / name, SEEDS[name].content, path.name), Inventory)


@pytest.mark.parametrize("name", trees.TREES)
def test_a_tree_without_a_change_is_valid(name: str, tmp_path: Path) -> None:
    assert isinstance(_outcome(tmp_path / name, trees.TREES[name](b"")), Inventory)


def _require_sound(found: Inventory | WeighError) -> None:
    """An inventory whose pieces lie in its files, or an error that a reader meant."""
    if isinstance(found, WeighError):
        assert found.rule not in ("READ-UNEXPECTED", "READ-MEMORY"), found.message
        assert found.exit_code in (3, 5)
        return
    sizes = dict(found.files)
    for tensor_found in found.tensors:
        for piece in tensor_found.pieces:
            assert 0 <= piece.nbytes <= sizes[piece.file] - piece.offset


def _look_at(strategy: st.SearchStrategy[bytes], read: Callable[[bytes], Inventory | WeighError], share: int) -> None:
    """Files of a strategy, for a part of the time or, where it is set, for all of it."""
    deadline = time.monotonic() + (SECONDS if FRESH else SECONDS / share)

    @settings(
        max_examples=max(int(SECONDS * 300), 10),
        deadline=None,
        derandomize=not FRESH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def look(content: bytes) -> None:
        if time.monotonic() <= deadline:
            _require_sound(read(content))

    look()


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    opened = seeds.write(tmp_path, name, SEEDS[name]).name
    _look_at(mutated(SEEDS[name].content), lambda content: _outcome(tmp_path / name, content, opened), len(SEEDS))


@pytest.mark.slow
@pytest.mark.parametrize("name", trees.TREES)
def test_a_changed_tree_is_read_or_refused(name: str, tmp_path: Path) -> None:
    make = trees.TREES[name]
    _look_at(st.binary(max_size=64), lambda choices: _outcome(tmp_path / name, make(choices)), 10)


@pytest.mark.slow
def test_what_is_accepted_the_reference_accepts_too(tmp_path: Path) -> None:
    """And the other way round, but for dtypes newer than either and for white space before the header."""
    reference = pytest.importorskip("safetensors")
    deadline = time.monotonic() + SECONDS

    @settings(
        max_examples=max(int(SECONDS * 300), 10),
        deadline=None,
        derandomize=not FRESH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(SAFETENSORS))
    def look(content: bytes) -> None:
        if time.monotonic() > deadline:
            return
        found = _outcome(tmp_path / "a.safetensors", content)
        try:
            reference.deserialize(content)
        except reference.SafetensorError:
            accepted = False
        else:
            accepted = True
        if isinstance(found, Inventory):
            unknown = any(tensor_found.codec.startswith("unknown:") for tensor_found in found.tensors)
            assert accepted or unknown
        else:
            assert not accepted or found.rule in ("ST-BRACE", "JSON-DUPLICATE"), found.message

    look()
