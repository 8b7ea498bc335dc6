"""Blocks laid out by hand, so that a wrong formula is seen without any other package."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from weigh import codecs

HALF = struct.pack("<e", 0.5)
TWO = struct.pack("<e", 2.0)


def decoded(codec: str, *parts: bytes) -> np.ndarray:
    found = codecs.by_id(codec)
    return codecs.decode(found, b"".join(parts), found.block)


def sparse(size: int, values: dict[int, float], rest: float) -> np.ndarray:
    expected = np.full(size, rest, dtype=np.float32)
    expected[list(values)] = list(values.values())
    return expected


CODES = bytes([0x1F]) + bytes(14) + bytes([0xA0])
"""Sixteen bytes of 4-bit codes: value 0 is 15, value 16 is 1, value 31 is 10, all others are 0."""


def test_q4_0():
    np.testing.assert_array_equal(decoded("q4_0", HALF, CODES), sparse(32, {0: 3.5, 16: -3.5, 31: 1}, -4))


def test_q4_1():
    np.testing.assert_array_equal(decoded("q4_1", HALF, TWO, CODES), sparse(32, {0: 9.5, 16: 2.5, 31: 7}, 2))


def test_q5_0_takes_the_fifth_bit_of_value_j_from_bit_j():
    fifth = struct.pack("<I", 1 << 0 | 1 << 17)
    expected = sparse(32, {0: 7.5, 16: -7.5, 17: 0, 31: -3}, -8)
    np.testing.assert_array_equal(decoded("q5_0", HALF, fifth, CODES), expected)


def test_q5_1():
    fifth = struct.pack("<I", 1 << 0 | 1 << 17)
    expected = sparse(32, {0: 17.5, 16: 2.5, 17: 10, 31: 7}, 2)
    np.testing.assert_array_equal(decoded("q5_1", HALF, TWO, fifth, CODES), expected)


def test_q8_0():
    codes = bytes([0x7F, 0x80]) + bytes(30)
    np.testing.assert_array_equal(decoded("q8_0", HALF, codes), sparse(32, {0: 63.5, 1: -64}, 0))


def test_q8_k_ignores_its_sums():
    codes = bytes([0x7F, 0x80]) + bytes(254)
    values = decoded("q8_k", struct.pack("<f", 0.5), codes, b"\xff" * 32)
    np.testing.assert_array_equal(values, sparse(256, {0: 63.5, 1: -64}, 0))


def test_q2_k():
    scales = bytes([0x13]) + bytes(14) + bytes([0x01])
    codes = bytes([0b11_00_00_10]) + bytes(62) + bytes([0b10_00_00_00])
    values = decoded("q2_k", scales, codes, HALF, TWO)
    # Group 0 has scale 3 and minimum 1, group 15 scale 1; value 96 lies in group 6, whose scale is 0.
    expected = sparse(256, dict.fromkeys(range(16), -2.0) | {0: 1.0, 255: 1.0}, 0)
    np.testing.assert_array_equal(values, expected)


def test_q3_k_subtracts_four_where_the_third_bit_is_clear():
    third = bytes([0b1000_0001]) + bytes(31)
    codes = bytes([0b00_00_00_11]) + bytes(63)
    # The 6 bits of all scales are 33 = 2 * 16 + 1, hence a factor of 1.
    scales = bytes([0x11] * 8) + bytes([0b10_10_10_10] * 4)
    expected = sparse(256, {0: 1.5, 224: 0}, -2)
    np.testing.assert_array_equal(decoded("q3_k", third, codes, scales, HALF), expected)


SCALES_AND_MINIMUMS = bytes([0xC1, 2, 3, 4, 0x40 + 5, 6, 7, 8, 0x9A, 0, 0, 0xFF])
"""Scales 1 2 3 4, 48 + 10, 0, 0, 15 and minimums 5 6 7 8, 16 + 9, 0, 0, 15."""


@pytest.mark.parametrize(("codec", "fifth"), [("q4_k", b""), ("q5_k", bytes(32))])
def test_q4_k_and_q5_k_unpack_their_six_bit_scales(codec, fifth):
    ones = decoded(codec, HALF, TWO, SCALES_AND_MINIMUMS, fifth, b"\x11" * 128).reshape(8, 32)
    scales = np.array([1, 2, 3, 4, 58, 0, 0, 15])
    minimums = np.array([5, 6, 7, 8, 25, 0, 0, 15])
    np.testing.assert_array_equal(ones, np.repeat((0.5 * scales - 2 * minimums)[:, None], 32, axis=1))


def test_q5_k_takes_the_fifth_bit_of_group_g_from_bit_g():
    fifth = bytes([0b0001_0010]) + bytes(31)
    values = decoded("q5_k", HALF, bytes(2), SCALES_AND_MINIMUMS, fifth, bytes(128))
    np.testing.assert_array_equal(values, sparse(256, {32: 0.5 * 2 * 16, 128: 0.5 * 58 * 16}, 0))


def test_q6_k():
    low = bytes([0xF5]) + bytes(127)
    high = bytes([0b01_00_00_10]) + bytes(63)
    scales = struct.pack("<16b", *([1] * 6 + [-2] + [1] * 9))
    # Value 0 is 5 + 32, value 64 is 15, value 96 is 16 in the group of scale -2.
    expected = sparse(256, dict.fromkeys(range(96, 112), 32.0) | {0: 2.5, 64: -8.5, 96: 16.0}, -16)
    np.testing.assert_array_equal(decoded("q6_k", low, high, scales, HALF), expected)


def test_iq4_nl_looks_up_its_codebook():
    codes = bytes([0x1F]) + bytes(14) + bytes([0x90])
    expected = sparse(32, {0: 56.5, 16: -52, 31: 6.5}, -63.5)
    np.testing.assert_array_equal(decoded("iq4_nl", HALF, codes), expected)


def test_iq4_xs_joins_four_and_two_bits_of_a_scale():
    high = struct.pack("<H", 0b10 | 0b11 << 14)
    low = bytes([0x01, 0, 0, 0xF0])
    values = decoded("iq4_xs", HALF, high, low, b"\x88" * 128).reshape(8, 32)
    scales = np.array([33, 0, 0, 0, 0, 0, 0, 63]) - 32
    np.testing.assert_array_equal(values, np.repeat(0.5 * scales[:, None], 32, axis=1))


def test_tq1_0_reads_base_three_fractions():
    # Digits 2 1 0 2 1 as 0.21021 in base 3 of 256, rounded up.
    byte = -(-(2 * 81 + 1 * 27 + 0 * 9 + 2 * 3 + 1) * 256 // 243)
    zero = -(-(81 + 27 + 9 + 3 + 1) * 256 // 243)
    codes = bytes([byte] + [zero] * 31 + [byte] + [zero] * 15 + [byte] + [zero] * 3)
    first = {0: 0.5, 64: -0.5, 96: 0.5}
    second = {160: 0.5, 192: -0.5, 208: 0.5}
    third = {240: 0.5, 248: -0.5, 252: 0.5}
    np.testing.assert_array_equal(decoded("tq1_0", codes, HALF), sparse(256, first | second | third, 0))


def test_tq2_0():
    codes = bytes([0b10_01_01_00]) + b"\x55" * 63
    np.testing.assert_array_equal(decoded("tq2_0", codes, HALF), sparse(256, {0: -0.5, 96: 0.5}, 0))


def test_q1_0_has_no_zero():
    codes = bytes([0b1000_0001]) + bytes(15)
    np.testing.assert_array_equal(decoded("q1_0", HALF, codes), sparse(128, {0: 0.5, 7: 0.5}, -0.5))


def test_q2_0_packs_neighbours_together():
    codes = bytes([0b11_10_01_00]) + b"\x55" * 15
    np.testing.assert_array_equal(decoded("q2_0", HALF, codes), sparse(64, {0: -0.5, 2: 0.5, 3: 1}, 0))


def test_mxfp4():
    codes = bytes([0x7F]) + bytes(15)
    np.testing.assert_array_equal(decoded("mxfp4", bytes([128]), codes), sparse(32, {0: -12, 16: 12}, 0))


def test_mxfp4_reaches_below_the_normal_numbers():
    codes = bytes([0x02]) + bytes(15)
    assert decoded("mxfp4", bytes([0]), codes)[0] == np.float32(2**-127)


def test_nvfp4_has_a_scale_for_each_sixteen():
    scales = bytes([0x38, 0x40, 0x7F, 0x00])
    groups = (bytes([0x71]) + bytes(7)) * 4
    expected = sparse(64, {0: 0.5, 8: 6, 16: 1, 24: 12}, 0)
    np.testing.assert_array_equal(decoded("nvfp4", scales, groups), expected)


def test_f4_puts_the_first_value_in_the_low_half():
    np.testing.assert_array_equal(decoded("f4", bytes([0xF3])), [1.5, -6])
