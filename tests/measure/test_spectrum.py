"""Ranks and the tail exponent of matrices whose spectrum is known."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from weigh import formats
from weigh.measure import spectrum
from weigh.types import Inventory


def _file(folder: Path, matrix: NDArray[np.float32]) -> Inventory:
    header = {"a": {"dtype": "F32", "shape": list(matrix.shape), "data_offsets": [0, matrix.nbytes]}}
    text = json.dumps(header).encode()
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + matrix.tobytes())
    return formats.read(path)


def _found(folder: Path, matrix: NDArray[np.float32]) -> spectrum.Spectrum | None:
    inventory = _file(folder, matrix)
    return spectrum.spectrum(inventory, inventory.tensors[0])


def test_what_is_no_matrix_has_no_spectrum(tmp_path: Path) -> None:
    assert _found(tmp_path, np.ones(100, np.float32)) is None
    assert _found(tmp_path, np.ones((3, 100), np.float32)) is None
    assert _found(tmp_path, np.full((64, 64), np.nan, np.float32)) is None
    nothing = _found(tmp_path, np.zeros((64, 64), np.float32))
    assert nothing is not None
    assert nothing.effective_rank is None


@pytest.mark.parametrize("shape", [(64, 100), (100, 64)])
def test_ranks_are_those_of_the_singular_values(shape: tuple[int, int], tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    singular = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    shares = singular / singular.sum()
    found = _found(tmp_path, matrix)
    assert found is not None
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert found.stable_rank == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-6)
    assert found.largest == pytest.approx(singular[0], rel=1e-6)
    assert found.sampled is None


def test_the_rank_of_equal_directions_is_their_number(tmp_path: Path) -> None:
    matrix = np.zeros((80, 64), np.float32)
    matrix[:40, :40] = np.eye(40)
    found = _found(tmp_path, matrix)
    assert found is not None
    assert found.effective_rank == pytest.approx(40, rel=1e-6)


@pytest.mark.parametrize("alpha", [2.0, 3.5])
def test_the_exponent_of_a_drawn_power_law_is_found_again(alpha: float) -> None:
    uniform = np.random.default_rng(1).random(3000)
    exponent, start, count, distance = spectrum.tail((1 - uniform) ** (-1 / (alpha - 1)))
    assert exponent == pytest.approx(alpha, rel=0.08)
    assert start is not None
    assert distance is not None
    assert distance < 0.05
    assert count > 300


def test_a_large_matrix_is_sampled_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "LARGEST", 50)
    for shape in ((64, 100), (100, 64)):
        found = _found(tmp_path, np.random.default_rng(2).standard_normal(shape).astype(np.float32))
        assert found is not None
        assert found.sampled == 50
        assert found.effective_rank is not None
        assert 30 < found.effective_rank <= 50
