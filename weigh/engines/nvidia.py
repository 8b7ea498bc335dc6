"""NVIDIA's generations: the compute capability of a device, by which runtimes decide what kernels they have.

A sheet of a new card needs its line in `CAPABILITIES` here; without one nothing is refused because of it.

Source: https://michaelbommarito.com/wiki/programming/tools/gpu-compute-capability (a copy of NVIDIA's table, "CUDA GPU
Compute Capability"), of which an excerpt was read on 2026-11-24; the lines of B300, Orin, Thor and DGX Spark are
unverified.
"""

from __future__ import annotations

from weigh.types import Device

Capability = tuple[int, int]

VOLTA: Capability = (7, 0)
TURING: Capability = (7, 5)
AMPERE: Capability = (8, 0)
ADA: Capability = (8, 9)
HOPPER: Capability = (9, 0)
BLACKWELL: Capability = (10, 0)

CAPABILITIES: tuple[tuple[tuple[str, ...], Capability], ...] = (
    (("p100",), (6, 0)),
    (("gtx-10",), (6, 1)),
    (("v100",), (7, 0)),
    (("t4", "rtx-20"), (7, 5)),
    (("a100", "a30"), (8, 0)),
    (("a10", "a16", "a40", "rtx-30", "rtx-a"), (8, 6)),
    (("jetson-agx-orin", "jetson-orin"), (8, 7)),
    (("l4", "l40", "l40s", "rtx-40", "rtx-4000-ada", "rtx-6000-ada"), (8, 9)),
    (("h100", "h200", "gh200"), (9, 0)),
    (("b100", "b200", "gb200"), (10, 0)),
    (("b300", "gb300"), (10, 3)),
    (("jetson-thor",), (11, 0)),
    (("rtx-50", "rtx-pro-6000-blackwell"), (12, 0)),
    (("dgx-spark",), (12, 1)),
)
"""Beginnings of the ids of sheets; of several that fit, the longest decides."""


def capability(device: Device) -> Capability | None:
    """The device's compute capability; None where it is not NVIDIA's, or not in the table."""
    if device.vendor != "NVIDIA":
        return None
    fitting = [
        (len(start), number) for starts, number in CAPABILITIES for start in starts if device.id.startswith(start)
    ]
    return max(fitting)[1] if fitting else None


def older_than(device: Device, least: Capability) -> bool:
    """Whether it is known to be older; what is not known is not refused."""
    found = capability(device)
    return found is not None and found < least


def spoken(number: Capability) -> str:
    """As `8.9`."""
    return f"{number[0]}.{number[1]}"
