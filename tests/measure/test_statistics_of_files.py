"""Statistics of whole files against direct float64 formulas, whatever the type, shape, cut or number of threads."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.hostile import craft
from weigh import formats
from weigh.commands import stats
from weigh.measure import scan, second_look
from weigh.measure.roundings import ROUNDINGS
from weigh.measure.weights import Weights, measure, merged
from weigh.types import Inventory, WeighError

SAMPLE = Path(__file__).parents[2] / "samples" / "tiny-lm.Q8_0.gguf"
DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "i1", "I32": "<i4", "I64": "<i8", "U8": "u1", "BOOL": "?"}


def written(path: Path, tensors: dict[str, tuple[str, NDArray[Any]]]) -> Inventory:
    """A safetensors file; BF16 is given as its upper 16 bits."""
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        raw = values.astype(DTYPES.get(dtype, "<u2")).tobytes()
        header[name] = craft.entry(dtype, list(values.shape), len(data), len(data) + len(raw))
        data += raw
    path.write_bytes(craft.safetensors(header, data))
    return formats.read(path)


def measured(path: Path, **tensors: tuple[str, NDArray[Any]]) -> dict[str, Weights]:
    inventory = written(path / "a.safetensors", tensors)
    return {one.names[0]: one for one in measure(inventory, inventory.tensors)}


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------------------------------- failures first


def test_values_that_cannot_be_decoded_are_told_with_the_reason(tmp_path: Path) -> None:
    header = {"new": craft.entry("F12_NEW", [3], 0, 5), "a": craft.entry("F32", [2], 5, 13)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(craft.safetensors(header, b"\1\2\3\4\5" + struct.pack("<2f", 1, 2)))
    rows = stats.run(str(path)).result["stats"]["tensors"]
    assert rows[0]["values"] is None
    assert "F12_NEW" in rows[0]["why"]
    assert rows[0]["entropy"] == [pytest.approx(np.log2(5))]
    assert rows[1]["mean"] == 1.5


def test_a_shape_that_repeats_a_few_bytes_is_not_walked(tmp_path: Path) -> None:
    inventory = written(tmp_path / "a.safetensors", {"a": ("F32", drawn(1))})
    (tensor,) = inventory.tensors
    piece = replace(tensor.pieces[0], shape=(1 << 40, 64), strides=(0, 0))
    found = measure(inventory, [replace(tensor, shape=(1 << 40, 64), pieces=(piece,))])
    assert found[0].sums is None
    assert "repeats" in found[0].unreadable


def test_a_configuration_has_no_values() -> None:
    with pytest.raises(WeighError) as caught:
        stats.run("gpt2")
    assert caught.value.rule == "STATS-NO-WEIGHTS"


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    inventory = written(path, {"a": ("F32", drawn(64, 64))})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeighError) as caught:
        measure(inventory, inventory.tensors)
    assert caught.value.rule == "FILE-RANGE"


def test_nan_and_infinity_are_counted_and_left_out(tmp_path: Path) -> None:
    values = drawn(64, 64)
    values[3, 5], values[4, 6], values[5, 7] = np.nan, np.inf, -np.inf
    found = measured(tmp_path, a=("F32", values))["a"]
    good = values[np.isfinite(values)].astype(np.float64)
    assert (found.field("nan"), found.field("infinite")) == (1, 2)
    assert found.field("mean") == pytest.approx(good.mean(), rel=1e-9)
    assert found.deviation == pytest.approx(good.std(), rel=1e-9)
    assert all(np.isnan(found.error(rounding)) for rounding in ROUNDINGS)


def test_nothing_but_nan_nothing_at_all_and_one_value(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        nan=("F32", np.full((4, 40), np.nan)),
        none=("F32", np.empty((0, 3))),
        one=("F32", np.array(2.5)),
        same=("F32", np.full(100, 7.0)),
    )
    assert found["nan"].count == 0
    assert found["nan"].field("nan") == 160
    assert np.isnan(found["nan"].deviation)
    assert found["none"].count == 0
    assert (found["one"].field("mean"), found["one"].deviation, found["one"].count) == (2.5, 0, 1)
    assert found["same"].constant
    assert np.isnan(found["same"].kurtosis)
    for one in found.values():
        json.dumps(stats.values(one), allow_nan=False)


# ------------------------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64", "I8", "I32", "I64", "U8", "BOOL"])
@pytest.mark.parametrize("shape", [(300, 577), (40, 32), (8, 4, 3, 3), (5,)])
def test_moments_and_counts_are_those_of_the_plain_formulas(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = drawn(*shape) * 40
    if dtype == "BF16":
        stored = (values.view(np.uint32) >> 16).astype(np.uint16)
        exact = (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    else:
        stored = np.abs(values).astype(DTYPES[dtype]) if dtype in ("U8", "BOOL") else values.astype(DTYPES[dtype])
        exact = stored.astype(np.float64)
    found = measured(tmp_path, a=(dtype, stored))["a"]
    off = exact - exact.mean()
    assert found.count == exact.size
    assert found.field("mean") == pytest.approx(exact.mean(), rel=1e-9, abs=1e-9)
    assert found.deviation == pytest.approx(exact.std(), rel=1e-9)
    assert found.norm == pytest.approx(np.linalg.norm(exact), rel=1e-9)
    assert found.largest == np.abs(exact).max()
    assert found.field("zeros") == (exact == 0).sum()
    assert found.outliers == (np.abs(off) > 6 * exact.std()).sum()
    if exact.std():
        assert found.kurtosis == pytest.approx((off**4).mean() / exact.var() ** 2, rel=1e-9)
    raw = np.frombuffer(stored.astype(DTYPES.get(dtype, "<u2")).tobytes(), np.uint8).reshape(exact.size, -1)
    for plane, bits in enumerate(found.entropy()):
        shares = np.bincount(raw[:, plane]) / exact.size
        shares = shares[shares > 0]
        assert bits == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-9)


def test_float64_keeps_its_precision(tmp_path: Path) -> None:
    values = 1 + 1e-10 * np.random.default_rng(1).standard_normal((40, 50))
    found = measured(tmp_path, a=("F64", values))["a"]
    assert found.deviation == pytest.approx(values.std(), rel=1e-5)


def test_kurtosis_is_that_of_scipy(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.stats")
    values = drawn(100, 100) ** 3
    found = measured(tmp_path, a=("F32", values))["a"]
    assert found.kurtosis == pytest.approx(scipy.kurtosis(values, axis=None, fisher=False), rel=1e-4)


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_outliers_are_counted_exactly(dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(2).standard_t(3, (600, 512)).astype(np.float32) + np.float32(0.5)
    bits = values.view(np.uint32) & np.uint32(0xFFFF0000)
    stored = (bits >> 16).astype(np.uint16) if dtype == "BF16" else values
    exact = (bits.view(np.float32) if dtype == "BF16" else values).astype(np.float64)
    found = measured(tmp_path, a=(dtype, stored))["a"]
    assert found.outliers == (np.abs(exact - exact.mean()) > 6 * exact.std()).sum() > 100


def test_dead_rows_and_columns_are_found(tmp_path: Path) -> None:
    values = drawn(200, 300)
    values[[3, 199]] = 0
    values[:, [0, 17, 299]] = 0
    found = measured(tmp_path, a=("F32", values), b=("F32", drawn(200, 300)))
    assert (found["a"].dead_rows, found["a"].dead_columns) == (2, 3)
    assert (found["b"].dead_rows, found["b"].dead_columns) == (0, 0)


def test_the_same_values_are_found_however_they_are_stored(tmp_path: Path) -> None:
    half = drawn(40, 64).astype(np.float16)
    answer = stats.run(
        str(
            Path(
                written(
                    tmp_path / "a.safetensors",
                    {
                        "a": ("F16", half),
                        "b": ("F32", half),
                        "c": ("F16", half + np.float16(0)),
                        "d": ("F16", half[::-1]),
                        "ones": ("F32", np.ones(64)),
                        "more": ("F32", np.ones(64)),
                    },
                ).source
            )
        )
    )
    assert answer.result["stats"]["duplicates"] == [["a", "b", "c"]]
    told = {one["finding"]: one["tensors"] for one in answer.result["stats"]["findings"]}
    assert told == {"constant": ["ones", "more"], "duplicate": ["a", "b", "c"]}


def test_the_result_does_not_depend_on_threads_or_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = written(tmp_path / "a.safetensors", {"a": ("F32", drawn(300, 1024)), "b": ("F32", drawn(3, 50_016))})
    whole = measure(inventory, inventory.tensors, threads=1)
    again = measure(inventory, inventory.tensors, threads=4)
    assert [stats.values(one) for one in whole] == [stats.values(one) for one in again]
    monkeypatch.setattr(scan, "RUN_BYTES", 20_000)
    monkeypatch.setattr(scan, "PART_BYTES", 50_000)
    for one, cut in zip(whole, measure(inventory, inventory.tensors), strict=True):
        assert cut.kurtosis == pytest.approx(one.kurtosis, rel=1e-12)
        assert cut.outliers == one.outliers
        assert [cut.error(r) for r in ROUNDINGS] == pytest.approx([one.error(r) for r in ROUNDINGS], rel=1e-6)


def test_a_tensor_that_is_read_in_chunks_gives_the_same(tmp_path: Path) -> None:
    inventory = written(tmp_path / "a.safetensors", {"a": ("F32", drawn(100, 300))})
    (tensor,) = inventory.tensors
    job = scan.task(inventory, tensor)
    straight = measure(inventory, [tensor])[0]
    from threading import Event

    found = scan.read_chunks(replace(job, kind="chunks"), Event())
    assert found.sums["m4"] == pytest.approx(straight.field("m4"), rel=1e-9)
    assert second_look.outliers(replace(job, kind="chunks"), found, Event()) == straight.outliers


def test_the_sample_is_known_to_the_last_value() -> None:
    inventory = formats.read(SAMPLE)
    found = measure(inventory, inventory.tensors)
    for tensor, one in list(zip(inventory.tensors, found, strict=True))[:12]:
        exact = formats.values(inventory, tensor).astype(np.float64)
        assert one.deviation == pytest.approx(exact.std(), rel=1e-9)
        assert one.field("zeros") == (exact == 0).sum()
        assert one.outliers == (np.abs(exact - exact.mean()) > 6 * exact.std()).sum()
    whole = merged(found)
    assert whole.count == sum(tensor.parameters or 0 for tensor in inventory.tensors)
    # What is stored as q8_0 is rounded to itself.
    assert found[0].error(ROUNDINGS[0]) < 1e-6


# ------------------------------------------------------------------------------------------------ the command

WEIGH = [sys.executable, "-c", "from weigh.cli import main; main()"]


def test_the_page_and_the_rows_name_every_statistic() -> None:
    page = subprocess.run([*WEIGH, "show", SAMPLE, "--stats"], capture_output=True, text=True, check=True).stdout
    for words in ("Findings", "By layer", "Error of rounding", "Entropy", "worst to round"):
        assert words in page
    rows = subprocess.run(
        [*WEIGH, "show", SAMPLE, "--stats", "--csv"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {"kurtosis", "outlier_ratio", "gain_bytes", "error_q4_0"} <= set(rows[0].split(","))
    assert len(rows) == 1 + len(formats.read(SAMPLE).tensors)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    count = 200
    header = {f"t{i}": craft.entry("F32", [2**20], i << 22, (i + 1) << 22) for i in range(count)}
    head = craft.safetensors(header, b"")
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + (count << 22))
    code = (
        "import sys, weigh.measure.scan as s; s.RUN_BYTES = 4096\n"
        "from weigh.cli import main\nprint('up', file=sys.stderr, flush=True)\nmain()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code, "show", path, "--stats"], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stderr is not None
    running.stderr.readline()
    time.sleep(0.8)
    assert running.poll() is None
    sent = time.monotonic()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=10)
    assert running.returncode == 130
    assert time.monotonic() - sent < 2
