"""Seconds of a step: each part takes the longer of its compute and its traffic; kernels and the step have a start.

Floats and NumPy arrays go through the same lines. What a device reaches under an engine is a `Rates`.
"""

from __future__ import annotations

from collections.abc import Iterable

from weigh.cost.run.load import Load
from weigh.engines.rates import Rates
from weigh.numbers import Number, larger


def memory_s(load: Load, rates: Rates) -> Number:
    """Seconds that one part's bytes take: each codec at its own efficiency, state at that of 16 bits."""
    moved = sum(held / rates.bytes_per_s(codec) for codec, held in load.weight_bytes.items())
    return moved + load.state_bytes / rates.bytes_per_s("f16")


def compute_s(load: Load, rates: Rates) -> Number:
    """Seconds that one part's FLOPs take at the rate of the codec that most of its weights are in."""
    return load.flops / rates.flop_per_s(load.main_codec)


def part_s(load: Load, rates: Rates) -> Number:
    """Seconds of one part without the start of its kernels: larger(compute, memory).

    A limit that is not known holds nobody up: with no bandwidth it is the compute, with no peak the traffic.
    """
    if rates.peak is None:
        return memory_s(load, rates)
    if rates.bandwidth is None:
        return compute_s(load, rates)
    return larger(compute_s(load, rates), memory_s(load, rates))


def seconds(loads: Iterable[Load], rates: Rates, communication_s: Number = 0.0, steps: Number = 1) -> Number:
    """step_s x steps + sum of count x (larger(compute, memory) + kernels x kernel_s) + communication.

    Source: the roofline of Williams, Waterman, Patterson, Communications of the ACM 52 (4), 2009, part by part.
    Ignores: parts that run side by side, reading ahead while another part computes.
    Off by: as far as the ends of the engine's curve say.
    """
    parts = sum(load.count * (part_s(load, rates) + load.kernels * rates.kernel_s) for load in loads)
    return rates.step_s * steps + parts + communication_s
