"""What a device reaches under an engine: its stated rates, the share of them that is reached, and what starts cost.

`rates` makes the record from the device and the engine's curve. A measured profile makes the same record from what
was measured; `cost/run` asks for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from weigh.codecs import by_id
from weigh.engines.curves import Efficiency, Phase, efficiency, limit, stretch
from weigh.types import Basis, Device, WeighError

TYPES = ("f32", "f16", "fp8", "int8", "fp4", "int4")
"""Number types of weights that curves tell apart, named as in a device's peaks."""
PHASES: tuple[Phase, Phase] = ("decode", "prefill")


class Curve(NamedTuple):
    """Where the shares that a device reaches come from."""

    basis: Basis
    why: str
    source: str


class Spread(NamedTuple):
    """Factors on the seconds of a step between which 90 % of measured steps lie."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What `cost/run/step.py` divides by. Numbers may be arrays where a sweep goes over devices."""

    bandwidth: Any
    """Bytes a second that the device states; None = not known."""
    peak: Any
    """FLOP a second that the device states; None = not known."""
    memory: Mapping[str, float]
    """Share of the bandwidth that is reached, by codec or number type."""
    compute: Mapping[str, float]
    """Share of the peak that is reached, by codec or number type. It may pass 1, where kernels use a faster type."""
    step_s: float
    """Seconds that a step takes whatever it computes."""
    kernel_s: float
    """Seconds that the start of one kernel takes."""
    decode: Spread
    prefill: Spread
    decode_curve: Curve
    prefill_curve: Curve
    stretch: float = float("inf")
    """Tokens of a prompt that the engine takes in one pass."""

    def bytes_per_s(self, codec: str) -> Any:
        """Bytes a second at which weights in that codec are read."""
        return self.bandwidth * _of(self.memory, codec)

    def flop_per_s(self, codec: str) -> Any:
        """FLOP a second of products with weights in that codec."""
        return self.peak * _of(self.compute, codec)


def _of(shares: Mapping[str, float], codec: str) -> float:
    return shares[codec] if codec in shares else shares[number_type(codec)]


def number_type(codec: str) -> str:
    """The type that curves tell apart, named as in a device's peaks: f32 f16 fp8 int8 fp4 int4.

    By bits and kind: int4 is any integer below 7 bits, with its scales or without.
    """
    bits = by_id(codec).bits
    if bits >= 12:
        return "f32" if bits > 16 else "f16"
    if codec.startswith(("f8", "fp8")):
        return "fp8"
    if codec in ("nvfp4", "mxfp4", "f4"):
        return "fp4"
    return "int8" if bits >= 7 else "int4"


def rates(engine_id: str, device: Device, folders: tuple[Path, ...] = ()) -> Rates | None:
    """From the device's stated rates and the engine's curves for its class; None where none are known of the class.

    `folders` are asked before the curves that come with weigh. Errors: those of `curves.efficiency`.
    """
    try:
        decode, prefill = (efficiency(engine_id, device, phase, folders) for phase in PHASES)
    except WeighError as unknown:
        if unknown.rule != "CURVE-CLASS":
            raise
        return None
    bandwidth, peak = device.memory_bandwidth, limit(device, "prefill")
    return Rates(
        None if bandwidth is None else bandwidth.value,
        None if peak is None else peak.value,
        _by_type(decode),
        _by_type(prefill),
        decode.step_s,
        decode.kernel_s,
        _spread(decode),
        _spread(prefill),
        Curve(decode.basis, decode.why, decode.source),
        Curve(prefill.basis, prefill.why, prefill.source),
        stretch(engine_id),
    )


def _by_type(reached: Efficiency) -> Mapping[str, float]:
    return {**dict.fromkeys(TYPES, reached.value), **reached.types}


def _spread(reached: Efficiency) -> Spread:
    if reached.seconds is not None:
        return Spread(*reached.seconds)
    return Spread(reached.value / reached.high, reached.value / reached.low)
