"""Fit the coefficients of a training step to measured steps, and say how well sizes are predicted that were left out.

    python -m benchmarks.fit_training vtrain_ground_truth_multi.csv mpt_llm_foundry_benchmarks.csv TARGET

Rows: github.com/VIA-Research/vTrain, data/ground_truth_multi.csv (MIT), steps of Megatron-DeepSpeed on 64 to 512 A100
with whole layers computed again, all that are legal; and github.com/mosaicml/llm-foundry,
scripts/train/benchmarking/README.md (Apache-2.0), FSDP with flash attention on A100 of 80 GB, the sizes of 1, 3 and 7
billion. Its 13, 30 and 70 billion are held out: their error is printed, and no coefficient has seen them. Sum of
|error| by least squares with changing weights, every coefficient from its floor on: what cannot be hidden takes at
least its ideal time.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weigh.cost.train.layout import Layout, Training, refusals
from weigh.cost.train.model_states import model_states
from weigh.cost.train.optimizers import find_optimizer, find_precision
from weigh.cost.train.terms import TERMS, terms
from weigh.devices import find
from weigh.families.identify import identify
from weigh.types import Inventory, Model
from weigh.writing import write_text

DEVICE = "a100-sxm-80gb"
SEQUENCE = 2048
FLOORS = {"products": 1.0, "flash": 1.0, "head": 1.0, "elementwise": 1.0, "scores": 1.0, "tensor": 1.0,
          "tensor_far": 1.0, "data": 1.0, "optimizer": 1.0, "stages": 0.2}  # fmt: skip
CEILINGS = {"optimizer": 1.5}
"""An update runs over its arrays once, near the bandwidth of the memory: what it misses belongs to other terms."""
MPT = {"1b": (2048, 16, 24), "3b": (2560, 20, 32), "7b": (4096, 32, 32), "13b": (5120, 40, 40),
       "30b": (7168, 56, 48), "70b": (8192, 64, 80)}  # fmt: skip
"""Width, heads and layers; they give the number of parameters that each row states."""
HELD_OUT = ("MPT 13b", "MPT 30b", "MPT 70b")
LEAST = 0.02
"""Errors below this weigh the same."""


@dataclass(frozen=True)
class Row:
    """One measured step: its name, size in billions, ideal seconds by term, and seconds."""

    name: str
    size: str
    ideal: tuple[float, ...]
    seconds: float


@cache
def gpt(width: int, heads: int, layers: int, sequence: int = SEQUENCE) -> Model:
    configuration = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": width,
        "n_head": heads,
        "n_layer": layers,
        "n_positions": sequence,
        "vocab_size": 51_200,
    }
    return identify(Inventory("gpt", "config", "hf", configuration=configuration))


def row(cells: dict[str, str]) -> Row | None:
    """A row of the file; None where its layout is not legal."""
    number = {name: int(value) for name, value in cells.items() if value.isdecimal()}
    layout = Layout(
        tp=number["tensor parallelism"],
        pp=number["pipeline parallelism"],
        dp=number["data parallelism"],
        microbatch=number["micro batch"],
        recompute="full",
    )
    model = gpt(number["hidden size"], number["attention heads"], number["# layers"])
    training = Training(number["global batch"], number["sequence length"])
    size = cells["Parameters (billion)"]
    name = f"vTrain {size}B tp{layout.tp} pp{layout.pp} dp{layout.dp} mb{layout.microbatch}"
    return measured(name, size, layout, model, training, number["# GPUs"], float(cells["iteration time (ms)"]) / 1e3)


def mpt_row(cells: dict[str, str]) -> Row | None:
    """A row of MPT; None for other devices and for sizes that are not in MPT."""
    size = cells["Model"]
    if cells["GPU"] != "a100_80gb" or size not in MPT:
        return None
    sequence, devices = int(cells["SeqLen (T)"]), int(cells["# GPUs"])
    layout = Layout(
        dp=devices,
        zero=3,
        microbatch=int(cells["MicroBatchSize"]),
        recompute="full" if cells["Activation Checkpointing"] == "True" else "none",
        flash_attention=True,
    )
    training = Training(int(cells["GlobalBatchSize"]), sequence)
    seconds = training.tokens / devices / float(cells["Throughput (T/s/GPU)"])
    name = f"MPT {size} x{devices} s{sequence} mb{layout.microbatch} {layout.recompute}"
    return measured(name, f"MPT {size}", layout, gpt(*MPT[size], sequence), training, devices, seconds)


def measured(
    name: str, size: str, layout: Layout, model: Model, training: Training, devices: int, seconds: float
) -> Row | None:
    """The row with its ideal terms; None where its layout is not legal."""
    if refusals(layout, model, training, devices):
        return None
    precision = find_precision("bf16")
    states = model_states(model, layout, 0, find_optimizer("adamw"), precision)
    device = find(DEVICE).device
    ideal = terms(model, layout, training, device, precision, states.master + states.optimizer)
    return Row(name, size, tuple(ideal[term] for term in TERMS), seconds)


def bounded(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with floors, one coefficient at a time until nothing moves."""
    gram, target = left.T @ left, left.T @ right
    floors = np.array([FLOORS.get(term, 0.0) for term in TERMS])
    ceilings = np.array([CEILINGS.get(term, np.inf) for term in TERMS])
    found = floors.copy()
    for _ in range(2000):
        before = found.copy()
        for i, diagonal in enumerate(np.diag(gram)):
            if diagonal > 0:
                moved = found[i] + (target[i] - gram[i] @ found) / diagonal
                found[i] = min(max(floors[i], moved), ceilings[i])
        if np.abs(found - before).max() < 1e-7:
            break
    return found


