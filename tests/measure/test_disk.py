"""Reading a file cold and warm, by a clock that the test turns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from weigh.measure.disk import measure
from weigh.types import WeighError

SIZE = 8 * 2**20


def ticking(*seconds: float) -> Callable[[], float]:
    """A clock that goes on by the next of these between start and end of each reading."""
    now, left = [0.0], list(seconds)
    started = [False]

    def clock() -> float:
        if started[0]:
            now[0] += left.pop(0)
        started[0] = not started[0]
        return now[0]

    return clock


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(WeighError) as refused:
        measure(Path("/nowhere/at/all"), SIZE)
    assert (refused.value.rule, refused.value.exit_code) == ("DISK-WRITE", 5)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system does not forget a file")
def test_cold_is_the_first_reading_and_warm_the_best_of_the_others(tmp_path: Path) -> None:
    found = measure(tmp_path, SIZE, ticking(4.0, 1.0, 0.5, 2.0))
    assert (found.nbytes, found.cold, found.cached) == (SIZE, SIZE / 4, SIZE / 0.5)
    assert not list(tmp_path.iterdir())


def test_without_forgetting_there_is_no_cold_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert measure(tmp_path, SIZE, ticking(1.0, 1.0, 1.0)).cold is None
