"""Each function gives for an array what it gives for its entries, and integers stay integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weigh.numbers import larger, least, smaller, up, whole

INTEGERS = st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=8)


@given(INTEGERS, st.integers(-(2**53), 2**53), st.integers(1, 4096))
def test_arrays_and_numbers_agree(values: list[int], other: int, multiple: int) -> None:
    array = np.array(values, np.int64)
    assert larger(array, other).tolist() == [larger(value, other) for value in values]
    assert smaller(other, array).tolist() == [smaller(value, other) for value in values]
    assert up(array, multiple).tolist() == [up(value, multiple) for value in values]
    assert least(array) == min(values)


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=8))
def test_halves_go_to_the_even_one(values: list[float]) -> None:
    assert whole(np.array(values)).tolist() == [whole(value) for value in values]
    assert whole(np.array([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]


def test_a_number_stays_what_it_is() -> None:
    assert isinstance(larger(1, 2), int)
    assert larger(1, 2.5) == 2.5
    assert least(7) == 7
