"""The C kernels and their NumPy twins say the same, and the twins say what the formulas say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weigh import kernels
from weigh.kernels import planes, weights

EXTREMES = (0.0, -0.0, 1e-45, -1e-40, 1e-38, 6e-8, 1e-3, -1e-3, 0.5, -0.5, 1.0, -1.0, 127.0, 65504.0, 1e30, 3.4e38)


@pytest.fixture(params=["c", "plain", "numpy"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each test runs over all three: the best C for this processor, the plain C, the twin."""
    monkeypatch.setenv("WEIGH_KERNELS", "" if request.param == "c" else request.param)
    kernels.library.cache_clear()
    if request.param != "numpy" and kernels.library() is None:
        kernels.library.cache_clear()
        pytest.skip("the kernels are not compiled here")
    yield request.param
    kernels.library.cache_clear()


def scanned(values: NDArray[np.float32], row: int, *, twin: bool) -> tuple[NDArray[Any], NDArray[np.float32]]:
    sums = weights.empty()
    raw = np.ascontiguousarray(values).view(np.uint8)
    if not twin:
        return sums, weights.scan(raw, "f32", row, sums)
    maxima = np.empty(weights.groups(values.size, row), np.float32)
    weights._twin(values, row, sums, maxima, moments=True)
    return sums, maxima


def compared(values: NDArray[np.float32], row: int) -> None:
    ours, maxima = scanned(values, row, twin=False)
    twin, expected = scanned(values, row, twin=True)
    assert np.array_equal(maxima, expected)
    for name in ("finite", "nan", "infinite", "zeros", "minimum", "maximum"):
        assert np.array_equal(ours[name], twin[name]), name
    assert bool(ours["unrounded"]) == bool(twin["unrounded"])
    if ours["unrounded"]:
        return
    assert np.array_equal(ours["overflow"], twin["overflow"])
    assert ours["near_zeros"] == twin["near_zeros"]
    size = float(np.abs(values.astype(np.float64)).max(initial=0))
    # A block that is smaller than its neighbours by 1e15 is lost beside them in float32, and what is below the smallest
    # normal number is zero to the one and not to the other.
    lost = max(1e-30 * size**2, values.size * float(np.finfo(np.float32).tiny) ** 2)
    np.testing.assert_allclose(ours["error"], twin["error"], rtol=2e-5, atol=lost)
    for power, name in enumerate(("mean", "m2", "m3", "m4"), 1):
        scale = values.size * size**power
        np.testing.assert_allclose(ours[name], twin[name], rtol=1e-9, atol=1e-12 * scale, err_msg=name)


@given(
    st.sampled_from([1, 31, 32, 33, 127, 128, 129, 576, 577, 4096, 5000]),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
    st.lists(st.sampled_from((*EXTREMES, float("nan"), float("inf"), float("-inf"))), max_size=6),
)
@settings(max_examples=60)
def test_c_and_numpy_agree_on_any_values(row: int, rows: int, seed: int, strange: list[float]) -> None:
    if kernels.library() is None:
        pytest.skip("the kernels are not compiled here")
    drawn = np.random.default_rng(seed)
    values = (drawn.standard_normal(row * rows) * 10.0 ** drawn.integers(-6, 4)).astype(np.float32)
    for value in strange:
        values[drawn.integers(values.size)] = value
    compared(values, row)


@pytest.mark.parametrize("row", [128, 577, 4096])
@pytest.mark.parametrize("strange", [0.0, 1e-40, 3e38, float("nan")])
def test_every_form_agrees_with_the_twin(row: int, strange: float, implementation: str) -> None:
    values = np.random.default_rng(row).standard_normal(5 * row).astype(np.float32)
    values[[7, 100]] = strange
    compared(values, row)


def test_ties_in_magnitude_take_the_sign_of_the_first() -> None:
    for first in (1.0, -1.0):
        values = np.zeros(32, np.float32)
        values[[3, 9, 11]] = first, -first, -first
        sums, _ = scanned(values, 32, twin=False)
        # The opposite value is cut off at code 15: 7/8 of it is left, twice.
        assert sums["error"][1] == pytest.approx(2 / 64)


def test_an_interrupted_group_does_not_begin_a_new_one(implementation: str) -> None:
    values = np.random.default_rng(3).standard_normal(3 * 20_000).astype(np.float32)
    whole, _ = scanned(values, 20_000, twin=False)
    parts = weights.empty()
    for begin in range(0, values.size, 20_000):
        for first, last in ((0, 128 * 40), (128 * 40, 20_000)):
            weights.scan(values[begin + first : begin + last].view(np.uint8), "f32", 20_000, parts)
    assert parts["error"] == pytest.approx(whole["error"], rel=1e-6)
    assert parts["m4"] == pytest.approx(whole["m4"], rel=1e-9)


@pytest.mark.parametrize("codec", ["Q8_0", "Q4_0"])
def test_rounding_to_ggml_blocks_is_that_of_the_gguf_package(codec: str, implementation: str) -> None:
    gguf = pytest.importorskip("gguf")
    drawn = np.random.default_rng(5)
    values = np.concatenate(
        [
            drawn.standard_normal(4096).astype(np.float32),
            np.round(drawn.standard_normal(4096) * 4).astype(np.float32) / 8,
            (drawn.standard_normal(4096) * 1e-7).astype(np.float32),
            np.zeros(64, np.float32),
        ]
    )
    kind = getattr(gguf.GGMLQuantizationType, codec)
    blocks = values.reshape(-1, 32)
    kept = gguf.quants.dequantize(gguf.quants.quantize(blocks, kind), kind)
    expected = ((blocks.astype(np.float64) - kept) ** 2).sum()
    sums, _ = scanned(values, 32, twin=False)
    assert sums["error"][("Q8_0", "Q4_0").index(codec)] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("place", "steps"), [(2, 127), (3, 7)])
