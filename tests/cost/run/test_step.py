"""Seconds of a step: by hand, the same for floats and for arrays, and what a missing limit leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weigh.cost.run.load import Load, Weights
from weigh.cost.run.step import compute_s, memory_s, part_s, seconds
from weigh.engines.rates import TYPES, Curve, Rates, Spread, number_type
from weigh.numbers import larger, rounded_up, smaller
from weigh.types import WeighError

CURVE = Curve("measured", "", "")
RATES = Rates(
    1e12, 1e14, dict.fromkeys(TYPES, 0.5), dict.fromkeys(TYPES, 0.25), 1e-4, 1e-6, Spread(0.9, 1.2), Spread(0.9, 1.2),
    CURVE, CURVE,
)  # fmt: skip


def load(flops: float = 1e9, weights: float = 1e8, state: float = 1e6, count: int = 4) -> Load:
    return Load("mlp", count, flops, {"q4_k": weights}, state, 3)


def test_a_codec_that_nobody_knows_has_no_number_type() -> None:
    with pytest.raises(WeighError, match="no codec"):
        number_type("q4_nobody")


def test_without_a_peak_only_bytes_take_time_and_without_a_bandwidth_only_flops() -> None:
    assert part_s(load(), replace(RATES, peak=None)) == memory_s(load(), RATES)
    assert part_s(load(), replace(RATES, bandwidth=None)) == compute_s(load(), RATES)


def test_a_step_by_hand() -> None:
    each = max(1e9 / (1e14 * 0.25), (1e8 + 1e6) / (1e12 * 0.5)) + 3 * 1e-6
    assert seconds([load()], RATES) == pytest.approx(1e-4 + 4 * each)
    assert seconds([load()], RATES, 5e-4, 2) == pytest.approx(2e-4 + 4 * each + 5e-4)


def test_compute_binds_where_it_takes_longer() -> None:
    assert part_s(load(flops=1e13), RATES) == 1e13 / (1e14 * 0.25)


def test_a_codec_of_its_own_goes_before_its_number_type() -> None:
    own = replace(RATES, memory={**RATES.memory, "q4_k": 0.25})
    assert own.bytes_per_s("q4_k") == RATES.bytes_per_s("q4_k") / 2
    assert own.bytes_per_s("q4_0") == RATES.bytes_per_s("q4_0")


@pytest.mark.parametrize(
    ("codec", "kind"),
    [("f32", "f32"), ("bf16", "f16"), ("f8_e4m3", "fp8"), ("q8_0", "int8"), ("q6_k", "int4"), ("nvfp4", "fp4")],
)
def test_codecs_have_the_number_type_of_their_bits(codec: str, kind: str) -> None:
    assert number_type(codec) == kind


def test_floats_and_arrays_give_the_same() -> None:
    flops, bandwidth, tokens = np.meshgrid([1e6, 1e9, 1e13], [1e11, 1e12], [1.0, 7.0, 600.0])
    table, experts = Weights("f16", 8000.0, rows=100), Weights("q4_k", 9e7, chance=0.125)
    found = seconds(
        [
            Load("moe", 4, flops, {"q4_k": experts.read(tokens)}, 1e6 * tokens, 3),
            Load("embedding", 1, 0.0, {"f16": table.read(tokens)}, 0.0, 1),
        ],
        replace(RATES, bandwidth=bandwidth),
        steps=rounded_up(tokens, 512),
    )
    assert found.shape == flops.shape
    for place in np.ndindex(flops.shape):
        count = float(tokens[place])
        one = seconds(
            [
                Load("moe", 4, float(flops[place]), {"q4_k": experts.read(count)}, 1e6 * count, 3),
                Load("embedding", 1, 0.0, {"f16": table.read(count)}, 0.0, 1),
            ],
            replace(RATES, bandwidth=float(bandwidth[place])),
            steps=rounded_up(count, 512),
        )
        assert isinstance(one, float)
        assert one == pytest.approx(float(found[place]), rel=1e-14)


def test_the_larger_and_the_smaller_of_numbers_and_of_arrays() -> None:
    assert (larger(1.0, 2.0), smaller(1.0, 2.0), rounded_up(1025, 512)) == (2.0, 1.0, 3)
    assert larger(np.array([1.0, 3.0]), 2.0).tolist() == [2.0, 3.0]
    assert smaller(np.array([1.0, 3.0]), 2.0).tolist() == [1.0, 2.0]
