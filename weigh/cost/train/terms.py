"""What a training step does, as ideal seconds by kind: the terms whose sum, each times its coefficient, is its time.

Every term is physical: work divided by what the device states (peak, memory bandwidth, links). The coefficients say
how far real machines stay behind, `efficiency.py`. To add a term: a name in TERMS, its seconds in `terms`, and a run
of benchmarks/fit_training.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weigh.cost.train.compute import passes, work
from weigh.cost.train.layout import Layout, Training, pipeline
from weigh.cost.train.model_states import held
from weigh.cost.train.optimizers import Precision
from weigh.cost.train.schedule import Durations, bubble
from weigh.types import Device, Model, WeighError

NODE = 8
"""Devices of a node, between which the device's own links run. Assumed: boards of 8 are the rule since the V100."""
LAUNCH_S = 1e-5
"""Seconds a kernel takes to start, about; a layer's pass is taken as ten."""
TERMS = ("products", "flash", "head", "elementwise", "scores", "launches", "tensor", "tensor_far",
         "stages", "data", "optimizer")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Links:
    """Bytes a second of one device in one direction."""

    near: float
    """Inside a node."""
    far: float
    """Between nodes."""

    def ring(self, members: int) -> float:
        """Of a ring over several nodes with so many members in each: it uses the adapters of all of them."""
        return min(self.near, self.far * max(members, 1))


ALONE = Links(float("inf"), float("inf"))
"""Of a single device, which sends nothing."""


def links(device: Device) -> Links:
    """Half of the stated link inside a node, of the host's where it has none of its own; between nodes one adapter.

    200 Gbit/s a device for those up to 2021 (arXiv 2104.04473, section 5: eight HDR adapters a node), 400 since.
    Error: TRAIN-DEVICE where the device states neither link.
    """
    own = device.link_bandwidth or device.host_bandwidth
    if own is None:
        raise _unknown(device, "link between devices")
    old = device.launch_year is not None and device.launch_year.value <= 2021
    return Links(own.value / 2, 25e9 if old else 50e9)


def peak(device: Device, precision: Precision) -> float:
    """Dense FLOP/s of the precision's products. Error: TRAIN-PEAK where the device states none."""
    names = {"fp8": ("fp8",), "bf16": ("bf16", "f16"), "fp32": ("tf32", "f32")}[precision.id]
    for name in names:
        if name in device.peak:
            return device.peak[name].value
    raise _unknown(device, f"peak in {precision.id}")


def terms(
    model: Model, layout: Layout, training: Training, device: Device, precision: Precision, state_bytes: int
) -> Mapping[str, float]:
    """Ideal seconds of one step on the busiest device, by term; `state_bytes` are those that the optimizer moves.

    What runs once a microbatch runs m times and, while the pipeline fills, (p - 1) / v times more. Tensor parallelism
    sends the stream (s b h values) over a ring twice a layer and pass, 2 (t - 1) / t of it (arXiv 1909.08053, section
    3); a pipeline sends it once a run and direction; data parallelism reduces every gradient once a step.
    """
    if device.memory_bandwidth is None:
        raise _unknown(device, "memory bandwidth")
    lines = pipeline(layout, training)
    m = lines.microbatches
    waits = 1 + bubble(layout.schedule, lines, Durations(1, 1, 1) if layout.schedule == "zero-bubble" else Durations())
    found = work(model, training.sequence)
    top, memory, wires = (
        peak(device, precision),
        device.memory_bandwidth.value,
        ALONE if layout.devices == 1 else links(device),
    )
    weights, attention = passes(layout)
    sequences = m * layout.microbatch * waits / layout.cp
    share = sequences / (layout.tp * layout.pp)
    width, layers = model.dimensions["width"], model.dimensions["layers"]
    heads = model.dimensions.get("heads", 0)
    matrices = found.matrices * weights * share / top
    pairs = found.pairs * attention * share / top
    rows = training.sequence * sequences
    stream = 2 * rows * width
    local = layers / layout.pp
    whole = 1 if layout.tp == 1 or layout.sequence_parallel else layout.tp
    scores = 0.0
    if not layout.flash_attention:
        scores = 2 * sequences * training.sequence**2 * heads / layout.tp * local * attention
    ring = 2 * (layout.tp - 1) / layout.tp
    sent = ring * stream * 2 * local * (weights - 1)
    near = layout.tp <= NODE
    hops = layout.interleave if layout.pp > 1 else 0
    params = max(sum(one.parameters for one in held(model, layout, stage)) for stage in {0, layout.pp - 1})
    return {
        "products": matrices if layout.flash_attention else matrices + 2 * pairs,
        "flash": pairs if layout.flash_attention else 0.0,
        "head": 3 * found.head * sequences / layout.tp / top,
        "elementwise": stream * local * weights * (whole + 1) / layout.tp / memory,
        "scores": scores / memory,
        "launches": LAUNCH_S * 10 * local * weights * m * waits,
        "tensor": sent / wires.near if near else 0.0,
        "tensor_far": 0.0 if near else sent / wires.ring(NODE),
        "stages": 2 * stream * hops / layout.tp / wires.far,
        "data": _data(layout, params, precision, wires, m, matrices),
        "optimizer": (2 * state_bytes + params * precision.gradient) / memory,
    }


def _data(layout: Layout, params: int, precision: Precision, wires: Links, batches: int, hiding: float) -> float:
    """Gradients there and back over a ring, 2 (n - 1) / n, once a step.

    ZeRO-3 gathers parameters twice and reduces gradients once a microbatch, while the products of other layers run:
    what is longer than these remains. Assumed; no such row was fitted. Source: arXiv 1910.02054, section 7.
    """
    if layout.shards == 1:
        return 0.0
    across = layout.tp * layout.shards > NODE
    rate = wires.ring(NODE // layout.tp) if across else wires.near
    turn = params * (layout.shards - 1) / layout.shards / rate
    if layout.zero < 3:
        return 2 * precision.gradient * turn
    return max(0.0, batches * (2 * precision.parameter + precision.gradient) * turn - hiding)


def _unknown(device: Device, what: str) -> WeighError:
    return WeighError(
        f"the {what} of {device.name} is not known, so no time of a step is estimated",
        rule="TRAIN-DEVICE",
        hint="name an accelerator such as --on h100x8",
    )
