"""Work that is done once: by the identity of its subject, with the oldest let go."""

from __future__ import annotations

import pytest

from weigh.once import once


def test_arguments_by_name_are_refused_rather_than_told_apart_wrongly() -> None:
    @once()
    def doubled(value: int) -> int:
        return 2 * value

    with pytest.raises(TypeError, match="by position"):
        doubled(value=3)


def test_the_same_subject_is_worked_on_once_and_an_equal_one_again() -> None:
    seen: list[list[int]] = []

    @once()
    def length(subject: list[int], factor: int) -> int:
        seen.append(subject)
        return factor * len(subject)

    one, other = [1, 2], [1, 2]
    assert [length(one, 2), length(one, 2), length(other, 2), length(one, 3)] == [4, 4, 4, 6]
    assert len(seen) == 3


def test_the_oldest_is_let_go_and_done_again() -> None:
    calls: list[str] = []

    @once(2)
    def worked(subject: str) -> str:
        calls.append(subject)
        return subject

    for subject in ("a", "b", "a", "c", "a", "b"):
        worked(subject)
    assert calls == ["a", "b", "c", "b"]


def test_two_subjects_are_told_apart_by_both() -> None:
    @once(subjects=2)
    def joined(one: list[int], other: list[int]) -> list[int]:
        return one + other

    left, right = [1], [2]
    assert joined(left, right) is joined(left, right)
    assert joined(right, left) == [2, 1]
