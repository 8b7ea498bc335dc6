"""Nesting and digits are found before JSON is parsed, whatever strings hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh.formats import json_text
from weigh.types import Limits, WeighError

PATH = Path("config.json")
TRICKY = st.text(alphabet='[]{}"\\aé9', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=12,
)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(VALUES, st.integers(0, 8), st.booleans())
def test_depth_is_counted_exactly(value: object, limit: int, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert json_text._deeper_than(data, limit) == (_depth(value) > limit)


@given(st.text(alphabet='[]{}"\\a', max_size=40), st.integers(1, 8))
def test_what_passes_can_be_parsed_without_deep_recursion(text: str, limit: int) -> None:
    """Unmatched brackets pass where few are open: the parser stops at the first that does not fit."""
    if not json_text._deeper_than(text.encode(), limit):
        deepest = depth = 0
        for character in text:
            if character == '"':
                break
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
        assert deepest <= 2 * limit


@given(st.dictionaries(TRICKY, VALUES, max_size=4))
def test_what_python_writes_is_read_back(value: dict[str, object]) -> None:
    assert json_text.parse(json.dumps(value).encode(), PATH, Limits(), 1000) == value


@pytest.mark.parametrize("pairs", [[("a", 1), ("a", 1)], [("a", 1), ("b", 2), ("a", 3)], [("", 1), ("", 1), ("", 1)]])
def test_a_key_that_comes_twice(pairs: list[tuple[str, object]]) -> None:
    with pytest.raises(json_text.KeyTwiceError) as caught:
        json_text.unique(pairs)
    assert caught.value.args == (pairs[0][0],)


def test_the_longest_number_that_is_read() -> None:
    assert json_text.parse(b'{"a": ' + b"9" * 308 + b"}", PATH, Limits(), 10)["a"] == 10**308 - 1
    with pytest.raises(WeighError):
        json_text.parse(b'{"a": ' + b"9" * 309 + b"}", PATH, Limits(), 10)


@pytest.mark.parametrize("text", [rb'{"a": "\\ud800"}', rb'{"a": "\ud83d\ude00"}', b'{"a": "\\u00e9"}'])
def test_escapes_that_are_whole_characters(text: bytes) -> None:
    assert json_text.parse(text, PATH, Limits(), 10) == json.loads(text)


@pytest.mark.parametrize(
    "text", [rb'{"a": "\ud83d"}', rb'{"a": "\ude00\ud83d"}', rb'{"a": "\\\ud83d"}', rb'{"\uDBFF": 1}']
)
def test_escapes_that_are_half_a_character(text: bytes) -> None:
    with pytest.raises(WeighError) as caught:
        json_text.parse(text, PATH, Limits(), 10)
    assert caught.value.rule == "JSON-TEXT"


def test_a_quotation_that_never_ends_is_told_soon() -> None:
    with pytest.raises(WeighError):
        json_text.parse(b'{"' + b'\\"' * 2_000_000, PATH, Limits(), 10)
    with pytest.raises(WeighError):
        json_text.parse(b'{"[' + b"\\" * 2_000_001, PATH, Limits(), 10)