def test_rounding_in_groups_of_128_is_the_plain_formula(place: int, steps: int, implementation: str) -> None:
    values = np.random.default_rng(6).standard_normal((10, 300)).astype(np.float32)
    expected = 0.0
    for row in values.astype(np.float64):
        for begin in range(0, 300, 128):
            group = row[begin : begin + 128]
            scale = np.abs(group).max() / steps
            expected += ((group - np.rint(group / scale) * scale) ** 2).sum()
    sums, _ = scanned(values.reshape(-1), 300, twin=False)
    assert sums["error"][place] == pytest.approx(expected, rel=1e-5)


def test_a_scale_beyond_float16_is_counted_and_a_scale_below_it_loses_the_block(implementation: str) -> None:
    values = np.full(64, 1e-12, np.float32)
    values[:32] = 1e9
    sums, _ = scanned(values, 64, twin=False)
    assert list(sums["overflow"]) == [1, 1, 0, 0]
    assert sums["error"][0] == pytest.approx(32 * 1e-24, rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
def test_moments_are_those_of_float64_also_far_from_zero(offset: float, implementation: str) -> None:
    values = (np.random.default_rng(7).standard_normal(20_001) + offset).astype(np.float32)
    exact = values.astype(np.float64)
    sums, _ = scanned(values, values.size, twin=False)
    off = exact - exact.mean()
    assert sums["mean"] == pytest.approx(exact.mean(), rel=1e-12, abs=1e-12)
    for power in (2, 4):
        assert sums[f"m{power}"] == pytest.approx((off**power).sum(), rel=1e-9)


def test_the_largest_floats_do_not_overflow(implementation: str) -> None:
    values = np.full(10_000, 3e38, np.float32)
    values[::2] = -3e38
    sums, _ = scanned(values, 10_000, twin=False)
    assert sums["m2"] == pytest.approx(1e4 * float(np.float32(3e38)) ** 2, rel=1e-9)
    assert sums["finite"] == 10_000


@pytest.mark.parametrize("kind", ["bf16", "f16", "q8_0"])
def test_every_kind_is_decoded_as_its_codec_says(kind: str, implementation: str) -> None:
    from weigh import codecs

    block, size = weights.KINDS[kind]
    raw = np.random.default_rng(8).integers(0, 256, 4096 // block * size, dtype=np.uint8)
    if kind == "q8_0":
        raw.reshape(-1, size)[:, 1] &= 0x3B
    decoded = codecs.decode(codecs.by_id(kind), raw, 4096)
    sums, direct = weights.empty(), weights.empty()
    maxima = weights.scan(raw, kind, 128, sums)
    assert np.array_equal(maxima, weights.scan(decoded.view(np.uint8), "f32", 128, direct))
    for name in sums.dtype.names or ():
        assert np.array_equal(sums[name], direct[name]), name


def test_all_half_floats_are_decoded(implementation: str) -> None:
    codes = np.arange(1 << 16, dtype="<u2")
    values = codes.view("<f2").astype(np.float64)
    sums = weights.empty()
    weights.scan(codes.view(np.uint8), "f16", codes.size, sums)
    finite = values[np.isfinite(values)]
    assert sums["nan"] == np.isnan(values).sum()
    assert sums["infinite"] == 2
    assert sums["m2"] == pytest.approx(((finite - finite.mean()) ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_bytes_are_counted_by_plane(width: int, implementation: str) -> None:
    raw = np.random.default_rng(9).integers(0, 256, 1003 * width, dtype=np.uint8)
    expected = np.stack([np.bincount(raw[plane::width], minlength=256) for plane in range(width)])
    counts = np.zeros((width, 256), np.uint32)
    planes.bytes_by_plane(raw, width, counts)
    assert np.array_equal(counts, expected)
    if width == 2:
        patterns = np.zeros(planes.PATTERNS, np.uint32)
        planes.patterns(raw, patterns)
        assert np.array_equal(planes.planes_of(patterns), expected)
    if width == 4:
        pairs = np.zeros((2, planes.PATTERNS), np.uint32)
        planes.pattern_pairs(raw, pairs)
        assert np.array_equal(planes.planes_of(pairs).reshape(4, 256), expected)


def test_merged_moments_do_not_depend_on_the_cut() -> None:
    values = np.random.default_rng(10).gamma(2, size=3000)
    whole, joined = weights.empty(), weights.empty()
    weights.merge_moments(whole, *weights.central(values))
    for part in np.split(values, [1, 10, 999, 999]):
        weights.merge_moments(joined, *weights.central(part))
    for name in ("finite", "mean", "m2", "m3", "m4"):
        assert joined[name] == pytest.approx(whole[name], rel=1e-12), name


def test_a_run_that_is_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="neither whole rows"):
        weights.scan(np.zeros(4 * 33, np.uint8), "f32", 32, weights.empty())


def test_the_environment_chooses_numpy() -> None:
    code = "from weigh import kernels; print(kernels.implementation())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WEIGH_KERNELS": "numpy"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "numpy"


def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGH_KERNELS", raising=False)
    monkeypatch.setattr(kernels, "INTERFACE", -1)
    kernels.library.cache_clear()
    assert kernels.library() is None
    kernels.library.cache_clear()
