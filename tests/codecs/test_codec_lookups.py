"""The lookups, the size of a shape and the checks around `decode`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weigh import codecs
from weigh.types import WeighError


@pytest.mark.parametrize(
    ("wrong", "meant"), [("Q4_K", "q4_k"), ("fp16", "f16"), ("bfloat16", "bf16"), ("q4k", "q4_k"), ("e4m3", "f8_e4m3")]
)
def test_a_near_miss_is_told_what_was_meant(wrong, meant):
    with pytest.raises(WeighError) as error:
        codecs.by_id(wrong)
    assert error.value.rule == "CODEC-UNKNOWN"
    assert error.value.exit_code == 2
    assert wrong in error.value.message
    assert meant in error.value.hint


def test_a_far_miss_is_sent_to_the_list():
    with pytest.raises(WeighError) as error:
        codecs.by_id("\x1b[31mzzz")
    assert "\x1b" not in error.value.message
    assert "weigh codecs" in error.value.hint


@pytest.mark.parametrize("number", [4, 5, 31, 32, 33, 36, 37, 38])
def test_a_removed_ggml_type_is_refused_by_name(number):
    with pytest.raises(WeighError) as error:
        codecs.from_ggml(number)
    assert error.value.rule == "CODEC-REMOVED"
    assert codecs.REMOVED_GGML[number] in error.value.message


@pytest.mark.parametrize("number", [-1, 43, 2**32 - 1])
def test_an_unknown_ggml_type_is_none(number):
    assert codecs.from_ggml(number) is None


@pytest.mark.parametrize("dtype", ["", "f32", "F8", "I128"])
def test_an_unknown_dtype_is_none(dtype):
    assert codecs.from_safetensors(dtype) is None


@pytest.mark.parametrize(
    ("codec", "shape", "size"),
    [
        ("f32", (), 4),
        ("f32", (0, 7), 0),
        ("bf16", (3, 5, 7), 210),
        ("q4_k", (4096, 4096), 9_437_184),
        ("q8_0", (2, 3, 64), 408),
        ("q8_1", (32,), 36),
        ("f4", (3, 1, 2), 3),
        ("f6_e2m3", (2, 2), 3),
        ("f16", (2**40, 2**40), 2**81),
    ],
)
def test_bytes_of_a_shape_are_exact(codec, shape, size):
    assert codecs.nbytes(codecs.by_id(codec), shape) == size


@pytest.mark.parametrize(
    ("codec", "shape"), [("q4_0", (32, 31)), ("q4_0", ()), ("q6_k", (256, 128)), ("f4", (3,)), ("f6_e3m2", (2, 3))]
)
def test_a_shape_that_breaks_a_block_is_refused(codec, shape):
    with pytest.raises(WeighError) as error:
        codecs.nbytes(codecs.by_id(codec), shape)
    assert error.value.rule == "CODEC-BLOCK"


def test_safetensors_packs_through_the_rows_and_ggml_does_not():
    assert codecs.nbytes(codecs.by_id("f4"), (2, 3)) == 3
    with pytest.raises(WeighError):
        codecs.nbytes(codecs.by_id("q8_0"), (2, 16))


def test_a_negative_axis_is_refused():
    with pytest.raises(WeighError, match="negative"):
        codecs.nbytes(codecs.by_id("f32"), (-2, -3))


@given(blocks=st.integers(0, 5), extra=st.integers(-17, 17).filter(bool))
def test_decode_refuses_what_is_not_exactly_its_blocks(blocks, extra):
    codec = codecs.by_id("q4_0")
    raw = bytes(max(0, blocks * codec.block_bytes + extra))
    with pytest.raises(WeighError) as error:
        codecs.decode(codec, raw, blocks * codec.block + (0 if raw else 1))
    assert error.value.rule == "CODEC-LENGTH"


def test_decode_gives_a_part_of_the_last_block():
    codec = codecs.by_id("f4")
    np.testing.assert_array_equal(codecs.decode(codec, bytes([0x21, 0x43]), 3), [0.5, 1.0, 1.5])


@pytest.mark.parametrize("memory", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, dtype=np.uint8)])
def test_decode_takes_any_kind_of_bytes(memory):
    values = codecs.decode(codecs.by_id("i8"), memory(bytes([1, 255])), 2)
    np.testing.assert_array_equal(values, [1, -1])


def test_decode_says_that_a_codec_is_size_only():
    with pytest.raises(WeighError) as error:
        codecs.decode(codecs.by_id("iq2_xxs"), bytes(66), 256)
    assert error.value.rule == "CODEC-SIZE-ONLY"
    assert "lattice" in error.value.hint
