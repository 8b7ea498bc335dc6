"""How many rows and values a State stands for."""

from __future__ import annotations

import pytest

from weigh.layers import State


@pytest.mark.parametrize(
    ("state", "tokens", "source", "expected"),
    [
        (State("kv", 3, 2, 4), 10, 0, 10),
        (State("kv", 3, 2, 4, window=7), 10, 0, 7),
        (State("kv", 3, 2, 4, window=7), 5, 0, 5),
        (State("latent", 3, rate=4), 3, 0, 0),
        (State("latent", 3, rate=4), 11, 0, 2),
        (State("pending", 3, 3, rows=0, rate=4), 11, 0, 3),
        (State("pending", 3, 3, rows=0, rate=4), 12, 0, 0),
        (State("pending", 3, 3, rows=4), 11, 0, 4),
        (State("cross", 3, 2, 4), 10, 6, 6),
        (State("cross", 3, 2, 4), 10, 0, 0),
        (State("cross", 3, 2, 4, window=1500), 10, 6, 1500),
        (State("conv", 3, rows=3), 0, 0, 3),
        (State("shift", 3), 99, 9, 1),
        (State("recurrent", 3, heads=5), 99, 9, 1),
    ],
)
def test_rows_of_one_sequence(state: State, tokens: int, source: int, expected: int) -> None:
    assert state.rows_after(tokens, source) == expected
    assert state.values(tokens, source) == expected * state.heads * (state.key_width + state.value_width)


def test_what_is_borrowed_takes_no_room() -> None:
    lent = State("kv", 3, 2, 4, shared_with="layers.0.attention")
    assert lent.rows_after(10) == 10
    assert lent.values(10) == 0