def fit(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Coefficients that make the sum of relative errors least."""
    ideal = np.array([one.ideal for one in rows]) / np.array([[one.seconds] for one in rows])
    weights = np.ones(len(rows))
    for _ in range(15):
        found = bounded(ideal * weights[:, None], weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(ideal @ found - 1), LEAST))
    return found


def ratios(rows: Sequence[Row], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measured / predicted."""
    return np.array([one.seconds / (np.array(one.ideal) @ coefficients) for one in rows])


def read(source: Path, make: Callable[[dict[str, str]], Row | None]) -> list[Row]:
    with source.open(newline="") as file:
        return [found for cells in csv.DictReader(file) if (found := make(cells)) is not None]


def main(vtrain: Path, mpt: Path, target: Path) -> None:
    every = [*read(vtrain, row), *read(mpt, mpt_row)]
    rows = [one for one in every if one.size not in HELD_OUT]
    coefficients = fit(rows)
    left_out = np.concatenate(
        [
            ratios([one for one in rows if one.size == size], fit([one for one in rows if one.size != size]))
            for size in sorted({one.size for one in rows})
        ]
    )
    error = np.abs(1 / left_out - 1)
    low, high = np.quantile(left_out, [0.05, 0.95])
    lines = [
        "# Times by which each term of a training step is longer than ideal. Written by benchmarks/fit_training.py.",
        f'device = "{DEVICE}"',
        f'source = "benchmarks/fit_training.py on {len(rows)} rows of github.com/VIA-Research/vTrain (MIT) '
        f"and github.com/mosaicml/llm-foundry (Apache-2.0); sizes left out are predicted "
        f'to {100 * np.median(error):.0f} % (median)"',
        f"low = {low:.3f}",
        f"high = {high:.3f}",
        f"left_out_mean_error = {error.mean():.3f}",
        f"left_out_median_error = {np.median(error):.3f}",
        f"fitted_mean_error = {np.abs(1 / ratios(rows, coefficients) - 1).mean():.3f}",
        "rows = [",
        *(f'    "{one.name}",' for one in rows),
        "]",
        "",
        "[coefficients]",
        *(f"{term} = {value:.3f}" for term, value in zip(TERMS, coefficients, strict=True)),
    ]
    write_text(target, "\n".join(lines) + "\n")
    for line in lines[1:8] + lines[-len(TERMS) :]:
        print(line)
    for one in every:
        if one.size in HELD_OUT:
            print(f"held out: {one.name}: {100 * (1 / ratios([one], coefficients)[0] - 1):+.1f} %")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
