"""floats.py, integers.py and fp8.py: the values at the edges, written out."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from weigh import codecs


def decoded(codec: str, raw: bytes) -> np.ndarray:
    found = codecs.by_id(codec)
    return codecs.decode(found, raw, len(raw) // found.block_bytes * found.block)


def test_a_float32_keeps_every_bit():
    payload = struct.pack("<4I", 0x7F800001, 0xFFC12345, 0x80000000, 0x00000001)
    assert decoded("f32", payload).tobytes() == payload


def test_a_bfloat16_is_the_upper_half_of_a_float32():
    assert decoded("bf16", b"\x80\x3f\x81\x7f").tobytes() == b"\x00\x00\x80\x3f\x00\x00\x81\x7f"


def test_a_float64_beyond_float32_is_infinite_without_a_warning():
    np.testing.assert_array_equal(decoded("f64", struct.pack("<3d", 1e300, -1e300, 1e-300)), [np.inf, -np.inf, 0])


@pytest.mark.parametrize(
    ("codec", "raw", "values"),
    [
        ("i8", b"\x80\x7f", [-128, 127]),
        ("u8", b"\x80\xff", [128, 255]),
        ("i16", b"\x00\x80", [-32768]),
        ("u16", b"\x00\x80", [32768]),
        ("i32", b"\x01\x00\x00\x01", [2**24]),
        ("u32", b"\xff\xff\xff\xff", [2**32]),
        ("i64", b"\x00" * 7 + b"\x80", [-(2**63)]),
        ("u64", b"\xff" * 8, [2**64]),
        ("bool", b"\x00\x01\x02\xff", [0, 1, 1, 1]),
    ],
)
def test_integers(codec, raw, values):
    np.testing.assert_array_equal(decoded(codec, raw), np.array(values, dtype=np.float32))


@pytest.mark.parametrize(
    ("codec", "raw", "values"),
    [
        ("f8_e4m3", [0x01, 0x08, 0x38, 0x7E, 0xFE], [2**-9, 2**-6, 1, 448, -448]),
        ("f8_e5m2", [0x01, 0x3C, 0x7B, 0x7C, 0xFC], [2**-16, 1, 57344, np.inf, -np.inf]),
        ("f8_e4m3fnuz", [0x01, 0x40, 0x7F, 0x80], [2**-10, 1, 240, np.nan]),
        ("f8_e5m2fnuz", [0x01, 0x40, 0x7F, 0x80], [2**-17, 1, 57344, np.nan]),
        ("f8_e8m0", [0x00, 0x7F, 0xFE, 0xFF], [2**-127, 1, 2.0**127, np.nan]),
    ],
)
def test_eight_bit_floats(codec, raw, values):
    np.testing.assert_array_equal(decoded(codec, bytes(raw)), np.array(values, dtype=np.float32))


@pytest.mark.parametrize("codec", ["f8_e4m3", "f8_e5m2", "f8_e4m3fnuz", "f8_e5m2fnuz", "f8_e8m0"])
def test_the_sign_of_nan_is_kept(codec):
    import ml_dtypes

    names = {"f8_e4m3": "float8_e4m3fn", "f8_e8m0": "float8_e8m0fnu"}
    reference = getattr(ml_dtypes, names.get(codec, codec.replace("f8", "float8")))
    every = bytes(range(256))
    expected = np.frombuffer(every, dtype=reference).astype(np.float32)
    assert decoded(codec, every).tobytes() == expected.tobytes()


def test_a_changed_result_does_not_reach_the_table():
    decoded("f8_e4m3", b"\x38")[0] = 5
    assert decoded("f8_e4m3", b"\x38") == 1
