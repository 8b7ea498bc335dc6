"""Blocks are decoded in C to the bits that the codecs' own decoders give; differences are those of the twin."""

from __future__ import annotations

import numpy as np
import pytest

from weigh import codecs, kernels
from weigh.kernels import blocks, difference

needs_c = pytest.mark.skipif(kernels.library() is None, reason="the kernels are not compiled here")


@needs_c
@pytest.mark.parametrize("kind", blocks.KINDS)
def test_any_bytes_decode_to_the_bits_of_the_codec(kind: str) -> None:
    codec = codecs.by_id(kind)
    assert blocks.KINDS[kind] == (codec.block, codec.block_bytes)
    raw = np.random.default_rng(1).integers(0, 256, 2000 * codec.block_bytes, dtype=np.uint8)
    ours = blocks.decode(kind, raw)
    assert ours is not None
    assert codec.decode is not None
    twin = codec.decode(raw)
    # What a NaN carries is not the codec's business.
    same = (ours.view(np.uint32) == twin.view(np.uint32)) | (np.isnan(ours) & np.isnan(twin))
    assert same.all()


@needs_c
def test_a_part_of_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="whole blocks"):
        blocks.decode("q4_0", np.zeros(17, np.uint8))


@needs_c
@pytest.mark.parametrize("size", [0, 1, 15, 1024, 1025, 5000])
@pytest.mark.parametrize("strange", [0, 5])
def test_differences_are_those_of_the_twin(size: int, strange: int) -> None:
    drawn = np.random.default_rng(size + strange)
    a = drawn.standard_normal(size).astype(np.float32)
    b = np.where(drawn.random(size) < 0.5, a, a + drawn.standard_normal(size).astype(np.float32))
    for array in (a, b):
        for value in (np.nan, np.inf, -np.inf)[: 3 if strange and size else 0]:
            array[drawn.integers(size)] = value
    if strange and size:
        a[0] = b[0] = np.nan
    ours, twin = difference.difference(a, b), difference.twin(a, b)
    assert ours[0] == twin[0]
    assert ours[5:] == twin[5:]
    np.testing.assert_allclose(ours[1:5], twin[1:5], rtol=1e-12, atol=1e-12)


def test_arrays_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        difference.difference(np.zeros(2, np.float32), np.zeros(3, np.float32))
