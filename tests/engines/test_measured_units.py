"""Seconds a unit of work: found again from steps made of them, and the longer of reading and multiplying a codec."""

from __future__ import annotations

import random

import numpy as np
import pytest

from weigh.engines.measured import fitted, seconds, terms

UNITS = {"step": 2e-4, "tensor": 1e-6, "read q8_0": 1e-10, "multiply q8_0": 2e-11}


def test_work_that_was_not_measured_is_an_error_and_no_zero() -> None:
    with pytest.raises(KeyError, match="read q4_k"):
        terms({"read q4_k": 1.0, "multiply q4_k": 1.0}, UNITS)


def test_of_a_codec_the_longer_of_reading_and_multiplying_counts() -> None:
    few = {"step": 1, "read q8_0": 1e6, "multiply q8_0": 1e6}
    many = {"step": 1, "read q8_0": 1e6, "multiply q8_0": 1e9}
    assert terms(few, UNITS) == {"step": 2e-4, "q8_0": pytest.approx(1e-4)}
    assert terms(many, UNITS) == {"step": 2e-4, "q8_0": pytest.approx(2e-2)}


def test_arrays_give_what_numbers_give() -> None:
    sizes = [1e5, 3e6, 8e9]
    together = seconds({"step": 1, "read q8_0": 1e6, "multiply q8_0": np.array(sizes)}, UNITS)
    alone = [seconds({"step": 1, "read q8_0": 1e6, "multiply q8_0": size}, UNITS) for size in sizes]
    assert together.tolist() == alone


def test_units_are_found_again_from_steps_made_of_them() -> None:
    draw = random.Random(3)
    kinds = ("step", "tensor", "read q8_0")
    rows = [{"step": 1, "tensor": draw.randrange(10, 900), "read q8_0": draw.uniform(1e6, 1e8)} for _ in range(12)]
    found = fitted(rows, [sum(row[name] * UNITS[name] for name in kinds) for row in rows])
    assert found == {name: pytest.approx(UNITS[name], rel=1e-6) for name in kinds}


def test_a_kind_that_would_take_less_than_nothing_takes_nothing() -> None:
    rows = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 1.0}]
    found = fitted(rows, [1.0, 0.9, 2.0])
    assert found["b"] == 0
    assert found["a"] == pytest.approx(0.97, abs=0.1)
