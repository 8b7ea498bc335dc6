"""Progress is told on a terminal only, and only where the work takes long."""

from __future__ import annotations

import io

import pytest

from weigh.report import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_nothing_is_written_where_nobody_watches(clock: list[float]) -> None:
    pipe = io.StringIO()
    meter = progress.Meter("hashing", pipe)
    clock[0] = 10.0
    meter(5, 10)
    assert pipe.getvalue() == ""


def test_short_work_is_silent(clock: list[float]) -> None:
    screen = Terminal()
    meter = progress.Meter("hashing", screen)
    clock[0] = 0.4
    meter(10, 10)
    assert screen.getvalue() == ""


def test_bytes_rate_and_time_left_are_told_and_the_last_line_stays(clock: list[float]) -> None:
    screen = Terminal()
    meter = progress.Meter("hashing", screen)
    clock[0] = 2.0
    meter(2_000_000, 6_000_000)
    clock[0] = 2.01
    meter(2_100_000, 6_000_000)
    assert screen.getvalue().endswith("hashing 2.00 MB of 6.00 MB, 1.00 MB/s, 4.00 s left")
    clock[0] = 6.0
    meter(6_000_000, 6_000_000)
    assert screen.getvalue().endswith("hashing 6.00 MB of 6.00 MB, 1.00 MB/s\n")
