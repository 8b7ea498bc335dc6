"""The moves that the decoders share, on bytes small enough to read."""

from __future__ import annotations

import numpy as np
import pytest

from weigh.codecs.bits import affine, blocks, fields, half, minifloat, product


def test_fields_of_a_run_of_bytes_come_lowest_first():
    packed = np.array([[0b11_10_01_00, 0b00_01_10_11]], dtype=np.uint8)
    np.testing.assert_array_equal(fields(packed, 2), [[[0, 3], [1, 2], [2, 1], [3, 0]]])
    np.testing.assert_array_equal(fields(packed, 4), [[[0x4, 0xB], [0xE, 0x1]]])


def test_half_is_read_little_endian_at_its_byte():
    rows = blocks(np.array([9, 0x00, 0x3C, 9, 0x00, 0xC0], dtype=np.uint8), 3)
    np.testing.assert_array_equal(half(rows, 1), [[1.0], [-2.0]])


def test_infinite_scales_do_not_warn():
    infinite = np.array([[np.inf]], dtype=np.float32)
    codes = np.array([[0, 1, 2]], dtype=np.uint8)
    np.testing.assert_array_equal(product(infinite, codes), [[np.nan, np.inf, np.inf]])
    np.testing.assert_array_equal(affine(infinite, codes, -infinite), [[np.nan, np.nan, np.nan]])


def test_affine_rounds_twice():
    # Fused, 3 * (1/3) - 1 would keep the error of 1/3; rounded in between it is exactly 0.
    third = np.array([[1 / 3]], dtype=np.float32)
    assert affine(third, np.array([[3]], dtype=np.uint8), np.array([[-1]], dtype=np.float32)) == 0


@pytest.mark.parametrize(("bits", "largest", "smallest"), [((4, 3, 7), 480, 2**-9), ((2, 1, 1), 6, 0.5)])
def test_minifloat_spans_its_range(bits, largest, smallest):
    table = minifloat(*bits)
    assert table.size == 2 ** (1 + bits[0] + bits[1])
    assert table.max() == largest
    assert table.min() == -largest
    assert table[table > 0].min() == smallest
    assert np.signbit(table[table.size // 2])
